// SPDX-License-Identifier: Apache-2.0
// VecOp and X87Op: the sub-operations of Vec and X87 ops, as enumerations and rows.
#pragma once

#include "tcg/ir/types.h"

namespace emu::ir {

enum class VecOp : u16 {
#define VEC_OP(name, text, arity, immediate) name,
#include "tcg/ir/vec_ops.inc"
#undef VEC_OP
  kCount
};

enum class X87Op : u16 {
#define X87_OP(name, operands, has_result) name,
#include "tcg/ir/x87_ops.inc"
#undef X87_OP
  kCount
};

struct VecOpInfo {
  const char* name;
  const char* text;
  u8 arity;
  bool immediate;
};
const VecOpInfo& info(VecOp op);

struct X87OpInfo {
  const char* name;
  u8 operands;
  bool has_result;
};
const X87OpInfo& info(X87Op op);
/// Types of an X87 op: its result (Void if none) and its operands (0: a, 1: b).
Type x87_result_type(X87Op op);
Type x87_operand_type(X87Op op, unsigned index);
/// Whether the op is floating-point arithmetic that follows the control word and sets sticky flags.
bool has_fp_effects(VecOp op);
/// Those, and the estimates, which set nothing.
constexpr bool is_float(VecOp op) {
  return op <= VecOp::VCvttF64I32 || (op >= VecOp::VAddSubF32 && op <= VecOp::VCvtF32F16);  // the rows are grouped so
}

/// How Vec and X87 ops pack their sub-operation and immediate (or register) into op.c.
constexpr u32 pack_sub_op(u32 op, u32 immediate) { return op | immediate << 16; }
constexpr VecOp vec_op_of(u32 c) { return VecOp(c & 0xffff); }
constexpr X87Op x87_op_of(u32 c) { return X87Op(c & 0xffff); }
constexpr u32 immediate_of(u32 c) { return c >> 16; }

}  // namespace emu::ir
