// SPDX-License-Identifier: Apache-2.0
// States and memory to run a case on: operands where the instruction finds them.
#include "isa/generate.h"
#include "target/x86/state.h"
#include "util/bits.h"

namespace emu::isa {

using namespace x86;

namespace {

void put_bytes(u8* at, u64 low, u64 high) {
  std::memcpy(at, &low, 8);
  std::memcpy(at + 8, &high, 8);
}

/// An 80-bit number: normal, denormal, infinite, NaN of each kind, and what the unit calls unsupported.
void put_extended(u8* at, Random& r) {
  u64 significand = r.integer();
  u16 exponent = u16(r.next());
  switch (r.below(8)) {
    case 0:
      exponent = u16(r.pick<u16>({0, 0x7fff, 0x3fff, 1, 0x7ffe, 0x3ffe, 0x403e, 0x401e, 0x400d}) | r.below(2) << 15);
      significand = r.pick<u64>({0, u64(1) << 63, u64(3) << 62, u64(5) << 61, ~u64(0), 1, u64(1) << 62});
      break;
    case 1:
    case 2: {  // a whole number
      const u64 v = r.below(2) ? r.below(1000) + 1 : (r.next() >> r.below(60)) | 1;
      const unsigned shift = unsigned(std::countl_zero(v));
      significand = v << shift;
      exponent = u16((0x3fff + 63 - shift) | r.below(2) << 15);
      break;
    }
    case 3:
      exponent = 0;
      break;
    case 4:
      exponent = u16(0x3ff0 + r.below(32)) | u16(r.below(2) << 15);
      significand |= u64(1) << 63;
      break;
    case 5:
      break;
    default:
      significand |= u64(1) << 63;
      break;
  }
  std::memcpy(at, &significand, 8);
  std::memcpy(at + 8, &exponent, 2);
}

/// Mask bits of which at least one is clear.
u32 some_masks(Random& r) {
  return r.one_in(2) ? u32(r.below(63)) : 0x3fu & ~(1u << r.below(6));
}

void make_x87(Vectors& v, bool traps, Random& r) {
  v.put<u16>(Vectors::kControlWord,
             u16((traps ? some_masks(r) : 0x3fu) | r.pick<u16>({3, 3, 0, 2}) << 8 | r.below(4) << 10 | 0x40));
  v.put<u16>(Vectors::kStatus, u16(r.one_in(2) ? 0 : r.next() & 0x477f) | u16(r.below(8) << 11));
  v.put<u8>(Vectors::kTags, u8(r.one_in(3) ? r.next() : r.pick<u8>({0, 0xff, 0xff, 0x7f})));
  for (unsigned i = 0; i < 8; ++i) put_extended(v.st(i), r);
}

/// Mask registers, and what ZMM adds.
void make_avx512(Vectors& v, bool in_use, Random& r) {
  if (!host_has_avx512()) return;
  for (unsigned i = 0; i < 8; ++i) {
    const u64 mask =
        r.one_in(3) ? r.integer() : r.pick<u64>({0, ~u64(0), 1, r.next(), r.next() & r.next(), r.next() | r.next()});
    std::memcpy(v.opmask(i), &mask, 8);
  }
  for (unsigned i = 0; i < 16; ++i) {
    for (unsigned at = 0; at < 32; at += 16)
      put_bytes(v.zmm_high(i) + at, in_use ? r.floating() : 0, in_use ? r.integer() : 0);
    for (unsigned at = 0; at < 64; at += 16)
      put_bytes(v.zmm16(i) + at, r.one_in(2) ? r.floating() : r.integer(), r.next());
  }
}

void make_vectors(Vectors& v, bool traps, Random& r) {
  for (unsigned i = 0; i < 16; ++i) {
    const bool floating = r.one_in(2);
    const auto word = [&] { return floating ? r.floating() : r.integer(); };
    put_bytes(v.xmm(i), word(), word());
    put_bytes(v.ymm_high(i), r.next(), r.next());
  }
  u32 masks = 0x3f;
  while (traps && masks == 0x3f) masks = some_masks(r);
  u32 mxcsr = masks << 7 | u32(r.below(4) << 13) | u32(r.one_in(2) ? 0 : r.below(64));
  if (r.one_in(4)) mxcsr |= 0x8000;  // flush to zero
  if (r.one_in(4)) mxcsr |= 0x40;    // denormals are zeros
  v.put<u32>(Vectors::kMxcsr, mxcsr);
}

u64 memory_word(const Memory& m, u64 address) {
  u64 v = 0;
  if (address - kWindow <= kWindowBytes - 8) std::memcpy(&v, m.bytes + (address - kWindow), 8);
  return v;
}

bool has_operand(const Row& row, Operand first, Operand last) {
  for (const Operand o : row.operands)
    if (o >= first && o <= last) return true;
  return false;
}

/// Points the registers of `insn`'s memory operand at `target`, as far as they can reach it.
void aim(State& s, const Insn& insn, u64 target, Random& r) {
  if (insn.base == kBaseRip || (insn.base == kNoReg && insn.index == kNoReg)) return;
  u64 offset = target - u64(i64(insn.disp));
  if (insn.segment == FS) offset -= s.fs_base;
  if (insn.segment == GS) offset -= s.gs_base;
  const u64 width = insn.address == 3 ? ~u64(0) : low_mask(8u << insn.address);
  const auto set = [&](u8 reg, u64 value) {
    s.gpr[reg] = (value & width) | (s.gpr[reg] & ~width);
  };
  if (insn.base == kNoReg) return set(insn.index, (offset & width) >> insn.scale);
  if (insn.index == kNoReg) return set(insn.base, offset);
  if (insn.index == insn.base) return set(insn.base, (offset & width) / (1 + (u64(1) << insn.scale)));
  if (r.one_in(2)) set(insn.index, r.integer());
  set(insn.base, offset - (s.gpr[insn.index] << insn.scale));
}

u64 operand_target(Random& r, const Case& c) {
  if (c.bits == Bits::k64 && r.one_in(64)) {  // not canonical
    return r.pick<u64>({u64(1) << 47, u64(1) << 63, 0x8000'1234'5678'9abc, 0x7fff'0000'0000'0000, (u64(1) << 47) + 8});
  }
  return target_address(r);
}

/// What some instructions want beyond a memory operand.
void help(State& s, const Insn& insn, const Memory& memory, u64 target, Random& r) {
  const Row& row = *insn.row;
  const std::string_view name = row.name;
  if (has_operand(row, Operand::Xb, Operand::Yv) || name.starts_with("MASKMOV") || name == "VMASKMOVDQU") {
    s.gpr[RSI] = target_address(r);
    s.gpr[RDI] = r.one_in(4) ? s.gpr[RSI] + r.below(32) - 16 : target_address(r);
    if (r.one_in(32)) s.gpr[RDI] = s.gpr[RSI];
    if (insn.has(kHasRep) || insn.has(kHasRepne)) s.gpr[RCX] = r.one_in(8) ? r.below(5000) : r.below(40);
  }
  if (name == "XLAT") s.gpr[RBX] = target - (s.gpr[RAX] & 0xff);
  if (name.starts_with("CMPXCHG") && r.one_in(2)) {
    s.gpr[RAX] = memory_word(memory, target);
    s.gpr[RDX] = insn.size == 3 ? memory_word(memory, target + 8) : s.gpr[RAX] >> 32;
  }
  if ((name == "DIV" || name == "IDIV") && !r.one_in(4)) {
    const u64 high = r.one_in(2) ? r.below(16) : u64(0) - r.below(2);
    s.gpr[RDX] = high;
    if (insn.size == 0) s.gpr[RAX] = r.below(4000);
  }
  // Counts above the operand's width leave the result undefined.
  if (name.starts_with("SHLD") || name.starts_with("SHRD")) {
    if (insn.size == 1 && row.operands[2] == Operand::CL) s.gpr[RCX] &= ~u64(0x10);
  }
  if (row.opcode >= 0xa3 && row.map == kMap0F && name.starts_with("BT") && insn.is_memory && !r.one_in(4)) {
    s.gpr[insn.reg] = r.below(4096) - 2048;  // else the bit is far from the operand
  }
}

/// Indexes of gathers and scatters: near the base, on this and other pages; sometimes anywhere.
void make_indexes(Vectors& v, const Insn& insn, Random& r) {
  if (insn.sib_index == kNoReg) return;
  const unsigned log2 = insn.row->arg & 15, size = 1u << log2;
  const unsigned bytes = insn.row->is_evex ? 1u << insn.length_log2 : 32;
  for (unsigned i = 0; i < bytes / size; ++i) {
    const u64 far = r.one_in(16) ? r.next() : r.one_in(4) ? (r.below(0x3000) - 0x1000) >> insn.scale : r.below(256);
    const unsigned at = i * size, reg = insn.sib_index;
    u8* to = reg >= 16 ? v.zmm16(reg - 16) + at
             : at < 16 ? v.xmm(reg) + at
             : at < 32 ? v.ymm_high(reg) + at - 16
                       : v.zmm_high(reg) + at - 32;
    std::memcpy(to, &far, size);
  }
}

}  // namespace

State make_state(const Case& c, const Memory& memory, Random& r) {
  State s;
  for (u64& reg : s.gpr) reg = r.one_in(10) ? target_address(r) : r.integer();
  s.gpr[RSP] = kWindow + 0x200 + r.below(0x1a00);
  if (!r.one_in(8)) s.gpr[RSP] &= ~u64(7);
  if (r.one_in(16)) s.gpr[RSP] = target_address(r);
  if (r.one_in(3)) s.gpr[RBP] = target_address(r);
  if (r.one_in(3)) s.gpr[RCX] = r.below(80);
  s.flags = 2 | (r.next() & kArithmetic) | u64(kIF) | (r.one_in(6) ? u64(kDF) : 0) | (c.align_check ? u64(kAC) : 0) |
            (r.one_in(2) ? u64(kID) : 0);
  s.fs_base = kWindow + r.below(0x2000);
  s.gs_base = r.one_in(2) ? kWindow - r.below(0x2000) : r.below(0x10000);
  make_x87(s.vectors, c.x87_traps, r);
  make_vectors(s.vectors, c.simd_traps, r);
  make_avx512(s.vectors, c.avx512, r);
  for (size_t i = c.insns.size(); i-- > 0;) {
    const Insn& insn = c.insns[i];
    const u64 target = operand_target(r, c);
    help(s, insn, memory, target, r);
    Insn operand = insn;
    if (has_vector_index(*insn.row)) {
      operand.index = kNoReg;
      make_indexes(s.vectors, insn, r);
    }
    if (insn.is_memory) aim(s, operand, target, r);
  }
  if (c.bits == Bits::k32) {
    for (u64& reg : s.gpr) reg = u32(reg);
  }
  return s;
}

void fill_memory(Memory& memory, Random& r) {
  for (u64 at = 0; at < kWindowBytes; at += 16) {
    u8* to = memory.bytes + at;
    switch (r.below(4)) {
      case 0:
        put_bytes(to, r.floating(), r.floating());
        break;
      case 1:
        put_extended(to, r);
        break;
      default:
        put_bytes(to, r.integer(), r.next());
        break;
    }
  }
}

}  // namespace emu::isa
