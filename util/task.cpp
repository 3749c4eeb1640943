// SPDX-License-Identifier: Apache-2.0
#include "util/task.h"

#include <deque>

namespace emu {
namespace {

// Per thread, and null whenever no coroutine runs on it.
thread_local std::deque<std::coroutine_handle<>>* t_ready = nullptr;

}  // namespace

namespace detail {

void resume_on_trampoline(std::coroutine_handle<> handle) {
  if (t_ready) {
    t_ready->push_back(handle);
    return;
  }
  std::deque<std::coroutine_handle<>> ready;
  t_ready = &ready;
  for (;;) {
    handle.resume();
    if (ready.empty()) break;
    handle = ready.front();
    ready.pop_front();
  }
  t_ready = nullptr;
}

}  // namespace detail

namespace {

/// Inside a resumption: resumes the first that is queued, on top of it. False: none is.
bool resume_one_queued() {
  if (t_ready == nullptr || t_ready->empty()) return false;
  const auto handle = t_ready->front();
  t_ready->pop_front();
  handle.resume();
  return true;
}

}  // namespace

detail::RootTask TaskOwner::run(Task<void> task) {
  co_await std::move(task);
  running_--;
  // drain() may be waiting for an event in this loop.
  if (running_ == 0 && drains_ > 0) loop_.post([] {});
}

void TaskOwner::start(Task<void> task) {
  EMU_CHECK(loop_.is_loop_thread());
  running_++;
  const detail::RootTask root = run(std::move(task));
  root.handle.promise().stop = stop_.get_token();
  detail::resume_on_trampoline(root.handle);
}

void TaskOwner::cancel() {
  std::stop_source stopping = std::exchange(stop_, std::stop_source());
  stopping.request_stop();
}

void TaskOwner::drain() {
  EMU_CHECK(loop_.is_loop_thread());
  drains_++;
  while (running_ > 0) {
    if (!resume_one_queued()) loop_.run_once(/*wait=*/true);
  }
  drains_--;
}

Task<bool> sleep_until(EventLoop& loop, TimerQueue& queue, ClockNs when) {
  const auto stop = co_await this_task_stop();
  const Completion<bool> done(loop);
  Timer timer = queue.make_timer([done] { done.complete(true); });
  timer.arm_at(when);
  bool slept = false;
  {
    const std::stop_callback cancelled(stop, [&done] { done.complete(false); });
    slept = co_await done;
  }
  co_return slept;
}

}  // namespace emu
