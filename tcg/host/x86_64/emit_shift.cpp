// SPDX-License-Identifier: Apache-2.0
// Shifts and rotates, of one word and of two.
#include "tcg/host/x86_64/compiler.h"

namespace emu::tcg::x86_64 {

void Compiler::emit_shift(u32 id, const Op& op) {
  const Width w = wide(op.type), from = width_of(op.type);
  const Shift shift = op.opcode == Opcode::Shl ? Shift::Shl : op.opcode == Opcode::Shr ? Shift::Shr : Shift::Sar;
  const auto load_wide = [&](Reg d) {
    load(d, operand(op.a, op.type), from, is_narrow(op.type) && shift == Shift::Shr);
    if (is_narrow(op.type) && shift == Shift::Sar) hot_.movsx(from, Width::d, d, d);
  };
  const bool clean = op.type == Type::I32 || (is_narrow(op.type) && shift == Shift::Shr);
  if (op.b.is_constant()) {
    const u8 count = u8(block_->constant_value(op.b) & (bits(w) - 1));
    const Reg d = dest(id, op.a);
    load_wide(d);
    if (count) hot_.shift_imm(shift, w, d, count);
    return define(id, d, clean && count);
  }
  const Reg count = use_reg(op.b, Type::I8);
  if (!is_narrow(op.type)) {
    const Reg a = use_reg(op.a, op.type);
    if (a != count) release(a);
    const Reg d = dest(id, op.a);
    if (shift == Shift::Shl)
      hot_.shlx(w, d, a, count);
    else if (shift == Shift::Shr)
      hot_.shrx(w, d, a, count);
    else
      hot_.sarx(w, d, a, count);
    return define(id, d, clean);
  }
  const Reg d = dest(id, op.a);
  load_wide(d);
  if (shift == Shift::Shl)
    hot_.shlx(w, d, d, count);
  else if (shift == Shift::Shr)
    hot_.shrx(w, d, d, count);
  else
    hot_.sarx(w, d, d, count);
  define(id, d, clean);
}

/// Calls emit(register) with the count in cl and dst's value in that register.
void Compiler::with_count_in_rcx(Reg dst, Ref count, const std::function<void(Reg)>& emit) {
  const Operand o = operand(count, Type::I8);
  if (o.kind == Operand::Gpr && o.reg == rcx && dst != rcx) return emit(dst);
  Reg work = dst;
  if (dst == rcx) {
    work = temp();
    hot_.mov(Width::q, work, rcx);
  } else {
    hot_.mov(Width::q, slot(offset_of_spill(kSaveRcx)), rcx);
  }
  load(rcx, operand(count, Type::I8), Width::b);
  emit(work);
  if (dst == rcx)
    hot_.mov(Width::q, rcx, work);
  else
    hot_.mov(Width::q, rcx, slot(offset_of_spill(kSaveRcx)));
}

void Compiler::emit_rotate(u32 id, const Op& op) {
  const Shift shift = op.opcode == Opcode::Rotl ? Shift::Rol : Shift::Ror;
  const Width w = width_of(op.type);
  if (op.b.is_constant()) {
    const u8 count = u8(block_->constant_value(op.b) & (ir::width(op.type) - 1));
    const Reg d = dest(id, op.a);
    load(d, operand(op.a, op.type), w);
    if (count) hot_.shift_imm(shift, w, d, count);
    return define(id, d, op.type == Type::I32 && count);
  }
  const Operand count = operand(op.b, Type::I8);
  if (count.kind == Operand::Gpr) hold(count.reg);
  const Reg d = dest(id, op.a);
  load(d, operand(op.a, op.type), w);
  // The processor masks counts of narrow rotations by 31, which leaves the rotation as it is.
  with_count_in_rcx(d, op.b, [&](Reg r) { hot_.shift_cl(shift, w, r); });
  define(id, d);
}

void Compiler::emit_double_shift(u32 id, const Op& op) {
  const Width w = width_of(op.type);
  const bool left = op.opcode == Opcode::Shld;
  if (op.c.is_constant()) {
    const u8 count = u8(block_->constant_value(op.c) & (bits(w) - 1));
    const Reg b = use_reg(op.b, op.type);
    const Reg d = dest(id, op.a);
    load(d, operand(op.a, op.type), w);
    if (left)
      hot_.shld(w, d, b, count);
    else
      hot_.shrd(w, d, b, count);
    return define(id, d);
  }
  const Operand count = operand(op.c, Type::I8);
  Reg b = kNoReg;
  if (const Operand ob = operand(op.b, op.type); ob.kind == Operand::Gpr && ob.reg != rcx) {
    b = ob.reg;
    hold(b);
  } else {  // rcx may be about to hold the count
    b = temp();
    load(b, ob, w);
  }
  if (count.kind == Operand::Gpr) hold(operand(op.c, Type::I8).reg);
  const Reg d = temp();
  load(d, operand(op.a, op.type), w);
  with_count_in_rcx(d, op.c, [&](Reg r) { left ? hot_.shld_cl(w, r, b) : hot_.shrd_cl(w, r, b); });
  define(id, d);
}

}  // namespace emu::tcg::x86_64
