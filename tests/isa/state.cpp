// SPDX-License-Identifier: Apache-2.0
#include "isa/state.h"

#include <fmt/format.h>

#include <algorithm>

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

void compare_vectors(std::string& out, const Vectors& a, const Vectors& b, Bits bits, const Masks& masks) {
  const auto word = [&](const char* name, size_t at, size_t bytes) {
    compare_bytes(out, name, a.image + at, b.image + at, bytes);
  };
  word("fcw", Vectors::kControlWord, 2);
  if (masks.x87_status) word("fsw", Vectors::kStatus, 2);
  if (masks.x87_status) word("ftw", Vectors::kTags, 1);
  word("mxcsr", Vectors::kMxcsr, 4);
  // What is in an empty register does not count: our host code changes it, and only an image in memory shows it.
  const unsigned top = a.get<u16>(Vectors::kStatus) >> 11 & 7;
  for (unsigned i = 0; i < 8; ++i) {
    if (a.get<u8>(Vectors::kTags) >> ((top + i) & 7) & 1) compare_bytes(out, fmt::format("st{}", i), a.st(i), b.st(i), 10);
  }
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i) {
    compare_bytes(out, fmt::format("xmm{}", i), a.xmm(i), b.xmm(i), 16);
    compare_bytes(out, fmt::format("ymm{} high", i), a.ymm_high(i), b.ymm_high(i), 16);
  }
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

}  // namespace

std::string differences(const Outcome& a, const State& sa, const Memory& ma, const Outcome& b, const State& sb,
                        const Memory& mb, const Masks& masks, Bits bits) {
  std::string out;
  if (a.faulted != b.faulted || a.vector != b.vector || ((a.error ^ b.error) & masks.error) || a.pc != b.pc || ((a.address ^ b.address) & masks.address)) {
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
  if (masks.vectors) compare_vectors(out, sa.vectors, sb.vectors, bits, masks);
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
  for (unsigned i = 0; i < 8; ++i) out += fmt::format("st{}={}{}", i, hex(s.vectors.st(i), 10), i % 4 == 3 ? "\n" : " ");
  for (unsigned i = 0; i < (bits == Bits::k64 ? 16u : 8u); ++i) {
    out += fmt::format("ymm{}={}.{}\n", i, hex(s.vectors.ymm_high(i), 16), hex(s.vectors.xmm(i), 16));
  }
  return out;
}

}  // namespace emu::isa
