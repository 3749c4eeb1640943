// SPDX-License-Identifier: Apache-2.0
// How a kick, from whatever thread, becomes one call of a queue's handler on the thread that serves it.
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
  static Result<std::shared_ptr<QueueEvents>> create(EventLoop* loop, RunOnMainLoop run_on_main_loop, Handler handler);
  /// For somebody outside this program, who is given the notifier.
  static Result<std::shared_ptr<QueueEvents>> create_outside();
  ~QueueEvents();

  /// Whether the loop hears of the notifier; not while the kernel does instead. Any thread.
  void listen(bool on);
  /// Any thread; cheap when a call is due anyway.
  void kick();
  /// The handler is not running and will not be called from here on. Not from the handler.
  void close();
  const EventNotifier* notifier() const { return notifier_ ? &*notifier_ : nullptr; }
  EventLoop* loop() const { return loop_; }

 private:
  QueueEvents() = default;
  void run();

  bool outside_ = false;  ///< nobody here waits for the notifier
  EventLoop* loop_ = nullptr;
  RunOnMainLoop run_on_main_loop_;
  std::optional<EventNotifier> notifier_;
  FdWatch watch_;  ///< its loop's thread, once there is one
  std::atomic<bool> due_{false};
  std::mutex mutex_;  ///< held while the handler runs. Lock order: machine lock → this
  Handler handler_;
};

}  // namespace emu::hw
