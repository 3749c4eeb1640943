// Multiplications and divisions. One instruction of the host makes both halves of a product, or quotient and remainder:
// where the block wants both, the first op makes the other's value, too.
#include <algorithm>
#include <utility>

#include "tcg/host/x86_64/compiler.h"

namespace emu::tcg::x86_64 {
namespace {

bool is_scratch(Reg r) { return r == r9 || r == r10 || r == r11; }

}  // namespace

/// The op right behind `id` that is `opcode` of the same operands; 0 if there is none, or nobody wants its value.
/// Nothing in between notices that it is made early.
u32 Compiler::other_half(u32 id, Opcode opcode) const {
  const Op& op = block_->ops[id];
  const u32 end = std::min(id + 3, u32(block_->ops.size()));
  for (u32 i = id + 1; i < end; ++i) {
    const Op& next = block_->ops[i];
    if (next.opcode == opcode && next.type == op.type && next.a == op.a && next.b == op.b) {
      return values_[i].uses != 0 ? i : 0;
    }
    if (next.opcode != Opcode::Trunc && next.opcode != Opcode::Nop) return 0;
  }
  return 0;
}

/// Whether the two values go to rax and rdx next, and nothing else that is there is used behind them.
bool Compiler::are_wanted_in_place(u32 low, u32 high) {
  return values_[low].hint == rax && values_[high].hint == rdx && is_free(rax, high) && is_free(rdx, high);
}

void Compiler::emit_multiply(u32 id, const Op& op) {
  if (op.type == Type::I32 || op.type == Type::I64) {
    for (const Opcode high : {Opcode::MulHiU, Opcode::MulHiS}) {
      const u32 other = other_half(id, high);
      if (other != 0 && emit_multiply_both(id, other, op, high == Opcode::MulHiS)) return;
    }
  }
  const Width w = wide(op.type);
  const Operand ob = operand(op.b, op.type);
  if (ob.is_imm32()) {
    const Reg a = use_reg(op.a, op.type);
    release(a);
    const Reg d = dest(id, op.a);
    hot_.imul_imm(w, d, a, i32(ob.value));
    return define(id, d, op.type == Type::I32);
  }
  const Reg b = use_reg(op.b, op.type);
  const Reg d = dest(id, op.a);
  load(d, operand(op.a, op.type), width_of(op.type));
  hot_.imul(w, d, b);
  define(id, d, op.type == Type::I32);
}

/// False: the halves are made one by one.
bool Compiler::emit_multiply_both(u32 id, u32 other, const Op& op, bool is_signed) {
  const Width w = width_of(op.type);
  if (are_wanted_in_place(id, other)) {
    const auto is_in_rax = [&](Ref r) {
      const Operand o = operand(r, op.type);
      return o.kind == Operand::Gpr && o.reg == rax;
    };
    Ref a = op.a, b = op.b;
    if (is_in_rax(b)) std::swap(a, b);
    Operand by = operand(b, op.type);
    if (by.kind == Operand::Constant) {
      const Reg t = temp();
      load(t, by, w);
      by = {.kind = Operand::Gpr, .reg = t};
    }
    load(rax, operand(a, op.type), w);
    const unsigned digit = is_signed ? 5 : 4;
    if (by.kind == Operand::Slot)
      hot_.group3(w, digit, slot(by.offset));
    else
      hot_.group3(w, digit, by.reg);
    define(id, rax, op.type == Type::I32);
    define(other, rdx, op.type == Type::I32);
    return true;
  }
  if (op.type != Type::I64) return false;
  if (is_signed) {
    const Reg t = temp(), u = temp();
    load(t, operand(op.b, Type::I64), Width::q);
    hot_.mov(Width::q, slot(offset_of_spill(kSaveRax)), rax);
    hot_.mov(Width::q, slot(offset_of_spill(kSaveRdx)), rdx);
    load(rax, operand(op.a, Type::I64), Width::q);
    hot_.imul1(Width::q, t);
    take_halves(t, u);
    define(id, t);
    define(other, u);
    return true;
  }
  // MULX: rdx by anything, to any two registers.
  Ref a = op.a, b = op.b;
  if (const Operand o = operand(b, Type::I64); o.kind == Operand::Gpr && o.reg == rdx) std::swap(a, b);
  if (const Operand o = operand(a, Type::I64); o.kind == Operand::Gpr && is_scratch(o.reg)) out_of_scratch(a);
  const Reg by = use_reg(b, Type::I64);
  const Reg low = dest(id), high = dest(other);
  const Operand first = operand(a, Type::I64);
  const bool is_there = first.kind == Operand::Gpr && first.reg == rdx;
  const bool saves = !is_there && low != rdx && high != rdx;
  if (saves) hot_.mov(Width::q, slot(offset_of_spill(kSaveRdx)), rdx);
  if (!is_there) load(rdx, first, Width::q);
  hot_.mulx(Width::q, high, low, by);
  if (saves) hot_.mov(Width::q, rdx, slot(offset_of_spill(kSaveRdx)));
  define(id, low);
  define(other, high);
  return true;
}

/// What rax and rdx hold goes to `low` and `high`, what they held comes back.
void Compiler::take_halves(Reg low, Reg high) {
  if (low != kNoReg) hot_.mov(Width::q, low, rax);
  if (high != kNoReg) hot_.mov(Width::q, high, rdx);
  hot_.mov(Width::q, rax, slot(offset_of_spill(kSaveRax)));
  hot_.mov(Width::q, rdx, slot(offset_of_spill(kSaveRdx)));
}

/// High halves: narrow types from a product of twice the width; I64 by MULX (rdx is an operand) or one-operand IMUL.
void Compiler::emit_multiply_high(u32 id, const Op& op) {
  if (values_[id].where != Where::Nowhere) return;  // the low half's op has made it
  const bool is_signed = op.opcode == Opcode::MulHiS;
  if (op.type != Type::I64) {
    const Width w = width_of(op.type), product = op.type == Type::I32 ? Width::q : Width::d;
    const auto extend = [&](Reg dst, Ref r) {
      const Operand o = operand(r, op.type);
      load(dst, o, w, true);
      if (is_signed) hot_.movsx(w, Width::q, dst, dst);
    };
    const Reg d = temp(), t = temp();
    extend(d, op.a);
    extend(t, op.b);
    hot_.imul(product, d, t);
    hot_.shift_imm(Shift::Shr, product, d, u8(ir::width(op.type)));
    return define(id, d, !is_signed || op.type == Type::I32);
  }
  const Reg b = temp(), d = temp();
  load(b, operand(op.b, Type::I64), Width::q);
  if (!is_signed) {
    hot_.mov(Width::q, slot(offset_of_spill(kSaveRdx)), rdx);
    load(rdx, operand(op.a, Type::I64), Width::q);
    hot_.mulx(Width::q, d, d, b);
    hot_.mov(Width::q, rdx, slot(offset_of_spill(kSaveRdx)));
    return define(id, d);
  }
  hot_.mov(Width::q, slot(offset_of_spill(kSaveRax)), rax);
  hot_.mov(Width::q, slot(offset_of_spill(kSaveRdx)), rdx);
  load(rax, operand(op.a, Type::I64), Width::q);
  hot_.imul1(Width::q, b);
  take_halves(kNoReg, d);
  define(id, d);
}

/// rdx:rax by `divisor`, with rax loaded and extended.
void Compiler::emit_host_division(const Op& op, bool is_signed, Reg divisor) {
  const Width w = width_of(op.type);
  load(rax, operand(op.a, op.type), w);
  if (is_signed) {
    hot_.sign_into_rdx(w);
    hot_.idiv(w, divisor);
  } else {
    hot_.alu(Alu::Xor, Width::d, rdx, rdx);
    hot_.div(w, divisor);
  }
}

void Compiler::emit_divide(u32 id, const Op& op) {
  if (values_[id].where != Where::Nowhere) return;  // the quotient's op has made the remainder
  const Width w = width_of(op.type);
  const bool is_signed = op.opcode == Opcode::SDiv || op.opcode == Opcode::SRem;
  const bool is_remainder = op.opcode == Opcode::URem || op.opcode == Opcode::SRem;
  const bool is_clean = op.type == Type::I32;
  const u32 other = is_remainder ? 0 : other_half(id, is_signed ? Opcode::SRem : Opcode::URem);
  if (other != 0 && are_wanted_in_place(id, other)) {
    const Operand b = operand(op.b, op.type);
    Reg divisor = b.reg;
    if (b.kind != Operand::Gpr || divisor == rax || divisor == rdx) {
      divisor = temp();
      load(divisor, b, w);
    }
    emit_host_division(op, is_signed, divisor);
    define(id, rax, is_clean);
    return define(other, rdx, is_clean);
  }
  const Reg t = temp(), u = temp();
  load(t, operand(op.b, op.type), w);
  hot_.mov(Width::q, slot(offset_of_spill(kSaveRax)), rax);
  hot_.mov(Width::q, slot(offset_of_spill(kSaveRdx)), rdx);
  emit_host_division(op, is_signed, t);
  take_halves(is_remainder ? kNoReg : t, is_remainder ? t : other != 0 ? u : kNoReg);
  define(id, t, is_clean);
  if (other != 0) define(other, u, is_clean);
}

}  // namespace emu::tcg::x86_64
