// SPDX-License-Identifier: Apache-2.0
#include "tcg/ir/op.h"

#include "tcg/abi/env.h"
#include "tcg/ir/vec_ops.h"

namespace emu::ir {
namespace {

constexpr VecOpInfo kVecOps[] = {
#define VEC_OP(name, text, arity, immediate) {#name, text, arity, bool(immediate)},
#include "tcg/ir/vec_ops.inc"
#undef VEC_OP
};

constexpr X87OpInfo kX87Ops[] = {
#define X87_OP(name, operands, has_result) {#name, operands, bool(has_result)},
#include "tcg/ir/x87_ops.inc"
#undef X87_OP
};

}  // namespace

const VecOpInfo& info(VecOp op) { return kVecOps[unsigned(op)]; }
const X87OpInfo& info(X87Op op) { return kX87Ops[unsigned(op)]; }

Type x87_result_type(X87Op op) {
  switch (op) {
    case X87Op::ToF32:
    case X87Op::ToI32:
    case X87Op::ToI32Trunc:
      return Type::I32;
    case X87Op::ToF80High:
    case X87Op::ToI16:
    case X87Op::ToI16Trunc:
    case X87Op::StatusWord:
    case X87Op::ControlWord:
      return Type::I16;
    default:
      return info(op).has_result ? Type::I64 : Type::Void;
  }
}

Type x87_operand_type(X87Op op, unsigned index) {
  if (index >= info(op).operands) return Type::Void;
  switch (op) {
    case X87Op::PushF80:
      return index == 0 ? Type::I64 : Type::I16;
    case X87Op::PushF64:
    case X87Op::PushI64:
    case X87Op::AddF64:
    case X87Op::SubF64:
    case X87Op::SubRF64:
    case X87Op::MulF64:
    case X87Op::DivF64:
    case X87Op::DivRF64:
    case X87Op::ComF64:
      return Type::I64;
    case X87Op::PushI16:
    case X87Op::AddI16:
    case X87Op::SubI16:
    case X87Op::SubRI16:
    case X87Op::MulI16:
    case X87Op::DivI16:
    case X87Op::DivRI16:
    case X87Op::ComI16:
    case X87Op::LoadControl:
      return Type::I16;
    case X87Op::CmovIf:
      return Type::I1;
    default:
      return Type::I32;
  }
}

bool has_fp_effects(VecOp op) {
  switch (op) {
    case VecOp::VRcpF32:
    case VecOp::VRsqrtF32:
    case VecOp::VRcpSF32:
    case VecOp::VRsqrtSF32:
      return false;
    default:
      return is_float(op);
  }
}

bool has_fp_effects(const Op& op) {
  switch (op.opcode) {
    case Opcode::Vec:
    case Opcode::Vec3:
      return has_fp_effects(vec_op_of(op.c.bits()));
    case Opcode::VecCvtFromInt:
    case Opcode::VecCvtToInt:
    case Opcode::FlFcmp:
      return true;
    default:
      return false;
  }
}

bool is_removable(const Op& op, const HelperTable& helpers) {
  if (op.opcode == Opcode::Call) return helpers.helpers[op.c.bits()].effects == kHelperPure;
  if (op.opcode == Opcode::Get || op.opcode == Opcode::GetFlags) return true;
  return info(op.opcode).effects == kPure && !has_fp_effects(op);
}

bool observes_state(const Op& op, const HelperTable& helpers) {
  if (op.opcode == Opcode::Call) {
    const u32 effects = helpers.helpers[op.c.bits()].effects;
    if (effects == kHelperPure) return false;
    constexpr u32 kLooks = kHelperReadsState | kHelperWritesState | kHelperMayFault | kHelperEndsBlock;
    return !(effects & kHelperLeaf) || (effects & kLooks);
  }
  return info(op.opcode).effects & (kMayFault | kExit | kEnds);
}

bool is_volatile_field(const StateField& field) {
  constexpr u32 kHot = offsetof(tcg::EnvHeader, hot);
  constexpr u32 kHotEnd = kHot + sizeof(tcg::EnvHeader::hot);
  constexpr u32 kAux = offsetof(tcg::EnvHeader, hot_aux);
  constexpr u32 kAuxEnd = kAux + sizeof(tcg::EnvHeader::hot_aux);
  if (field.offset >= sizeof(tcg::EnvHeader)) return false;
  return !(field.offset >= kHot && field.offset < kHotEnd) && !(field.offset >= kAux && field.offset < kAuxEnd);
}

void Block::clear() {
  pc = 0;
  guest_bytes = guest_insns = plain_locks = 0;
  wide_vectors = uses_fpu = movable = folded = false;
  ops.clear();
  pool.clear();
  mems.clear();
  args.clear();
  ops.push_back(Op{});
}

}  // namespace emu::ir
