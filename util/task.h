// SPDX-License-Identifier: Apache-2.0
// Coroutines: Task<T>, what they wait for, and who owns them.
//
//   Task<Result<u64>> Image::read_header() {
//     auto bytes = co_await file_.pread(0, 512);   // co_await never inside a macro: GCC 12 fails on it
//     EMU_CO_TRY(bytes);
//     co_return parse(*bytes);
//   }
#pragma once

#include <atomic>
#include <coroutine>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

#include "util/check.h"
#include "util/event_loop.h"

namespace emu {

namespace detail {

/// Resumes `handle`, and whatever that makes ready, one after the other on a stack that does not grow: called inside
/// another resumption on this thread, it only queues. GCC 12 does not turn symmetric transfer into a jump at -O0.
void resume_on_trampoline(std::coroutine_handle<> handle);

struct TaskPromiseBase {
  std::coroutine_handle<> continuation;
  std::stop_token stop;  ///< inherited from whoever awaits
  bool done = false;

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct Final {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
      TaskPromiseBase& promise = self.promise();
      promise.done = true;
      if (promise.continuation) resume_on_trampoline(promise.continuation);  // queues: we are inside a resumption
      return true;
    }
    void await_resume() noexcept {}
  };
  Final final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { EMU_CHECK(!"an exception left a coroutine"); }
};

template <typename T>
struct TaskPromise;

}  // namespace detail

/// Work that may wait. Starts when awaited, or by TaskOwner; runs on the thread of whoever resumes it. Must be
/// finished or never started when destroyed.
template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::TaskPromise<T>;

  Task() = default;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { destroy(); }

  struct Awaiter {
    std::coroutine_handle<promise_type> child;
    bool await_ready() const noexcept { return false; }
    template <typename Promise>
    bool await_suspend(std::coroutine_handle<Promise> parent) const noexcept {
      child.promise().continuation = parent;
      child.promise().stop = parent.promise().stop;
      detail::resume_on_trampoline(child);
      return true;
    }
    T await_resume() const { return child.promise().take(); }
  };
  Awaiter operator co_await() && noexcept {
    EMU_CHECK(handle_ && !handle_.promise().continuation);
    return Awaiter{handle_};
  }

 private:
  void destroy() {
    if (!handle_) return;
    EMU_CHECK(handle_.promise().done || !handle_.promise().continuation);  // suspended: cancel and drain instead
    std::exchange(handle_, nullptr).destroy();
  }
  std::coroutine_handle<promise_type> handle_;
};

namespace detail {

template <typename T>
struct TaskPromise : TaskPromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() { return Task<T>(std::coroutine_handle<TaskPromise>::from_promise(*this)); }
  template <typename U>
  requires std::is_constructible_v<T, U&&>
  void return_value(U&& result) { value.emplace(std::forward<U>(result)); }
  T take() {
    EMU_CHECK(value.has_value());
    return std::move(*value);
  }
};

template <>
struct TaskPromise<void> : TaskPromiseBase {
  Task<void> get_return_object() { return Task<void>(std::coroutine_handle<TaskPromise>::from_promise(*this)); }
  void return_void() {}
  void take() {}
};

/// Runs by itself and frees itself; TaskOwner counts it.
struct RootTask {
  struct promise_type {
    std::stop_token stop;
    RootTask get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() noexcept { EMU_CHECK(!"an exception left a coroutine"); }
  };
  std::coroutine_handle<promise_type> handle;
};

struct StopTokenAwaiter {
  std::stop_token token;
  bool await_ready() const noexcept { return false; }
  template <typename Promise>
  bool await_suspend(std::coroutine_handle<Promise> self) noexcept {
    token = self.promise().stop;
    return false;
  }
  std::stop_token await_resume() noexcept { return std::move(token); }
};

}  // namespace detail

/// `auto stop = co_await this_task_stop();`: set when the owner has cancelled; what waits for long looks at it.
inline detail::StopTokenAwaiter this_task_stop() { return {}; }

/// The requests of one device queue or monitor: owns its tasks until they are done. All on the loop's thread.
class TaskOwner {
 public:
  explicit TaskOwner(EventLoop& loop) : loop_(loop) {}
  ~TaskOwner() { EMU_CHECK(running_ == 0); }
  TaskOwner(const TaskOwner&) = delete;
  TaskOwner& operator=(const TaskOwner&) = delete;

  /// Runs `task` until it first waits; it goes on by itself.
  void start(Task<void> task);
  std::size_t running() const { return running_; }
  /// Asks all tasks started so far to end early. They end on their own: drain() to know.
  void cancel();
  /// Runs the loop until no task is left. Also in posted work, or inside another task: what is ready runs on top of it.
  void drain();

 private:
  detail::RootTask run(Task<void> task);
  EventLoop& loop_;
  std::size_t running_ = 0;
  unsigned drains_ = 0;  ///< under way
  std::stop_source stop_;
};

/// Runs the loop until the task is done: start-up code, monitor commands, tests. As TaskOwner::drain().
template <typename T>
T run_sync(EventLoop& loop, Task<T> task) {
  TaskOwner owner(loop);
  if constexpr (std::is_void_v<T>) {
    owner.start(std::move(task));
    owner.drain();
  } else {
    std::optional<T> result;
    const auto store = [](Task<T> inner, std::optional<T>* out) -> Task<void> {
      out->emplace(co_await std::move(inner));
    };
    owner.start(store(std::move(task), &result));
    owner.drain();
    EMU_CHECK(result.has_value());
    return std::move(*result);
  }
}

/// One value that arrives once, from any thread: how callbacks become awaitable. Copies refer to the same value.
/// The waiting task goes on on `loop`. At most one task awaits it.
template <typename T>
class Completion {
 public:
  explicit Completion(EventLoop& loop) : state_(std::make_shared<State>(loop)) {}

  /// The first call counts, as when an answer and a cancellation race; says whether this was it.
  bool complete(T value) const {
    if (state_->claimed.exchange(true)) return false;
    state_->value.emplace(std::move(value));
    const Phase before = state_->phase.exchange(Phase::Ready);
    if (before == Phase::Waiting) state_->wake();
    return true;
  }
  bool is_complete() const { return state_->phase.load() == Phase::Ready; }

  bool await_ready() const noexcept { return is_complete(); }
  bool await_suspend(std::coroutine_handle<> waiter) const noexcept {
    state_->waiter = waiter;
    Phase expected = Phase::Empty;
    if (state_->phase.compare_exchange_strong(expected, Phase::Waiting)) return true;
    EMU_CHECK(expected == Phase::Ready);
    return false;
  }
  T await_resume() const { return std::move(*state_->value); }

 private:
  enum class Phase { Empty, Waiting, Ready };
  struct State {
    explicit State(EventLoop& l) : loop(l) {}
    void wake() {
      if (loop.is_loop_thread()) {
        detail::resume_on_trampoline(waiter);
      } else {
        loop.post([handle = waiter] { detail::resume_on_trampoline(handle); });
      }
    }
    EventLoop& loop;
    std::atomic<bool> claimed{false};
    std::atomic<Phase> phase{Phase::Empty};
    std::coroutine_handle<> waiter;
    std::optional<T> value;
  };
  std::shared_ptr<State> state_;
};

/// `co_await sleep_until(loop, queue, when)`: false if the task was cancelled first. `queue` must be run by `loop`.
Task<bool> sleep_until(EventLoop& loop, TimerQueue& queue, ClockNs when);

}  // namespace emu
