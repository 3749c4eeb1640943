// SPDX-License-Identifier: Apache-2.0
// What the vCPUs of one machine share under translation.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "accel/accel.h"
#include "accel/tcg/block_cache.h"
#include "accel/tcg/code_cache.h"
#include "accel/tcg/debug_points.h"
#include "accel/tcg/guest_memory.h"
#include "accel/tcg/icount.h"
#include "accel/tcg/perf_files.h"
#include "accel/tcg/quiescence.h"
#include "accel/tcg/techniques.h"
#include "tcg/ir/backend.h"

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

struct TcgShared {
  AccelClient& client;
  AccelOptions options;
  Techniques techniques;
  PerfFiles perf;
  Quiescence quiescence;
  RunControl run;
  SplitLocks split_locks;
  DebugTable debug;
  bool overcommitted = false;                ///< there are more vCPUs than processors for them
  std::unique_ptr<Icount> icount = nullptr;  ///< null: vCPUs run side by side, in the host's time
  std::unique_ptr<ir::HostBackend> backend;  ///< null: interpret
  std::unique_ptr<CodeCache> code;
  tcg::ThunkTable thunks;
  mem::Memory* memory = nullptr;             ///< known with the first vCPU; the rest too
  target::Translator* translator = nullptr;
  std::unique_ptr<BlockCache> blocks;
};

}  // namespace emu::accel
