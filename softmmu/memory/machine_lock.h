// SPDX-License-Identifier: Apache-2.0
// The machine lock, which protects board wiring, run state and devices that do not say otherwise.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>

#include "util/check.h"

namespace emu::mem {

/// Lock order: machine lock → a device's own lock → interrupt controllers (device → PIC → IOAPIC → LAPIC) → leaf locks
/// (log, timers, grace periods). So: never take the machine lock while holding any other lock, and never from
/// `IrqLine::set` or a Locking::None callback, which may run under a device's own lock; queue to the main loop instead.
/// Never wait for another vCPU, for I/O or for a grace period while holding it.
/// Not recursive; code that may run under it or not asks held_by_me() (MmioGuard does).
class MachineLock {
 public:
  MachineLock() = default;
  MachineLock(const MachineLock&) = delete;
  MachineLock& operator=(const MachineLock&) = delete;

  void lock() {
    mutex_.lock();
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
  }
  bool try_lock() {
    if (!mutex_.try_lock()) return false;
    owner_.store(std::this_thread::get_id(), std::memory_order_relaxed);
    return true;
  }
  void unlock() {
    EMU_CHECK(held_by_me());
    owner_.store(std::thread::id(), std::memory_order_relaxed);
    mutex_.unlock();
  }
  bool held_by_me() const { return owner_.load(std::memory_order_relaxed) == std::this_thread::get_id(); }

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> owner_{};
};

/// Takes the machine lock for a scope, unless this thread has it already.
class MachineLockScope {
 public:
  explicit MachineLockScope(MachineLock& lock) : lock_(lock.held_by_me() ? nullptr : &lock) {
    if (lock_ != nullptr) lock_->lock();
  }
  ~MachineLockScope() {
    if (lock_ != nullptr) lock_->unlock();
  }
  MachineLockScope(const MachineLockScope&) = delete;
  MachineLockScope& operator=(const MachineLockScope&) = delete;

 private:
  MachineLock* lock_;
};

}  // namespace emu::mem
