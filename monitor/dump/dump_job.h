// SPDX-License-Identifier: Apache-2.0
// dump-guest-memory: one dump at a time, at once or in the background.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "monitor/dump/elf_core.h"
#include "monitor/events.h"
#include "util/fd.h"
#include "util/result.h"

namespace emu::monitor {

class Monitors;

/// Main thread; the writing itself is on a thread of its own. The machine stands still meanwhile, and goes on if it
/// ran.
class DumpJob {
 public:
  explicit DumpJob(Monitors& monitors) : monitors_(monitors) {}
  ~DumpJob();

  struct Range {
    u64 begin = 0, length = 0;
  };
  /// Errors: one is under way; without `detach`, also what went wrong in writing. With it, DUMP_COMPLETED tells.
  Result<void> start(Fd out, std::optional<Range> range, bool detach);
  DumpQueryResult query() const;

 private:
  std::optional<std::string> write_all(const Fd& out);
  void finished(std::optional<std::string> failure, bool tell);

  Monitors& monitors_;
  std::vector<u8> head_;
  std::vector<RamRange> ranges_;
  std::atomic<DumpStatus> status_{DumpStatus::None};
  std::atomic<u64> completed_{0};
  std::atomic<bool> cancelled_{false};
  u64 total_ = 0;
  bool was_running_ = false;
  std::thread writer_;
  const std::shared_ptr<const int> alive_ = std::make_shared<const int>(0);
};

}  // namespace emu::monitor
