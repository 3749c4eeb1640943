// SPDX-License-Identifier: Apache-2.0
// Whether the vCPUs of a machine run, stand still or end, for every accelerator that has threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace emu::accel {

/// Whether vCPUs may run, and how many do. A vCPU runs between enter() and leave().
class RunControl {
 public:
  bool should_stop() const { return stop_.load(std::memory_order_seq_cst); }
  const std::atomic<bool>& stop_flag() const { return stop_; }
  bool should_end() const { return end_.load(std::memory_order_seq_cst); }
  void set_stop(bool stop);
  void set_end();
  /// vCPU thread: sleeps while it should stop or is held (which changes only while it should stop); false when it
  /// should end.
  bool wait_to_run(const std::atomic<bool>& held);
  /// Main thread: sleeps until somebody says that vCPUs should stop.
  void wait_to_stop();
  /// Main thread: sleeps until no vCPU runs.
  void wait_until_still();
  bool is_still() const;
  /// vCPU thread, when it ends.
  void leave();

 private:
  std::atomic<bool> stop_{true};
  std::atomic<bool> end_{false};
  mutable std::mutex mutex_;  // leaf lock
  std::condition_variable changed_;
  unsigned running_ = 0;
};

}  // namespace emu::accel
