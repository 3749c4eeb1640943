// SPDX-License-Identifier: Apache-2.0
// Condition flags: lazy tuples, conditions over host flags, and their way home.
#include <algorithm>

#include "tcg/host/x86_64/compiler.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr i32 kCcOp = i32(offsetof(EnvHeader, cc_op)), kCcA = i32(offsetof(EnvHeader, cc_a)),
              kCcB = i32(offsetof(EnvHeader, cc_b)), kResult = i32(offsetof(EnvHeader, helper_result)),
              kArgs = i32(offsetof(EnvHeader, helper_args));

}  // namespace

bool Compiler::emit_flags(u32 id, const Op& op) {
  switch (op.opcode) {
    case Opcode::GetFlags:
      if (flags_.is_value()) flags_home();
      home_flags_.push_back(id);
      return true;
    case Opcode::SetFlags:
      if (is_at_home(op.a)) {
        flags_ = {};
      } else if (op.a.is_value() && block_->ops[op.a.id()].opcode == Opcode::Select) {
        store_flags_home(op.a);
        flags_ = {};
      } else {
        flags_ = op.a;
      }
      return true;
    case Opcode::FlAdd:
    case Opcode::FlSub:
    case Opcode::FlCmp:
    case Opcode::FlLogic:
    case Opcode::FlTest:
    case Opcode::FlShl:
    case Opcode::FlShr:
    case Opcode::FlMulU:
    case Opcode::FlMulS:
    case Opcode::FlUnpack:
    case Opcode::FlJoin:
      return true;  // where they are used
    case Opcode::FlInc:
    case Opcode::FlDec:
      emit_carry_of(id, op.b);
      return true;
    case Opcode::FlAdc:
    case Opcode::FlSbb:
      return define(id, carries_into_temp(op, op.opcode == Opcode::FlAdc)), true;
    case Opcode::FlSetCarry: {
      const Reg d = temp();
      pack_flags_into(d, op.b);
      hot_.alu_imm(Alu::And, Width::d, d, ~i32(kFlagCarry));
      held_ = 1u << d;
      const Reg carry = use_clean(op.a, Type::I1);
      hot_.alu(Alu::Or, Width::d, d, carry);
      return define(id, d, true), true;
    }
    case Opcode::FlFcmp: {
      const Operand b = operand(op.b, Type::V128);
      Xmm x = use_xmm(op.a);
      const u8 prefix = op.c.bits() & 1 ? 0x66 : 0;
      const u32 opcode = op.c.bits() & 2 ? 0x0f2f : 0x0f2e;
      if (x >= xmm16) {  // scratch beyond legacy reach: through a pinned register that is put back
        const Xmm low = b.kind == Operand::Vec && b.xmm == xmm0 ? xmm1 : xmm0;
        move_whole(map_.borrow_save, low);
        hot_.movaps(low, x);
        x = low;
      }
      if (b.kind == Operand::Vec && b.xmm >= xmm16) {
        hot_.movups(slot(kTransient), b.xmm);
        hot_.sse(prefix, opcode, x, slot(kTransient));
      } else if (b.kind == Operand::Vec) {
        hot_.sse(prefix, opcode, x, b.xmm);
      } else {
        hot_.sse(prefix, opcode, x, slot(b.offset));
      }
      hot_.flags_changed();
      if (const Operand a = operand(op.a, Type::V128); a.kind != Operand::Vec || a.xmm != x) {
        if (map_.borrow_save != kNoXmm && x < xmm2) move_whole(x, map_.borrow_save);
      }
      const Reg d = temp();
      hot_.pushfq();
      hot_.pop(d);
      hot_.alu_imm(Alu::And, Width::d, d, i32(kFlagCarry | kFlagParity | kFlagZero));
      return define(id, d, true), true;
    }
    case Opcode::FlPack: {
      const Reg d = temp();
      pack_flags_into(d, op.a);
      return define(id, d, true), true;
    }
    default:
      return false;
  }
}

bool Compiler::is_at_home(Ref flags) const {
  if (!flags.is_value()) return true;
  return std::find(home_flags_.begin(), home_flags_.end(), flags.id()) != home_flags_.end();
}

/// Before env.cc_* are overwritten: values whose tuple is nowhere else and that are used later are packed into a spill.
void Compiler::preserve_home_flags() {
  for (const u32 id : home_flags_) {
    const Opcode o = block_->ops[id].opcode;
    if ((o != Opcode::GetFlags && o != Opcode::Select) || values_[id].last_use <= now_) continue;
    if (values_[id].where != Where::Nowhere) continue;
    const u32 held = held_;
    const Reg t = temp();
    pack_flags_into(t, Ref::value(id));
    const unsigned spill = new_spill();
    hot_.mov(Width::q, slot(offset_of_spill(spill)), t);
    define_spill(id, spill, true);
    held_ = held;
  }
}

FlagsState Compiler::flags_state(Ref flags) {
  FlagsState s;
  if (is_at_home(flags)) return s;
  s.at_home = false;
  const Op& op = block_->ops[flags.id()];
  const unsigned log2 = ir::log2_bytes(op.type);
  const auto tuple = [&](CcKind kind, const Operand& a, const Operand& b) {
    s.cc_op = kind == CcKind::Packed ? 0 : cc_op(kind, log2);
    s.a = a;
    s.b = b;
  };
  const auto value_of = [&](Ref r) { return operand(r, op.type); };
  const Operand zero{.kind = Operand::Constant};
  const auto own = [&] { return operand(flags, Type::I64); };
  switch (op.opcode) {
    case Opcode::FlAdd:
      tuple(CcKind::Add, value_of(op.c), value_of(op.b));
      break;
    case Opcode::FlSub:
      tuple(CcKind::Sub, value_of(op.c), value_of(op.b));
      break;
    case Opcode::FlCmp:
      tuple(CcKind::Cmp, value_of(op.a), value_of(op.b));
      break;
    case Opcode::FlLogic:
      tuple(CcKind::Logic, value_of(op.a), zero);
      break;
    case Opcode::FlTest:
      if (values_[flags.id()].where != Where::Nowhere) {
        tuple(CcKind::Logic, own(), zero);
      } else {
        tuple(CcKind::Logic, value_of(op.a), value_of(op.b));
        if (s.a.kind == Operand::Constant && s.b.kind == Operand::Constant && op.a != op.b) {
          if (s.a.pc_relative || s.b.pc_relative) movable_ = false;
          s.a.value &= s.b.value;
          s.a.pc_relative = false;
        } else {
          s.pending_and = op.a != op.b;
        }
      }
      break;
    case Opcode::FlInc:
      tuple(CcKind::Inc, value_of(op.a), own());
      break;
    case Opcode::FlDec:
      tuple(CcKind::Dec, value_of(op.a), own());
      break;
    case Opcode::FlShl:
      tuple(CcKind::Shl, value_of(op.a), value_of(op.b));
      break;
    case Opcode::FlShr:
      tuple(CcKind::Shr, value_of(op.a), value_of(op.b));
      break;
    case Opcode::FlMulU:
      tuple(CcKind::MulU, value_of(op.a), value_of(op.b));
      break;
    case Opcode::FlMulS:
      tuple(CcKind::MulS, value_of(op.a), value_of(op.b));
      break;
    case Opcode::FlAdc:
    case Opcode::FlSbb:
      tuple(CcKind::Carries, value_of(op.c), own());
      break;
    case Opcode::FlUnpack:
      tuple(CcKind::Packed, operand(op.a, Type::I64), zero);
      break;
    case Opcode::FlJoin:
      tuple(CcKind::Joined, operand(op.a, Type::I64), operand(op.b, Type::I64));
      break;
    default:
      tuple(CcKind::Packed, own(), zero);
      break;  // FlSetCarry, FlFcmp, an old GetFlags
  }
  return s;
}

/// Stores a tuple to env.cc_*. `t` may be overwritten.
void Compiler::store_flags(Assembler& a, const FlagsState& s, Reg t) {
  if (s.at_home) return;
  const auto get = [&](Reg into, const Operand& o) {
    if (o.kind == Operand::Gpr) return o.reg;
    if (o.kind == Operand::Slot) {
      a.mov(Width::q, into, slot(o.offset));
    } else if (o.pc_relative) {
      a.mov_imm64(into, o.value);
      relocate(a, a.position() - 8, ir::Relocation::Form::Pc64);
    } else {
      a.mov_imm(into, o.value);
    }
    return into;
  };
  const auto put = [&](i32 offset, const Operand& o) {
    if (o.is_imm32())
      a.mov_imm(Width::q, slot(offset), i32(o.value));
    else
      a.mov(Width::q, slot(offset), get(t, o));
  };
  if (s.pending_and) {
    const bool swap = s.b.kind == Operand::Constant && !s.b.is_imm32();
    const Operand &first = swap ? s.b : s.a, &second = swap ? s.a : s.b;
    if (const Reg r = get(t, first); r != t) a.mov(Width::q, t, r);
    if (second.kind == Operand::Constant)
      a.alu_imm(Alu::And, Width::q, t, i32(second.value));
    else if (second.kind == Operand::Slot)
      a.alu(Alu::And, Width::q, t, slot(second.offset));
    else
      a.alu(Alu::And, Width::q, t, second.reg);
    a.mov(Width::q, slot(kCcA), t);
  } else {
    put(kCcA, s.a);
  }
  if (cc_kind(s.cc_op) != CcKind::Logic && cc_kind(s.cc_op) != CcKind::Packed) put(kCcB, s.b);
  a.mov_imm(Width::b, slot(kCcOp), i32(s.cc_op));
}

void Compiler::store_flags_home(Ref flags, bool nested) {
  if (is_at_home(flags)) return;
  if (!nested) preserve_home_flags();
  const Op& op = block_->ops[flags.id()];
  if (op.opcode == Opcode::Select && values_[flags.id()].where == Where::Nowhere) {
    if (in_branch_ || !store_chosen_flags(op)) store_selected_flags(op);
  } else {
    const u32 held = held_;
    const Reg t = temp();
    store_flags(hot_, flags_state(flags), t);
    held_ = held;
  }
  if (nested) return;
  home_flags_.clear();
  home_flags_.push_back(flags.id());
}

/// cond ? b : c, word by word. Whether a count is zero is often a matter of luck, and a branch mispredicted. False where
/// an arm is itself a choice.
bool Compiler::store_chosen_flags(const Op& select) {
  for (const Ref arm : {select.b, select.c}) {
    if (is_at_home(arm)) continue;
    if (block_->ops[arm.id()].opcode == Opcode::Select && values_[arm.id()].where == Where::Nowhere) return false;
    if (flags_state(arm).pending_and) materialise_and(arm.id());
  }
  const u32 held = held_;
  const Cc cc = condition(select.a);
  held_ = held;
  const Reg t = temp(), u = temp();  // moves from here on: the host's flags stay
  const FlagsState yes = flags_state(select.b), no = flags_state(select.c);
  const auto word = [](const FlagsState& s, const Operand& o, i32 home) {
    return s.at_home ? Operand{.kind = Operand::Slot, .offset = home} : o;
  };
  const auto choose = [&](i32 home, const Operand& if_true, const Operand& if_false) {
    load(t, if_false, Width::q);
    load(u, if_true, Width::q);
    hot_.cmov(cc, Width::q, t, u);
    hot_.mov(Width::q, slot(home), t);
  };
  choose(kCcA, word(yes, yes.a, kCcA), word(no, no.a, kCcA));
  choose(kCcB, word(yes, yes.b, kCcB), word(no, no.b, kCcB));
  const auto operation = [&](Reg into, const FlagsState& s) {
    if (s.at_home) return hot_.movzx(Width::b, into, slot(kCcOp));
    hot_.mov_imm(into, s.cc_op);
  };
  operation(t, no);
  operation(u, yes);
  hot_.cmov(cc, Width::d, t, u);
  hot_.mov(Width::b, slot(kCcOp), t);
  held_ = held;
  return true;
}

/// cond ? b : c, in two arms. Scratch registers are emptied first: code in an arm must not move values.
void Compiler::store_selected_flags(const Op& select) {
  const u32 held = held_;
  const bool was_in_branch = in_branch_;
  if (!was_in_branch) {
    for (const Reg r : kScratch) {
      take(r);
      release(r);
    }
  }
  in_branch_ = true;
  const Cc cc = condition(select.a);
  held_ = held;
  const Label otherwise = hot_.new_label(), end = hot_.new_label();
  const bool c_home = is_at_home(select.c);
  hot_.jcc(invert(cc), otherwise);
  store_flags_home(select.b, true);
  if (!c_home) hot_.jmp(end);
  hot_.bind(otherwise);
  if (!c_home) store_flags_home(select.c, true);
  hot_.bind(end);
  hot_.flags_changed();
  in_branch_ = was_in_branch;
}

void Compiler::flags_home() {
  if (!flags_.is_value()) return;
  store_flags_home(flags_);
  flags_ = {};
}

ir::FlagsLocation Compiler::flags_location() {
  ir::FlagsLocation at;
  if (!flags_.is_value()) return at;
  FlagsState s = flags_state(flags_);
  if (s.pending_and) {
    materialise_and(flags_.id());
    s = flags_state(flags_);
  }
  if (s.at_home) return at;
  at.at_home = false;
  at.cc_op = s.cc_op;
  at.a = location(s.a);
  at.b = location(s.b);
  return at;
}

/// Computes a & b of a FlTest into a register of its own.
void Compiler::materialise_and(u32 id) {
  const Op& op = block_->ops[id];
  const u32 held = held_;
  const Reg t = temp();
  Ref a = op.a, b = op.b;
  if (a.is_constant()) std::swap(a, b);
  load(t, operand(a, op.type), width_of(op.type));
  apply_alu(Alu::And, width_of(op.type), t, b, op.type);
  define(id, t);
  held_ = held;
}

void Compiler::call_general_leaf(HelperFn function) {
  evict(kFunction, now_ - 1);
  gpr_head_[kFunction] = 0;
  hot_.mov_imm(kFunction, reinterpret_cast<u64>(function));
  hot_.call(request_->thunks->general_leaf);
}

/// Words in registers go first: they then need not be held while others pass through a scratch register.
void Compiler::store_leaf_args(const FlagsState& s) {
  hot_.mov_imm(Width::q, slot(kArgs), i32(s.cc_op));
  if (s.a.kind == Operand::Gpr) store_word(slot(kArgs + 8), s.a, Type::I64);
  if (s.b.kind == Operand::Gpr) store_word(slot(kArgs + 16), s.b, Type::I64);
  if (s.a.kind != Operand::Gpr) store_word(slot(kArgs + 8), s.a, Type::I64);
  if (s.b.kind != Operand::Gpr && s.b.kind != Operand::None) store_word(slot(kArgs + 16), s.b, Type::I64);
}

Cc Compiler::test_flags_slowly(Cond cond, const FlagsState& s) {
  if (!s.at_home) store_leaf_args(s);
  hot_.mov_imm(Width::q, slot(kArgs + 24), i32(cond));
  call_general_leaf(s.at_home ? leaf_test_home_flags : leaf_test_flags);
  hot_.alu_imm(Alu::Cmp, Width::d, slot(kResult), 0);
  return Cc::NotEqual;
}

void Compiler::pack_flags_into(Reg dst, Ref flags) {
  if (flags.is_value() && !is_at_home(flags) && block_->ops[flags.id()].opcode == Opcode::Select &&
      values_[flags.id()].where == Where::Nowhere) {
    const Op& select = block_->ops[flags.id()];
    const unsigned spill = new_spill(), other = new_spill();
    pack_flags_into(dst, select.b);
    hot_.mov(Width::q, slot(offset_of_spill(spill)), dst);
    pack_flags_into(dst, select.c);
    hot_.mov(Width::q, slot(offset_of_spill(other)), dst);
    const Cc cc = condition(select.a);  // may call, and so overwrite r11
    hot_.mov(Width::q, dst, slot(offset_of_spill(other)));
    hot_.cmov(cc, Width::q, dst, slot(offset_of_spill(spill)));
    return;
  }
  FlagsState s = flags_state(flags);
  if (s.at_home) {
    call_general_leaf(leaf_pack_home_flags);
    hot_.mov(Width::q, dst, slot(kResult));
    return;
  }
  if (cc_kind(s.cc_op) == CcKind::Packed) {
    load(dst, s.a, Width::q);
    hot_.alu_imm(Alu::And, Width::d, dst, i32(kFlagsAll));
    return;
  }
  if (s.pending_and) {
    materialise_and(flags.id());
    s = flags_state(flags);
  }
  const CcKind kind = cc_kind(s.cc_op);
  if (kind == CcKind::Cmp || kind == CcKind::Add || kind == CcKind::Sub || kind == CcKind::Logic) {
    const u32 held = held_;
    test_flags(Cond::Less, flags);  // makes all host flags right; the adjust flag not of logic
    held_ = held;
    hot_.pushfq();
    hot_.pop(dst);
    hot_.alu_imm(Alu::And, Width::d, dst, i32(kind == CcKind::Logic ? kFlagsAll & ~kFlagAdjust : kFlagsAll));
    return;
  }
  store_leaf_args(s);
  call_general_leaf(leaf_pack_flags);
  hot_.mov(Width::q, dst, slot(kResult));
}

/// The carry of `flags` as 0 or 1, kept as the value of FlInc or FlDec `id`. In a loop the flags at home are most often
/// of the same operation.
void Compiler::emit_carry_of(u32 id, Ref flags) {
  const Op& op = block_->ops[id];
  if (is_at_home(flags)) {
    evict(kFunction, now_ - 1);
    gpr_head_[kFunction] = 0;
    const CcKind kind = op.opcode == Opcode::FlInc ? CcKind::Inc : CcKind::Dec;
    hot_.alu_imm(Alu::Cmp, Width::b, slot(kCcOp), i32(cc_op(kind, ir::log2_bytes(op.type))));
    Stub stub;
    stub.kind = Stub::LeafCarry;
    const Reg d = temp();
    hot_.mov(Width::q, d, slot(kCcB));
    stub.from = hot_.jcc_forward(Cc::NotEqual);
    stub.resume = hot_.position();
    stub.address = d;
    stubs_.push_back(stub);
    return define(id, d, true);
  }
  const Cc cc = test_flags(Cond::Below, flags);
  held_ = 0;
  const Reg d = temp();
  hot_.setcc(cc, d);
  hot_.movzx(Width::b, d, d);
  define(id, d, true);
}

void Compiler::emit_carry_stub(const Stub& stub) {
  cold_.mov_imm(Width::q, slot(kArgs + 24), i32(Cond::Below));
  cold_.mov_imm(kFunction, reinterpret_cast<u64>(HelperFn(leaf_test_home_flags)));
  cold_.call(request_->thunks->general_leaf);
  cold_.mov(Width::q, stub.address, slot(kResult));
  cold_.jmp(hot_.exec_base() + stub.resume);
}

/// Carries out of every bit of a + b + carry = c, or borrows of a - b - borrow = c.
Reg Compiler::carries_into_temp(const Op& op, bool adds) {
  const Width w = width_of(op.type);
  const Reg d = temp(), t = temp();
  load(d, operand(op.a, op.type), w);
  if (adds) {
    load(t, operand(op.c, op.type), w);
    hot_.not_(w, t);
    apply_alu(Alu::Or, w, d, op.b, op.type);
    hot_.alu(Alu::And, w, d, t);
    load(t, operand(op.a, op.type), w);
  } else {
    hot_.not_(w, d);
    hot_.mov(Width::q, t, d);
    apply_alu(Alu::Or, w, d, op.b, op.type);
    apply_alu(Alu::And, w, d, op.c, op.type);
  }
  apply_alu(Alu::And, w, t, op.b, op.type);
  hot_.alu(Alu::Or, w, d, t);
  return d;
}

}  // namespace emu::tcg::x86_64
