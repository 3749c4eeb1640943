// SPDX-License-Identifier: Apache-2.0
// Conditions as host flags: what the last instruction left, a comparison again, or a lazy tuple evaluated.
#include <utility>

#include "tcg/host/x86_64/compiler.h"
#include "tcg/ir/evaluate.h"

namespace emu::tcg::x86_64 {
namespace {

bool is_result_only(Cond c) {
  return (c >= Cond::Equal && c <= Cond::NotEqual) || (c >= Cond::Sign && c <= Cond::NotParity);
}
bool uses_carry(Cond c) { return c == Cond::Below || c == Cond::NotBelow || c == Cond::BelowEqual || c == Cond::Above; }
/// The condition as "some bit is set" (NotEqual), inverted like `cond`.
Cc nonzero(Cond cond) { return u8(cond) & 1 ? Cc::Equal : Cc::NotEqual; }

}  // namespace

void Compiler::note_host_flags(u32 id) {
  host_flags_of_ = id;
  host_flags_version_ = hot_.flags_version();
}

/// Whether the host flags are those of `flags`, as far as `cond` looks.
bool Compiler::host_flags_are(Ref flags, Cond cond) const {
  if (!request_->fuse_flags) return false;
  if (!flags.is_value() || !host_flags_of_ || host_flags_version_ != hot_.flags_version()) return false;
  if (flags.id() == host_flags_of_) return true;
  const Op& fl = block_->ops[flags.id()];
  const Op& made = block_->ops[host_flags_of_];
  if (!(fl.opcode >= Opcode::FlAdd && fl.opcode <= Opcode::FlDec) || made.type != fl.type) return false;
  const Ref result = Ref::value(host_flags_of_);
  switch (fl.opcode) {
    case Opcode::FlAdc:
    case Opcode::FlSbb:
      return fl.c == result && fl.a == made.a && fl.b == made.b &&
             made.opcode == (fl.opcode == Opcode::FlAdc ? Opcode::AddCarry : Opcode::SubBorrow);
    // Folding may have made the result the result of another operation: the operands must be the same, too.
    case Opcode::FlAdd:
      return fl.c == result && made.opcode == Opcode::Add &&
             ((fl.a == made.a && fl.b == made.b) || (fl.a == made.b && fl.b == made.a));
    case Opcode::FlSub:
      if (fl.c != result) return false;
      if (made.opcode == Opcode::Sub) return fl.a == made.a && fl.b == made.b;
      return made.opcode == Opcode::Neg && fl.a == Ref::inline_constant(0) && fl.b == made.a;
    case Opcode::FlLogic:
      if (fl.a != result) return false;
      return made.opcode == Opcode::And || made.opcode == Opcode::Or || made.opcode == Opcode::Xor ||
             ((made.opcode == Opcode::Add || made.opcode == Opcode::Sub) && is_result_only(cond));
    case Opcode::FlInc:
    case Opcode::FlDec:
      if (fl.a != result || uses_carry(cond)) return false;
      if (is_result_only(cond)) return made.opcode == Opcode::Add || made.opcode == Opcode::Sub;
      if (made.b == Ref::inline_constant(1))
        return made.opcode == (fl.opcode == Opcode::FlInc ? Opcode::Add : Opcode::Sub);
      return made.b == Ref::inline_constant(-1) &&
             made.opcode == (fl.opcode == Opcode::FlInc ? Opcode::Sub : Opcode::Add);
    default:
      return false;
  }
}

Cc Compiler::condition(Ref i1) {
  if (i1.is_constant()) {
    hot_.alu(Alu::Cmp, Width::d, kEnv, kEnv);
    return block_->constant_value(i1) & 1 ? Cc::Equal : Cc::NotEqual;
  }
  const Op& op = block_->ops[i1.id()];
  const Value& v = values_[i1.id()];
  if (v.where == Where::Nowhere) {
    switch (op.opcode) {
      case Opcode::FlIs:
        return test_flags(Cond(op.c.bits()), op.a);
      case Opcode::CmpSet:
        return compare(Cond(op.c.bits()), op.type, op.a, op.b);
      case Opcode::CarryOut:
      case Opcode::BorrowOut:
        return carry_of(i1.id());
      case Opcode::BitTest: {
        const Reg value = use_reg(op.a, op.type);
        const unsigned mask = ir::width(op.type) - 1;
        const Width w = wide(op.type);
        if (op.b.is_constant()) {
          hot_.bt_imm(w, value, u8(block_->constant_value(op.b) & mask));
        } else if (op.type < Type::I32) {
          const Reg t = temp();
          load(t, operand(op.b, op.type), width_of(op.type));
          hot_.alu_imm(Alu::And, Width::d, t, i32(mask));
          hot_.bt(w, value, t);
        } else {
          hot_.bt(w, value, use_reg(op.b, op.type));
        }
        return Cc::Below;
      }
      default:
        break;
    }
  }
  const Operand o = operand(i1, Type::I1);
  if (o.kind == Operand::Slot)
    hot_.alu_imm(Alu::Cmp, Width::b, slot(o.offset), 0);
  else
    hot_.test(Width::b, o.reg, o.reg);
  return Cc::NotEqual;
}

/// The carry out of a + b + carry = c, or the borrow of a - b - borrow = c.
Cc Compiler::carry_of(u32 id) {
  const Op& op = block_->ops[id];
  if (follows_its_sum(id)) {  // nothing between them changes flags
    if (host_flags_of_ != op.c.id() || host_flags_version_ != hot_.flags_version()) too_complex_ = true;
    return Cc::Below;
  }
  const Width w = width_of(op.type);
  const Reg d = carries_into_temp(op, op.opcode == Opcode::CarryOut);
  hot_.test(w, d, d);
  return Cc::Sign;
}

/// Makes the host's carry flag that of `i1`.
void Compiler::set_host_carry(Ref i1) {
  const Operand o = i1.is_value() && values_[i1.id()].where != Where::Nowhere ? operand(i1, Type::I1) : Operand{};
  if (o.kind == Operand::Gpr) return hot_.bt_imm(Width::d, o.reg, 0);
  if (o.kind == Operand::Slot) return hot_.bt_imm(Width::d, slot(o.offset), 0);
  const Cc cc = condition(i1);
  if (cc == Cc::Below) return;
  const Reg t = temp();
  hot_.setcc(cc, t);
  hot_.bt_imm(Width::d, t, 0);
  release(t);
}

Cc Compiler::compare(Cond cond, Type type, Ref a, Ref b) {
  if (a.is_constant() && b.is_value() && ir::is_compare(cond)) {
    std::swap(a, b);
    cond = ir::mirror(cond);
  }
  const Width w = width_of(type);
  Operand ob = operand(b, type);
  const Operand oa = operand(a, type);
  if (oa.kind == Operand::Slot && ob.is_imm32()) {
    hot_.alu_imm(Alu::Cmp, w, slot(oa.offset), i32(ob.value));
    return cond;
  }
  if (oa.kind == Operand::Slot && ob.kind == Operand::Gpr) {
    hot_.alu(Alu::Cmp, w, slot(oa.offset), ob.reg);
    return cond;
  }
  const Reg r = use_reg(a, type);
  ob = operand(b, type);
  if (ob.is_imm32() && ob.value == 0)
    hot_.test(w, r, r);
  else
    apply_alu(Alu::Cmp, w, r, b, type);
  return cond;
}

Cc Compiler::test_flags(Cond cond, Ref flags) {
  if (host_flags_are(flags, cond)) return cond;
  if (flags.is_value() && block_->ops[flags.id()].opcode == Opcode::Select && !is_at_home(flags)) {
    const Reg t = temp();
    pack_flags_into(t, flags);
    FlagsState packed;
    packed.at_home = false;
    packed.a = {.kind = Operand::Gpr, .reg = t, .clean = true};
    return test_packed_state(cond, packed);
  }
  const FlagsState s = flags_state(flags);
  if (s.at_home) return test_flags_slowly(cond, s);
  const Op& op = block_->ops[flags.id()];
  const Type type = op.type;
  const Width w = width_of(type);
  const Cond base = Cond(u8(cond) & ~1);
  const auto test_result = [&](Ref result) {
    const Reg r = use_reg(result, type);
    hot_.test(w, r, r);
    return cond;
  };
  switch (cc_kind(s.cc_op)) {
    case CcKind::Add: {
      if (is_result_only(cond)) return test_result(op.c);
      if (base == Cond::Below) return compare(cond, type, op.c, op.b);
      const Reg t = temp();
      load(t, operand(op.c, type), w);
      apply_alu(Alu::Sub, w, t, op.b, type);
      apply_alu(Alu::Add, w, t, op.b, type);
      break;
    }
    case CcKind::Sub: {
      if (is_result_only(cond)) return test_result(op.c);
      const Reg t = temp();
      load(t, operand(op.c, type), w);
      apply_alu(Alu::Add, w, t, op.b, type);
      apply_alu(Alu::Cmp, w, t, op.b, type);
      break;
    }
    case CcKind::Cmp: {
      const Reg r = use_reg(op.a, type);
      apply_alu(Alu::Cmp, w, r, op.b, type);
      break;
    }
    case CcKind::Logic: {
      if (op.opcode == Opcode::FlLogic) return test_result(op.a);
      if (!s.pending_and && s.a.kind != Operand::Constant) return test_packed_state(cond, s, w);
      const Ref a = op.a.is_constant() ? op.b : op.a, b = op.a.is_constant() ? op.a : op.b;
      const Reg r = use_reg(a, type);
      const Operand o = operand(b, type);
      if (o.is_imm32()) {
        hot_.test_imm(w, r, i32(o.value));
      } else {
        hot_.test(w, r, use_reg(b, type));
      }
      break;
    }
    case CcKind::Inc:
    case CcKind::Dec: {
      if (is_result_only(cond)) return test_result(op.a);
      if (base == Cond::Below) {
        const Reg r = use_reg(flags, Type::I64);
        hot_.test_imm(Width::b, r, 1);
        return nonzero(cond);
      }
      if (base == Cond::BelowEqual) return test_flags_slowly(cond, s);
      const bool inc = cc_kind(s.cc_op) == CcKind::Inc;
      const Reg t = temp();
      load(t, operand(op.a, type), w);
      hot_.alu_imm(inc ? Alu::Sub : Alu::Add, w, t, 1);
      hot_.alu_imm(inc ? Alu::Add : Alu::Sub, w, t, 1);
      return cond;
    }
    case CcKind::Shl:
    case CcKind::Shr:
    case CcKind::MulU:
    case CcKind::MulS:
    case CcKind::Carries: {
      const bool carries = cc_kind(s.cc_op) == CcKind::Carries;
      if (is_result_only(cond)) return test_result(carries ? op.c : op.a);
      if (base != Cond::Below || cc_kind(s.cc_op) == CcKind::MulS) return test_flags_slowly(cond, s);
      const Reg r = carries ? use_reg(flags, Type::I64) : use_reg(op.b, type);
      if (cc_kind(s.cc_op) == CcKind::Shr) {
        hot_.test_imm(Width::b, r, 1);
        return nonzero(cond);
      }
      hot_.test(w, r, r);
      if (cc_kind(s.cc_op) == CcKind::MulU) return nonzero(cond);
      return u8(cond) & 1 ? Cc::NotSign : Cc::Sign;
    }
    case CcKind::Joined: {
      if (base == Cond::Less || base == Cond::LessEqual) return test_flags_slowly(cond, s);
      if (base != Cond::Overflow) return test_packed_state(cond, s);
      hot_.test_imm(Width::b, use_reg(op.b, Type::I64), 1);
      return nonzero(cond);
    }
    case CcKind::Packed:
      return test_packed_state(cond, s);
  }
  note_host_flags(flags.id());
  return cond;
}

/// A condition of packed flags, or of a Logic tuple whose result is `s.a`.
Cc Compiler::test_packed_state(Cond cond, const FlagsState& s, Width w) {
  if (s.a.kind == Operand::Gpr) hold(s.a.reg);
  if (cc_kind(s.cc_op) == CcKind::Logic) {
    if (s.a.kind == Operand::Slot)
      hot_.alu_imm(Alu::Cmp, w, slot(s.a.offset), 0);
    else
      hot_.test(w, s.a.reg, s.a.reg);
    return cond;
  }
  u64 mask = 0;
  switch (Cond(u8(cond) & ~1)) {
    case Cond::Overflow:
      mask = kFlagOverflow;
      break;
    case Cond::Below:
      mask = kFlagCarry;
      break;
    case Cond::Equal:
      mask = kFlagZero;
      break;
    case Cond::BelowEqual:
      mask = kFlagCarry | kFlagZero;
      break;
    case Cond::Sign:
      mask = kFlagSign;
      break;
    case Cond::Parity:
      mask = kFlagParity;
      break;
    default:
      break;
  }
  if (mask) {
    if (s.a.kind == Operand::Slot) {
      hot_.test_imm(Width::d, slot(s.a.offset), i32(mask));
    } else if (s.a.kind == Operand::Gpr) {
      hot_.test_imm(Width::d, s.a.reg, i32(mask));
    } else {
      const Reg t = temp();
      load_constant(t, s.a);
      hot_.test_imm(Width::d, t, i32(mask));
    }
    return nonzero(cond);
  }
  if (Cond(u8(cond) & ~1) == Cond::LessEqual) return test_flags_slowly(cond, s);
  const Reg t = temp();  // sign (bit 7) against overflow (bit 11)
  load(t, s.a, Width::d);
  hot_.shift_imm(Shift::Shr, Width::d, t, 4);
  if (s.a.kind == Operand::Gpr)
    hot_.alu(Alu::Xor, Width::d, t, s.a.reg);
  else if (s.a.kind == Operand::Slot)
    hot_.alu(Alu::Xor, Width::d, t, slot(s.a.offset));
  else
    hot_.alu_imm(Alu::Xor, Width::d, t, i32(s.a.value));
  hot_.test_imm(Width::d, t, i32(kFlagSign));
  return nonzero(cond);
}

}  // namespace emu::tcg::x86_64
