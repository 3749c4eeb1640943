// SPDX-License-Identifier: Apache-2.0
// --timeout: a thread that sees to it that the program ends, even if its main thread waits for something else.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace emu::softmmu {

class Deadline {
 public:
  /// How long an orderly end may take.
  static constexpr std::chrono::seconds kPatience{10};

  /// After `time` calls `expired` on a thread of its own; kPatience later, if the Deadline is still there, `give_up`.
  Deadline(std::chrono::seconds time, std::function<void()> expired, std::function<void()> give_up);
  ~Deadline();
  Deadline(const Deadline&) = delete;
  Deadline& operator=(const Deadline&) = delete;

 private:
  bool wait_for(std::chrono::seconds time);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
  std::thread thread_;
};

}  // namespace emu::softmmu
