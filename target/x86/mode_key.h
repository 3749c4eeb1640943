// SPDX-License-Identifier: Apache-2.0
// The mode key and the view that a state calls for.
#pragma once

#include "target/x86/state.h"

namespace emu::x86 {

inline bool is_long_mode(const X86State& s) { return s.efer & kEferLMA; }
inline bool is_code64(const X86State& s) { return is_long_mode(s) && (s.seg[CS].attributes & bit(21)); }

inline bool has_avx512(const X86State& s) { return (s.cr4 & kCr4OSXSAVE) && (s.xcr0 & kXcr0Avx512) == kXcr0Avx512; }

namespace mode_detail {
constexpr u32 put(Mode::Bit b, bool on) { return u32(on) << b; }
}  // namespace mode_detail

/// Control registers' part, for any code segment.
inline u32 make_control_mode(const X86State& s, unsigned cpl) {
  using mode_detail::put;
  return cpl << Mode::kCplShift | put(Mode::kPE, s.cr0 & kCr0PE) | put(Mode::kCr0EM, s.cr0 & kCr0EM) |
         put(Mode::kCr0TS, s.cr0 & kCr0TS) | put(Mode::kCr0MP, s.cr0 & kCr0MP) |
         put(Mode::kX87Traps, ~s.hdr.fpu_control & 0x3f) | put(Mode::kOsFxsr, s.cr4 & kCr4OSFXSR) |
         put(Mode::kSimdTraps, ~s.mxcsr & 0x1f80) | put(Mode::kOsXsave, s.cr4 & kCr4OSXSAVE) |
         put(Mode::kAvx, (s.cr4 & kCr4OSXSAVE) && (s.xcr0 & 4)) | put(Mode::kAvx512, has_avx512(s)) |
         put(Mode::kZmm, s.avx512_live && has_avx512(s)) | put(Mode::kTsd, (s.cr4 & kCr4TSD) && cpl != 0) |
         put(Mode::kUmip, (s.cr4 & kCr4UMIP) && cpl != 0) | put(Mode::kFsGsBase, s.cr4 & kCr4FSGSBASE) |
         put(Mode::kSmap, (s.cr4 & kCr4SMAP) && cpl < 3);
}

/// X86State::static_mode of 64-bit code. It ignores the segments, so it has one key whatever they hold.
inline u32 make_static_mode64(const X86State& s, unsigned cpl) {
  constexpr u32 kCode = 1u << Mode::kCode64 | 1u << Mode::kFlatDS | 1u << Mode::kFlatES | 1u << Mode::kFlatSS |
                        1u << Mode::kFlatCS;
  return kCode | make_control_mode(s, cpl);
}

/// X86State::static_mode of the present state.
inline u32 make_static_mode(const X86State& s) {
  using mode_detail::put;
  if (is_code64(s)) return make_static_mode64(s, s.cpl());
  const auto is_flat = [&s](Seg seg) {
    const SegmentRange& r = s.seg_range[seg];
    return s.seg_base[seg] == 0 && r.read_low == 0 && r.read_high == ~u32(0) && r.write_low == 0 &&
           r.write_high == ~u32(0);
  };
  const SegmentRange& code = s.seg_range[CS];
  return make_control_mode(s, s.cpl()) | put(Mode::kCode32, s.seg[CS].attributes & bit(22)) |
         put(Mode::kStack32, s.seg[SS].attributes & bit(22)) | put(Mode::kFlatDS, is_flat(DS)) |
         put(Mode::kFlatES, is_flat(ES)) | put(Mode::kFlatSS, is_flat(SS)) |
         put(Mode::kFlatCS, s.seg_base[CS] == 0 && code.read_low == 0 && code.read_high == ~u32(0));
}

/// The whole key: what flags add to `static_mode`.
inline u32 make_mode_key(const X86State& s, u32 static_mode, u64 flags, bool inhibit) {
  using mode_detail::put;
  const unsigned cpl = static_mode >> Mode::kCplShift & 3;
  return static_mode | put(Mode::kVM86, flags & kVM) | put(Mode::kTF, (flags & kTF) || s.hdr.guest_debug != 0) |
         put(Mode::kInhibit, inhibit) | put(Mode::kIopl, cpl <= bits(flags, 13, 12)) |
         put(Mode::kAlignCheck, cpl == 3 && (flags & kAC) && (s.cr0 & kCr0AM)) |
         put(Mode::kSmapOverride, (flags & kAC) && (static_mode >> Mode::kSmap & 1)) |
         put(Mode::kVme, (flags & kVM) && (s.cr4 & kCr4VME)) |
         put(Mode::kPvi, !(flags & kVM) && cpl == 3 && (s.cr4 & kCr4PVI));
}

inline u8 view_of(const X86State& s, unsigned cpl, u64 flags) {
  if (cpl == 3) return kViewUser;
  return (s.cr4 & kCr4SMAP) && (flags & kAC) ? kViewKernelAc : kViewKernel;
}

}  // namespace emu::x86
