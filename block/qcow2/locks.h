// SPDX-License-Identifier: Apache-2.0
// Locks for coroutines of one loop: who waits is queued, in order of arrival.
#pragma once

#include <coroutine>
#include <deque>
#include <utility>

#include "util/task.h"
#include "util/types.h"

namespace emu::block::qcow2 {

/// `AsyncMutex::Guard guard(mutex); co_await guard.acquired();`
class AsyncMutex {
 public:
  AsyncMutex() = default;
  AsyncMutex(const AsyncMutex&) = delete;
  AsyncMutex& operator=(const AsyncMutex&) = delete;

  class Guard {
   public:
    explicit Guard(AsyncMutex& mutex) : mutex_(mutex) {}
    ~Guard() { release(); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    struct Awaiter {
      Guard& guard;
      bool await_ready() const noexcept {
        if (guard.mutex_.held_) return false;
        guard.mutex_.held_ = guard.holds_ = true;
        return true;
      }
      bool await_suspend(std::coroutine_handle<> waiter) const {
        guard.mutex_.waiters_.push_back(waiter);
        guard.holds_ = true;  // handed over before it is resumed
        return true;
      }
      void await_resume() const noexcept {}
    };
    Awaiter acquired() { return Awaiter{*this}; }
    void release() {
      if (std::exchange(holds_, false)) mutex_.release();
    }

   private:
    AsyncMutex& mutex_;
    bool holds_ = false;
  };

 private:
  void release() {
    if (waiters_.empty()) {
      held_ = false;
      return;
    }
    const std::coroutine_handle<> next = waiters_.front();
    waiters_.pop_front();
    emu::detail::resume_on_trampoline(next);
  }
  bool held_ = false;
  std::deque<std::coroutine_handle<>> waiters_;
};

/// Ranges of guest clusters under requests: shared ones pass each other, exclusive ones nobody. First come, first
/// served, so that nobody starves.
class RangeLock {
 public:
  enum class Mode : u8 { Shared, Exclusive };
  RangeLock() = default;
  RangeLock(const RangeLock&) = delete;
  RangeLock& operator=(const RangeLock&) = delete;

  /// `RangeLock::Guard guard(lock, first, last, mode); co_await guard.acquired();`
  class Guard {
   public:
    Guard(RangeLock& lock, u64 first, u64 last, Mode mode) : lock_(lock), first_(first), last_(last), mode_(mode) {}
    ~Guard() { release(); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

    struct Awaiter {
      Guard& guard;
      bool await_ready() const noexcept {
        guard.lock_.append(guard);
        return !guard.lock_.must_wait(guard);
      }
      bool await_suspend(std::coroutine_handle<> waiter) const noexcept {
        guard.waiter_ = waiter;
        return true;
      }
      void await_resume() const noexcept {}
    };
    Awaiter acquired() { return Awaiter{*this}; }
    void release() {
      if (queued_) lock_.remove(*this);
    }
    Mode mode() const { return mode_; }
    /// Lets go, and asks again at the end of the queue: what was looked up before has to be looked up again.
    Awaiter reacquired(Mode mode) {
      release();
      mode_ = mode;
      return Awaiter{*this};
    }

   private:
    friend class RangeLock;
    RangeLock& lock_;
    u64 first_, last_;
    Mode mode_;
    bool queued_ = false;
    std::coroutine_handle<> waiter_;
    Guard* before_ = nullptr;
    Guard* after_ = nullptr;
  };

 private:
  void append(Guard& guard) {
    guard.queued_ = true;
    guard.waiter_ = nullptr;
    guard.before_ = back_;
    guard.after_ = nullptr;
    (back_ ? back_->after_ : front_) = &guard;
    back_ = &guard;
  }
  bool must_wait(const Guard& guard) const {
    for (const Guard* other = guard.before_; other; other = other->before_) {
      const bool overlap = other->first_ <= guard.last_ && guard.first_ <= other->last_;
      if (overlap && (other->mode_ == Mode::Exclusive || guard.mode_ == Mode::Exclusive)) return true;
    }
    return false;
  }
  void remove(Guard& guard) {
    (guard.before_ ? guard.before_->after_ : front_) = guard.after_;
    (guard.after_ ? guard.after_->before_ : back_) = guard.before_;
    guard.queued_ = false;
    // Handles first: a resumed task may change the list.
    std::coroutine_handle<> ready[kMostWoken];
    for (;;) {
      std::size_t count = 0;
      for (Guard* other = front_; other && count < kMostWoken; other = other->after_) {
        if (other->waiter_ && !must_wait(*other)) ready[count++] = std::exchange(other->waiter_, nullptr);
      }
      for (std::size_t i = 0; i < count; ++i) emu::detail::resume_on_trampoline(ready[i]);
      if (count < kMostWoken) return;
    }
  }
  static constexpr std::size_t kMostWoken = 16;
  Guard* front_ = nullptr;
  Guard* back_ = nullptr;
};

}  // namespace emu::block::qcow2
