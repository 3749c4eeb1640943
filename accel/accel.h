// SPDX-License-Identifier: Apache-2.0
// Accelerator: how vCPUs run. One object a machine; one thread per vCPU. Nothing outside accel/ asks which one it is.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>

#include "target/cpu.h"
#include "util/result.h"

namespace emu::mem {
class AddressSpace;
}

namespace emu::accel {

/// What the accelerator tells the machine. Called on vCPU threads.
class AccelClient {
 public:
  virtual ~AccelClient() = default;
  /// The vCPU ended in shutdown state (x86: triple fault). `why` says how, in words, with registers.
  virtual void vcpu_shut_down(target::Vcpu& cpu, const std::string& why) = 0;
  /// The machine's virtual clock in nanoseconds: what CpuServices::ticks() returns. No lock.
  virtual u64 guest_ns() = 0;
};

struct AccelOptions {
  u64 code_cache_bytes = u64(1) << 30;  ///< virtual; -accel tcg,tb-size=MiB
  bool one_insn_per_block = false;      ///< -accel tcg,one-insn-per-tb=on
  bool count = false;                   ///< -accel tcg,count=on: executed instructions, helper calls, indirect jumps
  bool interpreter = false;             ///< run every block in the reference interpreter (oracle)
  bool split_wx = false;                ///< -accel tcg,split-wx=on
  std::string host_features = {};       ///< -accel tcg,host-features=-avx512: what translated code may not use
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual std::string name() const = 0;

  /// Adds a vCPU, paused. Before start. Main thread. `memory` is the CPU's view; `ports` its I/O ports (may be null).
  virtual Result<void> add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) = 0;

  /// Lets all vCPU threads run; creates them the first time.
  virtual void resume_all() = 0;
  /// Stops all vCPUs at an instruction boundary; returns when all stand still. Not from a vCPU thread.
  virtual void pause_all() = 0;
  /// Asks for the same without waiting. Any thread.
  virtual void request_pause_all() = 0;
  virtual bool is_paused() const = 0;
  /// Ends and joins all threads.
  virtual void shut_down() = 0;

  /// Runs `work` with every vCPU standing still (reset, debugger). Main thread.
  virtual void run_exclusive(const std::function<void()>& work) = 0;

  /// The host thread that runs a vCPU, as ps shows it; 0 before it first ran.
  virtual i64 thread_id(unsigned vcpu) const {
    static_cast<void>(vcpu);
    return 0;
  }

  /// Counters for `info jit` and statistics queries: one line a counter.
  virtual std::string statistics() const = 0;
  /// `info tlb` of one vCPU, paused.
  virtual std::string dump_tlb(unsigned vcpu) const = 0;
};

/// -accel tcg. Errors: host without the back end's baseline, no executable memory.
Result<std::unique_ptr<Accelerator>> make_tcg_accelerator(const AccelOptions& options, AccelClient& client);

}  // namespace emu::accel
