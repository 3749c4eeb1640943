// SPDX-License-Identifier: Apache-2.0
// Builder's flag operations: tuples of constants, and conditions whose producer is known.
#include "tcg/ir/builder.h"
#include "tcg/ir/evaluate.h"
#include "util/check.h"

namespace emu::ir {

/// The packed value of a tuple that was made from constants.
bool Builder::constant_flags(Ref flags, u64& packed) const {
  const Op op = definition({flags, Type::Flags});
  const OpcodeInfo& row = info(op.opcode);
  if (row.result != Kind::Flags || op.opcode == Opcode::Select || op.opcode == Opcode::GetFlags ||
      op.opcode == Opcode::FlFcmp) {
    return false;
  }
  u64 values[3] = {};
  const Ref refs[3] = {op.a, op.b, op.c};
  const Kind kinds[3] = {row.a, row.b, row.c};
  for (unsigned i = 0; i < 3; ++i) {
    if (kinds[i] == Kind::None) continue;
    if (kinds[i] == Kind::Flags) {
      if (!constant_flags(refs[i], values[i])) return false;
      continue;
    }
    if (!refs[i].is_constant()) return false;
    const auto c = constant_of({refs[i], kinds[i] == Kind::T ? op.type : kinds[i] == Kind::I1 ? Type::I1 : Type::I64});
    if (!c) return false;
    values[i] = *c;
  }
  packed = evaluate_flags(op.opcode, op.type, values[0], values[1], values[2]).packed();
  return true;
}

Value Builder::flags3(Opcode opcode, Value a, Value b, Value result) {
  EMU_CHECK(is_int(a.type) && a.type == b.type && a.type == result.type);
  return emit(opcode, a.type, a.ref, b.ref, result.ref);
}

Value Builder::flags2(Opcode opcode, Value a, Value b) {
  EMU_CHECK(is_int(a.type) && b.type == (info(opcode).b == Kind::Flags ? Type::Flags : a.type));
  if (opcode == Opcode::FlTest && a.ref == b.ref) return fl_logic(a);
  if (opcode == Opcode::FlInc || opcode == Opcode::FlDec) {  // the carry comes from before any other inc or dec
    const Op before = definition(b);
    if (before.opcode == Opcode::FlInc || before.opcode == Opcode::FlDec) b.ref = before.b;
  } else if (opcode == Opcode::FlSetCarry) {
    EMU_CHECK(a.type == Type::I1);
    const Op before = definition(b);
    if (before.opcode == Opcode::FlSetCarry) b.ref = before.b;
  }
  return emit(opcode, a.type, a.ref, b.ref);
}

Value Builder::fl_logic(Value result) {
  EMU_CHECK(is_int(result.type));
  return emit(Opcode::FlLogic, result.type, result.ref);
}

Value Builder::fl_unpack(Value packed) {
  EMU_CHECK(packed.type == Type::I64);
  const Op inner = definition(packed);
  if (inner.opcode == Opcode::FlPack) return {inner.a, Type::Flags};
  return emit(Opcode::FlUnpack, Type::I64, packed.ref);
}

Value Builder::fl_fcmp(Value a, Value b, bool is_f64, bool signal_quiet) {
  EMU_CHECK(a.type == Type::V128 && b.type == Type::V128);
  return emit(Opcode::FlFcmp, Type::V128, a.ref, b.ref, Ref::raw(u32(is_f64) | u32(signal_quiet) << 1));
}

Value Builder::fl_pack(Value flags) {
  EMU_CHECK(flags.type == Type::Flags);
  u64 packed = 0;
  if (constant_flags(flags.ref, packed)) return i64(packed);
  const Op inner = definition(flags);
  if (inner.opcode == Opcode::FlUnpack) return and_(operand(inner.a, Type::I64), i64(tcg::kFlagsAll));
  if (inner.opcode == Opcode::FlJoin) {
    const Value others = and_(operand(inner.a, Type::I64), i64(tcg::kFlagsAll & ~tcg::kFlagOverflow));
    return or_(others, shl(and_(operand(inner.b, Type::I64), i64(1)), i8(11)));
  }
  return emit(Opcode::FlPack, Type::I64, flags.ref);
}

Value Builder::fl_is(Cond condition, Value flags) {
  EMU_CHECK(flags.type == Type::Flags);
  u64 packed = 0;
  if (constant_flags(flags.ref, packed)) return constant(Type::I1, tcg::test_packed(condition, packed));
  const Op maker = definition(flags);
  const bool inverted = u8(condition) & 1;
  const Cond base = Cond(u8(condition) & ~1);
  switch (maker.opcode) {
    case Opcode::FlCmp:
      if (is_compare(condition)) return compare(condition, operand(maker.a, maker.type), operand(maker.b, maker.type));
      break;
    case Opcode::FlLogic:
    case Opcode::FlTest:  // carry and overflow are 0
      if (base == Cond::Below || base == Cond::Overflow) return constant(Type::I1, inverted);
      if (base == Cond::BelowEqual) return fl_is(inverted ? Cond::NotEqual : Cond::Equal, flags);
      if (base == Cond::Less) return fl_is(inverted ? Cond::NotSign : Cond::Sign, flags);
      break;
    case Opcode::FlInc:
    case Opcode::FlDec:
      if (base == Cond::Below) return fl_is(condition, {maker.b, Type::Flags});
      break;
    case Opcode::FlAdc:
    case Opcode::FlSbb:
      if (base == Cond::Below) {
        const Value carry = carry_out(maker.opcode == Opcode::FlAdc ? Opcode::CarryOut : Opcode::BorrowOut,
                                      operand(maker.a, maker.type), operand(maker.b, maker.type),
                                      operand(maker.c, maker.type));
        return inverted ? not_(carry) : carry;
      }
      break;
    case Opcode::FlJoin:
      if (base == Cond::Below || base == Cond::Overflow) {
        const Value bit = trunc(Type::I1, operand(base == Cond::Below ? maker.a : maker.b, Type::I64));
        return inverted ? not_(bit) : bit;
      }
      break;
    case Opcode::FlSetCarry:
      if (base == Cond::Below) {
        const Value carry = operand(maker.a, Type::I1);
        return inverted ? not_(carry) : carry;
      }
      if (base != Cond::BelowEqual) return fl_is(condition, {maker.b, Type::Flags});
      break;
    default:
      break;
  }
  return emit(Opcode::FlIs, Type::I1, flags.ref, {}, Ref::raw(u32(condition)));
}

}  // namespace emu::ir
