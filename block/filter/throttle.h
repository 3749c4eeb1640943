// SPDX-License-Identifier: Apache-2.0
// Limits on bytes and requests a second, shared by any number of disks.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "qom/user_creatable.h"
#include "util/clock.h"
#include "util/options.h"
#include "util/result.h"
#include "util/task.h"

namespace emu::block {

/// One limit: `average` a second in the long run; with `most`, that many a second for `length_s` seconds before.
struct ThrottleLimit {
  u64 average = 0;  ///< 0: no limit
  u64 most = 0;
  u64 length_s = 1;
  bool operator==(const ThrottleLimit&) const = default;
};

enum class Throttled : u8 { BpsTotal, BpsRead, BpsWrite, IopsTotal, IopsRead, IopsWrite };
constexpr unsigned kThrottledCount = 6;
/// "bps-total": as in throttling.bps-total and limits.
const char* throttled_name(Throttled what);

struct ThrottleConfig {
  std::array<ThrottleLimit, kThrottledCount> limits;
  u64 iops_size = 0;  ///< larger requests count as several of this many bytes

  ThrottleLimit& operator[](Throttled what) { return limits[unsigned(what)]; }
  const ThrottleLimit& operator[](Throttled what) const { return limits[unsigned(what)]; }
  bool is_limited() const;
  Result<void> check() const;
  bool operator==(const ThrottleConfig&) const = default;
};
/// Takes "<prefix>bps-total", "<prefix>bps-total-max", "<prefix>bps-total-max-length"... and "<prefix>iops-size".
Result<ThrottleConfig> take_throttle_config(Options& options, const std::string& prefix);

/// The count of who did how much. Any thread.
class ThrottleGroup {
 public:
  ThrottleConfig config() const;
  void set_config(const ThrottleConfig& config);
  bool is_limited() const { return limited_.load(std::memory_order_relaxed); }

  /// Counts a request, and says how long it has to wait so that those before it and it stay within the limits.
  ClockNs account(bool is_write, u64 bytes, ClockNs now);
  /// Counts up when the limits change: who waits need not any more.
  u64 generation() const { return generation_.load(std::memory_order_relaxed); }

 private:
  struct Bucket {
    double level = 0;  ///< units counted that have not leaked out yet
    double burst = 0;  ///< the same, leaking at `most`
  };
  static double wait_s(const ThrottleLimit& limit, const Bucket& bucket);
  mutable std::mutex mutex_;
  ThrottleConfig config_;
  std::array<Bucket, kThrottledCount> buckets_;
  ClockNs last_{0};
  std::atomic<bool> limited_{false};
  std::atomic<u64> generation_{0};
};

/// Waits on `loop` until the group lets a request go, the limits change, or `*bypass` is set.
Task<void> throttle(ThrottleGroup& group, EventLoop& loop, bool is_write, u64 bytes, const std::atomic<bool>* bypass);

/// -object throttle-group: limits that several drives share.
class ThrottleGroupObject final : public qom::UserCreatable {
 public:
  static void describe(qom::TypeInfo<ThrottleGroupObject>& type);
  Result<void> complete() override;
  bool is_in_use() const override { return group_.use_count() > 1; }
  std::shared_ptr<ThrottleGroup> group() const { return group_; }

 private:
  // A property is a member.
  u64 bps_total_ = 0, bps_total_max_ = 0, bps_total_length_ = 1;
  u64 bps_read_ = 0, bps_read_max_ = 0, bps_read_length_ = 1;
  u64 bps_write_ = 0, bps_write_max_ = 0, bps_write_length_ = 1;
  u64 iops_total_ = 0, iops_total_max_ = 0, iops_total_length_ = 1;
  u64 iops_read_ = 0, iops_read_max_ = 0, iops_read_length_ = 1;
  u64 iops_write_ = 0, iops_write_max_ = 0, iops_write_length_ = 1;
  u64 iops_size_ = 0;
  struct Members {
    u64 ThrottleGroupObject::*average;
    u64 ThrottleGroupObject::*most;
    u64 ThrottleGroupObject::*length_s;
  };
  static const Members kMembers[kThrottledCount];
  std::shared_ptr<ThrottleGroup> group_ = std::make_shared<ThrottleGroup>();
};

void register_block_objects(qom::TypeRegistry& registry);

}  // namespace emu::block
