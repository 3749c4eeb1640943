// SPDX-License-Identifier: Apache-2.0
// Accelerator: how vCPUs run. One object a machine; one thread per vCPU. Nothing outside accel/ asks which one it is.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "target/cpu.h"
#include "util/clock.h"
#include "util/result.h"

namespace emu::mem {
class AddressSpace;
}
namespace emu::target {
class Acceleration;
}

namespace emu::accel {

// --- Debugging: what a debugger may ask for, whoever runs the vCPUs ---

enum class WatchKind : u8 { Write, Read, Access };

struct Watchpoint {
  u64 address = 0;  ///< linear
  u64 bytes = 1;
  WatchKind kind = WatchKind::Write;
  bool operator==(const Watchpoint&) const = default;
};

/// Where vCPUs shall stop, all of them. Linear addresses: of instructions, and of data.
struct DebugPoints {
  std::vector<u64> breakpoints;  ///< in any order
  std::vector<Watchpoint> watchpoints;
};

/// Why a vCPU stopped for the debugger. A breakpoint's instruction was not executed; a watched access was made, and its
/// instruction is complete.
struct DebugStop {
  enum class Why : u8 { Breakpoint, Watchpoint, Step } why = Why::Breakpoint;
  u64 address = 0;  ///< Breakpoint: of the instruction; Watchpoint: as it was set
  WatchKind kind = WatchKind::Write;
};

/// What a vCPU does when all are resumed.
enum class DebugRun : u8 { Continue, Step, Hold };
/// Whether interrupts are taken before the instruction that is stepped.
enum class StepEvents : u8 { Taken, Deferred };

class Rewind;

/// What the accelerator tells the machine. Called on vCPU threads.
class AccelClient {
 public:
  virtual ~AccelClient() = default;
  /// The vCPU ended in shutdown state (x86: triple fault). `why` says how, in words, with registers.
  virtual void vcpu_shut_down(target::Vcpu& cpu, const std::string& why) = 0;
  /// The vCPU cannot go on, and the machine with it: the accelerator failed. `why` says how, in words, with registers.
  virtual void vcpu_failed(target::Vcpu& cpu, const std::string& why) { vcpu_shut_down(cpu, why); }
  /// The vCPU stands where a debugger wanted it to, and goes no further before it is resumed: the others must be stopped.
  virtual void stopped_for_debugger(target::Vcpu& cpu, const DebugStop& stop) {
    static_cast<void>(cpu), static_cast<void>(stop);
  }
  /// The machine's virtual clock in nanoseconds: what CpuServices::ticks() returns. No lock.
  virtual u64 guest_ns() = 0;

  // Of those who count (AccelOptions::icount), on the vCPU thread whose turn it is, no lock held.
  /// When a timer of the virtual clock is due next, on that clock; nothing while none is armed.
  virtual std::optional<ClockNs> next_timer() { return std::nullopt; }
  /// Runs those that are due.
  virtual void run_timers() {}

  /// The name of a guest address for logs ("start_kernel+0x1c"), or nothing. Any thread.
  virtual std::string describe_address(u64 address) {
    static_cast<void>(address);
    return {};
  }
};

/// -icount: the virtual clock counts guest instructions, and vCPUs run in turn.
struct IcountOptions {
  static constexpr unsigned kMostShift = 10;
  bool enabled = false;
  unsigned shift = 0;     ///< an instruction takes 2^shift nanoseconds
  bool adaptive = false;  ///< shift=auto: it follows the host's time
  bool align = false;     ///< waits for the host's time where the guest is ahead, and says so where it is behind
  bool sleep = true;      ///< a guest that waits for a timer waits in the host's time; else its clock jumps there
};

struct AccelOptions {
  u64 code_cache_bytes = u64(1) << 30;  ///< virtual; -accel tcg,tb-size=MiB
  bool one_insn_per_block = false;      ///< -accel tcg,one-insn-per-tb=on
  bool count = false;                   ///< -accel tcg,count=on: executed instructions, helper calls, indirect jumps
  bool interpreter = false;             ///< run every block in the reference interpreter (oracle)
  bool split_wx = false;                ///< -accel tcg,split-wx=on
  bool perf_map = false;                ///< -perfmap
  bool jit_dump = false;                ///< -jitdump
  std::string without = {};             ///< -accel tcg,without=links:refill: techniques switched off, to measure them
  std::string host_features = {};       ///< -accel tcg,host-features=-avx512: what translated code may not use
  IcountOptions icount = {};
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual std::string name() const = 0;

  /// Adds a vCPU, paused. Before start. Main thread. `memory` is the CPU's view; `ports` its I/O ports (may be null).
  virtual Result<void> add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) = 0;

  /// Creates the vCPUs' threads, which wait: thread_id() knows them then. Once, after the last add_vcpu.
  virtual void start() {}
  /// Lets all vCPU threads run.
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

  /// Replaces all break- and watchpoints. With all vCPUs paused. Errors: no way to have them.
  virtual Result<void> set_debug_points(DebugPoints points) {
    if (points.breakpoints.empty() && points.watchpoints.empty()) return {};
    return error("accelerator {} has no breakpoints", name());
  }
  /// Holds until it is said otherwise. With all vCPUs paused.
  virtual void set_debug_run(unsigned vcpu, DebugRun run, StepEvents events) {
    static_cast<void>(vcpu), static_cast<void>(run), static_cast<void>(events);
  }

  /// The host thread that runs a vCPU, as ps shows it; 0 before it first ran.
  virtual i64 thread_id(unsigned vcpu) const {
    static_cast<void>(vcpu);
    return 0;
  }

  /// What moves the machine's virtual clock, if that counts instructions; else null. Lives as long as this.
  virtual ClockCounter* counter() { return nullptr; }

  /// What can run a stretch again, if that is possible with its options; else null. Lives as long as this.
  virtual Rewind* rewind() { return nullptr; }

  /// What it brings that boards go by, before they make CPUs; null: nothing. Lives as long as this.
  virtual target::Acceleration* acceleration() { return nullptr; }

  /// Counters for `info jit` and statistics queries: one line a counter.
  virtual std::string statistics() const = 0;
  /// `info tlb` of one vCPU, paused.
  virtual std::string dump_tlb(unsigned vcpu) const = 0;
};

/// -accel tcg. Errors: host without the back end's baseline, no executable memory.
Result<std::unique_ptr<Accelerator>> make_tcg_accelerator(const AccelOptions& options, AccelClient& client);
/// -accel qtest: CPUs that execute nothing.
Result<std::unique_ptr<Accelerator>> make_qtest_accelerator(AccelClient& client);

}  // namespace emu::accel
