// SPDX-License-Identifier: Apache-2.0
// RFLAGS as one word, over the places where its parts live.
#pragma once

#include "target/x86/state.h"

namespace emu::x86 {

/// The bits that X86State::rflags_system holds.
inline constexpr u64 kSystemFlags = kTF | kIF | kIOPL | kNT | kRF | kVM | kAC | kVIF | kVIP | kID;
inline constexpr u64 kAllFlags = kArithmetic | kDF | kSystemFlags;

inline u64 read_rflags(const X86State& s) {
  return tcg::pack_flags(s.hdr.cc_op, s.hdr.cc_a, s.hdr.cc_b) | (s.df < 0 ? u64(kDF) : 0) |
         (s.rflags_system & kSystemFlags) | 2;
}

inline void set_arithmetic_flags(X86State& s, u64 flags) {
  s.hdr.cc_op = tcg::cc_op(tcg::CcKind::Packed, 0);
  s.hdr.cc_a = flags & kArithmetic;
  s.hdr.cc_b = 0;
}

/// Replaces the bits of `mask` by those of `value`.
inline void write_rflags(X86State& s, u64 value, u64 mask) {
  const u64 flags = (read_rflags(s) & ~mask) | (value & mask);
  set_arithmetic_flags(s, flags);
  s.df = flags & kDF ? -1 : 1;
  s.rflags_system = (flags & kSystemFlags) | 2;
}

}  // namespace emu::x86
