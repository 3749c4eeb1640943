// SPDX-License-Identifier: Apache-2.0
#include "isa/state.h"

#include <cpuid.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

namespace emu::isa {
namespace {

constexpr const char* kNames[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                    "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};

std::string hex(const u8* bytes, size_t count) {
  std::string text;
  for (size_t i = count; i-- > 0;) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

void compare_bytes(std::string& out, const std::string& name, const u8* a, const u8* b, size_t count) {
  if (std::memcmp(a, b, count) != 0) out += fmt::format("  {}: {} / {}\n", name, hex(a, count), hex(b, count));
}

void compare_vectors(std::string& out, const Vectors& a, const Vectors& b, Bits bits) {
  const auto word = [&](const char* name, size_t at, size_t bytes) {
    compare_bytes(out, name, a.image + at, b.image + at, bytes);
  };
  word("fcw", Vectors::kControlWord, 2);
  word("fsw", Vectors::kStatus, 2);
  word("ftw", Vectors::kTags, 1);
  word("mxcsr", Vectors::kMxcsr, 4);
  // What is in an empty register does not count: our host code changes it, and only an image in memory shows it.
  const unsigned top = a.get<u16>(Vectors::kStatus) >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) {
    if (a.get<u8>(Vectors::kTags) >> ((top + i) & 7) & 1)
      compare_bytes(out, fmt::format("st{}", i), a.st(i), b.st(i), 10);
  }
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i) {
    compare_bytes(out, fmt::format("xmm{}", i), a.xmm(i), b.xmm(i), 16);
    compare_bytes(out, fmt::format("ymm{} high", i), a.ymm_high(i), b.ymm_high(i), 16);
  }
}

void compare_pointers(std::string& out, const X87Pointers& a, const X87Pointers& b) {
  const auto word = [&](const char* name, u32 x, u32 y) {
    if (x != y) out += fmt::format("  {}: {:x} / {:x}\n", name, x, y);
  };
  if (!a.are_known || !b.are_known) return;
  word("fip", a.ip, b.ip);
  word("fdp", a.dp, b.dp);
  word("fop", a.opcode, b.opcode);
  if (!a.have_selectors || !b.have_selectors) return;
  word("fcs", a.cs, b.cs);
  word("fds", a.ds, b.ds);
}

void compare_avx512(std::string& out, const Vectors& a, const Vectors& b, Bits bits) {
  const bool is_64 = bits == Bits::k64;
  for (unsigned i = 0; i < 8; ++i) compare_bytes(out, fmt::format("k{}", i), a.opmask(i), b.opmask(i), 8);
  for (unsigned i = 0; i < (is_64 ? 16u : 8u); ++i)
    compare_bytes(out, fmt::format("zmm{} high", i), a.zmm_high(i), b.zmm_high(i), 32);
  for (unsigned i = 0; i < (is_64 ? 16u : 0u); ++i)
    compare_bytes(out, fmt::format("zmm{}", i + 16), a.zmm16(i), b.zmm16(i), 64);
}

void compare_memory(std::string& out, const Memory& a, const Memory& b, const Masks& masks) {
  if (std::memcmp(a.bytes, b.bytes, sizeof(a.bytes)) == 0) return;
  unsigned shown = 0;
  for (u64 i = 0; i < kWindowBytes && shown < 24; ++i) {
    const u64 address = kWindow + i;
    if (a.bytes[i] == b.bytes[i]) continue;
    const auto covers = [address](const Masks::Range& range) { return address - range.at < range.bytes; };
    if (std::any_of(masks.ignored.begin(), masks.ignored.end(), covers)) continue;
    out += fmt::format("  [{:#x}]: {:02x} / {:02x}\n", address, a.bytes[i], b.bytes[i]);
    ++shown;
  }
}

struct Components {
  size_t offset[8] = {};
  u64 mask = 7;
};
const Components& components() {
  static const Components kComponents = [] {
    Components c;
    u32 a = 0, b = 0, cx = 0, d = 0;
    __cpuid_count(0xd, 0, a, b, cx, d);
    if ((a & 0xe0) != 0xe0 || !__builtin_cpu_supports("avx512f") || std::getenv("ISA_WITHOUT_AVX512") != nullptr)
      return c;
    for (unsigned i = 5; i < 8; ++i) {
      u32 size = 0, at = 0;
      __cpuid_count(0xd, i, size, at, cx, d);
      if (at + size > Vectors::kBytes) return Components{};
      c.offset[i] = at;
    }
    c.mask = 0xe7;
    return c;
  }();
  return kComponents;
}

}  // namespace

size_t component_offset(unsigned number) { return components().offset[number]; }
u64 component_mask() { return components().mask; }

std::string differences(const Outcome& a, const State& sa, const Memory& ma, const Outcome& b, const State& sb,
                        const Memory& mb, const Masks& masks, Bits bits) {
  std::string out;
  if (a.faulted != b.faulted || a.vector != b.vector || ((a.error ^ b.error) & masks.error) || a.pc != b.pc ||
      ((a.address ^ b.address) & masks.address)) {
    out += fmt::format("  outcome: {} / {}\n", describe(a), describe(b));
  }
  const u64 width = bits == Bits::k64 ? ~u64(0) : 0xffffffff;
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i) {
    if ((masks.gprs >> i & 1) && ((sa.gpr[i] ^ sb.gpr[i]) & width)) {
      out += fmt::format("  {}: {:016x} / {:016x}\n", kNames[i], sa.gpr[i], sb.gpr[i]);
    }
  }
  if ((sa.flags ^ sb.flags) & masks.flags) {
    out += fmt::format("  flags: {:06x} / {:06x} (compared {:06x})\n", sa.flags, sb.flags, masks.flags & 0xffffff);
  }
  if (sa.fs_base != sb.fs_base) out += fmt::format("  fs base: {:x} / {:x}\n", sa.fs_base, sb.fs_base);
  if (sa.gs_base != sb.gs_base) out += fmt::format("  gs base: {:x} / {:x}\n", sa.gs_base, sb.gs_base);
  if (masks.vectors) compare_vectors(out, sa.vectors, sb.vectors, bits);
  compare_pointers(out, sa.pointers, sb.pointers);
  if (masks.vectors && host_has_avx512()) compare_avx512(out, sa.vectors, sb.vectors, bits);
  compare_memory(out, ma, mb, masks);
  return out;
}

std::string describe(const Outcome& o) {
  if (!o.faulted) return fmt::format("went on at {:#x}", o.pc);
  return fmt::format("vector {} error {:#x} address {:#x} at {:#x}", o.vector, o.error, o.address, o.pc);
}

std::string describe(const State& s, Bits bits) {
  std::string out;
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i) {
    out += fmt::format("{}={:016x}{}", kNames[i], s.gpr[i], i % 4 == 3 ? "\n" : " ");
  }
  out += fmt::format("flags={:06x} fs={:x} gs={:x} fcw={:04x} fsw={:04x} ftw={:02x} mxcsr={:04x}\n", s.flags, s.fs_base,
                     s.gs_base, s.vectors.get<u16>(Vectors::kControlWord), s.vectors.get<u16>(Vectors::kStatus),
                     s.vectors.get<u8>(Vectors::kTags), s.vectors.get<u32>(Vectors::kMxcsr));
  for (unsigned i = 0; i < 8; ++i)
    out += fmt::format("st{}={}{}", i, hex(s.vectors.st(i), 10), i % 4 == 3 ? "\n" : " ");
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i) {
    out += fmt::format("ymm{}={}.{}\n", i, hex(s.vectors.ymm_high(i), 16), hex(s.vectors.xmm(i), 16));
  }
  if (!host_has_avx512()) return out;
  for (unsigned i = 0; i < 8; ++i)
    out += fmt::format("k{}={}{}", i, hex(s.vectors.opmask(i), 8), i % 4 == 3 ? "\n" : " ");
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i)
    out += fmt::format("zmm{} high={}\n", i, hex(s.vectors.zmm_high(i), 32));
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 0u); ++i)
    out += fmt::format("zmm{}={}\n", i + 16, hex(s.vectors.zmm16(i), 64));
  return out;
}

}  // namespace emu::isa
