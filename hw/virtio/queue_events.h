// SPDX-License-Identifier: Apache-2.0
// How a kick, from whatever thread, becomes one call of a queue's handler on the thread that serves it.
// And how that is called again when the driver was not asked to kick.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>

#include "util/event_loop.h"
#include "util/event_notifier.h"

namespace emu::hw {

/// Shared by the device and the events on their way; outlives the device if some still are.
class QueueEvents : public std::enable_shared_from_this<QueueEvents> {
 public:
  using Handler = std::function<void()>;
  /// Runs work on the main loop, with the machine lock held.
  using RunOnMainLoop = std::function<void(std::function<void()>)>;

  /// `loop` null: the handler runs by `run_on_main_loop`. Errors: no descriptor to be had.
  /// `time_over`: called instead of the handler by call_in(); may be empty where that is not used.
  static Result<std::shared_ptr<QueueEvents>> create(EventLoop* loop, RunOnMainLoop run_on_main_loop, Handler handler,
                                                     Handler time_over = {});
  /// For somebody outside this program, who is given the notifier.
  static Result<std::shared_ptr<QueueEvents>> create_outside();
  ~QueueEvents();

  /// Whether the loop hears of the notifier; not while the kernel does instead. Any thread.
  void listen(bool on);
  /// Any thread; cheap when a call is due anyway.
  void kick();
  /// Calls the handler now, unless it is running, in which case it will see what there is. On other threads than the
  /// loop's: as kick().
  void run_now();
  /// Calls `time_over` in a while. Any thread; nothing happens without a loop.
  void call_in(std::chrono::milliseconds delay);
  /// The handler is not running and will not be called from here on. Not from the handler.
  void close();
  const EventNotifier* notifier() const { return notifier_ ? &*notifier_ : nullptr; }
  EventLoop* loop() const { return loop_; }

 private:
  QueueEvents() = default;
  void run();
  void call(const Handler& handler);

  bool outside_ = false;  ///< nobody here waits for the notifier
  EventLoop* loop_ = nullptr;
  RunOnMainLoop run_on_main_loop_;
  std::optional<EventNotifier> notifier_;
  FdWatch watch_;      ///< its loop's thread, once there is one
  Deadline deadline_;  ///< likewise, made when it is first needed
  bool is_running_ = false;  ///< loop's thread
  std::atomic<bool> due_{false};
  std::mutex mutex_;  ///< held while a handler runs. Lock order: machine lock → this
  Handler handler_, time_over_;
};

}  // namespace emu::hw
