// SPDX-License-Identifier: Apache-2.0
// What integer and flag operations mean, once: for folding and for the interpreter.
//
// Operands are zero-extended from their type, and so are results.
#pragma once

#include "tcg/ir/op.h"

namespace emu::ir {

/// Not Neg Bswap Clz Ctz Popcnt.
u64 evaluate_unary(Opcode opcode, Type type, u64 a);
/// Add .. AndNot, shifts and rotates. A division that the host would trap on gives 0.
u64 evaluate_binary(Opcode opcode, Type type, u64 a, u64 b);
/// Shld, Shrd.
u64 evaluate_double_shift(Opcode opcode, Type type, u64 a, u64 b, u64 count);
/// AddCarry, SubBorrow; CarryOut, BorrowOut.
u64 evaluate_with_carry(Opcode opcode, Type type, u64 a, u64 b, u64 c);
bool evaluate_compare(Cond condition, Type type, u64 a, u64 b);
/// Whether `condition` is one that two integers can be compared by.
constexpr bool is_compare(Cond c) { return (c >= Cond::Below && c <= Cond::Above) || c >= Cond::Less; }
/// The condition for exchanged operands.
Cond mirror(Cond condition);

/// A lazy flag tuple, as in the EnvHeader.
struct FlagTuple {
  u32 op = 0;
  u64 a = 0, b = 0;
  u64 packed() const { return tcg::pack_flags(op, a, b); }
};
/// The tuple of a producer; where an operand is Flags, its packed value is given.
FlagTuple evaluate_flags(Opcode opcode, Type type, u64 a, u64 b, u64 c);

}  // namespace emu::ir
