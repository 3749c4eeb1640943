// SPDX-License-Identifier: Apache-2.0
// Clocks that can be stopped or moved by hand, and timers on them.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "util/types.h"

namespace emu {

/// A point on a clock or a distance between two, in nanoseconds. Plain chrono literals convert to it.
using ClockNs = std::chrono::duration<i64, std::nano>;

/// a + b without overflow: guests choose such distances.
ClockNs saturating_add(ClockNs a, ClockNs b);

class TimerQueue;
namespace detail {
struct TimerState;
struct TimerQueueCore;
}  // namespace detail

/// One alarm of a TimerQueue; cancelled when destroyed. arm and cancel may be called from any thread. A callback that
/// has already begun on the queue's thread may still run after cancel() returns; the destructor and assignment wait
/// for it (so hold no lock there that the callback takes) unless they are called from the callback itself.
class Timer {
 public:
  Timer();  ///< Without a queue: may be cancelled, must not be armed.
  ~Timer();
  Timer(Timer&&) noexcept;
  Timer& operator=(Timer&&) noexcept;

  /// Fires once when the clock reaches `when`; at once if it is past. Replaces an earlier deadline.
  void arm_at(ClockNs when);
  void arm_after(ClockNs delay);
  void cancel();
  bool is_armed() const;
  std::optional<ClockNs> deadline() const;

 private:
  friend class TimerQueue;
  explicit Timer(std::shared_ptr<detail::TimerState> state);
  void drop();
  std::shared_ptr<detail::TimerState> state_;
};

/// What moves a Counted clock: somebody counts, and says how much time that is.
class ClockCounter {
 public:
  virtual ~ClockCounter() = default;
  /// Any thread; does not go backwards on any one.
  virtual ClockNs counted() const = 0;
  /// The earliest deadline of the clock's main queue may have become earlier. Any thread, no lock of ours held.
  virtual void deadline_moved() = 0;
};

/// Time as one kind of reader sees it. now() takes no lock. Times start at 0 for Virtual, at boot for Realtime and
/// 1970 for Host.
class Clock {
 public:
  enum class Kind {
    Realtime,  ///< the host's CLOCK_MONOTONIC
    Virtual,   ///< what the guest sees; stands still while the machine is stopped. Created stopped.
    Host,      ///< the host's wall clock, which may jump
  };
  enum class Drive {
    Automatic,
    Manual,   ///< Virtual only: moves by advance() alone, for tests and qtest. Created running.
    Counted,  ///< Virtual only: moves as a ClockCounter says, who also runs the main queue when it is due.
  };

  explicit Clock(Kind kind, Drive drive = Drive::Automatic);
  ~Clock();
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;

  Kind kind() const { return kind_; }
  ClockNs now() const;

  /// Virtual only. While stopped, time stands still and no queue of this clock has a deadline.
  void start();
  void stop();
  bool is_running() const { return running_.load(std::memory_order_acquire); }

  /// Manual only: moves on, stopping at each deadline on the way to run its callbacks on this thread.
  void advance(ClockNs distance);
  /// Virtual only, stopped or manual: a restored machine goes on at its saved time. Fires nothing by itself.
  void set_now(ClockNs now);

  /// Where CLOCK_MONOTONIC will stand when this clock reaches `when`, for futex and poll timeouts; nothing while the
  /// clock is stopped or manual. For Host it is only as good as the wall clock is steady.
  std::optional<ClockNs> monotonic_at(ClockNs when) const;

  /// A timer on the queue that the main loop runs.
  Timer make_timer(std::function<void()> callback);
  TimerQueue& main_queue() { return *main_queue_; }

  static ClockNs monotonic_now();

  Drive drive() const { return drive_; }
  /// Counted only: from now on time moves as `counter` says, which it outlives; null: it stands still.
  void set_counter(ClockCounter* counter);

 private:
  friend class TimerQueue;
  friend class Timer;
  ClockNs host_now() const;
  void publish(bool running, ClockNs base);
  void notify_queues();
  std::vector<std::shared_ptr<detail::TimerQueueCore>> queues() const;

  const Kind kind_;
  const Drive drive_;
  // Readers retry while sequence_ is odd or has changed. Running: now = host + base. Standing: now = base. Counted:
  // now is always count + base.
  std::atomic<u32> sequence_{0};
  std::atomic<bool> running_{false};
  std::atomic<i64> base_{0};
  std::atomic<ClockCounter*> counter_{nullptr};
  mutable std::mutex mutex_;  ///< writers of the above, and queues_; taken before a queue's own
  std::vector<std::weak_ptr<detail::TimerQueueCore>> queues_;
  std::unique_ptr<TimerQueue> main_queue_;
};

/// Timers of one clock that fire on one thread: an EventLoop's (EventLoop::attach), a vCPU's own, or a test's.
/// The clock must outlive the queue; timers need not, they go dead with it.
class TimerQueue {
 public:
  explicit TimerQueue(Clock& clock);
  ~TimerQueue();
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;

  Clock& clock() const;
  /// `callback` runs on the thread that calls run_due(), with no lock of ours held.
  Timer make_timer(std::function<void()> callback);

  /// The earliest deadline on the queue's clock; nothing when no timer is armed or the clock is stopped.
  std::optional<ClockNs> deadline() const;
  /// The same as a CLOCK_MONOTONIC time to sleep until.
  std::optional<ClockNs> monotonic_deadline() const;

  /// Runs what is due, each timer at most once, and says how many ran. One thread at a time.
  unsigned run_due();

  /// Called, from any thread and with no lock of ours held, when deadline() may have changed to earlier or to none.
  void set_notify(std::function<void()> notify);

 private:
  friend class Clock;
  std::shared_ptr<detail::TimerQueueCore> core_;
};

}  // namespace emu
