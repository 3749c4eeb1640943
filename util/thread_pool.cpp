// SPDX-License-Identifier: Apache-2.0
#include "util/thread_pool.h"

#include "util/thread.h"

namespace emu {

ThreadPool::ThreadPool(std::string name, unsigned most) : name_(std::move(name)), most_(most) { EMU_CHECK(most > 0); }

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  work_arrived_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::submit(UniqueFunction<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    EMU_CHECK(!closing_);
    if (work_.size() >= idle_ && threads_.size() < most_) {
      UniqueFunction<void()> body = [this] { serve(); };
      std::thread thread = try_start_thread(name_, body);
      if (thread.joinable()) threads_.push_back(std::move(thread));
    }
    if (!threads_.empty()) {
      work_.push_back(std::move(work));
      work_arrived_.notify_one();
      return;
    }
  }
  work();
}

void ThreadPool::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    idle_++;
    work_arrived_.wait(lock, [this] { return closing_ || !work_.empty(); });
    idle_--;
    if (work_.empty()) return;
    UniqueFunction<void()> work = std::move(work_.front());
    work_.pop_front();
    lock.unlock();
    work();
    work = {};
    lock.lock();
  }
}

}  // namespace emu
