// SPDX-License-Identifier: Apache-2.0
// Arithmetic that is no single IR operation: SDM vol. 2, the pages of the instructions.

#include "target/x86/cpu.h"
#include "target/x86/eflags.h"
#include "util/random.h"

namespace emu::x86 {

namespace {

/// A shift count as the CPU masks it.
unsigned masked(u64 count, unsigned bytes) { return unsigned(count & (bytes == 8 ? 63 : 31)); }

u64 packed(const X86State& s) { return tcg::pack_flags(s.hdr.cc_op, s.hdr.cc_a, s.hdr.cc_b); }

void set_carry_overflow(X86State& s, bool carry, bool overflow) {
  set_arithmetic_flags(s, (packed(s) & ~u64(kCF | kOF)) | (carry ? u64(kCF) : 0) | (overflow ? u64(kOF) : 0));
}

u64 sign_zero_parity(u64 result, unsigned bytes) {
  return tcg::pack_flags(tcg::cc_op(tcg::CcKind::Logic, unsigned(std::countr_zero(bytes))), result, 0) &
         (kSF | kZF | kPF);
}

void set_register(X86State& s, Gpr reg, u64 value, unsigned bytes) {
  u64& r = s.gpr(reg);
  r = bytes == 4 ? u32(value) : deposit(r, bytes * 8 - 1, 0, value);
}

}  // namespace

// --- Division -------------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_div(const u64* args) {
  const unsigned bytes = unsigned(args[1]), width = bytes * 8;
  const u64 divisor = args[0] & low_mask(width);
  X86State& s = *s_;
  if (divisor == 0) return raise(kDE);
  if (bytes == 1) {
    const u64 dividend = s.gpr(RAX) & 0xffff, quotient = dividend / divisor;
    if (quotient > 0xff) return raise(kDE);
    set_register(s, RAX, quotient | (dividend % divisor) << 8, 2);
    return 0;
  }
  const u64 high = s.gpr(RDX) & low_mask(width), low = s.gpr(RAX) & low_mask(width);
  if (high >= divisor) return raise(kDE);
  const u128 dividend = u128(high) << width | low;
  set_register(s, RAX, u64(dividend / divisor), bytes);
  set_register(s, RDX, u64(dividend % divisor), bytes);
  return 0;
}

u64 X86Cpu::helper_idiv(const u64* args) {
  const unsigned bytes = unsigned(args[1]), width = bytes * 8;
  const i64 divisor = sign_extend(args[0], width);
  X86State& s = *s_;
  if (divisor == 0) return raise(kDE);
  i128 dividend = 0;
  if (bytes == 1) {
    dividend = i16(s.gpr(RAX));
  } else {
    dividend = i128(u128(u64(sign_extend(s.gpr(RDX), width))) << width | (s.gpr(RAX) & low_mask(width)));
    if (bytes < 8) dividend = i64(dividend);
  }
  const i128 lowest = -(i128(1) << (width - 1));
  if (bytes == 8 && divisor == -1 && dividend == i128(u128(1) << 127)) return raise(kDE);  // would overflow here, too
  const i128 quotient = dividend / divisor;
  if (quotient < lowest || quotient > -lowest - 1) return raise(kDE);
  const i128 remainder = dividend % divisor;
  if (bytes == 1) {
    set_register(s, RAX, u8(quotient) | u64(u8(remainder)) << 8, 2);
  } else {
    set_register(s, RAX, u64(quotient), bytes);
    set_register(s, RDX, u64(remainder), bytes);
  }
  return 0;
}

// --- Moves --------------------------------------------------------------------------------------------------------

/// Never the host's RDRAND: a guest must not be able to tell from its speed or its flaws.
u64 X86Cpu::helper_random(const u64*) {
  return random_u64();
}

u64 X86Cpu::helper_movdir64b(const u64* args) {
  u8 data[64];
  if (args[0] & 63) return raise_gp(0);
  if (memory_->load_bytes(wrap_operand(args[1]), data, current_view()) != target::AccessStatus::Ok) return 0;
  memory_->store_bytes(wrap_operand(args[0]), data, current_view());
  return 0;
}

// --- Rotates and shifts ---------------------------------------------------------------------------------------------

u64 X86Cpu::helper_rcl(const u64* args) {
  const unsigned bytes = unsigned(args[2]), width = bytes * 8;
  u64 value = args[0] & low_mask(width);
  const unsigned count = masked(args[1], bytes);
  const unsigned turns = count % (width + 1);
  if (count == 0) return value;
  const u64 carry = packed(*s_) & kCF;
  const u128 ring = (u128(carry) << width | value);
  const u128 turned = turns == 0 ? ring : (ring << turns | ring >> (width + 1 - turns));
  value = u64(turned) & low_mask(width);
  const bool out = u64(turned >> width) & 1;
  set_carry_overflow(*s_, out, (value >> (width - 1) & 1) != u64(out));
  return value;
}

u64 X86Cpu::helper_rcr(const u64* args) {
  const unsigned bytes = unsigned(args[2]), width = bytes * 8;
  u64 value = args[0] & low_mask(width);
  const unsigned count = masked(args[1], bytes);
  const unsigned turns = count % (width + 1);
  if (count == 0) return value;
  const u64 carry = packed(*s_) & kCF;
  const u128 ring = (u128(carry) << width | value);
  const u128 turned = turns == 0 ? ring : (ring >> turns | ring << (width + 1 - turns));
  value = u64(turned) & low_mask(width);
  set_carry_overflow(*s_, u64(turned >> width) & 1, (value >> (width - 1) ^ value >> (width - 2)) & 1);
  return value;
}

u64 X86Cpu::helper_double_shift(const u64* args) {
  const unsigned bytes = unsigned(args[3]), width = bytes * 8;
  const u64 destination = args[0] & low_mask(width), source = args[1] & low_mask(width);
  const unsigned count = masked(args[2], bytes);
  const bool right = args[4] != 0;
  if (count == 0) return destination;
  u64 result = 0;
  bool out = false;
  if (width == 16) {
    // Counts above 16 are undefined; like current parts, the destination follows the source around.
    const u64 ring = destination << 32 | source << 16 | destination;
    result = (right ? ring >> count : ring << count >> 32) & 0xffff;
    out = right ? ring >> (count - 1) & 1 : ring >> (48 - count) & 1;
  } else if (right) {
    result = destination >> count | source << (width - count);
    out = destination >> (count - 1) & 1;
  } else {
    result = destination << count | source >> (width - count);
    out = destination >> (width - count) & 1;
  }
  result &= low_mask(width);
  const bool sign_changed = (result ^ destination) >> (width - 1) & 1;
  set_arithmetic_flags(*s_, sign_zero_parity(result, bytes) | (out ? u64(kCF) : 0) | (sign_changed ? u64(kOF) : 0));
  return result;
}

// --- Decimal adjustment ---------------------------------------------------------------------------------------------

u64 X86Cpu::helper_bcd(const u64* args) {
  X86State& s = *s_;
  const u64 flags = packed(s);
  const u8 al = u8(s.gpr(RAX)), ah = u8(s.gpr(RAX) >> 8), imm = u8(args[1]);
  const bool low_adjust = (al & 15) > 9 || (flags & kAF);
  switch (args[0]) {
    case 0:    // DAA
    case 1: {  // DAS
      const bool add = args[0] == 0;
      const bool high_adjust = al > 0x99 || (flags & kCF);
      u8 result = al;
      bool carry = high_adjust;
      if (low_adjust) result = u8(add ? result + 6 : result - 6);
      if (!add && low_adjust && al < 6) carry = true;
      if (high_adjust) result = u8(add ? result + 0x60 : result - 0x60);
      set_register(s, RAX, result, 1);
      set_arithmetic_flags(s, sign_zero_parity(result, 1) | (low_adjust ? u64(kAF) : 0) | (carry ? u64(kCF) : 0));
      return 0;
    }
    case 2:    // AAA
    case 3: {  // AAS
      u16 ax = u16(s.gpr(RAX));
      if (low_adjust) ax = args[0] == 2 ? u16(ax + 0x106) : u16(u16(ax - 6) - 0x100);
      set_register(s, RAX, ax & 0xff0f, 2);
      set_arithmetic_flags(s, (flags & ~u64(kAF | kCF)) | (low_adjust ? u64(kAF | kCF) : 0));
      return 0;
    }
    case 4:  // AAM
      if (imm == 0) return raise(kDE);
      set_register(s, RAX, u64(al / imm) << 8 | u64(al % imm), 2);
      set_arithmetic_flags(s, sign_zero_parity(al % imm, 1));
      return 0;
    default: {  // AAD
      const u8 result = u8(al + ah * imm);
      set_register(s, RAX, result, 2);
      set_arithmetic_flags(s, sign_zero_parity(result, 1));
      return 0;
    }
  }
}

// --- The rest -------------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_cmpxchg16b(const u64* args) {
  X86State& s = *s_;
  if (args[0] & 15) return raise_gp();
  const u128 comparand = u128(s.gpr(RDX)) << 64 | s.gpr(RAX);
  u128 value = comparand;
  const u128 desired = u128(s.gpr(RCX)) << 64 | s.gpr(RBX);
  if (memory_->compare_exchange(args[0], 16, current_view(), value, desired) != target::AccessStatus::Ok) return 0;
  const bool equal = value == comparand;
  if (!equal) {
    s.gpr(RAX) = u64(value);
    s.gpr(RDX) = u64(value >> 64);
  }
  set_arithmetic_flags(s, (packed(s) & ~u64(kZF)) | (equal ? u64(kZF) : 0));
  return 0;
}

u64 X86Cpu::helper_enter(const u64* args) {
  const u64 size = args[0] & 0xffff;
  const unsigned level = unsigned(args[1]) & 31, bytes = unsigned(args[2]);
  StackCursor stack = current_stack();
  StackCursor frames = stack;
  frames.sp = s_->gpr(RBP) & stack.mask;
  if (!push(stack, bytes, s_->gpr(RBP))) return 0;
  const u64 frame = stack.sp;
  for (unsigned i = 1; i < level; ++i) {
    u64 pointer = 0;
    StackCursor slot = frames;
    slot.sp = frames.sp = (frames.sp - bytes) & stack.mask;
    if (!pop(slot, bytes, pointer) || !push(stack, bytes, pointer)) return 0;
  }
  if (level > 0 && !push(stack, bytes, frame)) return 0;
  stack.sp = (stack.sp - size) & stack.mask;
  // The manual: faults also if a push at the new stack pointer would.
  const u64 linear = stack.is_long ? stack.sp : u32(stack.base + stack.sp);
  if (!check_alignment(linear, bytes, stack.view)) return 0;
  if (memory_->probe(wrap_linear(linear), bytes, target::Access::Store, stack.view) != target::AccessStatus::Ok)
    return 0;
  set_register(*s_, RBP, bytes == 2 ? frame : (s_->gpr(RBP) & ~stack.mask) | frame, bytes);
  set_sp(stack);
  return 0;
}

u64 X86Cpu::helper_bound(const u64* args) {
  const unsigned bytes = unsigned(args[2]), width = bytes * 8;
  u64 low = 0, high = 0;
  if (!read(args[1], bytes, current_view(), low) || !read(wrap_operand(args[1] + bytes), bytes, current_view(), high))
    return 0;
  const i64 index = sign_extend(args[0], width);
  if (index < sign_extend(low, width) || index > sign_extend(high, width)) raise(kBR);
  return 0;
}

// A leaf: no tables, no vectors.
__attribute__((target("general-regs-only"))) u64 X86Cpu::helper_pdep(const u64* args) {
  u64 result = 0, from = args[0];
  for (u64 mask = args[1]; mask != 0; mask &= mask - 1, from >>= 1) {
    if (from & 1) result |= mask & (0 - mask);
  }
  return result;
}

__attribute__((target("general-regs-only"))) u64 X86Cpu::helper_pext(const u64* args) {
  u64 result = 0;
  unsigned to = 0;
  for (u64 mask = args[1]; mask != 0; mask &= mask - 1, ++to) {
    if (args[0] & mask & (0 - mask)) result |= u64(1) << to;
  }
  return result;
}

__attribute__((target("general-regs-only"))) u64 X86Cpu::helper_crc32(const u64* args) {
  u32 crc = u32(args[0]);
  u64 value = args[1];
  for (u64 i = 0; i < args[2]; ++i, value >>= 8) {
    crc ^= u8(value);
    for (int k = 0; k < 8; ++k) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc;
}

}  // namespace emu::x86
