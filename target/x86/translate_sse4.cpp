// SPDX-License-Identifier: Apache-2.0
// SSE4 instructions that are more than one IR operation; the others are sse_op(). SDM Vol. 1 chapter 12.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::VecOp;

/// By the signs of xmm0's lanes (arg: log2 of lane bytes).
void Emitter::sse_blendv(const Insn& insn) {
  if (!can_sse()) return;
  const Value b = vec_rm(insn, 4, true), a = xmm(insn.reg), chooser = xmm(0);
  Value mask;
  if (insn.row->arg == 0) {
    mask = b_.vec(VecOp::VCmpGtI8, b_.vec(VecOp::VXor, chooser, chooser), chooser);
  } else {
    mask = b_.vec1(VecOp::VSarI32, chooser, 31);
    if (insn.row->arg == 3) mask = b_.vec1(VecOp::VShufI32, mask, 0xf5);
  }
  set_xmm(insn.reg, b_.vec(VecOp::VOr, b_.vec(VecOp::VAnd, mask, b), b_.vec(VecOp::VAndNot, mask, a)));
}

/// BLENDPS, BLENDPD as blends of 16-bit lanes (arg: log2 of lane bytes).
void Emitter::sse_blend(const Insn& insn) {
  if (!can_sse()) return;
  const unsigned words = insn.row->arg == 2 ? 2 : 4, lanes = 8 / words;
  u8 imm = 0;
  for (unsigned i = 0; i < lanes; ++i)
    if (insn.imm >> i & 1) imm = u8(imm | low_mask(words) << (i * words));
  const Value b = vec_rm(insn, 4, true);
  set_xmm(insn.reg, b_.vec(VecOp::VBlend16, xmm(insn.reg), b, imm));
}

/// ZF: a & b is zero; CF: ~a & b is.
void Emitter::sse_ptest(const Insn& insn) {
  if (!can_sse()) return;
  const Value b = vec_rm(insn, 4, true);
  if (!wants_flags(insn)) return;
  const auto is_zero = [&](Value v) {
    const Value low = b_.vec_to_int(Type::I64, v, 0), high = b_.vec_to_int(Type::I64, v, 1);
    return b_.compare(ir::Cond::Equal, b_.or_(low, high), b_.i64(0));
  };
  const Value zero = is_zero(b_.vec(VecOp::VAnd, xmm(insn.reg), b));
  const Value carry = is_zero(b_.vec(VecOp::VAndNot, xmm(insn.reg), b));
  b_.set_flags(b_.fl_unpack(b_.or_(flag_bit(zero, 6), flag_bit(carry, 0))));
}

namespace {

/// log2 of the lane's bytes: arg, or the operand size if that is 4.
unsigned lane_log2(const Insn& insn) { return insn.row->arg == 4 ? insn.size : insn.row->arg; }
unsigned lane_of(const Insn& insn) { return unsigned(insn.imm) & ((16u >> lane_log2(insn)) - 1); }

}  // namespace

/// PEXTRB, PEXTRW, PEXTRD, PEXTRQ, EXTRACTPS: a register receives the lane zero-extended.
void Emitter::sse_extract(const Insn& insn) {
  if (!can_simd(insn)) return;
  const unsigned log2 = lane_log2(insn);
  const Value v = b_.vec_to_int(type_of(log2), xmm(insn.reg), lane_of(insn));
  if (insn.is_memory) return store(memory_place(insn, log2, AccessKind::Write), v);
  set_gpr(insn.rm, 3, to_i64(v));
}

/// PINSRB, PINSRD, PINSRQ. The byte is the register's lowest, whatever a missing REX would make of its number.
void Emitter::sse_insert(const Insn& insn) {
  if (!can_simd(insn)) return;
  const unsigned log2 = lane_log2(insn);
  const Value v = insn.is_memory ? load(memory_place(insn, log2, AccessKind::Read)) : get_gpr(insn.rm, log2);
  set_vector(insn, insn.reg, b_.vec_insert(xmm(first_source(insn)), v, lane_of(insn)));
}

/// From memory there is one lane to choose from.
void Emitter::sse_insertps(const Insn& insn) {
  if (!can_sse()) return;
  const Value b = vec_rm(insn, 2, false);
  set_xmm(insn.reg, b_.vec(VecOp::VInsertF32, xmm(insn.reg), b, u8(insn.is_memory ? insn.imm & 0x3f : insn.imm)));
}

/// PCMPESTRM, PCMPESTRI, PCMPISTRM, PCMPISTRI (arg 0 to 3). Memory need not be aligned.
void Emitter::sse_compare_strings(const Insn& insn) {
  if (!can_simd(insn)) return;
  const bool is_index = insn.row->arg & 1, is_implicit = insn.row->arg & 2;
  b_.set(F_VEC_TMP0, vec_rm(insn, 4, false));
  const auto length = [&](unsigned reg) {
    if (is_implicit) return b_.i64(0);
    return insn.rex_w() ? b_.get(gpr_field(reg)) : b_.sext(Type::I64, get_gpr(reg, 2));
  };
  const Value kind = b_.i64((insn.imm & 0x7f) | (is_index ? 0 : 0x100) | (is_implicit ? 0x200 : 0));
  const Value result = call(H_compare_strings, {b_.i64(insn.reg), kind, length(RAX), length(RDX)});
  if (is_index) set_gpr(RCX, 2, b_.trunc(Type::I32, result));
  if (!is_index && insn.row->is_vex) set_vector(insn, 0, xmm(0));
  if (wants_flags(insn)) b_.set_flags(b_.fl_unpack(b_.shr(result, b_.i8(32))));
}

// ---- SSSE3 on MMX registers -----------------------------------------------------------------------------------------

void Emitter::mmx_align(const Insn& insn) {
  if (!can_mmx()) return;
  const Value b = mmx_rm(insn, 3);
  const Value both = b_.vec(VecOp::VUnpackLo64, b, b_.vec_from_int(mmx(insn.reg)));
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, b_.vec1(VecOp::VShrBytes, both, u8(insn.imm)), 0));
}

/// Indexes have three bits here.
void Emitter::mmx_shuffle(const Insn& insn) {
  if (!can_mmx()) return;
  const Value b = mmx_rm(insn, 3);
  const Value index = b_.vec(VecOp::VAnd, b, b_.vec_from_int(b_.i64(0x8787'8787'8787'8787)));
  const Value r = b_.vec(VecOp::VShuffle8, b_.vec_from_int(mmx(insn.reg)), index);
  set_mmx(insn.reg, b_.vec_to_int(Type::I64, r, 0));
}

}  // namespace emu::x86
