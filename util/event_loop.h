// SPDX-License-Identifier: Apache-2.0
// One thread's events: file descriptors, timers and work posted from elsewhere, over a GMainContext.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>

#include "util/clock.h"
#include "util/function.h"
#include "util/result.h"
#include "util/types.h"

// glib's names; glib.h stays out of headers.
struct _GMainContext;  // NOLINT
struct _GSource;       // NOLINT

namespace emu {

enum class FdEvents : u8 { None = 0, Read = 1, Write = 2, HangUp = 4 };
constexpr FdEvents operator|(FdEvents a, FdEvents b) { return FdEvents(u8(a) | u8(b)); }
constexpr FdEvents operator&(FdEvents a, FdEvents b) { return FdEvents(u8(a) & u8(b)); }
constexpr bool any(FdEvents events) { return events != FdEvents::None; }

namespace detail {
struct DeadlineSource;
struct FdSource;
struct TimerSource;
}  // namespace detail

/// Calls back while the descriptor is ready; stops when destroyed, on the loop's thread (the callback itself may do
/// so). The descriptor stays the caller's and must outlive the watch.
class FdWatch {
 public:
  FdWatch() = default;
  ~FdWatch() { reset(); }
  FdWatch(FdWatch&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
  FdWatch& operator=(FdWatch&& other) noexcept;

  /// None polls nothing, not even for a hang-up.
  void set_events(FdEvents events);
  bool is_active() const { return source_ != nullptr; }
  void reset();

 private:
  friend class EventLoop;
  explicit FdWatch(detail::FdSource* source) : source_(source) {}
  detail::FdSource* source_ = nullptr;
};

/// Calls back once when a time is over. Coarser than a Timer, by up to two milliseconds, but started and stopped without
/// a system call. Loop's thread; the callback may destroy it.
class Deadline {
 public:
  Deadline() = default;
  ~Deadline() { reset(); }
  Deadline(Deadline&& other) noexcept : source_(std::exchange(other.source_, nullptr)) {}
  Deadline& operator=(Deadline&& other) noexcept;

  /// Replaces an earlier start.
  void start(std::chrono::milliseconds delay);
  void stop();
  bool is_active() const { return source_ != nullptr; }
  void reset();

 private:
  friend class EventLoop;
  explicit Deadline(detail::DeadlineSource* source) : source_(source) {}
  detail::DeadlineSource* source_ = nullptr;
};

/// While it lives, the loop runs a TimerQueue.
class TimerAttachment {
 public:
  TimerAttachment() = default;
  ~TimerAttachment() { reset(); }
  TimerAttachment(TimerAttachment&&) noexcept = default;
  TimerAttachment& operator=(TimerAttachment&& other) noexcept;
  void reset();

 private:
  friend class EventLoop;
  std::shared_ptr<detail::TimerSource> source_;
};

class EventLoop {
 public:
  enum class Context {
    Own,     ///< for an I/O thread or a test
    Shared,  ///< the process's default context, for the main loop: libraries put their sources there
  };
  explicit EventLoop(Context context = Context::Own);
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  /// Until quit(). The calling thread becomes the loop's thread; before that it is the one that made the loop.
  void run();
  /// Any thread. A quit() before run() makes the next run() return at once.
  void quit();
  /// One round; waits if asked. True if anything was done. Posted work may call it: what stands behind it runs inside.
  bool run_once(bool wait);
  bool is_loop_thread() const { return thread_.load(std::memory_order_acquire) == std::this_thread::get_id(); }

  /// Runs `work` on the loop's thread, later, in the order posted. Any thread. Work not yet run when the loop is
  /// destroyed is dropped.
  void post(UniqueFunction<void()> work);

  /// HangUp (also for errors) is always reported, whatever `events` asks for. Level-triggered.
  FdWatch watch_fd(int fd, FdEvents events, std::function<void(FdEvents ready)> callback);

  /// Not yet started.
  Deadline make_deadline(std::function<void()> callback);

  /// Runs the queue's timers on this loop through a timerfd. The attachment must go before queue and loop do,
  /// on the loop's thread. `run_due` replaces TimerQueue::run_due(), for those who want a lock around it.
  [[nodiscard]] Result<TimerAttachment> attach(TimerQueue& queue, std::function<void()> run_due = {});

  ::_GMainContext* context() const { return context_; }

 private:
  friend struct detail::FdSource;
  struct Posted;
  static int dispatch(::_GSource* source, int (*)(void*), void*);

  ::_GMainContext* context_;
  detail::FdSource* dispatching_ = nullptr;  ///< loop's thread: the innermost watch whose callback is running
  std::atomic<std::thread::id> thread_;
  std::atomic<bool> quit_{false};
  std::shared_ptr<Posted> posted_;
  FdWatch posted_watch_;
};

}  // namespace emu
