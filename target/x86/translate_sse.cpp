// SPDX-License-Identifier: Apache-2.0
// SSE, SSE2 and SSE3 on xmm registers, one instruction to one IR operation wherever there is one. SDM Vol. 1 chapters
// 10 to 12; alignment and faults: Vol. 2, 2.4 (exception types).
//
// The host runs with every SIMD floating-point exception masked. Where the guest's MXCSR unmasks one
// (Mode::kSimdTraps), each operation runs on clear flags, which decide before anything is written.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::VecOp;

bool Emitter::can_sse() {
  if (mode_.has(Mode::kCr0EM) || !mode_.has(Mode::kOsFxsr)) return raise(kUD), false;
  if (mode_.has(Mode::kCr0TS)) return raise(kNM), false;
  return true;
}

// ---- Operands -------------------------------------------------------------------------------------------------------

Emitter::Place Emitter::vec_place(const Insn& insn, unsigned log2, bool is_aligned, AccessKind kind) {
  Place p = memory_place(insn, log2, kind);
  if (is_aligned && mode_.has(Mode::kAlignCheck)) {  // #GP still, which the access itself would not tell from #AC
    const Value address = p.mem.disp == 0 ? p.value : b_.add(p.value, b_.i64(u64(i64(p.mem.disp))));
    const Value low = b_.and_(address, b_.i64(low_mask(log2)));
    raise_if(b_.compare(ir::Cond::NotEqual, low, b_.i64(0)), trap_code(kGP, 0));
  } else if (is_aligned) {  // #GP: raise_alignment_fault()
    p.mem.align_log2 = u8(log2);
    p.mem.align_fault = true;
  }
  return p;
}

Emitter::Value Emitter::vec_rm(const Insn& insn, unsigned log2, bool is_aligned) {
  if (!insn.is_memory) return xmm(insn.rm);
  const Place p = vec_place(insn, log2, is_aligned, AccessKind::Read);
  return b_.load(Type::V128, p.value, p.mem);
}

void Emitter::end_simd(VecOp op, unsigned bytes, u8 imm, std::array<Value, 3> operands) {
  for (unsigned i = 0; i < 3; ++i) {
    if (operands[i].type == Type::Void) continue;
    b_.set(F_SIMD_A + i, operands[i].type == Type::V128 ? b_.vec_widen(operands[i]) : operands[i]);
  }
  call(H_simd_end, {b_.i64(u64(op) | bytes << 16 | u64(imm) << 24)});
}

/// The row's operation on a and b, or on b if it takes one.
Emitter::Value Emitter::apply_vec(const Insn& insn, Value a, Value b) {
  const VecOp op = vec_op(insn);
  const bool is_compare = op >= VecOp::VCmpF32 && op <= VecOp::VCmpSF64;
  const u8 imm = u8(is_compare ? insn.imm & 7 : insn.imm);
  const bool is_unary = info(op).arity == 1;
  return with_simd_traps(op, 16, imm, is_unary ? std::array{b, Value{}, Value{}} : std::array{a, b, Value{}},
                         [&] { return is_unary ? b_.vec1(op, b, imm) : b_.vec(op, a, b, imm); });
}

// ---- Arithmetic, logic, shuffles, conversions between vectors -------------------------------------------------------

void Emitter::sse_op(const Insn& insn) {
  if (!can_sse()) return;
  const unsigned log2 = vec_memory_log2(insn);
  const Value b = vec_rm(insn, log2, log2 == 4);
  set_xmm(insn.reg, apply_vec(insn, info(vec_op(insn)).arity == 1 ? Value{} : xmm(insn.reg), b));
}

void Emitter::sse_shift_imm(const Insn& insn) {
  if (!can_sse()) return;
  set_xmm(insn.rm, b_.vec1(vec_op(insn), xmm(insn.rm), u8(insn.imm)));
}

/// The message words are in xmm0.
void Emitter::sse_sha256_rounds(const Insn& insn) {
  if (!can_sse()) return;
  const Value b = vec_rm(insn, 4, true);
  set_xmm(insn.reg, b_.vec3(VecOp::VSha256Rounds, false, xmm(insn.reg), b, xmm(0)));
}

// ---- Moves ----------------------------------------------------------------------------------------------------------

/// Whole registers; arg 1: memory must be aligned.
void Emitter::sse_mov(const Insn& insn) {
  if (!can_sse()) return;
  const bool is_aligned = insn.row->arg;
  if (insn.row->operands[0] == Operand::V) return set_xmm(insn.reg, vec_rm(insn, 4, is_aligned));
  if (!insn.is_memory) return set_xmm(insn.rm, xmm(insn.reg));
  vec_store(vec_place(insn, 4, is_aligned, AccessKind::Write), xmm(insn.reg));
}

/// MOVSS, MOVSD (arg: log2 of bytes): from memory the rest becomes zero, between registers it stays.
void Emitter::sse_mov_scalar(const Insn& insn) {
  if (!can_sse()) return;
  const unsigned log2 = insn.row->arg;
  const bool loads = insn.row->operands[0] == Operand::V;
  if (insn.is_memory) {
    if (loads) return set_xmm(insn.reg, vec_rm(insn, log2, false));
    return vec_store(vec_place(insn, log2, false, AccessKind::Write), xmm(insn.reg));
  }
  const unsigned to = loads ? insn.reg : insn.rm, from = loads ? insn.rm : insn.reg;
  set_xmm(to, b_.vec(log2 == 2 ? VecOp::VMergeLow32 : VecOp::VMergeLow64, xmm(to), xmm(from)));
}

/// MOVLPS (arg 0), MOVHPS (1) to memory.
void Emitter::sse_store_half(const Insn& insn) {
  if (!can_simd(insn)) return;
  const Place p = vec_place(insn, 3, false, AccessKind::Write);
  const Value v = xmm(insn.reg);
  vec_store(p, insn.row->arg == 0 ? v : b_.vec(VecOp::VUnpackHi64, v, v));
}

/// MOVDDUP (arg 0), MOVSLDUP (1), MOVSHDUP (2).
void Emitter::sse_duplicate(const Insn& insn) {
  if (!can_sse()) return;
  if (insn.row->arg == 0) {
    const Value v = vec_rm(insn, 3, false);
    return set_xmm(insn.reg, b_.vec(VecOp::VUnpackLo64, v, v));
  }
  set_xmm(insn.reg, b_.vec1(VecOp::VShufI32, vec_rm(insn, 4, true), insn.row->arg == 1 ? 0xa0 : 0xf5));
}

void Emitter::sse_movq(const Insn& insn) {
  if (!can_simd(insn)) return;
  const bool loads = insn.row->operands[0] == Operand::V;
  if (!insn.is_memory) {
    const unsigned to = loads ? insn.reg : insn.rm, from = loads ? insn.rm : insn.reg;
    return set_vector(insn, to, b_.vec1(VecOp::VZeroHigh64, xmm(from)));
  }
  if (loads) return set_vector(insn, insn.reg, vec_rm(insn, 3, false));
  vec_store(vec_place(insn, 3, false, AccessKind::Write), xmm(insn.reg));
}

void Emitter::sse_movd_from(const Insn& insn) {
  if (!can_simd(insn)) return;
  if (insn.is_memory) return set_vector(insn, insn.reg, vec_rm(insn, insn.size, false));
  set_vector(insn, insn.reg, b_.vec_from_int(get_gpr(insn.rm, insn.size)));
}

void Emitter::sse_movd_to(const Insn& insn) {
  if (!can_simd(insn)) return;
  if (insn.is_memory) return vec_store(vec_place(insn, insn.size, false, AccessKind::Write), xmm(insn.reg));
  set_gpr(insn.rm, insn.size, b_.vec_to_int(type_of(insn.size), xmm(insn.reg), 0));
}

void Emitter::sse_pinsrw(const Insn& insn) {
  if (!can_simd(insn)) return;
  set_vector(insn, insn.reg,
             b_.vec_insert(xmm(first_source(insn)), read(insn, insn.row->is_vex ? 2 : 1), insn.imm & 7));
}

void Emitter::sse_pextrw(const Insn& insn) {
  if (!can_simd(insn)) return;
  set_gpr(insn.reg, 2, b_.zext(Type::I32, b_.vec_to_int(Type::I16, xmm(insn.rm), insn.imm & 7)));
}

/// MOVMSKPS, MOVMSKPD, PMOVMSKB (arg: log2 of lane bytes).
void Emitter::sse_mask(const Insn& insn) {
  if (!can_simd(insn)) return;
  set_gpr(insn.reg, 2, b_.vec_mask(is_256(insn) ? ymm(insn.rm) : xmm(insn.rm), insn.row->arg));
}

void Emitter::sse_maskmov(const Insn& insn) {
  if (!can_simd(insn)) return;
  const Effective e{wrap_offset(b_.get(gpr_field(RDI)), insn.address), 0, insn.segment, false};
  ElementBase base;
  const Value address = element_base(insn, e, base);
  call(H_maskmov, {address, b_.i64(insn.reg | base.pack() << 8), b_.i64(insn.rm)});
}

// ---- Between vectors and integers -----------------------------------------------------------------------------------

/// CVTSI2SS, CVTSI2SD (arg 1).
void Emitter::sse_from_int(const Insn& insn) {
  if (!can_simd(insn)) return;
  const Value v = read(insn, insn.row->is_vex ? 2 : 1);
  const Value first = xmm(first_source(insn));
  set_vector(insn, insn.reg,
             with_simd_traps(true, [&] { return b_.vec_convert_from_int(first, v, insn.row->arg); }));
}

/// arg bit 0: from double; bit 1: truncating.
void Emitter::sse_to_int(const Insn& insn) {
  if (!can_simd(insn)) return;
  const bool is_f64 = insn.row->arg & 1;
  const Value v = vec_rm(insn, is_f64 ? 3 : 2, false);
  const ir::Round round = insn.row->arg & 2 ? ir::Round::Truncate : ir::Round::Current;
  set_gpr(insn.reg, insn.size,
          with_simd_traps(true, [&] { return b_.vec_convert_to_int(type_of(insn.size), v, is_f64, round); }));
}

/// UCOMIS, COMIS. arg bit 0: double; bit 1: quiet NaNs are invalid, too.
void Emitter::sse_compare_flags(const Insn& insn) {
  if (!can_simd(insn)) return;
  const bool is_f64 = insn.row->arg & 1;
  const Value b = vec_rm(insn, is_f64 ? 3 : 2, false);
  const Value a = xmm(insn.reg);
  if (mode_.has(Mode::kSimdTraps)) {  // a helper looks at the flags before the compare's
    call(H_simd_begin, {});
    const Value packed = b_.fl_pack(b_.fl_fcmp(a, b, is_f64, insn.row->arg & 2));
    end_simd();
    if (wants_flags(insn)) b_.set_flags(b_.fl_unpack(packed));
    return;
  }
  const Value flags = b_.fl_fcmp(a, b, is_f64, insn.row->arg & 2);
  if (wants_flags(insn)) b_.set_flags(flags);
}

}  // namespace emu::x86
