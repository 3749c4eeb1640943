// SPDX-License-Identifier: Apache-2.0
// A value that can only be reached while its mutex is held.
#pragma once

#include <mutex>
#include <utility>

namespace emu {

template <typename T>
class Guarded {
 public:
  /// Holds the mutex; leave its scope before taking another or calling out.
  template <typename Value>
  class Guard {
   public:
    Guard(std::mutex& mutex, Value& value) : lock_(mutex), value_(value) {}
    Value* operator->() const { return &value_; }
    Value& operator*() const { return value_; }
    /// For std::condition_variable.
    std::unique_lock<std::mutex>& mutex_lock() { return lock_; }

   private:
    std::unique_lock<std::mutex> lock_;
    Value& value_;
  };

  Guarded() = default;
  explicit Guarded(T value) : value_(std::move(value)) {}

  [[nodiscard]] Guard<T> lock() { return {mutex_, value_}; }
  [[nodiscard]] Guard<const T> lock() const { return {mutex_, value_}; }

 private:
  mutable std::mutex mutex_;
  T value_{};
};

}  // namespace emu
