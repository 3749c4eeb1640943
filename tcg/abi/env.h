// SPDX-License-Identifier: Apache-2.0
// The head of every guest CPU's state, shared by generated code, thunks, helpers and accel/tcg.
//
// While translated code runs, the host stack pointer points at the EnvHeader, so that its first 128 bytes are reached
// with one-byte displacements. C++ never runs on that stack: thunks switch to the thread's own stack (host_sp) first.
// Nothing here knows a guest instruction set or a host processor.
#pragma once

#include <atomic>
#include <cstddef>
#include <type_traits>

#include "tcg/abi/flags.h"
#include "tcg/abi/tlb.h"
#include "util/types.h"

namespace emu::tcg {

/// The accelerator's per-vCPU object; abi only passes the pointer on. Defined in accel/tcg.
struct RuntimeVcpu;

/// Bits of EnvHeader::exit_req. Set with a sequentially consistent fetch_or by any thread; cleared by the vCPU thread.
enum ExitRequest : u32 {
  kExitInterrupt = 1u << 0,  ///< an interrupt line or vector wants service
  kExitStop = 1u << 1,       ///< pause, reset or leave the run loop
  kExitFlush = 1u << 2,      ///< the flush queue holds requests
  kExitWork = 1u << 3,       ///< run-on-vCPU work or a quiescent point is asked for
  kExitSample = 1u << 4,     ///< the 1 kHz profile tick
  kExitDebug = 1u << 5,      ///< breakpoints or single step changed
};

/// Why translated code returned to the run loop.
enum class ExitReason : u32 {
  Lookup = 0,     ///< continue at env.pc: no block is linked or cached there
  LinkMiss = 1,   ///< like Lookup, and env.exit_arg is the address of the link site that may be patched
  ExitRequest = 2,///< exit_req was set at a check; env.pc is exact
  Trap = 3,       ///< Trap/TrapIf; env.exit_arg is the target's code; state recovered, env.pc at the instruction
  Fault = 4,      ///< a memory access or helper left a guest exception pending in the target's state
  Leave = 5,      ///< a helper or slow access asked to leave (flush, mode change); env.pc exact, state complete
  System = 6,     ///< ExitSys; env.exit_arg is the target's reason; env.pc is where to continue
  Checked = 7,    ///< a block in CHECKED form found other source bytes; look env.pc up afresh
  FpuLoad = 8,    ///< the block at env.pc needs the x87 unit live
  Handled = 9,    ///< a callback dealt with the exit; the run loop has something to do before the guest goes on
};

/// Values of EnvHeader::leave: where the guest stands when a helper or slow access does not return into its block.
enum LeaveCode : u32 {
  kLeaveNot = 0,
  kLeaveAtInsn = 1,      ///< at the instruction itself: a fault is pending, or it restarts (rep with events due)
  kLeaveTransferred = 2, ///< the helper has set env.pc and the whole state
  kLeaveAfterInsn = 3,   ///< behind the instruction, which is complete (a flush or remap happened)
};

inline constexpr unsigned kHotRegisters = 8;
inline constexpr unsigned kSpillSlots = 32;       ///< 8 bytes each
inline constexpr unsigned kVectorSpillSlots = 8;  ///< 64 bytes each
inline constexpr unsigned kHelperArgs = 6;
inline constexpr unsigned kMaxViews = 4;
inline constexpr unsigned kScratchSave = 8;
inline constexpr unsigned kModeRecords = 16;

/// Where a mode's code finds its tables. Records are a cache, filled by C++: generated code that changes to a mode
/// whose record is there needs no C++.
struct ModeRecord {
  u64 key = 0;                    ///< mode + 1; 0: empty
  JumpCacheEntry* jc = nullptr;
  View* view = nullptr;
  u64 view_index = 0;             ///< EnvHeader::views index of `view`
};
static_assert(sizeof(ModeRecord) == 32);
/// Searched for: modes that one guest uses at a time (kernel, user, both SMAP views, compatibility) have different
/// records.
inline constexpr u32 kModeHash = 0x44480031;
constexpr unsigned mode_record_index(u32 mode) { return (mode * kModeHash) >> 28; }
static_assert(kModeRecords == 1u << (32 - 28));

/// Guest CPU states begin with this. Offsets are part of the ABI: emitted code uses offsetof, and tests pin them.
struct alignas(64) EnvHeader {
  // The hot 128 bytes.
  JumpCacheEntry* jc = nullptr;       ///< jump cache of the current (context, mode); offset 0
  std::atomic<u32> exit_req{0};       ///< ExitRequest bits; offset 8
  u32 flush_generation = 0;           ///< bumped by every TLB flush or remap of this vCPU
  u64 hot[kHotRegisters] = {};        ///< guest registers that are not pinned, by the target's choice; offset 16
  u64 cc_a = 0;                       ///< lazy flags, see CcOp
  u64 cc_b = 0;
  u8 cc_op = 0;                       ///< a CcOp
  u32 leave = 0;                      ///< a LeaveCode
  u64 hot_aux[3] = {};                ///< e.g. segment bases; offset 104

  // Behind disp8 reach.
  u64 pc = 0;                         ///< linear guest pc, exact whenever C++ looks
  u64 exit_arg = 0;                   ///< detail of the ExitReason
  u64 host_sp = 0;                    ///< thread stack pointer while translated code runs
  View* view = nullptr;               ///< what the view register holds
  View* views[kMaxViews] = {};        ///< bases for accesses through another view than the current one
  u64 helper_args[kHelperArgs] = {};  ///< arguments of a helper call, in order
  u64 helper_result = 0;
  u64 return_site = 0;                ///< host return address of the running thunk: key of the side table
  u64 slow_address = 0;               ///< guest virtual address of the running slow access
  u64 scratch_save[kScratchSave] = {};///< the host's unpinned scratch registers at the thunk
  u64 spill[kSpillSlots] = {};
  i64 icount_budget = 0;
  u32 fp_control = 0;                 ///< host floating-point control word for guest code (x86 hosts: MXCSR)
  u32 fp_control_host = 0;            ///< and for C++
  u32 fpu_live = 0;                   ///< 1: the host x87 unit holds the guest's x87 state
  u32 fpu_control = 0x37f;            ///< the guest's x87 control word; the host's copy has all exceptions masked
  u32 wide_vectors = 0;               ///< 1: pinned vectors are 256 bits wide, else 128 (as Block::wide_vectors)
  u32 exit_reason = 0;                ///< an ExitReason, set by whoever jumps to the exit thunk
  RuntimeVcpu* runtime = nullptr;
  u32 mode = 0;                       ///< mode key that jc and view belong to
  u32 view_index = 0;                 ///< EnvHeader::views index of view
  u32 no_direct_entry = 0;            ///< not 0: events must pass through C++, which logs them
  u32 direct_entries = 0;             ///< events that entered their handler, or returned, without C++ outside a leaf
  ModeRecord modes[kModeRecords] = {};
  // What generated code counts if it is asked to (ir::CompileRequest::count).
  u64 executed_insns = 0;             ///< of the guest
  u64 executed_blocks = 0;            ///< from an entry to an exit
  u64 executed_basic_blocks = 0;      ///< the same, cut at each conditional exit that was passed
  u64 executed_host_insns = 0;        ///< thunks and what is out of line excluded, but for taken exits
  u64 executed_host_bytes = 0;        ///< of these
  u64 stub_bytes = 0;                 ///< out of line, side tables excluded: the executed basic blocks' share
  u64 executed_calls = 0;             ///< of helpers
  u64 executed_jumps = 0;             ///< indirect ones, hits of the jump cache or not
  u32 guest_debug = 0;                ///< not 0: the target's before_instruction() goes before each instruction
  u32 no_string_runs = 0;             ///< not 0: repeated string instructions go element by element
  u64 l2_refills = 0;                 ///< first-level entries filled by thunks; C++ takes them into its counters
  u64 victim_jumps = 0;               ///< indirect jumps whose target was among the jump cache's victims
  u64 string_runs = 0;                ///< repeated string instructions' pieces that were copied or filled at once
  alignas(64) u8 vector_spill[kVectorSpillSlots][64] = {};
  alignas(64) u8 fpu_image[512] = {}; ///< FXSAVE layout; valid while fpu_live is 0
};

/// Makes `mode` the current one if its tables are at hand. False: nothing has changed; C++ must load the mode.
inline bool enter_mode(EnvHeader& env, u32 mode) {
  const ModeRecord& record = env.modes[mode_record_index(mode)];
  if (record.key != u64(mode) + 1) return false;
  env.jc = record.jc;
  env.view = record.view;
  env.view_index = u32(record.view_index);
  env.mode = mode;
  return true;
}

static_assert(offsetof(EnvHeader, jc) == 0);
static_assert(offsetof(EnvHeader, exit_req) == 8);
static_assert(offsetof(EnvHeader, hot) == 16);
static_assert(offsetof(EnvHeader, hot_aux) + 3 * 8 <= 128);

}  // namespace emu::tcg
