// SPDX-License-Identifier: Apache-2.0
// Vector operations: legacy SSE one to one, so that upper halves are kept as legacy SSE keeps them.
#include "tcg/host/x86_64/compiler.h"
#include "tcg/host/x86_64/vector_encoding.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {

using ir::VecOp;

bool Compiler::emit_vector(u32 id, const Op& op) {
  switch (op.opcode) {
    case Opcode::Vec:
      if (ir::vec_op_of(op.c.bits()) == VecOp::VWiden128)
        emit_widen(id, op);
      else if (op.type == Type::V256)
        emit_vex(id, op);
      else
        emit_vec(id, op);
      return true;
    case Opcode::ZeroUpper:
      emit_zero_upper();
      return true;
    case Opcode::Vec3:
      if (op.type == Type::V256)
        emit_vex_three(id, op);
      else
        emit_sha256_rounds(id, op);
      return true;
    case Opcode::VecInsert:
      emit_vec_insert(id, op);
      return true;
    case Opcode::VecToInt:
      emit_vec_to_int(id, op);
      return true;
    case Opcode::X87:
      emit_x87(id, op);
      return true;
    case Opcode::VecFromInt: {
      const Reg r = use_reg(op.a, op.type);
      const Xmm d = vec_dest(id);
      hot_.movd_to(width_of(op.type), d, r);
      return define_xmm(id, d), true;
    }
    case Opcode::VecCvtFromInt: {
      const Reg r = use_reg(op.b, op.type);
      const Work w = legacy_work(id, op.a, op.a);
      load_xmm(w.reg, operand(op.a, Type::V128));
      hot_.sse_from_gpr(op.c.bits() & 1 ? 0xf2 : 0xf3, 0x0f2a, width_of(op.type), w.reg, r);
      return finish_legacy(id, w), true;
    }
    case Opcode::VecCvtToInt: {
      const Reg d = dest(id);
      const u8 prefix = op.c.bits() & 1 ? 0xf2 : 0xf3;
      const u32 opcode = op.c.bits() & 2 ? 0x0f2c : 0x0f2d;
      Operand a = operand(op.a, Type::V128);
      if (a.kind != Operand::Vec || a.xmm >= xmm16)
        hot_.sse_to_gpr(prefix, opcode, width_of(op.type), d, in_memory(a));
      else
        hot_.sse_to_gpr(prefix, opcode, width_of(op.type), d, a.xmm);
      return define(id, d, op.type == Type::I32), true;
    }
    case Opcode::VecMask:
      emit_vec_mask(id, op);
      return true;
    default:
      return false;
  }
}

Mem Compiler::in_memory(const Operand& v) {
  if (v.kind == Operand::Slot) return slot(v.offset);
  if (block_->wide_vectors)
    hot_.vmovups(5, slot(kTransient), v.xmm);
  else
    hot_.movaps(slot(kTransient), v.xmm);
  return slot(kTransient);
}

Compiler::Work Compiler::legacy_work(u32 id, Ref a, Ref b) {
  Work w;
  w.reg = w.result = vec_dest(id, a);
  if (w.reg < xmm16) return w;
  const Operand oa = operand(a, Type::V128), ob = operand(b, Type::V128);
  for (unsigned x = 0; x < 3; ++x) {
    if ((oa.kind != Operand::Vec || oa.xmm != x) && (ob.kind != Operand::Vec || ob.xmm != x)) w.reg = Xmm(x);
  }
  move_whole(map_.borrow_save, w.reg);
  return w;
}

void Compiler::finish_legacy(u32 id, const Work& w) {
  if (w.reg != w.result) {
    hot_.movaps(w.result, w.reg);
    move_whole(w.reg, map_.borrow_save);
  }
  define_xmm(id, w.result);
}

void Compiler::emit_vec(u32 id, const Op& op) {
  const VecOp vec = ir::vec_op_of(op.c.bits());
  const Encoding& e = encoding(vec);
  const bool has_imm = ir::info(vec).immediate;
  const u8 imm = u8(ir::immediate_of(op.c.bits()));
  const bool unary = ir::info(vec).arity == 1;
  const Ref last = unary ? op.a : op.b;
  const Work w = legacy_work(id, op.a, last);
  if (e.form == Form::GroupImm) {
    load_xmm(w.reg, operand(op.a, Type::V128));
    hot_.sse_group_imm(e.prefix, e.opcode, e.digit, w.reg, imm);
    return finish_legacy(id, w);
  }
  Operand b = operand(last, Type::V128);
  const Operand a = operand(op.a, Type::V128);
  // The second operand is read after the first has been copied: it goes to memory if the copy overwrites it, or if
  // legacy SSE does not reach it.
  const bool overwritten =
      !unary && b.kind == Operand::Vec && b.xmm == w.reg && !(a.kind == Operand::Vec && a.xmm == w.reg);
  const bool to_memory = b.kind != Operand::Vec || b.xmm >= xmm16 || overwritten;
  Mem m;
  if (to_memory) m = in_memory(b);
  if (!unary) load_xmm(w.reg, a);
  if (!to_memory) {
    if (has_imm)
      hot_.sse_imm(e.prefix, e.opcode, w.reg, b.xmm, imm);
    else
      hot_.sse(e.prefix, e.opcode, w.reg, b.xmm);
    return finish_legacy(id, w);
  }
  switch (e.form) {
    case Form::Low32:
      hot_.sse_imm(0x66, 0x0f3a21, w.reg, m, 0);
      break;
    case Form::Low64:
      hot_.sse(0, 0x0f12, w.reg, m);
      break;
    case Form::Lane32:
      m.disp += 4 * (imm >> 6);
      hot_.sse_imm(e.prefix, e.opcode, w.reg, m, imm & 0x3f);
      break;
    case Form::High64:
      m.disp += 8;
      hot_.sse(0, 0x0f12, w.reg, m);
      break;
    default:
      if (has_imm)
        hot_.sse_imm(e.prefix, e.opcode, w.reg, m, imm);
      else
        hot_.sse(e.prefix, e.opcode, w.reg, m);
      break;
  }
  finish_legacy(id, w);
}

void Compiler::emit_vec_to_int(u32 id, const Op& op) {
  const Operand a = operand(op.a, Type::V128);
  const unsigned lane = op.c.bits();
  const Width size = width_of(op.type);
  const Reg d = dest(id);
  if ((lane << unsigned(size)) >= 16) {  // in the upper half
    Mem m = in_memory(a);
    m.disp += i32(lane << unsigned(size));
    hot_.movzx(size, d, m);
    return define(id, d, true);
  }
  const bool first = lane == 0 && size >= Width::d;
  if (a.kind == Operand::Vec && first) {
    hot_.movd_from(size, d, a.xmm);
  } else if (a.kind != Operand::Vec || a.xmm >= xmm16) {
    Mem m = in_memory(a);
    m.disp += i32(lane << unsigned(size));
    hot_.movzx(size, d, m);
  } else if (size == Width::w) {
    hot_.sse_to_gpr_imm(0x66, 0x0fc5, Width::d, d, a.xmm, u8(lane));
  } else {  // PEXTRB, PEXTRD and PEXTRQ have the general register in the other field
    hot_.sse_from_gpr_imm(0x66, size == Width::b ? 0x0f3a14 : 0x0f3a16, size == Width::q ? Width::q : Width::d, a.xmm,
                          d, u8(lane));
  }
  define(id, d, true);
}

void Compiler::emit_vec_insert(u32 id, const Op& op) {
  const Width size = width_of(op.type);
  const u8 lane = u8(op.c.bits());
  const Reg r = use_reg(op.b, op.type);
  const Xmm d = vec_dest(id, op.a);
  const Operand a = operand(op.a, Type::V128);
  if (d >= xmm16) {
    const Xmm x = a.kind == Operand::Vec ? a.xmm : d;
    load_xmm(x, a);
    hot_.movaps(slot(kTransient), x);
    hot_.mov(size, slot(kTransient + (lane << unsigned(size))), r);
    hot_.movaps(d, slot(kTransient));
    return define_xmm(id, d);
  }
  load_xmm(d, a);
  const u32 opcode = size == Width::b ? 0x0f3a20 : size == Width::w ? 0x0fc4 : 0x0f3a22;
  hot_.sse_from_gpr_imm(0x66, opcode, size == Width::q ? Width::q : Width::d, d, r, lane);
  define_xmm(id, d);
}

}  // namespace emu::tcg::x86_64
