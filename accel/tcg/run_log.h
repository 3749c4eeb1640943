// SPDX-License-Identifier: Apache-2.0
// The log of a recorded run under -icount: what was decided between instructions, in order. See accel/rewind.h.
#pragma once

#include <vector>

#include "accel/rewind.h"
#include "util/check.h"

namespace emu::accel {

struct Decision {
  enum class Kind : u8 {
    Event,   ///< the vCPU took an interrupt, or what else waited for it
    Poll,    ///< a CPU that waits for memory to change looked
    Timers,  ///< timers ran
    Time,    ///< nobody ran until `value` on the counted clock
    Turn,    ///< vCPU `value` got the turn
  } kind = Kind::Event;
  unsigned vcpu = 0;  ///< who had the turn
  i64 count = 0;
  u64 fingerprint = 0;
  i64 value = 0;
};

/// Written by the thread that has the turn; the rest while nobody runs.
class RunLog {
 public:
  /// 640 MiB. A guest of one CPU makes some thousand entries a second of its time.
  static constexpr std::size_t kMost = std::size_t(16) << 20;

  void start() {
    *this = {};
    is_recording_ = true;
  }
  void stop() { *this = {}; }
  bool is_recording() const { return is_recording_; }
  bool is_replaying() const { return is_replaying_; }

  void add(const Decision& decision) {
    if (!is_recording_ || is_replaying_) return;
    if (decisions_.size() >= kMost) return stop();
    decisions_.push_back(decision);
    at_ = decisions_.size();
  }
  /// How many have been taken, at the moment where the machine is.
  u64 at() const { return at_; }
  const std::vector<Decision>& decisions() const { return decisions_; }

  void go_to(u64 at) {
    EMU_CHECK(is_recording_ && at <= decisions_.size());
    at_ = at;
    is_replaying_ = true;
  }
  /// The next one; null: there is none any more.
  const Decision* next() const { return at_ < decisions_.size() ? &decisions_[at_] : nullptr; }
  void took() { ++at_; }
  void end_replay() {
    EMU_CHECK(at_ == decisions_.size());
    is_replaying_ = false;
  }
  void cut() {
    decisions_.resize(at_);
    is_replaying_ = false;
  }

 private:
  std::vector<Decision> decisions_;
  u64 at_ = 0;
  bool is_recording_ = false, is_replaying_ = false;
};

}  // namespace emu::accel
