// SPDX-License-Identifier: Apache-2.0
#include "accel/run_control.h"

namespace emu::accel {

void RunControl::set_stop(bool stop) {
  const std::lock_guard lock(mutex_);
  stop_ = stop;
  changed_.notify_all();
}

void RunControl::set_end() {
  const std::lock_guard lock(mutex_);
  end_ = true;
  stop_ = true;
  changed_.notify_all();
}

bool RunControl::wait_to_run(const std::atomic<bool>& held) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return (!stop_ && !held) || end_; });
  if (end_) return false;
  ++running_;
  return true;
}

void RunControl::leave() {
  const std::lock_guard lock(mutex_);
  --running_;
  changed_.notify_all();
}

void RunControl::wait_to_stop() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return stop_.load(); });
}

void RunControl::wait_until_still() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return running_ == 0; });
}

bool RunControl::is_still() const {
  const std::lock_guard lock(mutex_);
  return running_ == 0 && stop_;
}

}  // namespace emu::accel
