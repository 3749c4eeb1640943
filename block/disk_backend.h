// SPDX-License-Identifier: Apache-2.0
// The one BlockBackend there is: over a node graph, or without a medium.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "block/block_backend.h"
#include "block/filter/range_lock.h"
#include "block/filter/throttle.h"
#include "block/graph.h"

namespace emu::block {

enum class OnError : u8 { Report, Ignore, Enospc, Stop };
/// "report": as in werror=.
const char* on_error_name(OnError what);

enum class IoKind : u8 { Read, Write, Flush, Unmap };
constexpr unsigned kIoKinds = 4;

/// What BLOCK_IO_ERROR tells.
struct BlockIoError {
  std::string device, node_name, filename;
  bool is_write = false;
  OnError action = OnError::Report;  ///< Report, Ignore or Stop
  bool no_space = false;
  std::string reason;
};

/// What BLOCK_IMAGE_CORRUPTED tells.
struct BlockCorruption {
  std::string node_name, message;
  u64 offset = 0, bytes = 0;
  bool fatal = false;
};

/// Who hears of failures. Any thread.
class BlockErrorListener {
 public:
  virtual ~BlockErrorListener() = default;
  /// With action Stop the machine is to be stopped ("io-error"); DiskBackend::retry() when it goes on.
  virtual void io_error(const BlockIoError& failure) = 0;
  /// Tables of an image contradict each other; `fatal`: it refuses all requests from now on.
  virtual void image_corrupted(const BlockCorruption& corruption) { static_cast<void>(corruption); }
  /// The guest opened or closed a tray; `drive` is empty for what -blockdev made.
  virtual void tray_moved(const std::string& drive, const std::string& device, bool open) {
    static_cast<void>(drive);
    static_cast<void>(device);
    static_cast<void>(open);
  }
};

struct BackendSettings {
  std::string id;               ///< -drive id=; empty for a -blockdev node's
  OnError on_write_error = OnError::Enospc;
  OnError on_read_error = OnError::Report;
  bool write_cache = true;      ///< cache.writeback
  bool is_removable = false;    ///< media=cdrom
  bool read_only = false;
};

struct DeviceWishes {
  ErrorWish write_error = ErrorWish::Auto, read_error = ErrorWish::Auto;
  bool share_writes = false;
};
/// The two properties.
template <typename Info, typename Device>
void add_error_properties(Info& type, ErrorWish Device::* on_write, ErrorWish Device::* on_read) {
  const std::vector<std::pair<std::string, ErrorWish>> names = {{"auto", ErrorWish::Auto},
                                                                {"report", ErrorWish::Report},
                                                                {"ignore", ErrorWish::Ignore},
                                                                {"enospc", ErrorWish::Enospc},
                                                                {"stop", ErrorWish::Stop}};
  type.choice("werror", on_write, "BlockdevOnError", names, "what becomes of failed writes; auto: as -drive says");
  type.choice("rerror", on_read, "BlockdevOnError", names, "what becomes of failed reads; auto: as -drive says");
}

/// One number of one kind of request, written on the loop's thread and read on any.
struct IoCounters {
  std::atomic<u64> operations{0}, bytes{0}, time_ns{0}, failed{0}, invalid{0};
  std::atomic<u64> joined{0};  ///< of the operations, those that were made as part of another
};

class DiskBackend final : public BlockBackend, public GraphUser {
 public:
  ~DiskBackend() override;
  /// Once, right after it was made. All outlive it.
  void set_up(NodeGraph& graph, BackendSettings settings, BlockErrorListener* errors);

  // BlockBackend
  Result<void> attach(BlockFrontend& frontend) override;
  void detach(BlockFrontend& frontend) override;
  bool has_medium() const override { return root_ != nullptr; }
  u64 bytes() const override { return bytes_.load(std::memory_order_relaxed); }
  bool is_read_only() const override { return settings_.read_only || (root_ != nullptr && root_->is_read_only()); }
  bool has_write_cache() const override { return write_cache_.load(std::memory_order_relaxed); }
  void set_write_cache(bool enabled) override { write_cache_.store(enabled, std::memory_order_relaxed); }
  void tray_moved(bool open) override {
    if (errors_ != nullptr) errors_->tray_moved(settings_.id, device_name(), open);
  }
  bool can_discard() const override { return unmaps_; }
  bool may_join(bool is_write) const override { return on_error(is_write) != OnError::Ignore; }
  void joined(bool is_write, u64 requests) override;
  BlockLimits limits() const override { return limits_; }
  std::string filename() const override { return root_ ? root_->filename() : std::string(); }
  EventLoop& loop() const override { return *loop_; }
  Result<void> move_to(EventLoop& loop) override;
  Task<IoStatus> read(u64 offset, IoVec to) override;
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override;
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override;
  Task<IoStatus> discard(u64 offset, u64 length) override;
  Task<IoStatus> flush() override;

  // GraphUser
  std::string user_name() const override;
  Task<void> drain_begin() override;
  void drain_end() override;
  void resized() override;

  // For commands, on the main loop.

  const BackendSettings& settings() const { return settings_; }
  BlockFrontend* frontend() const { return frontend_; }
  /// The attached device's id, or its path in the tree; empty when there is none.
  std::string device_name() const;
  NodeRef root() const { return root_; }
  bool is_removable() const { return settings_.is_removable || (frontend_ && frontend_->is_removable()); }
  bool is_tray_open() const { return frontend_ != nullptr && frontend_->is_tray_open(); }
  /// Puts a medium in (the drive had none). The node stays its owner's; ours is a use.
  Task<Result<void>> insert(NodeRef node);
  /// The settings of the node are others now.
  void settings_changed() { refresh(); }
  /// Stands for a node that somebody owns: it is used while a device is attached, and no longer.
  void stand_for(NodeRef node);
  /// Takes it out; nothing is under way when it is done.
  Task<Result<void>> remove();
  /// What the device says instead of -drive. Before attach().
  void set_error_actions(std::optional<OnError> write, std::optional<OnError> read) {
    settings_.on_write_error = write.value_or(settings_.on_write_error);
    settings_.on_read_error = read.value_or(settings_.on_read_error);
  }
  /// Another device may write, too (share-rw=on). Before attach().
  void set_share_writes(bool share) { share_writes_ = share; }
  /// Both of that, as a device's properties say it. Errors: what -drive says already, or what cannot be.
  /// Before attach().
  Result<void> set_wishes(const DeviceWishes& wishes);

  std::shared_ptr<ThrottleGroup> throttle_group() const { return group_; }
  std::string throttle_group_name() const { return group_name_; }
  /// Null: no limits.
  Task<void> set_throttle(std::string name, std::shared_ptr<ThrottleGroup> group);

  const IoCounters& counters(IoKind kind) const { return counters_[unsigned(kind)]; }
  u64 highest_write() const { return highest_write_.load(std::memory_order_relaxed); }
  /// Since the last request ended; nothing when there was none.
  std::optional<u64> idle_ns() const;
  /// "ok", "failed" or "nospace": why requests wait.
  const char* io_status() const;
  /// Requests that wait since an error are made again. Any thread.
  void retry();
  /// The machine ends: what waits for a person fails instead, and limits do not count. Any thread.
  void give_up();
  /// Requests that wait since an error fail with it (the machine is reset: who made them is gone).
  void fail_waiting();

 private:
  /// What a request is about; the work itself is the caller's.
  struct Aim {
    IoKind kind = IoKind::Read;
    u64 offset = 0, length = 0;
    bool is_throttled = false;
    bool may_be_unsupported = false;  ///< ENOTSUP is an answer, not an error
    bool is_write() const { return kind != IoKind::Read; }
  };
  template <typename Work>
  Task<IoStatus> carry_out(Aim aim, Work work);
  IoStatus check(const Aim& aim) const;
  OnError on_error(bool is_write) const { return is_write ? settings_.on_write_error : settings_.on_read_error; }
  Access wanted_access() const;
  void medium_is(NodeRef node);
  void refresh();
  void end_waiting(bool again);
  Task<void> enter();
  void leave();
  Task<void> wait_idle();
  Task<bool> wants_retry(IoStatus failed, bool is_write);
  void finish(IoKind kind, u64 bytes, ClockNs begin, IoStatus status);

  Task<IoStatus> read_once(u64 offset, IoVec to);
  Task<IoStatus> write_once(u64 offset, IoVec from, IoFlags flags);
  Task<IoStatus> zero_once(u64 offset, u64 length, IoFlags flags);
  Task<IoStatus> flush_once();
  Task<IoStatus> discard_once(u64 offset, u64 length);
  Task<IoStatus> bounce_read(u64 offset, IoVec to);
  Task<IoStatus> bounce_write(u64 offset, IoVec from, IoFlags flags);

  NodeGraph* graph_ = nullptr;
  BackendSettings settings_;
  OnError given_write_error_ = OnError::Enospc, given_read_error_ = OnError::Report;  ///< -drive's, without a device
  BlockErrorListener* errors_ = nullptr;
  BlockFrontend* frontend_ = nullptr;
  bool share_writes_ = false;
  bool stands_for_node_ = false;

  // What requests look at; changes only while none is under way.
  EventLoop* loop_ = nullptr;
  NodeRef root_;
  BlockLimits limits_;
  bool unmaps_ = false;
  DetectZeroes detect_zeroes_ = DetectZeroes::Off;
  std::shared_ptr<ThrottleGroup> group_;
  std::string group_name_;
  std::atomic<u64> bytes_{0};
  std::atomic<bool> write_cache_{true};

  // On the loop's thread.
  unsigned in_flight_ = 0;
  unsigned holds_ = 0;  ///< drains that have not ended
  std::vector<Completion<bool>> held_back_, idle_waiters_, parked_;
  RangeLock merging_;
  u64 write_generation_ = 0;    ///< counts up with each write that has ended, well or not
  u64 flushed_generation_ = 0;  ///< what of that is known to be on stable storage

  std::atomic<bool> gave_up_{false};
  std::atomic<bool> draining_{false};  ///< limits do not count
  std::atomic<int> io_status_{0};      ///< the errno that made requests wait
  std::array<IoCounters, kIoKinds> counters_;
  std::atomic<u64> highest_write_{0};
  std::atomic<i64> last_end_ns_{0};
};

void register_backend_types(qom::TypeRegistry& registry);

}  // namespace emu::block
