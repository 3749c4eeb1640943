// SPDX-License-Identifier: Apache-2.0
// AVX, AVX2, FMA and F16C: VEX forms on whole ymm registers. What is written clears the register above the vector's
// length (SDM vol. 1, chapter 14). Exception classes: vol. 2, 2.4. Instructions that only read vectors, or make one of
// integers, share their handlers with SSE.
#include <algorithm>

#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::VecOp;

bool Emitter::can_avx() {
  if (!mode_.has(Mode::kAvx)) return raise(kUD), false;
  if (mode_.has(Mode::kCr0TS)) return raise(kNM), false;
  return true;
}

bool Emitter::can_simd(const Insn& insn) { return insn.row->is_vex ? can_avx() : can_sse(); }

// ---- Operands -------------------------------------------------------------------------------------------------------

/// What an SSE or AVX instruction makes of 128 bits: with VEX the rest of the register is cleared.
void Emitter::set_vector(const Insn& insn, unsigned reg, Value v) {
  if (insn.row->is_vex)
    set_ymm(reg, b_.vec_widen(v));
  else
    set_xmm(reg, v);
}

/// log2 of the memory operand's bytes.
unsigned Emitter::avx_memory_log2(const Insn& insn) {
  const unsigned log2 = vec_memory_log2(insn) & 7;
  const bool is_fixed = vec_memory_log2(insn) & 8;
  return log2 + (is_256(insn) && !is_fixed);
}

Emitter::Value Emitter::ymm_rm(const Insn& insn, unsigned log2, bool is_aligned) {
  if (!insn.is_memory) return ymm(insn.rm);
  const Place p = vec_place(insn, log2, is_aligned, AccessKind::Read);
  return b_.load(Type::V256, p.value, p.mem);
}

Emitter::Value Emitter::wide_op(const Insn& insn, VecOp op, Value a, Value b, u8 imm) {
  return with_simd_traps(op, is_256(insn) ? 32 : 16, imm, {a, b, Value{}},
                         [&] { return b_.vec_wide(op, !is_256(insn), a, b, imm); });
}

// ---- One operation --------------------------------------------------------------------------------------------------

/// The row's operation on VEX.vvvv and ModRM.rm, or on the latter if it takes one.
void Emitter::avx_op(const Insn& insn) {
  if (!can_avx()) return;
  const VecOp op = vec_op(insn);
  const Value last = ymm_rm(insn, avx_memory_log2(insn), false);
  const u8 imm = u8(info(op).immediate ? insn.imm : 0);
  const bool is_unary = info(op).arity == 1;
  set_ymm(insn.reg, wide_op(insn, op, is_unary ? last : ymm(insn.vvvv), is_unary ? Value{} : last, imm));
}

void Emitter::avx_shift_imm(const Insn& insn) {
  if (!can_avx()) return;
  set_ymm(insn.vvvv, wide_op(insn, vec_op(insn), ymm(insn.rm), {}, u8(insn.imm)));
}

/// VMOVSS, VMOVSD between registers in the direction of opcode 11.
void Emitter::avx_merge_reverse(const Insn& insn) {
  if (!can_avx()) return;
  set_ymm(insn.rm, wide_op(insn, vec_op(insn), ymm(insn.vvvv), ymm(insn.reg)));
}

/// Three operands. The opcode says which is the destination's old value; that one also gives a scalar's upper lanes.
void Emitter::avx_fused(const Insn& insn) {
  if (!can_avx()) return;
  const Value rm = ymm_rm(insn, avx_memory_log2(insn), false);
  const Value old = ymm(insn.reg), vvvv = ymm(insn.vvvv);
  const bool low = !is_256(insn);
  std::array<Value, 3> operands{vvvv, rm, old};  // 231
  if (insn.opcode >> 4 == 0x9) operands = {old, rm, vvvv};
  if (insn.opcode >> 4 == 0xa) operands = {vvvv, old, rm};
  const u8 upper_from = u8(std::min((insn.opcode >> 4) - 0x9, 2));
  set_ymm(insn.reg, with_simd_traps(vec_op(insn), low ? 16 : 32, 0, operands, [&] {
    return b_.vec3(vec_op(insn), low, operands[0], operands[1], operands[2], upper_from);
  }));
}

void Emitter::avx_blendv(const Insn& insn) {
  if (!can_avx()) return;
  const Value b = ymm_rm(insn, avx_memory_log2(insn), false);
  const unsigned mask = unsigned(insn.imm) >> 4 & (code64() ? 15 : 7);
  set_ymm(insn.reg, b_.vec3(vec_op(insn), !is_256(insn), ymm(insn.vvvv), b, ymm(mask)));
}

// ---- Moves and shuffles ---------------------------------------------------------------------------------------------

/// Whole vectors; arg 1: memory must be aligned.
void Emitter::avx_mov(const Insn& insn) {
  if (!can_avx()) return;
  const unsigned log2 = is_256(insn) ? 5 : 4;
  const bool loads = insn.row->operands[0] == Operand::V, is_aligned = insn.row->arg;
  if (insn.is_memory && !loads) {
    const Place p = vec_place(insn, log2, is_aligned, AccessKind::Write);
    return vec_store(p, is_256(insn) ? ymm(insn.reg) : xmm(insn.reg));
  }
  if (insn.is_memory) return set_ymm(insn.reg, ymm_rm(insn, log2, is_aligned));
  const unsigned to = loads ? insn.reg : insn.rm, from = loads ? insn.rm : insn.reg;
  set_ymm(to, is_256(insn) ? ymm(from) : b_.vec_widen(xmm(from)));
}

/// VMOVSS, VMOVSD (arg: log2 of bytes) with memory.
void Emitter::avx_mov_scalar(const Insn& insn) {
  if (!can_avx()) return;
  const unsigned log2 = insn.row->arg;
  if (insn.row->operands[0] == Operand::V) return set_ymm(insn.reg, ymm_rm(insn, log2, false));
  vec_store(vec_place(insn, log2, false, AccessKind::Write), xmm(insn.reg));
}

/// VMOVDDUP (0), VMOVSLDUP (1), VMOVSHDUP (2).
void Emitter::avx_duplicate(const Insn& insn) {
  if (!can_avx()) return;
  if (insn.row->arg == 0) {
    const Value v = ymm_rm(insn, is_256(insn) ? 5 : 3, false);
    return set_ymm(insn.reg, wide_op(insn, VecOp::VUnpackLo64, v, v));
  }
  const Value v = ymm_rm(insn, is_256(insn) ? 5 : 4, false);
  set_ymm(insn.reg, wide_op(insn, VecOp::VShufI32, v, {}, insn.row->arg == 1 ? 0xa0 : 0xf5));
}

void Emitter::avx_permil_f64(const Insn& insn) {
  if (!can_avx()) return;
  const Value v = ymm_rm(insn, is_256(insn) ? 5 : 4, false);
  set_ymm(insn.reg, wide_op(insn, VecOp::VShufF64, v, v, u8(insn.imm)));
}

/// As a blend of 32-bit lanes.
void Emitter::avx_blend_f64(const Insn& insn) {
  if (!can_avx()) return;
  const Value b = ymm_rm(insn, is_256(insn) ? 5 : 4, false);
  u8 imm = 0;
  for (unsigned i = 0; i < 4; ++i)
    if (insn.imm >> i & 1) imm = u8(imm | 3 << 2 * i);
  set_ymm(insn.reg, wide_op(insn, VecOp::VBlend32, ymm(insn.vvvv), b, imm));
}

void Emitter::avx_broadcast128(const Insn& insn) {
  if (!can_avx()) return;
  const Value v = ymm_rm(insn, 4, false);
  set_ymm(insn.reg, b_.vec_wide(VecOp::VInsert128, false, v, v, 1));
}

/// From memory there is one lane to choose from.
void Emitter::avx_insertps(const Insn& insn) {
  if (!can_avx()) return;
  const Value b = ymm_rm(insn, 2, false);
  const u8 imm = u8(insn.is_memory ? insn.imm & 0x3f : insn.imm);
  set_ymm(insn.reg, b_.vec_wide(VecOp::VInsertF32, true, ymm(insn.vvvv), b, imm));
}

/// VEXTRACTF128, VCVTPS2PH: the destination is ModRM.rm. The probe comes first since a conversion sets flags.
void Emitter::avx_narrow(const Insn& insn) {
  if (!can_avx()) return;
  const VecOp op = vec_op(insn);
  if (!insn.is_memory) return set_ymm(insn.rm, wide_op(insn, op, ymm(insn.reg), {}, u8(insn.imm)));
  const Place p = vec_place(insn, avx_memory_log2(insn), false, AccessKind::Write);
  if (is_float(op)) b_.probe(p.value, p.mem);
  vec_store(p, wide_op(insn, op, ymm(insn.reg), {}, u8(insn.imm)));
}

/// VZEROUPPER (0), VZEROALL (1).
void Emitter::avx_zero(const Insn& insn) {
  if (!can_avx()) return;
  if (insn.row->arg == 0 && code64()) {
    b_.zero_upper();
    for (unsigned i = 0; i < 16 && mode_.has(Mode::kZmm); ++i) b_.set(field_at(F_ZMM_HIGH0, i), vector_zero());
    return;
  }
  const unsigned count = code64() ? 16 : 8;
  for (unsigned i = 0; i < count; ++i) {
    if (insn.row->arg == 0)
      set_ymm(i, b_.vec_widen(xmm(i)));
    else
      set_ymm(i, b_.vec_widen(b_.vec_from_int(b_.i64(0))));
  }
}

/// VPTEST (0), VTESTPS (2), VTESTPD (3). ZF: a & b is zero; CF: ~a & b is; of sign bits, for the latter two.
void Emitter::avx_test(const Insn& insn) {
  if (!can_avx()) return;
  const bool low = !is_256(insn);
  const Value b = ymm_rm(insn, low ? 4 : 5, false);
  if (!wants_flags(insn)) return;
  const unsigned lane = insn.row->arg;
  const auto is_zero = [&](Value v) {
    if (lane != 0) return b_.compare(ir::Cond::Equal, b_.vec_mask(v, lane), b_.i32(0));
    Value any = b_.or_(b_.vec_to_int(Type::I64, v, 0), b_.vec_to_int(Type::I64, v, 1));
    if (!low) any = b_.or_(any, b_.or_(b_.vec_to_int(Type::I64, v, 2), b_.vec_to_int(Type::I64, v, 3)));
    return b_.compare(ir::Cond::Equal, any, b_.i64(0));
  };
  const Value zero = is_zero(b_.vec_wide(VecOp::VAnd, low, ymm(insn.reg), b));
  const Value carry = is_zero(b_.vec_wide(VecOp::VAndNot, low, ymm(insn.reg), b));
  b_.set_flags(b_.fl_unpack(b_.or_(flag_bit(zero, 6), flag_bit(carry, 0))));
}

// ---- Masked and gathered memory: lane by lane, in C++, since only lanes that are accessed may fault -----------------

void Emitter::avx_load_masked(const Insn& insn) {
  if (!can_avx()) return;
  const unsigned bytes = is_256(insn) ? 32 : 16;
  ElementBase base;
  const Value address = element_base(insn, effective(insn), base);
  const u64 kind = u64(insn.reg) | u64(insn.vvvv) << 8 | u64(insn.row->arg) << 16 | u64(bytes) << 24;
  call(H_load_masked, {address, b_.i64(kind | base.pack() << 32)});
}

void Emitter::avx_store_masked(const Insn& insn) {
  if (!can_avx()) return;
  const unsigned bytes = is_256(insn) ? 32 : 16;
  ElementBase base;
  const Value address = element_base(insn, effective(insn), base);
  const u64 kind = u64(insn.reg) | u64(insn.vvvv) << 8 | u64(insn.row->arg) << 16 | u64(bytes) << 24;
  call(H_store_masked, {address, b_.i64(kind | base.pack() << 32)});
}

/// VSIB. Destination, mask and index must differ; there is no 16-bit form. SDM vol. 2, 2.3.12.
void Emitter::avx_gather(const Insn& insn) {
  const bool is_valid = insn.sib_index != kNoReg && insn.address != 1 && insn.reg != insn.vvvv &&
                        insn.reg != insn.sib_index && insn.vvvv != insn.sib_index;
  if (!is_valid) return raise(kUD);
  if (!can_avx()) return;
  Insn scalar = insn;
  scalar.index = kNoReg;
  const Value base = effective_value(effective(scalar));
  const u64 kind = u64(insn.reg) | u64(insn.vvvv) << 4 | u64(insn.sib_index) << 8 | u64(insn.scale) << 12 |
                   u64(insn.row->arg) << 16 | u64(is_256(insn) ? 32 : 16) << 24 | u64(insn.segment) << 32 |
                   u64(insn.address) << 40;
  call(H_gather, {base, b_.i64(kind)});
}

}  // namespace emu::x86
