// SPDX-License-Identifier: Apache-2.0
// What the vCPUs of one machine share under translation.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "accel/accel.h"
#include "accel/run_control.h"
#include "accel/tcg/block_cache.h"
#include "accel/tcg/code_cache.h"
#include "accel/tcg/debug_points.h"
#include "accel/tcg/guest_memory.h"
#include "accel/tcg/icount.h"
#include "accel/tcg/perf_files.h"
#include "accel/tcg/quiescence.h"
#include "accel/tcg/rerun_state.h"
#include "accel/tcg/techniques.h"
#include "tcg/ir/backend.h"

namespace emu::accel {

struct TcgShared {
  AccelClient& client;
  AccelOptions options;
  Techniques techniques;
  PerfFiles perf;
  Quiescence quiescence;
  RunControl run;
  SplitLocks split_locks;
  DebugTable debug;
  bool has_one_vcpu = false;
  bool overcommitted = false;                ///< there are more vCPUs than processors for them
  std::unique_ptr<Icount> icount = nullptr;  ///< null: vCPUs run side by side, in the host's time
  RerunState rerun = {};                     ///< while the icount replays
  std::function<void()> stop_vcpus = {};     ///< asks all to stop; any thread
  std::unique_ptr<ir::HostBackend> backend;  ///< null: interpret
  std::unique_ptr<CodeCache> code;
  tcg::ThunkTable thunks;
  mem::Memory* memory = nullptr;             ///< known with the first vCPU; the rest too
  target::Translator* translator = nullptr;
  std::unique_ptr<BlockCache> blocks;

  /// All break- and watchpoints; with all vCPUs paused. Blocks that hold one that comes or goes are dropped;
  /// translations of watched pages go when vCPUs start: they drop all of them.
  void replace_debug_points(DebugPoints points);
};

}  // namespace emu::accel
