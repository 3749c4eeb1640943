// SPDX-License-Identifier: Apache-2.0
// A unit with the commands that are under way on it: lives until the last of them is done, even if its device is gone
// by then.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "hw/scsi/scsi_unit.h"
#include "util/task.h"

namespace emu::hw {

/// How a command ended, other than by what the unit said.
enum class ScsiEnd : u8 {
  Done,     ///< the unit answered
  Aborted,  ///< by ABORT TASK and its like
  Reset,    ///< by a reset of the unit
  Gone,     ///< the unit was taken out before it began
};

/// One command of a transport. Destroyed once it is answered.
class ScsiJob {
 public:
  virtual ~ScsiJob() = default;
  virtual std::span<const u8> cdb() const = 0;
  /// By which task management finds it.
  virtual u64 tag() const = 0;
  /// Brings the buffers for `command.bytes`, which stay until finish(). False: it has answered by itself.
  virtual bool open(const ScsiCommand& command, std::vector<iovec>& data) = 0;
  /// Answers. The session's loop, but for ScsiEnd::Gone.
  virtual void finish(const ScsiResult& result, ScsiEnd end) = 0;

 private:
  friend class ScsiSession;
  std::size_t place_ = 0;  ///< among the session's
  u32 era_ = 0;
  std::stop_source stop_;  ///< what waits for a person ends early
  ScsiEnd end_ = ScsiEnd::Done;
  std::vector<std::shared_ptr<void>> waiters_;  ///< hear of the end by losing a holder
};

class ScsiSession final : public block::BlockFrontend, public std::enable_shared_from_this<ScsiSession> {
 public:
  using OnAttention = std::function<void(ScsiSense)>;

  /// Commands run on `loop`, where the backend is by then. `on_attention` is called on any thread.
  ScsiSession(block::BlockBackend& backend, EventLoop& loop, ScsiUnitConfig config,
              std::function<std::vector<u32>()> luns, OnAttention on_attention, std::string device_name);
  ~ScsiSession() override;

  ScsiUnit& unit() { return unit_; }
  EventLoop& loop() const { return loop_; }

  /// Any thread. Jobs of one thread begin in their order.
  void start(std::unique_ptr<ScsiJob> job);
  /// Ends one command, or all: answered with `how`, as soon as the back end lets them. `waiter` is dropped after the
  /// last. With Reset the unit is reset as well. What is started after this call is let be. Any thread.
  void abort(std::optional<u64> tag, ScsiEnd how, std::shared_ptr<void> waiter);
  /// Says on the session's loop whether a command (any, without a tag) is under way. Any thread.
  void ask(std::optional<u64> tag, std::function<void(bool)> answer);
  /// No more commands come. True when none is under way; else `idle` is called on the loop after the last. Any thread.
  bool close(std::function<void()> idle);

  // BlockFrontend
  void resized() override;
  void medium_changed(bool present) override;
  void eject_requested(bool force) override;
  bool is_tray_open() const override { return unit_.is_tray_open(); }
  bool is_medium_locked() const override { return unit_.is_locked(); }
  bool is_removable() const override { return unit_.config().removable; }
  std::string device_name() const override { return device_name_; }

 private:
  static Task<void> serve(std::shared_ptr<ScsiSession> self, std::unique_ptr<ScsiJob> job);
  void begin(std::unique_ptr<ScsiJob> job);
  void on_loop(std::function<void()> work);
  void tell(ScsiSense what);
  void ended();

  EventLoop& loop_;
  ScsiUnit unit_;
  const std::string device_name_;
  TaskOwner tasks_;  ///< loop's thread
  std::vector<ScsiJob*> jobs_;  ///< under way; loop's thread

  std::atomic<u32> era_{0};  ///< counts calls of abort()
  std::mutex mutex_;  ///< the rest. Lock order: machine lock → this → the transport's own
  OnAttention on_attention_;
  u32 under_way_ = 0;
  bool closing_ = false;
  std::function<void()> idle_;
};

}  // namespace emu::hw
