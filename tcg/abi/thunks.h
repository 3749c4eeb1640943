// SPDX-License-Identifier: Apache-2.0
// How generated code and C++ call each other. The host back end emits the thunks once, at the start of the code cache;
// accel/tcg supplies the callbacks. See translator.md section 3, "Slow-path protocol".
//
// Every thunk that reaches C++ beyond a leaf stores all pinned guest registers to their homes in the state, the host's
// scratch registers to EnvHeader::scratch_save, all live vectors to theirs, loads the host's floating-point control
// word (and parks a live x87 unit in fpu_image), switches to host_sp, and afterwards reloads everything from those
// same places. A callback changes a register by changing its slot.
#pragma once

#include "tcg/abi/env.h"

namespace emu::tcg {

/// A bit of a block's entry address: set where no link may lead to the block, so that a link miss looks for it in the
/// jump cache before it asks C++. Other blocks' entries are 16-byte aligned.
inline constexpr u64 kUnlinkableEntry = 8;

/// A helper that IR calls. `args` points at env.helper_args; the result goes to env.helper_result. A helper that must
/// not return into the block sets env.leave to non-zero (and says why in target state).
using HelperFn = u64 (*)(EnvHeader& env, const u64* args);

/// A helper that moves control, in two forms. `direct` is a leaf that uses no vector or floating-point register, takes
/// no lock and calls nothing that does. It either does the whole transfer (env.pc, state, enter_mode()) and returns
/// true, or has changed nothing and returns false; then `full` does it. Never called while the x87 unit is live.
struct TransferHelper {
  bool (*direct)(EnvHeader& env, const u64* args) = nullptr;
  HelperFn full = nullptr;
};

/// A helper whose usual case is a leaf. `quick` uses no vector or floating-point register, takes no lock and calls
/// nothing that does; it finds the guest's general registers at home and may change them there. It either does all that
/// the helper does and returns true, with the result, if there is one, in env.helper_result; or it has changed nothing
/// and returns false; then `full` is called.
struct QuickHelper {
  bool (*quick)(EnvHeader& env, const u64* args) = nullptr;
  HelperFn full = nullptr;
};

/// What thunks call. Each returns the host address to continue at: the block's resume or retry address, another block,
/// or ThunkTable::exit after having set env.exit_reason. Called on the vCPU thread, SysV ABI, on the thread's stack.
struct RuntimeCallbacks {
  /// A load, store, rmw or probe at env.slow_address missed. env.return_site identifies the access in the side table.
  const u8* (*slow_access)(EnvHeader& env) = nullptr;
  /// A helper set env.leave; env.return_site identifies the call.
  const u8* (*helper_left)(EnvHeader& env) = nullptr;
  /// env.pc is set; find or translate the block there in the current mode and fill the jump cache.
  const u8* (*indirect_miss)(EnvHeader& env) = nullptr;
  /// An unlinked or failed direct link: env.pc is the target, env.exit_arg the address that its LinkSite::key is for,
  /// or 0.
  const u8* (*link_miss)(EnvHeader& env) = nullptr;
  /// Somebody asks the vCPU out of generated code; env.return_site lies in the block that was entered.
  const u8* (*exit_request)(EnvHeader& env) = nullptr;
  /// TrapIf/Trap: env.exit_arg = code, env.return_site identifies the instruction.
  const u8* (*trap)(EnvHeader& env) = nullptr;
  /// An exit whose cause C++ deals with before the guest goes on: env.exit_reason (System, FpuLoad), env.pc and
  /// env.exit_arg are set. Null: such exits return from enter().
  const u8* (*exit)(EnvHeader& env) = nullptr;
  /// The record of mode env.slow_address is missing; the mode is entered, and code goes on at env.return_site.
  const u8* (*mode_miss)(EnvHeader& env) = nullptr;
};

/// Host addresses (executable view) of the emitted thunks. Sizes index as log2 of bytes: 0..4 for 1, 2, 4, 8, 16.
struct ThunkTable {
  /// Enters translated code: saves the thread's callee-saved registers, loads pinned registers from their homes, jumps
  /// to `host`. Returns when something jumps to `exit`; the reason is in env.exit_reason.
  void (*enter)(EnvHeader* env, const u8* host) = nullptr;
  const u8* exit = nullptr;           ///< stores pinned registers home, restores the thread, returns from enter
  const u8* exit_from_callback = nullptr; ///< the same for use by callbacks: registers are home already
  /// Accesses of the current view. What the second level knows and may be done directly fills the first level and
  /// returns, with every register as it was: what follows the call goes back to the check. All else is slow_access.
  const u8* load[5] = {};
  const u8* store[5] = {};
  const u8* load_aligned[5] = {};     ///< the check also refuses what is not naturally aligned
  const u8* store_aligned[5] = {};
  const u8* access_slow = nullptr;    ///< straight to slow_access: other views, odd alignments
  /// Called by an access whose check for several failed, with its own address in the address register: as load and
  /// store, but slow_access where its own check would have passed. The scratch register that the back end's first index
  /// stands for is free. Then [store][size].
  const u8* window[2][2][5] = {};
  const u8* helper = nullptr;         ///< full spill; function address in the scratch register the back end documents
  const u8* leaf_helper = nullptr;    ///< caller-saved registers and vectors only
  const u8* general_leaf = nullptr;   ///< the same for a leaf that touches no vector: caller-saved registers only
  const u8* quick_helper = nullptr;   ///< called with a QuickHelper in the function register; see ir/helper.h
  const u8* quick_helper_full = nullptr;  ///< the same, without the leaf
  const u8* lookup = nullptr;         ///< called, with the pc (8 bytes) behind the call
  const u8* indirect_miss = nullptr;  ///< jumped to with the pc in the address register; looks among the victims first
  const u8* checked_miss = nullptr;   ///< called likewise; goes to `trap` if the pc's upper 17 bits differ
  const u8* link_miss = nullptr;      ///< called, with the target pc (8 bytes) behind the call
  const u8* exit_request = nullptr;   ///< called
  const u8* trap = nullptr;
  const u8* system = nullptr;         ///< env.pc and env.exit_arg set by the stub
  const u8* checked = nullptr;        ///< env.pc set by the stub
  const u8* fpu_load = nullptr;       ///< env.pc set by the stub
  const u8* switch_mode = nullptr;    ///< called: the mode key is in the address register; returns in that mode
  const u8* transfer = nullptr;       ///< called with a TransferHelper in the function register; see ir/helper.h

  /// Without the assembly stage, to measure what it earns.
  void leave_refills_to_cpp() {
    for (auto* table : {&load, &store, &load_aligned, &store_aligned}) {
      for (const u8*& thunk : *table) thunk = access_slow;
    }
    for (auto& reg : window) {
      for (auto& direction : reg) {
        for (const u8*& thunk : direction) thunk = access_slow;
      }
    }
  }
};

}  // namespace emu::tcg
