// SPDX-License-Identifier: Apache-2.0
// Vector operations on V256: VEX one to one, so that VEX.128 clears upper halves as the guest expects. Scratch
// registers beyond 15 take the EVEX form where one has the same effect; else a low register is borrowed, or the operand
// goes through memory.
#include "tcg/host/x86_64/compiler.h"
#include "tcg/host/x86_64/vector_encoding.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {

using ir::VecOp;

namespace {

constexpr u32 bit_of(Xmm x) { return x == kNoXmm ? 0 : 1u << x; }
u32 bit_of(const Operand& o) { return o.kind == Operand::Vec ? bit_of(o.xmm) : 0; }

/// Scalar forms and the like exist with VEX.L = 0 only, which their op says by kVecLowHalf.
bool is_256(const Op& op) { return !(op.flags & ir::kVecLowHalf); }

}  // namespace

Compiler::Work Compiler::low_work(u32 id, bool any_register, u32 avoid, Ref reuse) {
  Work w;
  w.reg = w.result = vec_dest(id, reuse);
  if (w.reg < xmm16 || any_register) return w;
  for (unsigned x = 0; x < 4; ++x) {
    if (!(avoid >> x & 1)) w.reg = Xmm(x);
  }
  hot_.vmovaps(true, map_.borrow_save, w.reg);
  return w;
}

void Compiler::finish_low(u32 id, const Work& w) {
  if (w.reg != w.result) {
    hot_.vmovaps(true, w.result, w.reg);
    hot_.vmovaps(true, w.reg, map_.borrow_save);
  }
  define_xmm(id, w.result);
}

void Compiler::emit_widen(u32 id, const Op& op) {
  const Operand a = operand(op.a, Type::V128);
  const Xmm d = vec_dest(id);
  if (a.kind == Operand::Slot)
    hot_.vmov_load(4, d, slot(a.offset));
  else
    hot_.vmovaps(false, d, a.xmm);
  define_xmm(id, d);
}

/// VZEROUPPER, which reaches registers 0 to 15: the guest's, and scratch without AVX-512.
void Compiler::emit_zero_upper() {
  for (unsigned x = 0; x < 16; ++x) {
    bool has_wide = false;
    for (u32 id = xmm_head_[x]; id; id = values_[id].next)
      has_wide |= values_[id].last_use > now_ && ir::result_type(block_->ops[id]) == Type::V256;
    if (!has_wide) continue;
    evict_xmm(Xmm(x), now_);
    xmm_head_[x] = 0;
  }
  const auto is_at_home = [&](size_t i) {
    const ir::StateField& field = layout_->fields[i];
    return field.type == Type::V256 && field.pin == ir::Pin::Vector && !map_.is_pinned(ir::FieldId(i));
  };
  const size_t count = layout_->fields.size();
  for (size_t i = 0; i < count; ++i) {
    if (is_at_home(i)) move_home_values(i32(layout_->fields[i].offset), 16, now_, 0);
  }
  Xmm zero = kNoXmm;  // only now: what moves goes through a scratch register
  for (size_t i = 0; i < count; ++i) {
    if (!is_at_home(i)) continue;
    if (zero == kNoXmm) {
      zero = vec_temp();
      hot_.vector({.pp = 1, .opcode = 0xef}, zero, zero, zero);
    }
    hot_.movups(slot(i32(layout_->fields[i].offset) + 16), zero);
  }
  hot_.vzeroupper();
}

/// One or two operands. The first of two must be in a register, the last one may be in memory.
void Compiler::emit_vex(u32 id, const Op& op) {
  const VecOp vec = ir::vec_op_of(op.c.bits());
  const Encoding& e = encoding(vec);
  const Assembler::VectorForm form = e.vector_form(is_256(op));
  const ir::VecOpInfo& info = ir::info(vec);
  const u8 imm = u8(ir::immediate_of(op.c.bits()));
  const bool is_unary = info.arity == 1, has_evex = e.evex_w >= 0;
  const Operand last = operand(is_unary ? op.a : op.b, op.type);
  held_xmm_ |= bit_of(last);
  Operand first;
  if (!is_unary) first = {.kind = Operand::Vec, .xmm = use_xmm(op.a)};
  held_xmm_ |= bit_of(first);
  const Work w = low_work(id, has_evex, bit_of(first) | bit_of(last), is_unary ? op.a : op.b);

  Xmm vvvv = first.kind == Operand::Vec ? first.xmm : xmm0;
  // Before anything is copied to the destination: the last operand may be there.
  const bool copies_first = !is_unary && !has_evex && vvvv >= xmm16;
  const bool in_register = last.kind == Operand::Vec && (has_evex || last.xmm < xmm16) &&
                           !(copies_first && last.xmm == w.reg) && e.form != Form::GroupImm;
  if (e.form == Form::GroupImm || (vec == VecOp::VExtract128)) {  // the source is in ModRM.rm and must be a register
    const Xmm source = last.kind == Operand::Vec ? last.xmm : w.reg;
    if (last.kind != Operand::Vec) load_vector(source, last, op.type);
    if (vec == VecOp::VExtract128)  // and the destination there
      hot_.vector(form, source, 0, w.reg);
    else
      hot_.vector(form, e.digit, w.reg, source);
    hot_.immediate(imm);
    return finish_low(id, w);
  }
  if (vec == VecOp::VCvtF32F16) {  // likewise
    Xmm source = last.kind == Operand::Vec ? last.xmm : w.reg;
    if (last.kind != Operand::Vec) load_vector(source, last, op.type);
    hot_.vector(form, source, 0, w.reg);
    hot_.immediate(imm);
    return finish_low(id, w);
  }
  Mem m;
  if (!in_register) m = in_memory(last);
  if (copies_first) {
    hot_.vmovaps(true, w.reg, vvvv);
    vvvv = w.reg;
  }
  if (in_register) {
    hot_.vector(form, w.reg, is_unary ? 0 : vvvv, last.xmm);
    if (info.immediate) hot_.immediate(imm);
    return finish_low(id, w);
  }
  switch (e.form) {
    case Form::Low32:
      hot_.vector({.map = 3, .pp = 1, .opcode = 0x21}, w.reg, vvvv, m, 1);
      hot_.immediate(0);
      break;
    case Form::High64:
      m.disp += 8;
      [[fallthrough]];
    case Form::Low64:
      hot_.vector({.opcode = 0x12}, w.reg, vvvv, m);
      break;
    case Form::Lane32:
      m.disp += 4 * (imm >> 6);
      hot_.vector(form, w.reg, vvvv, m, 1);
      hot_.immediate(imm & 0x3f);
      break;
    default:
      hot_.vector(form, w.reg, is_unary ? 0 : vvvv, m, info.immediate);
      if (info.immediate) hot_.immediate(imm);
      break;
  }
  finish_low(id, w);
}

/// The operand that the immediate names is the destination's old value, the others are VEX.vvvv and ModRM.rm, so that
/// NaNs are chosen, and upper lanes kept, as the guest's instruction does.
void Compiler::emit_fused(u32 id, const Op& op, const Operand (&operands)[3]) {
  const VecOp vec = ir::vec_op_of(op.c.bits());
  Assembler::VectorForm form = encoding(vec).vector_form(is_256(op));
  const unsigned which = ir::immediate_of(op.c.bits()) & 3;
  constexpr u8 kOpcodeStep[] = {0x00, 0x10, 0x20};                      // 132, 213, 231
  constexpr u8 kOthers[][2] = {{2, 1}, {0, 2}, {0, 1}};                // vvvv, rm
  form.opcode = u8(form.opcode + kOpcodeStep[which]);
  const Operand& old = operands[which];
  const Operand& second = operands[kOthers[which][0]];
  const Operand& third = operands[kOthers[which][1]];

  for (const Operand& o : operands) held_xmm_ |= bit_of(o);
  Xmm vvvv = second.xmm;
  if (second.kind != Operand::Vec) {
    vvvv = vec_temp();
    load_vector(vvvv, second, op.type);
  }
  const Ref refs[] = {op.a, block_->args[op.b.bits()], block_->args[op.b.bits() + 1]};
  const Xmm d = vec_dest(id, refs[which]);
  const bool clobbers = (d == vvvv || (third.kind == Operand::Vec && third.xmm == d)) &&
                        !(old.kind == Operand::Vec && old.xmm == d);
  Xmm work = d;
  if (clobbers) work = vec_temp();
  load_vector(work, old, op.type);
  if (third.kind == Operand::Vec)
    hot_.vector(form, work, vvvv, third.xmm);
  else
    hot_.vector(form, work, vvvv, slot(third.offset));
  if (work != d) hot_.vmovaps(true, d, work);
  define_xmm(id, d);
}

void Compiler::emit_vex_three(u32 id, const Op& op) {
  const VecOp vec = ir::vec_op_of(op.c.bits());
  const Ref rb = block_->args[op.b.bits()], rc = block_->args[op.b.bits() + 1];
  const Operand operands[3] = {operand(op.a, op.type), operand(rb, op.type), operand(rc, op.type)};
  if (vec <= VecOp::VFmsubaddF64) return emit_fused(id, op, operands);

  // Blends: the first in VEX.vvvv, the second in ModRM.rm, the mask in imm8[7:4]; all below 16.
  const Assembler::VectorForm form = encoding(vec).vector_form(is_256(op));
  u32 used = 0;
  for (const Operand& o : operands) used |= bit_of(o);
  held_xmm_ |= used;
  constexpr i32 kSaveA = kTransient + 32;
  const auto low = [&](const Operand& o) { return o.kind == Operand::Vec && o.xmm < xmm16; };
  const bool saves = map_.borrow_save != kNoXmm;
  // Without EVEX registers every register is low, and there are three to spare.
  if (!saves) {
    const Xmm a = use_xmm(op.a), c = use_xmm(rc);
    const Xmm d = operands[0].kind == Operand::Vec ? vec_dest(id, op.a) : a;
    if (operands[1].kind == Operand::Vec)
      hot_.vector(form, d, a, operands[1].xmm);
    else
      hot_.vector(form, d, a, slot(operands[1].offset), 1);
    hot_.immediate(u8(c << 4));
    return define_xmm(id, d);
  }
  const Work w = low_work(id, false, used, op.a);
  Mem second;
  if (!low(operands[1])) second = in_memory(operands[1]);
  Xmm mask = operands[2].xmm, borrowed = kNoXmm;
  if (!low(operands[2])) {
    for (unsigned x = 0; x < 6; ++x) {
      if (!(used >> x & 1) && Xmm(x) != w.reg) borrowed = Xmm(x);
    }
    mask = borrowed;
    hot_.vmovups(5, slot(kSaveA), borrowed);
    load_vector(borrowed, operands[2], op.type);
  }
  Xmm a = operands[0].xmm;
  if (!low(operands[0])) {
    // The destination may still hold the second operand or the mask: those go to memory, or to the borrowed register.
    if (low(operands[1]) && operands[1].xmm == w.reg) {
      hot_.vmovups(5, slot(kTransient), w.reg);
      second = slot(kTransient);
    }
    if (mask == w.reg) {
      for (unsigned x = 0; x < 6; ++x) {
        if (!(used >> x & 1) && Xmm(x) != w.reg) borrowed = Xmm(x);
      }
      hot_.vmovups(5, slot(kSaveA), borrowed);
      hot_.vmovaps(true, borrowed, mask);
      mask = borrowed;
    }
    load_vector(w.reg, operands[0], op.type);
    a = w.reg;
  }
  if (second.base == kNoReg)
    hot_.vector(form, w.reg, a, operands[1].xmm);
  else
    hot_.vector(form, w.reg, a, second, 1);
  hot_.immediate(u8(mask << 4));
  if (borrowed != kNoXmm) hot_.vmovups(5, borrowed, slot(kSaveA));
  finish_low(id, w);
}

/// SHA256RNDS2 takes its third operand in xmm0.
void Compiler::emit_sha256_rounds(u32 id, const Op& op) {
  const Ref rb = block_->args[op.b.bits()], rc = block_->args[op.b.bits() + 1];
  const Operand a = operand(op.a, Type::V128), b = operand(rb, Type::V128), c = operand(rc, Type::V128);
  const Encoding& e = encoding(VecOp::VSha256Rounds);
  held_xmm_ |= bit_of(b) | bit_of(c);
  // Through memory, but for the usual case: everything where the guest's instruction has it.
  const Xmm d = vec_dest(id, op.a);
  const bool c_in_place = c.kind == Operand::Vec && c.xmm == xmm0;
  const bool direct = c_in_place && d < xmm16 && !(b.kind == Operand::Vec && (b.xmm == d || b.xmm >= xmm16)) &&
                      (d != xmm0 || (a.kind == Operand::Vec && a.xmm == xmm0));
  if (direct) {
    load_xmm(d, a);
    if (b.kind == Operand::Vec)
      hot_.sse(e.prefix, e.opcode, d, b.xmm);
    else
      hot_.sse(e.prefix, e.opcode, d, slot(b.offset));
    return define_xmm(id, d);
  }
  // Spill slots use their lower 32 bytes.
  constexpr i32 kSave0 = kTransient, kSave1 = kTransient + 32, kSpare = 32;
  const auto store = [&](const Operand& o, unsigned spill) {
    const i32 at = offset_of_vector_spill(spill) + kSpare;
    if (o.kind == Operand::Slot) return o.offset;
    hot_.movups(slot(at), o.xmm);
    return at;
  };
  const i32 first = store(a, 4), second = store(b, 5), third = store(c, 6);
  hot_.vmovups(5, slot(kSave0), xmm0);
  hot_.vmovups(5, slot(kSave1), xmm1);
  hot_.movups(xmm1, slot(first));
  hot_.movups(xmm0, slot(second));
  hot_.movups(slot(offset_of_vector_spill(5) + kSpare), xmm0);  // aligned, as a legacy operand must be
  hot_.movups(xmm0, slot(third));
  hot_.sse(e.prefix, e.opcode, xmm1, slot(offset_of_vector_spill(5) + kSpare));
  hot_.movups(slot(offset_of_vector_spill(4) + kSpare), xmm1);
  hot_.vmovups(5, xmm0, slot(kSave0));
  hot_.vmovups(5, xmm1, slot(kSave1));
  load_xmm(d, {.kind = Operand::Slot, .offset = offset_of_vector_spill(4) + kSpare});
  define_xmm(id, d);
}

/// MOVMSKPS, MOVMSKPD, PMOVMSKB by log2 of the lane's bytes.
void Compiler::emit_vec_mask(u32 id, const Op& op) {
  const Reg d = dest(id);
  const Type type = vector_type(op.a);
  const Operand a = operand(op.a, type);
  Xmm x = a.xmm;
  const bool borrow = map_.borrow_save != kNoXmm && (a.kind != Operand::Vec || x >= xmm16);
  if (borrow) {
    x = xmm0;
    move_whole(map_.borrow_save, x);
    load_vector(x, a, type);
  } else if (a.kind != Operand::Vec) {
    x = use_xmm(op.a);
  }
  const unsigned log2 = op.c.bits();
  if (type == Type::V256) {
    hot_.vector({.pp = u8(log2 == 2 ? 0 : 1), .opcode = u8(log2 == 0 ? 0xd7 : 0x50), .is_256 = true}, d, 0, x);
  } else if (log2 == 0) {
    hot_.sse_to_gpr(0x66, 0x0fd7, Width::d, d, x);
  } else {
    hot_.sse_to_gpr(log2 == 3 ? 0x66 : 0, 0x0f50, Width::d, d, x);
  }
  if (borrow) move_whole(x, map_.borrow_save);
  define(id, d, true);
}

}  // namespace emu::tcg::x86_64
