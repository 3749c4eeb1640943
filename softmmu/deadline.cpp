// SPDX-License-Identifier: Apache-2.0
#include "softmmu/deadline.h"

#include "util/thread.h"

namespace emu::softmmu {

Deadline::Deadline(std::chrono::seconds time, std::function<void()> expired, std::function<void()> give_up) {
  thread_ = start_thread("timeout", [this, time, expired = std::move(expired), give_up = std::move(give_up)] {
    if (wait_for(time)) return;
    expired();
    if (!wait_for(kPatience)) give_up();
  });
}

Deadline::~Deadline() {
  {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

/// Whether it was cancelled before the time was over.
bool Deadline::wait_for(std::chrono::seconds time) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, std::chrono::steady_clock::now() + time, [this] { return cancelled_; });
}

}  // namespace emu::softmmu
