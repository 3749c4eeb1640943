// SPDX-License-Identifier: Apache-2.0
#include "tcg/host/x86_64/assembler.h"

#include <algorithm>
#include <cstring>

#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

bool fits8(i64 v) { return v == i64(i8(v)); }
bool fits32(i64 v) { return v == i64(i32(v)); }
unsigned low3(unsigned r) { return r & 7; }
u32 byte_or_wide(Width w, u32 byte_opcode) { return w == Width::b ? byte_opcode : byte_opcode + 1; }

}  // namespace

void Assembler::reset(u8* write, const u8* exec, size_t size) {
  write_ = cursor_ = write;
  exec_ = exec;
  end_ = write + size;
  overflowed_ = false;
  instructions_ = 0;
  labels_.clear();
  fixups_.clear();
  far_jumps_.clear();
}

void Assembler::overflow() {
  overflowed_ = true;
  cursor_ = nowhere_;
  end_ = nowhere_ + sizeof nowhere_;
}

void Assembler::put_imm(Width w, i32 imm) {
  if (w == Width::b)
    put8(u8(imm));
  else if (w == Width::w)
    put16(u16(imm));
  else
    put32(u32(imm));
}

void Assembler::put_opcode(u32 opcode) {
  if (opcode > 0xffff) put8(u8(opcode >> 16));
  if (opcode > 0xff) put8(u8(opcode >> 8));
  put8(u8(opcode));
}

// These write through a pointer of their own: through cursor_, each byte could change it for all the compiler knows.
namespace {

u8* write_opcode(u8* at, u32 opcode) {
  if (opcode > 0xff) [[unlikely]] {
    if (opcode > 0xffff) *at++ = u8(opcode >> 16);
    *at++ = u8(opcode >> 8);
  }
  *at++ = u8(opcode);
  return at;
}
u8* write_u32(u8* at, u32 v) {
  std::memcpy(at, &v, sizeof(v));
  return at + sizeof(v);
}

}  // namespace

void Assembler::rr(u8 prefix, bool is_q, u32 opcode, unsigned reg, unsigned rm_reg, bool force_rex) {
  begin();
  u8* at = cursor_;
  if (prefix) *at++ = prefix;
  const u8 rex = u8(0x40 | is_q << 3 | (reg >> 3 & 1) << 2 | (rm_reg >> 3 & 1));
  if (rex != 0x40 || force_rex) *at++ = rex;
  at = write_opcode(at, opcode);
  *at++ = u8(0xc0 | low3(reg) << 3 | low3(rm_reg));
  cursor_ = at;
}

void Assembler::rm(u8 prefix, bool is_q, u32 opcode, unsigned reg, const Mem& m, bool force_rex, unsigned imm_bytes) {
  begin();
  u8* at = cursor_;
  if (prefix) *at++ = prefix;
  const bool x = m.index != kNoReg && m.index >= 8, b = m.base != kNoReg && m.base >= 8;
  const u8 rex = u8(0x40 | is_q << 3 | (reg >> 3 & 1) << 2 | x << 1 | b);
  if (rex != 0x40 || force_rex) *at++ = rex;
  at = write_opcode(at, opcode);
  cursor_ = put_mem(at, m, reg, imm_bytes);
}

void Assembler::raw(const Mem& m, unsigned reg, unsigned imm_bytes) { cursor_ = put_mem(cursor_, m, reg, imm_bytes); }

/// ModRM, SIB and displacement.
u8* Assembler::put_mem(u8* at, const Mem& m, unsigned reg, unsigned imm_bytes) {
  const unsigned r = low3(reg) << 3;
  if (m.rip_target) [[unlikely]] {
    *at++ = u8(r | 5);
    const i64 disp = overflowed_ ? 0 : m.rip_target - (exec_ + (at - write_) + 4 + imm_bytes);
    EMU_CHECK(fits32(disp));
    return write_u32(at, u32(disp));
  }
  const bool sib = m.index != kNoReg || m.base == kNoReg || low3(m.base) == rsp;
  EMU_CHECK(m.index != rsp);
  unsigned mod = 2;
  if (m.base == kNoReg)
    mod = 0;  // SIB without base: disp32
  else if (m.disp == 0 && low3(m.base) != rbp)
    mod = 0;
  else if (fits8(m.disp))
    mod = 1;
  const unsigned base = m.base == kNoReg ? 5 : low3(m.base);
  if (sib) {
    *at++ = u8(mod << 6 | r | 4);
    *at++ = u8(m.scale << 6 | (m.index == kNoReg ? 4u : low3(m.index)) << 3 | base);
  } else {
    *at++ = u8(mod << 6 | r | base);
  }
  if (mod == 1)
    *at++ = u8(m.disp);
  else if (mod == 2 || m.base == kNoReg)
    at = write_u32(at, u32(m.disp));
  return at;
}

/// An instruction whose byte form is `opcode` with bit 0 clear; spl..dil need a REX prefix.
void Assembler::int_rr(Width w, u32 opcode, Reg reg, Reg rm_reg) {
  const bool byte = w == Width::b && (reg >= rsp || rm_reg >= rsp);
  rr(w == Width::w ? 0x66 : 0, w == Width::q, opcode, reg, rm_reg, byte);
}
void Assembler::int_rm(Width w, u32 opcode, Reg reg, const Mem& m, unsigned imm_bytes) {
  rm(w == Width::w ? 0x66 : 0, w == Width::q, opcode, reg, m, w == Width::b && reg >= rsp, imm_bytes);
}

// Labels and jumps

Label Assembler::new_label() {
  labels_.push_back(-1);
  return {u32(labels_.size() - 1)};
}

void Assembler::bind(Label label) {
  labels_[label.id] = i64(position());
  if (overflowed_) return;
  for (const Fixup& fixup : fixups_) {
    if (fixup.label != label.id) continue;
    const i64 distance = i64(position()) - fixup.end;
    if (fixup.is_near) {
      EMU_CHECK(fits8(distance));
      write_[fixup.end - 1] = u8(distance);
    } else {
      u32_at(fixup.end - 4, u32(distance));
    }
  }
  std::erase_if(fixups_, [&](const Fixup& f) { return f.label == label.id; });
}

void Assembler::use(Label label, bool is_near) {
  const u32 end = u32(position()) + (is_near ? 1 : 4);
  const i64 target = labels_[label.id];
  if (target < 0) fixups_.push_back({end, label.id, is_near});
  const i64 distance = target < 0 ? 0 : target - i64(end);
  if (is_near) {
    EMU_CHECK(overflowed_ || fits8(distance));
    put8(u8(distance));
  } else {
    put32(u32(distance));
  }
}

void Assembler::patch_rel32(size_t end, const u8* target) {
  if (overflowed_) return;
  const i64 distance = target - (exec_ + end);
  EMU_CHECK(fits32(distance));
  u32_at(end - 4, u32(distance));
  if (notes_far_jumps_ && size_t(target - exec_) >= size_t(end_ - write_)) far_jumps_.push_back({u32(end), target});
}

void Assembler::patch_imm32(size_t end, u32 value) {
  if (!overflowed_) u32_at(end - 4, value);
}

size_t Assembler::jmp_forward() {
  begin();
  put8(0xe9);
  put32(0);
  return position();
}
size_t Assembler::jcc_forward(Cc cc) {
  begin();
  put8(0x0f);
  put8(u8(0x80 | u8(cc)));
  put32(0);
  return position();
}
void Assembler::jmp(const u8* target) { patch_rel32(jmp_forward(), target); }
void Assembler::jcc(Cc cc, const u8* target) { patch_rel32(jcc_forward(cc), target); }
void Assembler::call(const u8* target) {
  ++flags_version_;
  begin();
  put8(0xe8);
  put32(0);
  patch_rel32(position(), target);
}
void Assembler::jmp(Label target, bool is_near) {
  begin();
  put8(is_near ? 0xeb : 0xe9);
  use(target, is_near);
}
void Assembler::jcc(Cc cc, Label target, bool is_near) {
  begin();
  if (is_near) {
    put8(u8(0x70 | u8(cc)));
  } else {
    put8(0x0f);
    put8(u8(0x80 | u8(cc)));
  }
  use(target, is_near);
}
void Assembler::jmp(Reg target) { rr(0, false, 0xff, 4, target); }
void Assembler::jmp(const Mem& target) { rm(0, false, 0xff, 4, target); }
void Assembler::call(Reg target) {
  ++flags_version_;
  rr(0, false, 0xff, 2, target);
}
void Assembler::call(const Mem& target) {
  ++flags_version_;
  rm(0, false, 0xff, 2, target);
}
void Assembler::ret() {
  begin();
  put8(0xc3);
}

// Moves

void Assembler::mov(Width w, Reg dst, Reg src) { int_rr(w, byte_or_wide(w, 0x88), src, dst); }
void Assembler::mov(Width w, Reg dst, const Mem& src) { int_rm(w, byte_or_wide(w, 0x8a), dst, src); }
void Assembler::mov(Width w, const Mem& dst, Reg src) { int_rm(w, byte_or_wide(w, 0x88), src, dst); }
void Assembler::mov_imm(Width w, const Mem& dst, i32 imm) {
  const unsigned size = w == Width::q ? 4 : 1u << unsigned(w);
  int_rm(w, byte_or_wide(w, 0xc6), Reg(0), dst, size);
  put_imm(w, imm);
}
void Assembler::mov_imm(Reg dst, u64 imm) {
  if (imm == u32(imm)) return mov_imm32(dst, u32(imm));
  if (!fits32(i64(imm))) return mov_imm64(dst, imm);
  rr(0, true, 0xc7, 0, dst);
  put32(u32(imm));
}
void Assembler::mov_imm_low(Width w, Reg dst, u32 imm) {
  int_rr(w, byte_or_wide(w, 0xc6), Reg(0), dst);
  put_imm(w, i32(imm));
}
void Assembler::mov_imm32(Reg dst, u32 imm) {
  begin();
  if (dst >= 8) put8(0x41);
  put8(u8(0xb8 | low3(dst)));
  put32(imm);
}
void Assembler::mov_imm64(Reg dst, u64 imm) {
  begin();
  put8(u8(0x48 | (dst >= 8)));
  put8(u8(0xb8 | low3(dst)));
  put64(imm);
}
void Assembler::movzx(Width from, Reg dst, Reg src) {
  if (from == Width::d) return mov(Width::d, dst, src);
  if (from == Width::q) return mov(Width::q, dst, src);
  rr(0, false, from == Width::b ? 0x0fb6 : 0x0fb7, dst, src, from == Width::b && src >= rsp);
}
void Assembler::movzx(Width from, Reg dst, const Mem& src) {
  if (from >= Width::d) return mov(from, dst, src);
  rm(0, false, from == Width::b ? 0x0fb6 : 0x0fb7, dst, src);
}
void Assembler::movzx_high(Reg dst, Reg src) {
  EMU_CHECK(dst < r8 && src < rsp);
  rr(0, false, 0x0fb6, dst, src + 4u);
}
void Assembler::mov_high(Reg dst, Reg src) {
  EMU_CHECK(dst < rsp && src < rsp);
  rr(0, false, 0x88, src, dst + 4u);
}
void Assembler::movsx(Width from, Width to, Reg dst, Reg src) {
  if (from == Width::d) return rr(0, true, 0x63, dst, src);
  rr(to == Width::w ? 0x66 : 0, to == Width::q, from == Width::b ? 0x0fbe : 0x0fbf, dst, src,
     from == Width::b && src >= rsp);
}
void Assembler::movsx(Width from, Width to, Reg dst, const Mem& src) {
  if (from == Width::d) return rm(0, true, 0x63, dst, src);
  rm(to == Width::w ? 0x66 : 0, to == Width::q, from == Width::b ? 0x0fbe : 0x0fbf, dst, src);
}
void Assembler::movbe(Width w, Reg dst, const Mem& src) { int_rm(w, 0x0f38f0, dst, src); }
void Assembler::movbe(Width w, const Mem& dst, Reg src) { int_rm(w, 0x0f38f1, src, dst); }
void Assembler::lea(Width w, Reg dst, const Mem& src) { int_rm(w, 0x8d, dst, src); }
void Assembler::xchg(Width w, Reg a, Reg b) { int_rr(w, byte_or_wide(w, 0x86), a, b); }
void Assembler::push(Reg r) {
  begin();
  if (r >= 8) put8(0x41);
  put8(u8(0x50 | low3(r)));
}
void Assembler::pop(Reg r) {
  begin();
  if (r >= 8) put8(0x41);
  put8(u8(0x58 | low3(r)));
}
void Assembler::pushfq() {
  begin();
  put8(0x9c);
}
void Assembler::push(const Mem& m) { rm(0, false, 0xff, 6, m); }
void Assembler::pop(const Mem& m) { rm(0, false, 0x8f, 0, m); }
void Assembler::cmov(Cc cc, Width w, Reg dst, Reg src) { int_rr(w, 0x0f40u | u8(cc), dst, src); }
void Assembler::cmov(Cc cc, Width w, Reg dst, const Mem& src) { int_rm(w, 0x0f40u | u8(cc), dst, src); }
void Assembler::setcc(Cc cc, Reg dst) { rr(0, false, 0x0f90u | u8(cc), 0, dst, dst >= rsp); }
void Assembler::setcc(Cc cc, const Mem& dst) { rm(0, false, 0x0f90u | u8(cc), 0, dst); }

// Arithmetic

void Assembler::alu(Alu op, Width w, Reg dst, Reg src) {
  ++flags_version_;
  int_rr(w, byte_or_wide(w, u32(op) << 3), src, dst);
}
void Assembler::alu(Alu op, Width w, Reg dst, const Mem& src) {
  ++flags_version_;
  int_rm(w, byte_or_wide(w, u32(op) << 3 | 2), dst, src);
}
void Assembler::alu(Alu op, Width w, const Mem& dst, Reg src) {
  ++flags_version_;
  int_rm(w, byte_or_wide(w, u32(op) << 3), src, dst);
}
void Assembler::alu_imm(Alu op, Width w, Reg dst, i32 imm) {
  ++flags_version_;
  if (w == Width::b || !fits8(imm)) return alu_imm32(op, w, dst, imm);
  int_rr(w, 0x83, Reg(op), dst);
  put8(u8(imm));
}
void Assembler::alu_imm(Alu op, Width w, const Mem& dst, i32 imm) {
  ++flags_version_;
  if (w == Width::b || !fits8(imm)) return alu_imm32(op, w, dst, imm);
  int_rm(w, 0x83, Reg(op), dst, 1);
  put8(u8(imm));
}
void Assembler::alu_imm32(Alu op, Width w, Reg dst, i32 imm) {
  ++flags_version_;
  if (dst == rax) {  // one byte shorter
    begin();
    if (w == Width::w) put8(0x66);
    if (w == Width::q) put8(0x48);
    put8(u8(byte_or_wide(w, u32(op) << 3 | 4)));
  } else {
    rr(w == Width::w ? 0x66 : 0, w == Width::q, byte_or_wide(w, 0x80), unsigned(op), dst, w == Width::b && dst >= rsp);
  }
  put_imm(w, imm);
}
void Assembler::alu_imm32(Alu op, Width w, const Mem& dst, i32 imm) {
  ++flags_version_;
  const unsigned size = w == Width::q ? 4 : 1u << unsigned(w);
  rm(w == Width::w ? 0x66 : 0, w == Width::q, byte_or_wide(w, 0x80), unsigned(op), dst, false, size);
  put_imm(w, imm);
}
void Assembler::test(Width w, Reg a, Reg b) {
  ++flags_version_;
  int_rr(w, byte_or_wide(w, 0x84), b, a);
}
void Assembler::test(Width w, const Mem& a, Reg b) {
  ++flags_version_;
  int_rm(w, byte_or_wide(w, 0x84), b, a);
}
void Assembler::test_imm(Width w, Reg a, i32 imm) {
  ++flags_version_;
  if (a == rax) {
    begin();
    if (w == Width::w) put8(0x66);
    if (w == Width::q) put8(0x48);
    put8(u8(byte_or_wide(w, 0xa8)));
  } else {
    int_rr(w, byte_or_wide(w, 0xf6), Reg(0), a);
  }
  put_imm(w, imm);
}
void Assembler::test_imm(Width w, const Mem& a, i32 imm) {
  ++flags_version_;
  int_rm(w, byte_or_wide(w, 0xf6), Reg(0), a, w == Width::q ? 4 : 1u << unsigned(w));
  put_imm(w, imm);
}
void Assembler::group3(Width w, unsigned digit, Reg r) {
  if (digit != 2) ++flags_version_;  // NOT changes none
  int_rr(w, byte_or_wide(w, 0xf6), Reg(digit), r);
}
void Assembler::group3(Width w, unsigned digit, const Mem& m) {
  if (digit != 2) ++flags_version_;
  rm(w == Width::w ? 0x66 : 0, w == Width::q, byte_or_wide(w, 0xf6), digit, m);
}
void Assembler::imul(Width w, Reg dst, Reg src) {
  ++flags_version_;
  int_rr(w, 0x0faf, dst, src);
}
void Assembler::imul(Width w, Reg dst, const Mem& src) {
  ++flags_version_;
  int_rm(w, 0x0faf, dst, src);
}
void Assembler::imul_imm(Width w, Reg dst, Reg src, i32 imm) {
  ++flags_version_;
  const bool is_short = fits8(imm);
  int_rr(w, is_short ? 0x6b : 0x69, dst, src);
  if (is_short)
    put8(u8(imm));
  else
    put_imm(w, imm);
}
void Assembler::inc(Width w, Reg r) {
  ++flags_version_;
  int_rr(w, byte_or_wide(w, 0xfe), Reg(0), r);
}
void Assembler::dec(Width w, Reg r) {
  ++flags_version_;
  int_rr(w, byte_or_wide(w, 0xfe), Reg(1), r);
}
void Assembler::sign_into_rdx(Width w) {
  begin();
  if (w == Width::w) put8(0x66);
  if (w == Width::q) put8(0x48);
  put8(0x99);
}

// Shifts and bits

void Assembler::shift_cl(Shift op, Width w, Reg r) {
  ++flags_version_;
  int_rr(w, byte_or_wide(w, 0xd2), Reg(op), r);
}
void Assembler::shift_imm(Shift op, Width w, Reg r, u8 count) {
  ++flags_version_;
  int_rr(w, byte_or_wide(w, count == 1 ? 0xd0 : 0xc0), Reg(op), r);
  if (count != 1) put8(count);
}
void Assembler::shld(Width w, Reg dst, Reg src, u8 count) {
  ++flags_version_;
  int_rr(w, 0x0fa4, src, dst);
  put8(count);
}
void Assembler::shrd(Width w, Reg dst, Reg src, u8 count) {
  ++flags_version_;
  int_rr(w, 0x0fac, src, dst);
  put8(count);
}
void Assembler::shld_cl(Width w, Reg dst, Reg src) {
  ++flags_version_;
  int_rr(w, 0x0fa5, src, dst);
}
void Assembler::shrd_cl(Width w, Reg dst, Reg src) {
  ++flags_version_;
  int_rr(w, 0x0fad, src, dst);
}
void Assembler::bswap(Width w, Reg r) {
  begin();
  const u8 rex = u8(0x40 | (w == Width::q) << 3 | (r >= 8));
  if (rex != 0x40) put8(rex);
  put8(0x0f);
  put8(u8(0xc8 | low3(r)));
}
void Assembler::bt(Width w, Reg value, Reg index) {
  ++flags_version_;
  int_rr(w, 0x0fa3, index, value);
}
void Assembler::bts(Width w, Reg value, Reg index) {
  ++flags_version_;
  int_rr(w, 0x0fab, index, value);
}
void Assembler::bt_imm(Width w, Reg value, u8 index) {
  ++flags_version_;
  int_rr(w, 0x0fba, Reg(4), value);
  put8(index);
}
void Assembler::bt_imm(Width w, const Mem& value, u8 index) {
  ++flags_version_;
  int_rm(w, 0x0fba, Reg(4), value, 1);
  put8(index);
}

// Filling

void Assembler::nop(size_t count) {
  static constexpr u8 kNops[9][9] = {{0x90},
                                     {0x66, 0x90},
                                     {0x0f, 0x1f, 0x00},
                                     {0x0f, 0x1f, 0x40, 0},
                                     {0x0f, 0x1f, 0x44, 0, 0},
                                     {0x66, 0x0f, 0x1f, 0x44, 0, 0},
                                     {0x0f, 0x1f, 0x80, 0, 0, 0, 0},
                                     {0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0},
                                     {0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}};
  while (count > 0) {
    const size_t now = count < 9 ? count : 9;
    begin();
    std::memcpy(cursor_, kNops[now - 1], now);
    cursor_ += now;
    count -= now;
  }
}
void Assembler::align(size_t power_of_two) {
  const size_t past = size_t(reinterpret_cast<uintptr_t>(here())) & (power_of_two - 1);
  if (past) nop(power_of_two - past);
}
void Assembler::fill(size_t count, u8 value) {
  const unsigned instructions = instructions_;
  while (count > 0) {
    const size_t now = std::min(count, kLongestInstruction);
    begin();
    std::memset(cursor_, value, now);
    cursor_ += now;
    count -= now;
  }
  instructions_ = instructions;
}
void Assembler::int3() { byte(0xcc); }
void Assembler::ud2() {
  begin();
  put16(0x0b0f);
}
void Assembler::byte(u8 value) {
  begin();
  put8(value);
}
void Assembler::bytes(const u8* data, size_t size) {
  while (size > 0) {
    const size_t now = std::min(size, kLongestInstruction);
    begin();
    instructions_ += unsigned(now) - 1;  // each byte is counted
    std::memcpy(cursor_, data, now);
    cursor_ += now;
    data += now;
    size -= now;
  }
}
void Assembler::u32_at(size_t at, u32 value) {
  if (!overflowed_) std::memcpy(write_ + at, &value, 4);
}
void Assembler::u64_at(size_t at, u64 value) {
  if (!overflowed_) std::memcpy(write_ + at, &value, 8);
}

}  // namespace emu::tcg::x86_64
