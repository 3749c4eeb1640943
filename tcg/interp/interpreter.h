// SPDX-License-Identifier: Apache-2.0
// The reference interpreter: executes an IR block on a state in memory. The oracle for back ends and passes.
#pragma once

#include "tcg/ir/op.h"

namespace emu::ir {

/// Guest memory as the interpreter sees it. A false return means a guest fault is pending in the target's state.
class InterpreterMemory {
 public:
  virtual ~InterpreterMemory() = default;
  /// `bytes` = 1 << mem.log2_bytes, little-endian in `data` (up to 32).
  virtual bool load(u64 address, const MemInfo& mem, u8* data) = 0;
  virtual bool store(u64 address, const MemInfo& mem, const u8* data) = 0;
  virtual bool probe(u64 address, const MemInfo& mem) = 0;
  /// Atomic read-modify-write; `old_value` receives the previous contents.
  virtual bool rmw(RmwOp op, u64 address, const MemInfo& mem, u64 operand, u64& old_value) = 0;
  virtual bool cas(u64 address, const MemInfo& mem, u64 expected, u64 desired, u64& old_value) = 0;
};

struct InterpretResult {
  tcg::ExitReason reason = tcg::ExitReason::Lookup;
  u64 pc = 0;         ///< where to continue, or the faulting instruction
  u64 arg = 0;        ///< trap code or system reason
  u32 insns_done = 0; ///< guest instructions completed
};

/// Runs `block` once. State (fields, flags as {cc_op, cc_a, cc_b}, x87 image, fp_control) is read from and written to
/// `env`; on a fault the state is as it was before the faulting instruction's uncommitted effects.
InterpretResult interpret(const Block& block, const StateLayout& layout, const HelperTable& helpers,
                          tcg::EnvHeader& env, InterpreterMemory& memory);

}  // namespace emu::ir
