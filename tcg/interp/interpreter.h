// SPDX-License-Identifier: Apache-2.0
// The reference interpreter: executes an IR block on a state in memory. The oracle for back ends and passes.
#pragma once

#include "tcg/ir/op.h"
#include "util/result.h"

namespace emu::ir {

/// Guest memory as the interpreter sees it. A false return means a guest fault is pending in the target's state.
class InterpreterMemory {
 public:
  virtual ~InterpreterMemory() = default;
  /// 1 << mem.log2_bytes bytes (up to 32), in the order of memory; the interpreter turns big-endian ones round.
  virtual bool load(u64 address, const MemInfo& mem, u8* data) = 0;
  virtual bool store(u64 address, const MemInfo& mem, const u8* data) = 0;
  virtual bool probe(u64 address, const MemInfo& mem) = 0;
  /// Atomic read-modify-write; `old_value` receives the previous contents. Values in the byte order that `mem` says.
  virtual bool rmw(RmwOp op, u64 address, const MemInfo& mem, u64 operand, u64& old_value) = 0;
  virtual bool cas(u64 address, const MemInfo& mem, u64 expected, u64 desired, u64& old_value) = 0;
};

struct InterpretResult {
  tcg::ExitReason reason = tcg::ExitReason::Lookup;
  u64 pc = 0;         ///< where to continue, or the faulting instruction
  u64 arg = 0;        ///< trap code or system reason
  u32 insns_done = 0; ///< guest instructions completed
};

/// Error if the block holds operations that this host cannot interpret: x87 and floating-point vectors elsewhere than
/// on x86. interpret() may then not be called.
Result<void> can_interpret(const Block& block);

/// Runs `block` once. State (fields, flags as {cc_op, cc_a, cc_b}, x87 image, fp_control) is read from and written to
/// `env`; sets take effect as they are executed, so that a fault finds the state before the faulting op. env.pc is the
/// instruction's while a helper runs, and result.pc in the end. A taken side exit counts its instruction as done.
///
/// A helper that sets env.leave ends the run, and env.leave is cleared: AtInsn gives Fault at the instruction (the
/// caller asks the target whether one is pending; if not, it restarts), Transferred gives Leave at env.pc, AfterInsn
/// gives Leave behind the instruction, whose remaining ops are executed.
InterpretResult interpret(const Block& block, const StateLayout& layout, const HelperTable& helpers,
                          tcg::EnvHeader& env, InterpreterMemory& memory);

}  // namespace emu::ir
