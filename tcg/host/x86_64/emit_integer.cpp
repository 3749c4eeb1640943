// SPDX-License-Identifier: Apache-2.0
// Integer operations and state fields.
#include "tcg/host/x86_64/compiler.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {

Type Compiler::type_of(Ref r, Type constant_type) const {
  return r.is_value() ? ir::result_type(block_->ops[r.id()]) : constant_type;
}

bool Compiler::emit_integer(u32 id, const Op& op) {
  switch (op.opcode) {
    case Opcode::Get:
      emit_get(id, op);
      return true;
    case Opcode::Set:
      emit_set(id, op);
      return true;
    case Opcode::Add:
      emit_binary(id, op, Alu::Add, true);
      return true;
    case Opcode::Sub:
      emit_binary(id, op, Alu::Sub, false);
      return true;
    case Opcode::And:
      emit_binary(id, op, Alu::And, true);
      return true;
    case Opcode::Or:
      emit_binary(id, op, Alu::Or, true);
      return true;
    case Opcode::Xor:
      emit_binary(id, op, Alu::Xor, true);
      return true;
    case Opcode::Mul:
      emit_multiply(id, op);
      return true;
    case Opcode::MulHiU:
    case Opcode::MulHiS:
      emit_multiply_high(id, op);
      return true;
    case Opcode::UDiv:
    case Opcode::URem:
    case Opcode::SDiv:
    case Opcode::SRem:
      emit_divide(id, op);
      return true;
    case Opcode::AndNot: {
      const Reg a = use_reg(op.a, op.type), b = use_reg(op.b, op.type);
      held_ = 1u << a | 1u << b;
      release(a);  // the result may replace it: andn reads both first
      const Reg d = dest(id, op.a);
      hot_.andn(wide(op.type), d, a, b);
      return define(id, d, wide(op.type) == Width::d && !is_narrow(op.type)), true;
    }
    case Opcode::Not:
    case Opcode::Neg: {
      const Reg d = dest(id, op.a);
      load(d, operand(op.a, op.type), width_of(op.type));
      if (op.type == Type::I1 && op.opcode == Opcode::Not)
        hot_.alu_imm(Alu::Xor, Width::d, d, 1);
      else if (op.opcode == Opcode::Not)
        hot_.not_(wide(op.type), d);
      else
        hot_.neg(width_of(op.type), d), note_host_flags(id);
      return define(id, d, op.type == Type::I32 || op.type == Type::I1), true;
    }
    case Opcode::Shl:
    case Opcode::Shr:
    case Opcode::Sar:
      emit_shift(id, op);
      return true;
    case Opcode::Rotl:
    case Opcode::Rotr:
      emit_rotate(id, op);
      return true;
    case Opcode::Shld:
    case Opcode::Shrd:
      emit_double_shift(id, op);
      return true;
    case Opcode::AddShl:
      emit_add_shl(id, op);
      return true;
    case Opcode::Bswap:
    case Opcode::Clz:
    case Opcode::Ctz:
    case Opcode::Popcnt:
      emit_count(id, op);
      return true;
    case Opcode::Trunc:
    case Opcode::Zext:
    case Opcode::Sext:
      emit_extend(id, op);
      return true;
    case Opcode::Ins:
      emit_insert(id, op);
      return true;
    case Opcode::Ext:
      emit_extract(id, op);
      return true;
    case Opcode::AddCarry:
      emit_with_carry(id, op, Alu::Adc);
      return true;
    case Opcode::SubBorrow:
      emit_with_carry(id, op, Alu::Sbb);
      return true;
    case Opcode::CmpSet:
    case Opcode::BitTest:
    case Opcode::CarryOut:
    case Opcode::BorrowOut:
    case Opcode::FlIs:
      emit_bool(id);
      return true;
    case Opcode::Select:
      emit_select(id, op);
      return true;
    default:
      return false;
  }
}

void Compiler::emit_get(u32 id, const Op& op) {
  const ir::FieldId field = ir::FieldId(op.c.bits());
  const ir::StateField& f = layout_->field(field);
  if (f.deferred) store_deferred();
  const u8 reg = map_.field_register[field];
  if (reg != kNoHostRegister) {
    attach(id, ir::is_vector(f.type) ? Where::Vec : Where::Gpr, reg);
  } else if (!ir::is_volatile_field(f)) {
    define_home(id, i32(f.offset), true);
  } else if (ir::is_vector(f.type)) {
    const Xmm x = vec_dest(id);
    load_vector(x, {.kind = Operand::Slot, .offset = i32(f.offset)}, op.type);
    define_xmm(id, x);
  } else {
    const Reg d = dest(id);
    hot_.movzx(width_of(f.type), d, slot(i32(f.offset)));
    define(id, d, true);
  }
}

/// Before anything that looks at the state's homes. Leaves the host's flags alone.
void Compiler::store_deferred() {
  for (const auto& [field, constant] : deferred_) {
    const ir::StateField& f = layout_->field(field);
    const Operand v = operand(constant, f.type);
    move_home_values(i32(f.offset), ir::width(f.type) / 8, now_ - 1, 0);
    if (v.is_imm32()) {
      hot_.mov_imm(width_of(f.type), slot(i32(f.offset)), i32(v.value));
    } else {
      const Reg t = temp();
      load_constant(t, v);
      hot_.mov(width_of(f.type), slot(i32(f.offset)), t);
      release(t);
    }
  }
  deferred_.clear();
}

void Compiler::emit_set(u32, const Op& op) {
  const ir::FieldId field = ir::FieldId(op.c.bits());
  const ir::StateField& f = layout_->field(field);
  if (f.deferred) {
    std::erase_if(deferred_, [field](const auto& d) { return d.first == field; });
    if (op.a.is_constant()) {
      deferred_.emplace_back(field, op.a);
      return;
    }
  }
  const u8 reg = map_.field_register[field];
  const u32 id = op.a.is_value() ? op.a.id() : 0;
  if (ir::is_vector(f.type)) {
    const Operand v = operand(op.a, op.type);
    if (reg == kNoHostRegister) {
      if (v.kind == Operand::Slot && v.offset == i32(f.offset)) return;
      move_home_values(i32(f.offset), 16, now_, id);
      if (op.type == Type::V256)
        hot_.vmovups(5, slot(i32(f.offset)), use_xmm(op.a));
      else
        hot_.movups(slot(i32(f.offset)), use_xmm(op.a));
    } else if (v.kind != Operand::Vec || v.xmm != reg) {
      evict_xmm(Xmm(reg), now_, id);
      load_vector(Xmm(reg), v, op.type);
      xmm_head_[reg] = 0;
      if (values_[id].last_use > now_ && (v.kind != Operand::Vec || map_.xmm_field[v.xmm] == kNoField)) {
        detach(id);
        attach(id, Where::Vec, reg);
      }
    }
    return;
  }
  if (reg != kNoHostRegister) {
    const Reg r = Reg(reg);
    if (id && values_[id].lazy) {  // an addition of a constant, applied in place
      const Op& add = block_->ops[id];
      const i64 c = i64(block_->constant_value(add.b));
      evict(r, now_);
      const Operand base = operand(add.a, Type::I64);
      if (base.kind != Operand::Gpr) load(r, base, Width::q);
      hot_.lea(Width::q, r, ptr(base.kind == Operand::Gpr ? base.reg : r, add.opcode == Opcode::Add ? c : -c));
      gpr_head_[r] = 0;
      return;
    }
    const Operand v = operand(op.a, f.type);
    if (v.kind == Operand::Gpr && v.reg == r) return;
    evict(r, now_, id);
    load(r, operand(op.a, f.type), Width::q);
    gpr_head_[r] = 0;
    if (id && values_[id].last_use > now_ && (v.kind != Operand::Gpr || map_.gpr_field[v.reg] == kNoField)) {
      detach(id);
      attach(id, Where::Gpr, reg);
    }
    return;
  }
  Operand v = operand(op.a, f.type);
  if (v.kind == Operand::Slot && v.offset == i32(f.offset)) return;
  if (v.kind == Operand::Gpr) hold(v.reg);
  const Width w = width_of(f.type);
  move_home_values(i32(f.offset), 1u << unsigned(w), now_, id);
  v = operand(op.a, f.type);
  if (v.kind == Operand::Constant && v.is_imm32()) {
    hot_.mov_imm(w, slot(i32(f.offset)), i32(v.value));
    return;
  }
  const Reg r = use_reg(op.a, f.type);
  hot_.mov(w, slot(i32(f.offset)), r);
  if (id && values_[id].home < 0 && values_[id].last_use > now_ && !ir::is_volatile_field(f) &&
      ir::result_type(block_->ops[id]) == f.type) {
    values_[id].home = i32(f.offset);
    home_values_.push_back(id);
  }
}

/// dst op= b at width w. b's slot is read at w, so it must be at least that wide: narrow types are loaded first.
void Compiler::apply_alu(Alu alu, Width w, Reg dst, Ref b, Type type) {
  Operand o = operand(b, type);
  if (o.kind == Operand::Constant && !o.is_imm32()) {
    const Reg t = temp();
    load_constant(t, o);
    hot_.alu(alu, w, dst, t);
    release(t);
  } else if (o.kind == Operand::Constant) {
    hot_.alu_imm(alu, w, dst, i32(o.value));
  } else if (o.kind == Operand::Slot) {
    hot_.alu(alu, w, dst, slot(o.offset));
  } else {
    hot_.alu(alu, w, dst, o.reg);
  }
}

/// Moves do not touch the host's flags: between the carry and its use there is nothing else.
void Compiler::emit_with_carry(u32 id, const Op& op, Alu alu) {
  const Width w = width_of(op.type);
  set_host_carry(op.c);
  held_ = 0;
  if (const Operand b = operand(op.b, op.type); b.kind == Operand::Gpr) hold(b.reg);
  const Operand a = operand(op.a, op.type);
  const bool is_b_too = a.kind == Operand::Gpr && (held_ >> a.reg & 1);
  const Reg d = dest(id, is_b_too ? Ref{} : op.a);
  load(d, operand(op.a, op.type), w);
  apply_alu(alu, w, d, op.b, op.type);
  note_host_flags(id);
  define(id, d, op.type == Type::I32);
}

void Compiler::emit_binary(u32 id, const Op& op, Alu alu, bool commutes) {
  Ref a = op.a, b = op.b;
  if (a.is_constant() && commutes) std::swap(a, b);
  const Width w = op.type == Type::I16 && b.is_constant() ? Width::d : width_of(op.type);
  Operand ob = operand(b, op.type);
  const Operand oa = operand(a, op.type);
  if (ob.kind == Operand::Gpr && !commutes && !(oa.kind == Operand::Gpr && oa.reg == ob.reg)) hold(ob.reg);
  Reg d = dest(id, a);
  ob = operand(b, op.type);
  // An addition into another register is an LEA, unless the flags of the addition are wanted next.
  const bool flags_next = id + 2 < block_->ops.size() &&
                          (block_->ops[id + 1].opcode == Opcode::FlAdd || block_->ops[id + 2].opcode == Opcode::FlAdd);
  const Operand oa2 = operand(a, op.type);
  if (alu == Alu::Add && w >= Width::d && oa2.kind == Operand::Gpr && oa2.reg != d && !flags_next) {
    if (ob.kind == Operand::Gpr) {
      hot_.lea(w, d, ptr(oa2.reg, ob.reg));
      return define(id, d, w == Width::d && op.type == Type::I32);
    }
    if (ob.is_imm32()) {
      hot_.lea(w, d, ptr(oa2.reg, i32(ob.value)));
      return define(id, d, w == Width::d && op.type == Type::I32);
    }
  }
  if (ob.kind == Operand::Gpr && ob.reg == d && !(oa2.kind == Operand::Gpr && oa2.reg == d)) {
    EMU_CHECK(commutes);
    std::swap(a, b);
  }
  load(d, operand(a, op.type), width_of(op.type));
  apply_alu(alu, w, d, b, op.type);
  if (w == width_of(op.type)) note_host_flags(id);
  define(id, d, op.type == Type::I32 || op.type == Type::I1);
}

void Compiler::emit_add_shl(u32 id, const Op& op) {
  const Reg a = use_reg(op.a, op.type), b = use_reg(op.b, op.type);
  held_ = 1u << a | 1u << b;
  if (is_last_use(op.a)) release(a);  // LEA reads both before it writes
  const Reg d = dest(id, op.a);
  hot_.lea(wide(op.type), d, ptr(a, b, op.c.bits()));
  define(id, d, op.type == Type::I32);
}

void Compiler::emit_extend(u32 id, const Op& op) {
  const Type from = type_of(op.a, Type::I64);
  if (op.a.is_value() && values_[op.a.id()].lazy) return emit_bool(id);  // Zext of a condition
  const Operand a = operand(op.a, op.a.is_value() ? from : op.type);
  if (op.a.is_constant()) {
    const Reg d = dest(id);
    load(d, a, width_of(op.type));
    return define(id, d, true);
  }
  if (op.opcode == Opcode::Trunc && op.type != Type::I1) return alias(id, op.a, false);
  if (op.opcode == Opcode::Zext && a.kind == Operand::Gpr && a.clean) return alias(id, op.a, true);
  const Reg d = dest(id, op.a);
  const Operand o = operand(op.a, from);
  if (op.opcode == Opcode::Trunc) {
    load(d, o, Width::b);
    hot_.alu_imm(Alu::And, Width::d, d, 1);
    return define(id, d, true);
  }
  const Width w = width_of(from);
  if (op.opcode == Opcode::Zext) {
    if (o.kind == Operand::Gpr)
      hot_.movzx(w, d, o.reg);
    else
      load(d, o, w);
    return define(id, d, true);
  }
  const Width to = wide(op.type);
  if (from == Type::I1) {
    load(d, o, Width::b, true);
    hot_.neg(to, d);
  } else if (o.kind == Operand::Slot) {
    hot_.movsx(w, to, d, slot(o.offset));
  } else {
    hot_.movsx(w, to, d, o.reg);
  }
  define(id, d, op.type == Type::I32);
}

void Compiler::emit_insert(u32 id, const Op& op) {
  const Type part_type = type_of(op.b, Type::I8);
  const Operand part = operand(op.b, part_type);
  if (part.kind == Operand::Gpr) hold(part.reg);
  const Reg d = dest(id, op.a);
  load(d, operand(op.a, op.type), width_of(op.type));
  Operand p = operand(op.b, part_type);
  const Width w = width_of(part_type);
  if (part_type == Type::I32) {
    if (p.kind == Operand::Gpr && p.reg == d) return define(id, d);  // the whole's own low half
    hot_.shift_imm(Shift::Shr, Width::q, d, 32);
    hot_.shift_imm(Shift::Shl, Width::q, d, 32);
    const Reg t = use_clean(op.b, part_type);
    hot_.alu(Alu::Or, Width::q, d, t);
    return define(id, d);
  }
  const Width whole = width_of(op.type);
  const bool high = op.c.bits() == 8;
  if (high && p.kind == Operand::Gpr && d < rsp && p.reg < rsp) {
    hot_.mov_high(d, p.reg);
    return define(id, d);
  }
  if (high && p.kind == Operand::Gpr && p.reg == d) {
    const Reg t = temp();
    hot_.mov(Width::d, t, d);
    p.reg = t;
  }
  if (high) hot_.shift_imm(Shift::Ror, whole, d, 8);
  if (p.kind == Operand::Constant)
    hot_.mov_imm_low(w, d, u32(p.value));
  else if (p.kind == Operand::Slot)
    hot_.mov(w, d, slot(p.offset));
  else
    hot_.mov(w, d, p.reg);
  if (high) hot_.shift_imm(Shift::Rol, whole, d, 8);
  define(id, d);
}

void Compiler::emit_extract(u32 id, const Op& op) {
  const Operand a = operand(op.a, type_of(op.a, Type::I64));
  if (op.c.bits() == 0 && op.a.is_value()) return alias(id, op.a, false);
  if (a.kind == Operand::Slot) {
    const Reg d = dest(id);
    hot_.movzx(width_of(op.type), d, slot(a.offset + i32(op.c.bits() / 8)));
    return define(id, d, true);
  }
  const Reg d = dest(id, op.a);
  const Operand o = operand(op.a, type_of(op.a, Type::I64));
  if (o.kind == Operand::Gpr && o.reg < rsp && d < r8 && op.type == Type::I8) {
    hot_.movzx_high(d, o.reg);
    return define(id, d, true);
  }
  load(d, o, Width::d);
  hot_.shift_imm(Shift::Shr, Width::d, d, u8(op.c.bits()));
  define(id, d);
}

void Compiler::emit_count(u32 id, const Op& op) {
  const Width w = width_of(op.type);
  if (op.opcode == Opcode::Bswap) {
    const Reg d = dest(id, op.a);
    load(d, operand(op.a, op.type), w);
    if (w == Width::w)
      hot_.shift_imm(Shift::Rol, w, d, 8);
    else
      hot_.bswap(w, d);
    return define(id, d, op.type == Type::I32);
  }
  const Reg a = use_reg(op.a, op.type);
  release(a);
  const Reg d = dest(id, op.a);
  if (op.opcode == Opcode::Clz)
    hot_.lzcnt(w, d, a);
  else if (op.opcode == Opcode::Ctz)
    hot_.tzcnt(w, d, a);
  else
    hot_.popcnt(w, d, a);
  define(id, d, op.type == Type::I32);
}

/// A condition as 0 or 1: the op itself, or a Zext of one that is emitted here.
void Compiler::emit_bool(u32 id) {
  const Op& op = block_->ops[id];
  const Cc cc = condition(op.opcode == Opcode::Zext ? op.a : Ref::value(id));
  held_ = 0;
  const Reg d = dest(id);
  hot_.setcc(cc, d);
  hot_.movzx(Width::b, d, d);
  define(id, d, true);
}

void Compiler::emit_select(u32 id, const Op& op) {
  if (op.type == Type::Flags) return;  // emitted where the flags are used
  const Cc cc = condition(op.a);
  held_ = 0;  // nothing below changes the host flags: moves only
  if (ir::is_vector(op.type)) {
    const Operand b = operand(op.b, op.type);
    if (b.kind == Operand::Vec) held_xmm_ |= 1u << b.xmm;
    const Xmm d = vec_dest(id, op.c);
    load_vector(d, operand(op.c, op.type), op.type);
    const Label skip = hot_.new_label();
    hot_.jcc(invert(cc), skip);
    load_vector(d, operand(op.b, op.type), op.type);
    hot_.bind(skip);
    return define_xmm(id, d);
  }
  Operand b = operand(op.b, op.type);
  Reg b_reg = kNoReg;
  if (b.kind == Operand::Gpr) {
    hold(b_reg = b.reg);
  } else {
    b_reg = temp();
    load(b_reg, b, width_of(op.type));
  }
  const Reg d = dest(id, op.c);
  load(d, operand(op.c, op.type), width_of(op.type));
  hot_.cmov(cc, wide(op.type), d, b_reg);
  define(id, d, op.type == Type::I32 || op.type == Type::I1);
}

}  // namespace emu::tcg::x86_64
