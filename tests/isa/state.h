// SPDX-License-Identifier: Apache-2.0
// What user code can see of a processor, as both sides of the comparison take and give it, and where it runs.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "util/types.h"

namespace emu::isa {

/// Which code segment runs: the host's 64-bit one, or its 32-bit one (compatibility mode).
enum class Bits : u8 { k32, k64 };

/// The addresses that guest code lives at, the same on both sides. All below 2 GiB, so that every form reaches them,
/// and far apart, so that an address that misses one does not hit another; none is a number that Random likes.
inline constexpr u64 kCodePages = 0x1357'0000, kCodeBytes = 4 * 4096;
inline constexpr u64 kCodeAt = kCodePages + 0x2000;  ///< the instructions under test
inline constexpr u64 kWindow = 0x2468'0000, kWindowPages = 7, kWindowBytes = kWindowPages * 4096;
inline constexpr u64 kControl = 0x3579'0000;  ///< the native runner's own

enum class PageKind : u8 { None, ReadOnly, ReadWrite };
/// Two pages that can be written, one that cannot, a hole, one by itself, a hole, and one that cannot.
constexpr PageKind page_kind(u64 address) {
  constexpr PageKind kKinds[kWindowPages] = {PageKind::ReadWrite, PageKind::ReadWrite, PageKind::ReadOnly,
                                             PageKind::None,      PageKind::ReadWrite, PageKind::None,
                                             PageKind::ReadOnly};
  return address - kWindow < kWindowBytes ? kKinds[(address - kWindow) >> 12] : PageKind::None;
}

/// Where XSAVE puts a component on this host (standard form); 0 if it has none such.
size_t component_offset(unsigned number);
/// Components of State that this host has: 0 to 2, and 5 to 7 with AVX-512.
u64 component_mask();
/// Neither where ISA_WITHOUT_AVX512 is in the environment.
inline bool host_has_avx512() { return component_mask() & 0x80; }

/// x87, MXCSR, XMM, the upper parts of YMM and ZMM and the mask registers as XSAVE lays them out.
struct alignas(64) Vectors {
  static constexpr size_t kControlWord = 0, kStatus = 2, kTags = 4, kPointers = 6, kMxcsr = 24, kMxcsrMask = 28,
                          kStack = 32, kXmm = 160, kComponents = 512, kYmmHigh = 576, kBytes = 2816;
  template <typename T>
  T get(size_t at) const {
    T v;
    std::memcpy(&v, image + at, sizeof(v));
    return v;
  }
  template <typename T>
  void put(size_t at, T v) {
    std::memcpy(image + at, &v, sizeof(v));
  }
  u8* st(unsigned i) { return image + kStack + 16 * i; }
  const u8* st(unsigned i) const { return image + kStack + 16 * i; }
  u8* xmm(unsigned i) { return image + kXmm + 16 * i; }
  const u8* xmm(unsigned i) const { return image + kXmm + 16 * i; }
  u8* ymm_high(unsigned i) { return image + kYmmHigh + 16 * i; }
  const u8* ymm_high(unsigned i) const { return image + kYmmHigh + 16 * i; }
  // Only where the host has AVX-512.
  u8* opmask(unsigned i) { return image + component_offset(5) + 8 * i; }
  const u8* opmask(unsigned i) const { return image + component_offset(5) + 8 * i; }
  u8* zmm_high(unsigned i) { return image + component_offset(6) + 32 * i; }
  const u8* zmm_high(unsigned i) const { return image + component_offset(6) + 32 * i; }
  u8* zmm16(unsigned i) { return image + component_offset(7) + 64 * i; }
  const u8* zmm16(unsigned i) const { return image + component_offset(7) + 64 * i; }
  u8 image[kBytes] = {};
};

/// Where the last x87 instruction was and its operand, as FNSTENV shows them.
struct X87Pointers {
  bool are_known = false, have_selectors = false;
  u32 ip = 0, dp = 0;
  u16 cs = 0, ds = 0, opcode = 0;
};

struct State {
  u64 gpr[16] = {};
  u64 flags = 2;
  u64 fs_base = 0, gs_base = 0;
  Vectors vectors;
  X87Pointers pointers;  ///< after a run; before one they are zero
};

/// How a run ended.
struct Outcome {
  bool faulted = false;
  u8 vector = 0;
  u32 error = 0;
  u64 address = 0;  ///< #PF: CR2
  u64 pc = 0;       ///< where it goes on, or the faulting instruction
  bool changes_mode = false;  ///< ours: needs other code than was made
};

/// The contents of the window's pages.
struct Memory {
  alignas(64) u8 bytes[kWindowBytes] = {};
};

/// What differs, a line each; empty if nothing.
struct Masks {
  u64 flags = ~u64(0);      ///< bits that count
  u16 gprs = 0xffff;        ///< registers that count
  u64 address = ~u64(0);    ///< bits of CR2
  u32 error = ~u32(0);      ///< of the error code
  bool vectors = true;
  struct Range {
    u64 at = 0, bytes = 0;
  };
  std::vector<Range> ignored;  ///< guest memory that does not count
};
std::string differences(const Outcome& a, const State& sa, const Memory& ma, const Outcome& b, const State& sb,
                        const Memory& mb, const Masks& masks, Bits bits);
std::string describe(const State& state, Bits bits);
std::string describe(const Outcome& outcome);

}  // namespace emu::isa
