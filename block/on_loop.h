// SPDX-License-Identifier: Apache-2.0
// A task of one loop that waits for work on another's thread.
#pragma once

#include "util/task.h"

namespace emu::block {

namespace detail {

/// Runs by itself and frees itself when done.
struct Detached {
  struct promise_type {
    std::stop_token stop;
    Detached get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() noexcept { EMU_CHECK(!"an exception left a coroutine"); }
  };
  std::coroutine_handle<promise_type> handle;
};

template <typename T>
Detached run_and_complete(Task<T> work, Completion<T> done) {
  T value = co_await std::move(work);
  done.complete(std::move(value));
}

}  // namespace detail

/// Begins `work` on the calling loop's thread; nobody hears of its end. What it uses must outlive it.
template <typename T>
Completion<T> start_detached(EventLoop& loop, Task<T> work) {
  const Completion<T> done(loop);
  const detail::Detached root = detail::run_and_complete(std::move(work), done);
  emu::detail::resume_on_trampoline(root.handle);
  return done;
}

/// Carries out `work` (not yet started) on `there`, and goes on on `here`, the loop of whoever awaits this.
template <typename T>
Task<T> on_loop(EventLoop& here, EventLoop& there, Task<T> work) {
  if (&here == &there) {
    T same = co_await std::move(work);
    co_return same;
  }
  const Completion<T> done(here);
  const detail::Detached root = detail::run_and_complete(std::move(work), done);
  there.post([handle = root.handle] { emu::detail::resume_on_trampoline(handle); });
  T value = co_await done;
  co_return value;
}

}  // namespace emu::block
