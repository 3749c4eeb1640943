// SPDX-License-Identifier: Apache-2.0
// Shifts, rotates, bit tests and scans. SDM Vol. 2, by instruction name.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::Cond;
using ir::Opcode;
using ir::RmwOp;

namespace {
enum Kind : u16 { kRol, kRor, kRcl, kRcr, kShl, kShr, kSal, kSar };
}

/// A shift count: constants masked as the CPU masks them, CL as it is. IR shifts mask alike (5 bits, 6 for I64).
Emitter::Value Emitter::shift_count(const Insn& insn, unsigned operand) {
  const Value count = read(insn, operand);
  const auto known = b_.constant_of(count);
  return known ? b_.i8(*known & (insn.size == 3 ? 63 : 31)) : count;
}

/// Sets `flags` if the masked count is not 0.
void Emitter::set_flags_if_moved(const Insn& insn, Value count, Value flags) {
  if (b_.constant_of(count)) return b_.set_flags(flags);
  b_.set_flags(b_.select(has_moved(insn, count), flags, b_.get_flags()));
}

Emitter::Value Emitter::has_moved(const Insn& insn, Value count) {
  return b_.compare(Cond::NotEqual, b_.and_(count, b_.i8(insn.size == 3 ? 63 : 31)), b_.i8(0));
}

void Emitter::shift(const Insn& insn) {
  const unsigned kind = insn.row->arg;
  const Place p = place(insn, 0, AccessKind::ReadWrite);
  const Value count = shift_count(insn, 1);
  const auto known = b_.constant_of(count);
  const Value a = load(p);
  if (known && *known == 0) {
    store(p, a);  // memory is written, a 32-bit register is zero-extended; the flags stay
    return;
  }
  switch (kind) {
    case kRol:
    case kRor:
      return rotate(insn, kind == kRor, p, a, count);
    case kRcl:
    case kRcr:
      return rotate_carry(insn, kind == kRcr, p, a, count);
    default:
      return plain_shift(insn, kind, p, a, count);
  }
}

void Emitter::plain_shift(const Insn& insn, unsigned kind, const Place& p, Value a, Value count) {
  const Opcode op = kind == kSar ? Opcode::Sar : kind == kShr ? Opcode::Shr : Opcode::Shl;
  const Value result = b_.binary(op, a, count);
  store(p, result);
  if (!wants_flags(insn)) return;
  const Opcode flag_op = op == Opcode::Shl ? Opcode::FlShl : Opcode::FlShr;
  const Value before_last = b_.binary(op, a, b_.sub(count, b_.i8(1)));
  set_flags_if_moved(insn, count, b_.flags2(flag_op, result, before_last));
}

/// ROL, ROR: CF is the bit that went round last; OF for a count of 1, computed alike for all others.
void Emitter::rotate(const Insn& insn, bool right, const Place& p, Value a, Value count) {
  const unsigned bits = 8u << p.log2;
  const auto known = b_.constant_of(count);
  const Value turn = known ? b_.i8(*known & (bits - 1)) : count;
  const Value result =
      known && (*known & (bits - 1)) == 0 ? a : b_.binary(right ? Opcode::Rotr : Opcode::Rotl, a, turn);
  store(p, result);
  if (!wants_flags(insn)) return;

  const Value wide = to_i64(result);
  const Value msb = b_.and_(b_.shr(wide, b_.i8(bits - 1)), b_.i64(1));
  const Value carry = right ? msb : b_.and_(wide, b_.i64(1));
  const Value other = right ? b_.and_(b_.shr(wide, b_.i8(bits - 2)), b_.i64(1)) : msb;
  const Value overflow = b_.shl(b_.xor_(carry, other), b_.i8(11));
  const Value before = packed_flags();
  const Value after = b_.or_(b_.and_(before, b_.i64(kArithmetic & ~u64(kCF | kOF))), b_.or_(carry, overflow));
  if (known) return b_.set_flags(b_.fl_unpack(after));
  b_.set_flags(b_.fl_unpack(b_.select(has_moved(insn, count), after, before)));
}

/// RCL, RCR: a count of 1 inline, others through the helper, which updates CF and OF itself. The load had write intent,
/// so the store behind the helper cannot fault.
void Emitter::rotate_carry(const Insn& insn, bool right, const Place& p, Value a, Value count) {
  const unsigned bits = 8u << p.log2;
  const auto known = b_.constant_of(count);
  if (!known || *known != 1) {
    const Value result = call(right ? H_rcr : H_rcl, {to_i64(a), b_.zext(Type::I64, count), b_.i64(bits / 8)});
    store(p, fit(a.type, result));
    return;
  }
  const Value flags = b_.get_flags();
  const Value carry_in = b_.zext(a.type, b_.fl_is(Cond::Below, flags));
  const Value result =
      right ? b_.or_(b_.shr(a, b_.i8(1)), b_.shl(carry_in, b_.i8(bits - 1))) : b_.or_(b_.shl(a, b_.i8(1)), carry_in);
  store(p, result);
  if (!wants_flags(insn)) return;
  const Value wide = to_i64(a), wide_result = to_i64(result);
  const Value top = b_.and_(b_.shr(wide_result, b_.i8(bits - 1)), b_.i64(1));
  const Value carry = b_.and_(right ? wide : b_.shr(wide, b_.i8(bits - 1)), b_.i64(1));
  const Value other = right ? b_.and_(b_.shr(wide_result, b_.i8(bits - 2)), b_.i64(1)) : carry;
  set_packed_bits(b_.fl_pack(flags), kCF | kOF, b_.or_(carry, b_.shl(b_.xor_(top, other), b_.i8(11))));
}

/// SHLD, SHRD. 16 bits go through the helper: counts above 16 are legal and have no IR form.
void Emitter::double_shift(const Insn& insn) {
  const bool right = insn.row->arg == 1;
  const Place p = place(insn, 0, AccessKind::ReadWrite);
  const Value b = read(insn, 1);
  const Value count = shift_count(insn, 2);
  const auto known = b_.constant_of(count);
  const Value a = load(p);
  if (known && *known == 0) return store(p, a);
  if (p.log2 == 1) {
    const Value result =
        call(H_double_shift, {to_i64(a), to_i64(b), b_.zext(Type::I64, count), b_.i64(2), b_.i64(right ? 1 : 0)});
    return store(p, fit(Type::I16, result));
  }
  const Value result = b_.double_shift(right ? Opcode::Shrd : Opcode::Shld, a, b, count);
  store(p, result);
  if (!wants_flags(insn)) return;
  const Value before_last = b_.binary(right ? Opcode::Shr : Opcode::Shl, a, b_.sub(count, b_.i8(1)));
  set_flags_if_moved(insn, count, b_.flags2(right ? Opcode::FlShr : Opcode::FlShl, result, before_last));
}

/// BT, BTS, BTR, BTC. With a register index, memory is a bit string: the index reaches beyond the operand.
void Emitter::bit_test(const Insn& insn) {
  const unsigned kind = insn.row->arg, bits = 8u << insn.size;
  const AccessKind access = kind == 0 ? AccessKind::Read : AccessKind::ReadWrite;
  const bool by_register = insn.row->operands[1] != Operand::Ib;
  const Type type = type_of(insn.size);
  const Value index = by_register ? read(insn, 1) : constant(insn.size, insn.imm & (bits - 1));

  Place p;
  if (by_register && insn.is_memory) {
    Effective e = effective(insn);
    const Value wide = insn.size == 3 ? index : b_.sext(Type::I64, index);
    const Value step = b_.shl(b_.sar(wide, b_.i8(3 + insn.size)), b_.i8(insn.size));
    e.offset = wrap_offset(b_.add(effective_value(e), step), insn.address);
    e.disp = 0;
    const Linear l = linear(e, bits / 8, access);
    p.where = Place::Where::Memory;
    p.log2 = insn.size;
    p.value = l.address;
    p.mem = mem_info(insn.size, l);
    p.mem.write_intent = kind != 0;
  } else {
    p = place(insn, 0, access);
  }

  const Value bit = b_.and_(fit(Type::I8, index), b_.i8(bits - 1));
  const auto one_bit = [&] { return b_.shl(constant(insn.size, 1), bit); };
  Value old;
  if (kind != 0 && locks(insn)) {
    old = kind == 1   ? rmw(RmwOp::Or, p, one_bit())
          : kind == 2 ? rmw(RmwOp::And, p, b_.not_(one_bit()))
                      : rmw(RmwOp::Xor, p, one_bit());
  } else {
    old = load(p);
    if (kind == 1) store(p, b_.or_(old, one_bit()));
    if (kind == 2) store(p, b_.and_(old, b_.not_(one_bit())));
    if (kind == 3) store(p, b_.xor_(old, one_bit()));
  }
  if (wants_flags(insn))
    b_.set_flags(b_.flags2(Opcode::FlSetCarry, b_.bit_test(old, fit(type, index)), b_.get_flags()));
}

/// BSF, BSR: a zero source leaves the destination alone (AMD says so, Intel's silicon does).
void Emitter::bit_scan_result(const Insn& insn, Value source, Value result) {
  const Value old = b_.get(gpr_field(insn.reg));
  const Value is_zero = b_.compare(Cond::Equal, source, constant(insn.size, 0));
  b_.set(gpr_field(insn.reg), b_.select(is_zero, old, merged_gpr(insn.reg, insn.size, result)));
  if (wants_flags(insn)) b_.set_flags(b_.fl_logic(source));
}

void Emitter::bsf(const Insn& insn) {
  const Value source = read(insn, 1);
  bit_scan_result(insn, source, b_.unary(Opcode::Ctz, source));
}

void Emitter::bsr(const Insn& insn) {
  const Value source = read(insn, 1);
  const Value top = constant(insn.size, (8u << insn.size) - 1);
  bit_scan_result(insn, source, b_.sub(top, b_.unary(Opcode::Clz, source)));
}

void Emitter::tzcnt(const Insn& insn) {
  const Value source = read(insn, 1);
  const Value result = b_.unary(Opcode::Ctz, source);
  set_gpr(insn.reg, insn.size, result);
  if (!wants_flags(insn)) return;
  const Value none = b_.compare(Cond::Equal, source, constant(insn.size, 0));
  b_.set_flags(b_.flags2(Opcode::FlSetCarry, none, b_.fl_logic(result)));
}

void Emitter::lzcnt(const Insn& insn) {
  const Value source = read(insn, 1);
  const Value result = b_.unary(Opcode::Clz, source);
  set_gpr(insn.reg, insn.size, result);
  if (!wants_flags(insn)) return;
  const Value none = b_.compare(Cond::Equal, source, constant(insn.size, 0));
  b_.set_flags(b_.flags2(Opcode::FlSetCarry, none, b_.fl_logic(result)));
}

void Emitter::popcnt(const Insn& insn) {
  const Value source = read(insn, 1);
  set_gpr(insn.reg, insn.size, b_.unary(Opcode::Popcnt, source));
  if (!wants_flags(insn)) return;
  const Value is_zero = b_.compare(Cond::Equal, source, constant(insn.size, 0));
  b_.set_flags(b_.fl_unpack(flag_bit(is_zero, 6)));
}

}  // namespace emu::x86
