// SPDX-License-Identifier: Apache-2.0
// BMI1 and BMI2: SDM Vol. 2, by instruction name. General registers under a VEX prefix, always with VEX.L = 0 (the
// decoder sees to it).
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::Cond;
using ir::Opcode;

void Emitter::set_bmi_flags(const Insn& insn, Value result, Value carry) {
  if (!wants_flags(insn)) return;
  const Value flags = b_.fl_logic(result);
  b_.set_flags(carry.type == Type::Void ? flags : b_.flags2(Opcode::FlSetCarry, carry, flags));
}

void Emitter::andn(const Insn& insn) {
  const Value b = read(insn, 2);
  const Value result = b_.and_(b_.not_(get_gpr(insn.vvvv, insn.size)), b);
  set_gpr(insn.reg, insn.size, result);
  set_bmi_flags(insn, result, {});
}

/// BLSR, BLSMSK, BLSI (arg 1 to 3): of the lowest set bit.
void Emitter::lowest_bit(const Insn& insn) {
  const Value a = read(insn, 1), zero = constant(insn.size, 0);
  const unsigned kind = insn.row->arg;
  const Value less = b_.sub(a, constant(insn.size, 1));
  const Value result = kind == 1 ? b_.and_(a, less) : kind == 2 ? b_.xor_(a, less) : b_.and_(a, b_.sub(zero, a));
  set_gpr(insn.vvvv, insn.size, result);
  set_bmi_flags(insn, result, b_.compare(kind == 3 ? Cond::NotEqual : Cond::Equal, a, zero));
}

/// The low `count` bits set, for counts from 0 to 255.
Emitter::Value Emitter::low_bits(Value count) {
  const Value inside = b_.sub(b_.shl(b_.i64(1), b_.trunc(Type::I8, b_.and_(count, b_.i64(63)))), b_.i64(1));
  return b_.select(b_.compare(Cond::Above, count, b_.i64(63)), b_.i64(~u64(0)), inside);
}

void Emitter::bextr(const Insn& insn) {
  const Value a = to_i64(read(insn, 1)), control = get_gpr(insn.vvvv, 3);
  const Value start = b_.and_(control, b_.i64(255)), length = b_.and_(b_.shr(control, b_.i8(8)), b_.i64(255));
  const Value shifted = b_.shr(a, b_.trunc(Type::I8, b_.and_(start, b_.i64(63))));
  const Value from = b_.select(b_.compare(Cond::Above, start, b_.i64(63)), b_.i64(0), shifted);
  const Value result = fit(type_of(insn.size), b_.and_(from, low_bits(length)));
  set_gpr(insn.reg, insn.size, result);
  set_bmi_flags(insn, result, {});
}

void Emitter::bzhi(const Insn& insn) {
  const Value a = to_i64(read(insn, 1));
  const Value index = b_.and_(get_gpr(insn.vvvv, 3), b_.i64(255));
  const Value result = fit(type_of(insn.size), b_.and_(a, low_bits(index)));
  set_gpr(insn.reg, insn.size, result);
  set_bmi_flags(insn, result, b_.compare(Cond::Above, index, b_.i64((8u << insn.size) - 1)));
}

/// PDEP, PEXT (arg: the helper)
void Emitter::pdep_pext(const Insn& insn) {
  const Value mask = to_i64(read(insn, 2));
  const Value result = call(Helper(insn.row->arg), {to_i64(get_gpr(insn.vvvv, insn.size)), mask});
  set_gpr(insn.reg, insn.size, fit(type_of(insn.size), result));
}

/// Both halves; where they go to one register, it is the high one that stays.
void Emitter::mulx(const Insn& insn) {
  const Value b = read(insn, 2), a = get_gpr(RDX, insn.size);
  const Value low = b_.mul(a, b), high = b_.binary(Opcode::MulHiU, a, b);
  set_gpr(insn.vvvv, insn.size, low);
  set_gpr(insn.reg, insn.size, high);
}

/// SHLX, SHRX, SARX (arg: 0, 1, 2) and RORX (3)
void Emitter::shift_x(const Insn& insn) {
  const unsigned kind = insn.row->arg;
  const u64 mask = insn.size == 3 ? 63 : 31;
  const Value a = read(insn, 1);
  const Value count =
      kind == 3 ? b_.i8(unsigned(insn.imm & mask))
                : b_.trunc(Type::I8, b_.and_(get_gpr(insn.vvvv, 3), b_.i64(mask)));
  constexpr Opcode kOps[] = {Opcode::Shl, Opcode::Shr, Opcode::Sar, Opcode::Rotr};
  set_gpr(insn.reg, insn.size, b_.binary(kOps[kind], a, count));
}

}  // namespace emu::x86
