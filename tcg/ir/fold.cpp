// SPDX-License-Identifier: Apache-2.0
// Builder's integer operations: constants and copies fold on the way in.
#include <utility>

#include "tcg/ir/builder.h"
#include "tcg/ir/evaluate.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::ir {
namespace {

bool is_commutative(Opcode opcode) {
  switch (opcode) {
    case Opcode::Add:
    case Opcode::Mul:
    case Opcode::MulHiU:
    case Opcode::MulHiS:
    case Opcode::And:
    case Opcode::Or:
    case Opcode::Xor:
      return true;
    default:
      return false;
  }
}

bool is_division(Opcode opcode) { return opcode >= Opcode::UDiv && opcode <= Opcode::SRem; }
bool is_shift(Opcode opcode) { return opcode >= Opcode::Shl && opcode <= Opcode::Rotr; }

}  // namespace

Value Builder::unary(Opcode opcode, Value a) {
  EMU_CHECK(is_int(a.type));
  if (const auto c = constant_of(a)) return constant(a.type, evaluate_unary(opcode, a.type, *c));
  const Op inner = definition(a);
  if (inner.opcode == opcode && (opcode == Opcode::Not || opcode == Opcode::Neg || opcode == Opcode::Bswap)) {
    return operand(inner.a, a.type);
  }
  if (opcode == Opcode::Not && inner.opcode == Opcode::CmpSet) {
    return emit(Opcode::CmpSet, inner.type, inner.a, inner.b, Ref::raw(inner.c.bits() ^ 1));
  }
  if (opcode == Opcode::Not && inner.opcode == Opcode::FlIs) {
    return emit(Opcode::FlIs, inner.type, inner.a, {}, Ref::raw(inner.c.bits() ^ 1));
  }
  return emit(opcode, a.type, a.ref);
}

Value Builder::binary(Opcode opcode, Value a, Value b) {
  EMU_CHECK(is_int(a.type) && b.type == (is_shift(opcode) ? Type::I8 : a.type));
  return fold_binary(opcode, a, b);
}

Value Builder::fold_binary(Opcode opcode, Value a, Value b) {
  if (a.ref.is_constant() && is_commutative(opcode)) std::swap(a, b);
  if (a.ref.is_pool() || b.ref.is_pool()) {
    if (is_pc_relative(a) || is_pc_relative(b)) return fold_pc_relative(opcode, a, b);
  }
  if (b.ref.is_constant()) return fold_constant_right(opcode, a, b, *constant_of(b));
  if (a.ref.is_constant() && is_shift(opcode) && *constant_of(a) == 0) return a;
  if (a.ref == b.ref && a.ref.is_value()) {
    switch (opcode) {
      case Opcode::And:
      case Opcode::Or:
        return a;
      case Opcode::Sub:
      case Opcode::Xor:
      case Opcode::AndNot:
        return constant(a.type, 0);
      default:
        break;
    }
  }
  return emit(opcode, a.type, a.ref, b.ref);
}

/// b is the constant `value`; a may be one, too.
Value Builder::fold_constant_right(Opcode opcode, Value a, Value b, u64 value) {
  const u64 ones = low_mask(width(a.type));
  if (is_division(opcode)) {
    if (value == 1 && opcode != Opcode::URem && opcode != Opcode::SRem && a.type != Type::I1) return a;
    if (value == 0) return emit(opcode, a.type, a.ref, b.ref);  // never executed: the front end traps before it
  }
  if (const auto c = constant_of(a)) return constant(a.type, evaluate_binary(opcode, a.type, *c, value));
  switch (opcode) {
    case Opcode::Add:
    case Opcode::Sub:
    case Opcode::Or:
      if (value == 0) return a;
      if (opcode == Opcode::Or && value == ones) return b;
      break;
    case Opcode::Xor:
      if (value == 0) return a;
      if (value == ones) return not_(a);
      break;
    case Opcode::And:
      if (value == 0) return b;
      if (value == ones) return a;
      break;
    case Opcode::AndNot:
      if (value == 0) return b;
      if (value == ones) return not_(a);
      break;
    case Opcode::Mul:
      if (value == 0) return b;
      if (value == 1) return a;
      if ((value & (value - 1)) == 0) return shl(a, i8(unsigned(std::countr_zero(value))));
      break;
    case Opcode::MulHiU:
      if (value <= 1) return constant(a.type, 0);
      break;
    case Opcode::MulHiS:
      if (value == 0) return b;
      break;
    case Opcode::Shl:
    case Opcode::Shr:
    case Opcode::Sar: {
      const unsigned w = width(a.type), count = unsigned(value) & (w == 64 ? 63 : 31);
      if (count == 0) return a;
      if (count >= w && opcode != Opcode::Sar) return constant(a.type, 0);
      break;
    }
    case Opcode::Rotl:
    case Opcode::Rotr:
      if (value % width(a.type) == 0) return a;
      break;
    default:
      break;
  }
  return emit(opcode, a.type, a.ref, b.ref);
}

/// A pc plus or minus a constant still moves with the page; the difference of two does not.
Value Builder::fold_pc_relative(Opcode opcode, Value a, Value b) {
  if (is_pc_relative(b) && opcode == Opcode::Add && !is_pc_relative(a)) std::swap(a, b);
  if (is_pc_relative(a) && a.type == Type::I64) {
    const u64 pc = block_.constant_value(a.ref);
    if (const auto c = constant_of(b)) {
      if (opcode == Opcode::Add) return pc_constant(pc + *c);
      if (opcode == Opcode::Sub) return pc_constant(pc - *c);
    } else if (opcode == Opcode::Sub && is_pc_relative(b)) {
      return constant(Type::I64, pc - block_.constant_value(b.ref));
    }
  }
  return emit(opcode, a.type, a.ref, b.ref);
}

Value Builder::add_shl(Value a, Value b, unsigned shift) {
  EMU_CHECK(a.type == b.type && shift <= 3);
  if (shift == 0) return add(a, b);
  if (const auto c = constant_of(b)) return add(a, constant(a.type, *c << shift));
  if (const auto c = constant_of(a); c && *c == 0) return shl(b, i8(shift));
  return emit(Opcode::AddShl, a.type, a.ref, b.ref, Ref::raw(shift));
}

Value Builder::double_shift(Opcode opcode, Value a, Value b, Value count) {
  EMU_CHECK(a.type == b.type && count.type == Type::I8);
  if (const auto n = constant_of(count)) {
    if (*n % width(a.type) == 0) return a;
    const auto x = constant_of(a), y = constant_of(b);
    if (x && y) return constant(a.type, evaluate_double_shift(opcode, a.type, *x, *y, *n));
  }
  return emit(opcode, a.type, a.ref, b.ref, count.ref);
}

// Width changes. A constant operand of these is always a pc, hence I64: its type could not be told otherwise.
// -----------

Value Builder::trunc(Type to, Value a) {
  if (to == a.type) return a;
  EMU_CHECK(is_int(to) && width(to) < width(a.type));
  if (const auto c = constant_of(a)) return constant(to, *c);
  const Op inner = definition(a);
  const Value source = operand(inner.a, Type::I64);
  switch (inner.opcode) {
    case Opcode::Trunc:
      return trunc(to, source);
    case Opcode::Zext:
      return width(source.type) >= width(to) ? trunc(to, source) : zext(to, source);
    case Opcode::Sext:
      return width(source.type) >= width(to) ? trunc(to, source) : sext(to, source);
    case Opcode::Ext:
      if (inner.c.bits() == 0) return trunc(to, source);
      if (to != Type::I1) return extract(to, source, inner.c.bits());
      break;
    case Opcode::Ins: {
      const Value part = operand(inner.b, Type::I8);
      if (inner.c.bits() >= width(to)) return trunc(to, source);
      if (inner.c.bits() == 0 && width(part.type) >= width(to)) return trunc(to, part);
      break;
    }
    case Opcode::And:
      if (const auto c = constant_of(operand(inner.b, a.type)); c && (~*c & low_mask(width(to))) == 0) {
        return trunc(to, operand(inner.a, a.type));
      }
      break;
    default:
      break;
  }
  return emit(Opcode::Trunc, to, a.ref);
}

Value Builder::zext(Type to, Value a) {
  if (to == a.type) return a;
  EMU_CHECK(is_int(to) && width(to) > width(a.type));
  if (const auto c = constant_of(a)) return constant(to, *c);
  const Op inner = definition(a);
  if (inner.opcode == Opcode::Zext) return zext(to, operand(inner.a, Type::I64));
  return emit(Opcode::Zext, to, a.ref);
}

Value Builder::sext(Type to, Value a) {
  if (to == a.type) return a;
  EMU_CHECK(is_int(to) && width(to) > width(a.type));
  if (const auto c = constant_of(a)) return constant(to, u64(sign_extend(*c, width(a.type))));
  const Op inner = definition(a);
  if (inner.opcode == Opcode::Sext) return sext(to, operand(inner.a, Type::I64));
  if (inner.opcode == Opcode::Zext) return zext(to, operand(inner.a, Type::I64));
  return emit(Opcode::Sext, to, a.ref);
}

Value Builder::insert(Value into, Value part, unsigned at_bit) {
  EMU_CHECK(is_int(into.type) && is_int(part.type) && part.type != Type::I1);
  EMU_CHECK((at_bit == 0 || (at_bit == 8 && part.type == Type::I8)) && at_bit + width(part.type) <= width(into.type));
  if (part.type == into.type) return part;
  if (const auto c = constant_of(part)) return insert_constant(into, *c, part.type, at_bit);
  if (const auto c = constant_of(into); c && *c == 0 && at_bit == 0) return zext(into.type, part);
  const Op piece = definition(part);
  if (piece.a == into.ref && at_bit == 0 && (piece.opcode == Opcode::Trunc)) return into;
  if (piece.a == into.ref && piece.opcode == Opcode::Ext && piece.c.bits() == at_bit) return into;
  const Op under = definition(into);
  if (under.opcode == Opcode::Ins) {  // what is overwritten entirely need not be made
    const unsigned low = under.c.bits(), high = low + width(operand(under.b, Type::I8).type);
    if (low >= at_bit && high <= at_bit + width(part.type)) {
      return insert(operand(under.a, into.type), part, at_bit);
    }
  }
  // A constant to insert into has the op's type, so it needs no care.
  return emit(Opcode::Ins, into.type, into.ref, part.ref, Ref::raw(at_bit));
}

/// Masks: the width of a constant part could not be told from an Ins.
Value Builder::insert_constant(Value into, u64 part, Type part_type, unsigned at_bit) {
  const u64 field = low_mask(width(part_type)) << at_bit;
  const Value kept = part == low_mask(width(part_type)) ? into : and_(into, constant(into.type, ~field));
  return or_(kept, constant(into.type, part << at_bit));
}

Value Builder::extract(Type to, Value a, unsigned at_bit) {
  EMU_CHECK(is_int(to) && at_bit + width(to) <= width(a.type));
  if (at_bit == 0) return trunc(to, a);
  if (const auto c = constant_of(a)) return constant(to, *c >> at_bit);
  const Op inner = definition(a);
  const Value source = operand(inner.a, Type::I64);
  switch (inner.opcode) {
    case Opcode::Trunc:
      return extract(to, source, at_bit);
    case Opcode::Zext:
      if (width(source.type) <= at_bit) return constant(to, 0);
      if (width(source.type) >= at_bit + width(to)) return extract(to, source, at_bit);
      break;
    case Opcode::Ins: {
      const Value part = operand(inner.b, Type::I8);
      const unsigned low = inner.c.bits(), high = low + width(part.type);
      if (low == at_bit && width(part.type) >= width(to)) return trunc(to, part);
      if (low == 0 && high >= at_bit + width(to)) return extract(to, part, at_bit);
      if (high <= at_bit || low >= at_bit + width(to)) return extract(to, operand(inner.a, a.type), at_bit);
      break;
    }
    default:
      break;
  }
  return emit(Opcode::Ext, to, a.ref, {}, Ref::raw(at_bit));
}

// Conditions ----------------------------------------------------------------------------------------------------------

Value Builder::compare(Cond condition, Value a, Value b) {
  EMU_CHECK(is_int(a.type) && a.type == b.type && is_compare(condition));
  const auto x = constant_of(a), y = constant_of(b);
  if (x && y) return constant(Type::I1, evaluate_compare(condition, a.type, *x, *y));
  if (a.ref == b.ref) return constant(Type::I1, evaluate_compare(condition, a.type, 0, 0));
  if (x) return compare(mirror(condition), b, a);
  if (y && *y == 0) {
    if (condition == Cond::Below) return constant(Type::I1, 0);
    if (condition == Cond::NotBelow) return constant(Type::I1, 1);
    const Op inner = definition(a);
    if (inner.opcode == Opcode::Zext && operand(inner.a, Type::I64).type == Type::I1) {
      if (condition == Cond::NotEqual) return operand(inner.a, Type::I1);
      if (condition == Cond::Equal) return not_(operand(inner.a, Type::I1));
    }
  }
  return emit(Opcode::CmpSet, a.type, a.ref, b.ref, Ref::raw(u32(condition)));
}

Value Builder::bit_test(Value a, Value index) {
  EMU_CHECK(is_int(a.type) && a.type == index.type);
  const auto x = constant_of(a), n = constant_of(index);
  if (x && n) return constant(Type::I1, *x >> (*n % width(a.type)));
  return emit(Opcode::BitTest, a.type, a.ref, index.ref);
}

Value Builder::with_carry(Opcode opcode, Value a, Value b, Value carry) {
  EMU_CHECK(is_int(a.type) && a.type == b.type && carry.type == Type::I1);
  const bool adds = opcode == Opcode::AddCarry;
  if (!adds && a.ref == b.ref) return neg(zext(a.type, carry));
  if (const auto c = constant_of(carry)) {
    const Opcode plain = adds ? Opcode::Add : Opcode::Sub;
    const Value without = binary(plain, a, b);
    return *c ? binary(plain, without, constant(a.type, 1)) : without;
  }
  return emit(opcode, a.type, a.ref, b.ref, carry.ref);
}

Value Builder::carry_out(Opcode opcode, Value a, Value b, Value result) {
  EMU_CHECK(is_int(a.type) && a.type == b.type && a.type == result.type);
  const auto x = constant_of(a), y = constant_of(b), z = constant_of(result);
  if (x && y && z) return constant(Type::I1, evaluate_with_carry(opcode, a.type, *x, *y, *z));
  // Where the result was made, its carry may have been taken at once.
  if (const u32 next = result.ref.is_value() ? result.ref.id() + 1 : 0; next != 0 && next < block_.ops.size()) {
    const Op& op = block_.ops[next];
    if (op.opcode == opcode && op.type == a.type && op.a == a.ref && op.b == b.ref && op.c == result.ref) {
      return {Ref::value(next), Type::I1};
    }
  }
  return emit(opcode, a.type, a.ref, b.ref, result.ref);
}

Value Builder::select(Value condition, Value if_true, Value if_false) {
  EMU_CHECK(condition.type == Type::I1 && if_true.type == if_false.type);
  if (const auto c = constant_of(condition)) return *c ? if_true : if_false;
  if (if_true.ref == if_false.ref) return if_true;
  const Op inner = definition(condition);
  if (inner.opcode == Opcode::Not) return select(operand(inner.a, Type::I1), if_false, if_true);
  if (is_int(if_true.type)) {
    const auto x = constant_of(if_true), y = constant_of(if_false);
    if (x && y && *x == 1 && *y == 0) return zext(if_true.type, condition);
    if (x && y && *x == 0 && *y == 1) return zext(if_true.type, not_(condition));
  }
  return emit(Opcode::Select, if_true.type, condition.ref, if_true.ref, if_false.ref);
}

}  // namespace emu::ir
