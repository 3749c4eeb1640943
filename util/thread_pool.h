// SPDX-License-Identifier: Apache-2.0
// Threads for what the host offers only in blocking form.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "util/function.h"
#include "util/task.h"

namespace emu {

/// Starts threads as work comes, up to `most`; without any, who submits works. The destructor finishes what there is.
class ThreadPool {
 public:
  explicit ThreadPool(std::string name, unsigned most = 64);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  void submit(UniqueFunction<void()> work);

  /// `auto r = co_await pool.run(loop, [fd] { return ::fsync(fd); });`: `work` runs in the pool, the task goes on
  /// on `loop`. Work that has begun cannot be cancelled.
  template <typename F>
  Task<std::invoke_result_t<F&>> run(EventLoop& loop, F work) {
    const Completion<std::invoke_result_t<F&>> done(loop);
    submit([done, work = std::move(work)]() mutable { done.complete(work()); });
    co_return co_await done;
  }

 private:
  void serve();

  const std::string name_;
  const unsigned most_;
  std::mutex mutex_;
  std::condition_variable work_arrived_;
  std::deque<UniqueFunction<void()>> work_;
  std::vector<std::thread> threads_;
  unsigned idle_ = 0;
  bool closing_ = false;
};

}  // namespace emu
