// SPDX-License-Identifier: Apache-2.0
// MMX: the SSE operations on the low half of a vector; registers are read and written by helpers, since they overlay
// the x87 unit's. SDM Vol. 1 chapter 9. Slow, and rare in today's guests.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::VecOp;

bool Emitter::can_mmx() {
  if (mode_.has(Mode::kCr0EM)) return raise(kUD), false;
  if (mode_.has(Mode::kCr0TS)) return raise(kNM), false;
  if (x87_traps()) call(H_x87_pending, {});
  return true;
}

Emitter::Value Emitter::mmx(unsigned reg) { return call(H_mmx_read, {b_.i64(reg & 7)}); }
void Emitter::set_mmx(unsigned reg, Value i64) { call(H_mmx_write, {b_.i64(reg & 7), i64}); }

/// As a vector, so that memory comes first: what can fault must.
Emitter::Value Emitter::mmx_rm(const Insn& insn, unsigned log2) {
  return insn.is_memory ? vec_rm(insn, log2, log2 == 4) : b_.vec_from_int(mmx(insn.rm));
}

void Emitter::mmx_op(const Insn& insn) {
  if (!can_mmx()) return;
  const Value b = mmx_rm(insn, vec_memory_log2(insn));
  const Value a = info(vec_op(insn)).arity == 1 ? Value{} : b_.vec_from_int(mmx(insn.reg));
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, apply_vec(insn, a, b), 0));
}

/// The high half of 64 bits unpacks into the high half of what the low 64 bits of a vector unpack into.
void Emitter::mmx_unpack_high(const Insn& insn) {
  if (!can_mmx()) return;
  const Value b = mmx_rm(insn, 3);
  const Value a = b_.vec_from_int(mmx(insn.reg));
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, apply_vec(insn, a, b), 1));
}

void Emitter::mmx_pack(const Insn& insn) {
  if (!can_mmx()) return;
  const Value b = mmx_rm(insn, 3);
  const Value both = b_.vec(VecOp::VUnpackLo64, b_.vec_from_int(mmx(insn.reg)), b);
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, b_.vec(vec_op(insn), both, both), 0));
}

void Emitter::mmx_shift_imm(const Insn& insn) {
  if (!can_mmx()) return;
  const Value a = b_.vec_from_int(mmx(insn.rm));
  set_mmx(insn.rm, b_.vec_to_int(Type::I64, b_.vec1(vec_op(insn), a, u8(insn.imm)), 0));
}

void Emitter::mmx_movd_from(const Insn& insn) {
  if (!can_mmx()) return;
  set_mmx(insn.reg, to_i64(read(insn, 1)));
}

void Emitter::mmx_movd_to(const Insn& insn) {
  if (!can_mmx()) return;
  const Place p = place(insn, 0, AccessKind::Write);
  if (p.is_memory()) b_.probe(p.value, p.mem);
  store(p, fit(type_of(p.log2), mmx(insn.reg)));
}

/// MOVQ and MOVNTQ.
void Emitter::mmx_movq(const Insn& insn) {
  if (!can_mmx()) return;
  const bool loads = insn.row->operands[0] == Operand::P;
  if (!insn.is_memory) {
    return loads ? set_mmx(insn.reg, mmx(insn.rm)) : set_mmx(insn.rm, mmx(insn.reg));
  }
  const Place p = memory_place(insn, 3, loads ? AccessKind::Read : AccessKind::Write);
  if (loads) return set_mmx(insn.reg, load(p));
  b_.probe(p.value, p.mem);
  store(p, mmx(insn.reg));
}

void Emitter::mmx_pinsrw(const Insn& insn) {
  if (!can_mmx()) return;
  const Value word = read(insn, 1);
  const Value v = b_.vec_insert(b_.vec_from_int(mmx(insn.reg)), word, insn.imm & 3);
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, v, 0));
}

void Emitter::mmx_pextrw(const Insn& insn) {
  if (!can_mmx()) return;
  const Value v = b_.vec_from_int(mmx(insn.rm));
  set_gpr(insn.reg, 2, b_.zext(Type::I32, b_.vec_to_int(Type::I16, v, insn.imm & 3)));
}

void Emitter::mmx_mask(const Insn& insn) {
  if (!can_mmx()) return;
  set_gpr(insn.reg, 2, b_.vec_mask(b_.vec_from_int(mmx(insn.rm)), 0));
}

void Emitter::mmx_maskmov(const Insn& insn) {
  if (!can_mmx()) return;
  const Effective e{wrap_offset(b_.get(gpr_field(RDI)), insn.address), 0, insn.segment, false};
  const Value address = linear_value(linear(e, 8, AccessKind::Write));
  const Value data = mmx(insn.reg);
  call(H_maskmovq, {address, data, mmx(insn.rm)});
}

void Emitter::mmx_empty(const Insn&) {
  if (!can_mmx()) return;
  call(H_emms, {});
}

// ---- With xmm registers ---------------------------------------------------------------------------------------------

void Emitter::mmx_to_xmm(const Insn& insn) {
  if (!can_sse()) return;
  if (x87_traps()) call(H_x87_pending, {});
  set_xmm(insn.reg, b_.vec_from_int(mmx(insn.rm)));
}

void Emitter::mmx_from_xmm(const Insn& insn) {
  if (!can_sse()) return;
  if (x87_traps()) call(H_x87_pending, {});
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, xmm(insn.rm), 0));
}

/// CVTPI2PS keeps the upper half; CVTPI2PD writes all and, from memory, leaves the x87 unit alone.
void Emitter::mmx_to_float(const Insn& insn) {
  if (!can_sse()) return;
  if (x87_traps() && !insn.is_memory) call(H_x87_pending, {});
  const Value source = mmx_rm(insn, 3);
  const Value v = with_simd_traps(true, [&] { return b_.vec1(vec_op(insn), source); });
  const bool is_f64 = vec_op(insn) == VecOp::VCvtI32F64;
  set_xmm(insn.reg, is_f64 ? v : b_.vec(VecOp::VMergeLow64, xmm(insn.reg), v));
}

/// CVTPS2PI and the like. The lanes beyond the source's must not set flags.
void Emitter::mmx_from_float(const Insn& insn) {
  if (!can_sse()) return;
  if (x87_traps()) call(H_x87_pending, {});
  const unsigned log2 = vec_memory_log2(insn);
  Value v = vec_rm(insn, log2, log2 == 4);
  if (log2 == 3 && !insn.is_memory) v = b_.vec1(VecOp::VZeroHigh64, v);
  if (mode_.has(Mode::kSimdTraps)) mmx(insn.reg);  // the unit is in MMX state even if #XM follows
  const Value converted = with_simd_traps(true, [&] { return b_.vec1(vec_op(insn), v); });
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, converted, 0));
}

}  // namespace emu::x86
