// SPDX-License-Identifier: Apache-2.0
// The Assembler's prefixed forms: F3/F2/66 integer forms, locked forms, VEX, EVEX, SSE, x87 and state.
#include "tcg/host/x86_64/assembler.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

enum : unsigned { kMap0f = 1, kMap0f38 = 2, kMap0f3a = 3 };
enum : unsigned { kPpNone = 0, kPp66 = 1, kPpF3 = 2, kPpF2 = 3 };

}  // namespace

// F3-prefixed counts: a 16-bit form carries 66 in front of F3.
static u32 count_opcode(u8 op) { return 0x0f00u | op; }

void Assembler::lzcnt(Width w, Reg dst, Reg src) {
  ++flags_version_;
  if (w == Width::w) byte(0x66);
  rr(0xf3, w == Width::q, count_opcode(0xbd), dst, src);
}
void Assembler::tzcnt(Width w, Reg dst, Reg src) {
  ++flags_version_;
  if (w == Width::w) byte(0x66);
  rr(0xf3, w == Width::q, count_opcode(0xbc), dst, src);
}
void Assembler::popcnt(Width w, Reg dst, Reg src) {
  ++flags_version_;
  if (w == Width::w) byte(0x66);
  rr(0xf3, w == Width::q, count_opcode(0xb8), dst, src);
}

// VEX, always the three-byte form unless the two-byte form does

void Assembler::vex_prefix(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg,
                           unsigned vvvv, bool x, bool b) {
  begin();
  const u8 last = u8((~vvvv & 15) << 3 | length << 2 | pp);
  if (map == kMap0f && !is_q && !x && !b) {
    put8(0xc5);
    put8(u8((reg < 8) << 7 | last));
  } else {
    put8(0xc4);
    put8(u8((reg < 8) << 7 | !x << 6 | !b << 5 | map));
    put8(u8(is_q << 7 | last));
  }
  put8(opcode);
}
void Assembler::vex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned vvvv,
                    unsigned rm_reg) {
  vex_prefix(map, pp, is_q, length, opcode, reg, vvvv, false, rm_reg >= 8);
  put8(u8(0xc0 | (reg & 7) << 3 | (rm_reg & 7)));
}
void Assembler::vex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned vvvv,
                    const Mem& m, unsigned imm_bytes) {
  vex_prefix(map, pp, is_q, length, opcode, reg, vvvv, m.index != kNoReg && m.index >= 8,
             m.base != kNoReg && m.base >= 8);
  raw(m, reg, imm_bytes);
}

void Assembler::rorx(Width w, Reg dst, Reg src, u8 count) {
  vex(kMap0f3a, kPpF2, w == Width::q, 0, 0xf0, dst, 0, unsigned(src));
  put8(count);
}
void Assembler::rorx(Width w, Reg dst, const Mem& src, u8 count) {
  vex(kMap0f3a, kPpF2, w == Width::q, 0, 0xf0, dst, 0, src, 1);
  put8(count);
}
void Assembler::shlx(Width w, Reg dst, Reg src, Reg count) {
  vex(kMap0f38, kPp66, w == Width::q, 0, 0xf7, dst, count, unsigned(src));
}
void Assembler::shrx(Width w, Reg dst, Reg src, Reg count) {
  vex(kMap0f38, kPpF2, w == Width::q, 0, 0xf7, dst, count, unsigned(src));
}
void Assembler::sarx(Width w, Reg dst, Reg src, Reg count) {
  vex(kMap0f38, kPpF3, w == Width::q, 0, 0xf7, dst, count, unsigned(src));
}
void Assembler::andn(Width w, Reg dst, Reg inverted, Reg src) {
  ++flags_version_;
  vex(kMap0f38, kPpNone, w == Width::q, 0, 0xf2, dst, inverted, unsigned(src));
}
void Assembler::mulx(Width w, Reg high, Reg low, Reg src) {
  vex(kMap0f38, kPpF2, w == Width::q, 0, 0xf6, high, low, unsigned(src));
}

// Atomics. LOCK is a prefix of its own.

void Assembler::lock_xadd(Width w, const Mem& m, Reg r) {
  ++flags_version_;
  byte(0xf0);
  int_rm(w, w == Width::b ? 0x0fc0 : 0x0fc1, r, m);
}
void Assembler::lock_cmpxchg(Width w, const Mem& m, Reg r) {
  ++flags_version_;
  byte(0xf0);
  int_rm(w, w == Width::b ? 0x0fb0 : 0x0fb1, r, m);
}
void Assembler::lock_cmpxchg16b(const Mem& m) {
  ++flags_version_;
  byte(0xf0);
  rm(0, true, 0x0fc7, 1, m);
}
void Assembler::lock_alu(Alu op, Width w, const Mem& m, Reg r) {
  byte(0xf0);
  alu(op, w, m, r);
}
void Assembler::lock_alu_imm(Alu op, Width w, const Mem& m, i32 imm) {
  byte(0xf0);
  alu_imm(op, w, m, imm);
}
void Assembler::xchg(Width w, const Mem& m, Reg r) { int_rm(w, w == Width::b ? 0x86 : 0x87, r, m); }
void Assembler::mfence() {
  begin();
  put8(0x0f);
  put8(0xae);
  put8(0xf0);
}

// Legacy SSE

void Assembler::sse(u8 prefix, u32 opcode, Xmm reg, Xmm rm_reg) {
  EMU_CHECK(reg < xmm16 && rm_reg < xmm16);
  rr(prefix, false, opcode, reg, rm_reg);
}
void Assembler::sse(u8 prefix, u32 opcode, Xmm reg, const Mem& m) {
  EMU_CHECK(reg < xmm16);
  rm(prefix, false, opcode, reg, m);
}
void Assembler::sse_imm(u8 prefix, u32 opcode, Xmm reg, Xmm rm_reg, u8 imm) {
  sse(prefix, opcode, reg, rm_reg);
  put8(imm);
}
void Assembler::sse_imm(u8 prefix, u32 opcode, Xmm reg, const Mem& m, u8 imm) {
  EMU_CHECK(reg < xmm16);
  rm(prefix, false, opcode, reg, m, false, 1);
  put8(imm);
}
void Assembler::sse_group_imm(u8 prefix, u32 opcode, unsigned digit, Xmm rm_reg, u8 imm) {
  EMU_CHECK(rm_reg < xmm16);
  rr(prefix, false, opcode, digit, rm_reg);
  put8(imm);
}
void Assembler::sse_from_gpr(u8 prefix, u32 opcode, Width w, Xmm reg, Reg rm_reg) {
  EMU_CHECK(reg < xmm16);
  rr(prefix, w == Width::q, opcode, reg, rm_reg);
}
void Assembler::sse_from_gpr_imm(u8 prefix, u32 opcode, Width w, Xmm reg, Reg rm_reg, u8 imm) {
  sse_from_gpr(prefix, opcode, w, reg, rm_reg);
  put8(imm);
}
void Assembler::sse_to_gpr(u8 prefix, u32 opcode, Width w, Reg reg, Xmm rm_reg) {
  EMU_CHECK(rm_reg < xmm16);
  rr(prefix, w == Width::q, opcode, reg, rm_reg);
}
void Assembler::sse_to_gpr(u8 prefix, u32 opcode, Width w, Reg reg, const Mem& m) {
  rm(prefix, w == Width::q, opcode, reg, m);
}
void Assembler::sse_to_gpr_imm(u8 prefix, u32 opcode, Width w, Reg reg, Xmm rm_reg, u8 imm) {
  sse_to_gpr(prefix, opcode, w, reg, rm_reg);
  put8(imm);
}
void Assembler::movd_to(Width w, Xmm dst, Reg src) {
  if (dst >= xmm16) return evex(kMap0f, kPp66, w == Width::q, 0, 0x6e, dst, unsigned(src));
  rr(0x66, w == Width::q, 0x0f6e, dst, src);
}
void Assembler::movd_from(Width w, Reg dst, Xmm src) {
  if (src >= xmm16) return evex(kMap0f, kPp66, w == Width::q, 0, 0x7e, src, unsigned(dst));
  rr(0x66, w == Width::q, 0x0f7e, src, dst);
}
void Assembler::movd_load(Width w, Xmm dst, const Mem& src) {
  const bool is_q = w == Width::q;
  if (dst >= xmm16) return evex(kMap0f, kPpF3, is_q, 0, is_q ? 0x7e : 0x10, dst, src);
  rm(0xf3, false, is_q ? 0x0f7e : 0x0f10, dst, src);
}
void Assembler::movups(Xmm dst, const Mem& src) {
  if (dst >= xmm16) return evex(kMap0f, kPpNone, false, 0, 0x10, dst, src);
  rm(0, false, 0x0f10, dst, src);
}
void Assembler::movups(const Mem& dst, Xmm src) {
  if (src >= xmm16) return evex(kMap0f, kPpNone, false, 0, 0x11, src, dst);
  rm(0, false, 0x0f11, src, dst);
}
void Assembler::movaps(Xmm dst, Xmm src) {
  if (dst >= xmm16 || src >= xmm16) return evex(kMap0f, kPpNone, false, 0, 0x28, dst, unsigned(src));
  rr(0, false, 0x0f28, dst, src);
}
void Assembler::movaps(Xmm dst, const Mem& src) {
  if (dst >= xmm16) return evex(kMap0f, kPpNone, false, 0, 0x28, dst, src);
  rm(0, false, 0x0f28, dst, src);
}
void Assembler::movaps(const Mem& dst, Xmm src) {
  if (src >= xmm16) return evex(kMap0f, kPpNone, false, 0, 0x29, src, dst);
  rm(0, false, 0x0f29, src, dst);
}
void Assembler::vmovups(unsigned log2_bytes, Xmm dst, const Mem& src) {
  if (log2_bytes == 5 && dst < xmm16) return vex(kMap0f, kPpNone, false, 1, 0x10, dst, 0, src, 0);
  evex(kMap0f, kPpNone, false, log2_bytes - 4, 0x10, dst, src);
}
void Assembler::vmovups(unsigned log2_bytes, const Mem& dst, Xmm src) {
  if (log2_bytes == 5 && src < xmm16) return vex(kMap0f, kPpNone, false, 1, 0x11, src, 0, dst, 0);
  evex(kMap0f, kPpNone, false, log2_bytes - 4, 0x11, src, dst);
}
void Assembler::vzeroupper() {
  begin();
  put8(0xc5);
  put8(0xf8);
  put8(0x77);
}

void Assembler::vector(const VectorForm& f, unsigned reg, unsigned vvvv, Xmm rm_reg) {
  if (reg < 16 && vvvv < 16 && rm_reg < xmm16) return vex(f.map, f.pp, f.vex_w, f.is_256, f.opcode, reg, vvvv, rm_reg);
  evex(f.map, f.pp, f.evex_w, f.is_256, f.opcode, reg, unsigned(rm_reg), vvvv);
}
void Assembler::vector(const VectorForm& f, unsigned reg, unsigned vvvv, const Mem& m, unsigned imm_bytes) {
  if (reg < 16 && vvvv < 16) return vex(f.map, f.pp, f.vex_w, f.is_256, f.opcode, reg, vvvv, m, imm_bytes);
  evex(f.map, f.pp, f.evex_w, f.is_256, f.opcode, reg, m, vvvv);
}
void Assembler::vector_gpr(const VectorForm& f, unsigned reg, unsigned vvvv, Reg rm_reg) {
  vector(f, reg, vvvv, Xmm(rm_reg));
}
void Assembler::vmovaps(bool is_256, Xmm dst, Xmm src) { vector({.opcode = 0x28, .is_256 = is_256}, dst, 0, src); }
void Assembler::vmov_load(unsigned log2_bytes, Xmm dst, const Mem& src) {
  switch (log2_bytes) {
    case 2:
      return vector({.pp = kPpF3, .opcode = 0x10}, dst, 0, src);
    case 3:
      return vector({.pp = kPpF3, .opcode = 0x7e, .evex_w = true}, dst, 0, src);
    default:
      return vector({.opcode = 0x10, .is_256 = log2_bytes == 5}, dst, 0, src);
  }
}

// EVEX without masking. Memory forms use a 32-bit displacement, as the 8-bit one is scaled.

void Assembler::evex_prefix(unsigned map, unsigned pp, bool is_q, unsigned length, unsigned reg, bool x, bool b,
                            unsigned vvvv) {
  begin();
  put8(0x62);
  put8(u8(!(reg & 8) << 7 | !x << 6 | !b << 5 | !(reg & 16) << 4 | map));
  put8(u8(is_q << 7 | (~vvvv & 15) << 3 | 4 | pp));
  put8(u8(length << 5 | !(vvvv & 16) << 3));
}
void Assembler::evex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, unsigned rm_reg,
                     unsigned vvvv) {
  evex_prefix(map, pp, is_q, length, reg, rm_reg & 16, rm_reg & 8, vvvv);
  put8(opcode);
  put8(u8(0xc0 | (reg & 7) << 3 | (rm_reg & 7)));
}
void Assembler::evex(unsigned map, unsigned pp, bool is_q, unsigned length, u8 opcode, unsigned reg, const Mem& m,
                     unsigned vvvv) {
  evex_prefix(map, pp, is_q, length, reg, m.index != kNoReg && (m.index & 8), m.base != kNoReg && (m.base & 8), vvvv);
  put8(opcode);
  const bool sib = m.index != kNoReg || (m.base & 7) == rsp;
  EMU_CHECK(m.base != kNoReg && !m.rip_target);
  put8(u8(2 << 6 | (reg & 7) << 3 | (sib ? 4u : m.base & 7u)));
  if (sib) put8(u8(m.scale << 6 | (m.index == kNoReg ? 4u : m.index & 7u) << 3 | (m.base & 7u)));
  put32(u32(m.disp));
}

// x87 and state

void Assembler::ldmxcsr(const Mem& m) { rm(0, false, 0x0fae, 2, m); }
void Assembler::stmxcsr(const Mem& m) { rm(0, false, 0x0fae, 3, m); }
void Assembler::fxsave64(const Mem& m) { rm(0, true, 0x0fae, 0, m); }
void Assembler::fxrstor64(const Mem& m) { rm(0, true, 0x0fae, 1, m); }
void Assembler::x87(u8 escape, u8 modrm) {
  begin();
  put8(escape);
  put8(modrm);
}
void Assembler::x87(u8 escape, unsigned digit, const Mem& m) { rm(0, false, escape, digit, m); }
void Assembler::wait() { byte(0x9b); }

}  // namespace emu::tcg::x86_64
