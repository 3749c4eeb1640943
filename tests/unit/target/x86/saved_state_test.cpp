// SPDX-License-Identifier: Apache-2.0
// A vCPU's saved state: all of it comes back, and what is no such state is refused.
#include <cstring>

#include "support/saved_fields.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

/// Different bytes everywhere, and values that pass for a state where there are rules.
void fill(X86State& s) {
  auto* bytes = reinterpret_cast<u8*>(&s);
  for (size_t i = sizeof(tcg::EnvHeader); i < sizeof(X86State); ++i) bytes[i] = u8(i * 37 + (i >> 8) + 1);
  for (unsigned i = 0; i < 8; ++i) s.hdr.hot[i] = 0x8877665544332211 * (i + 3);
  for (unsigned i = 0; i < 2; ++i) s.hdr.hot_aux[i] = 0x123456789 * (i + 5);
  for (size_t i = 0; i < sizeof s.hdr.fpu_image; ++i) s.hdr.fpu_image[i] = u8(i * 11 + 7);
  s.hdr.pc = 0xffffffff81234567;
  s.hdr.cc_op = u8(tcg::cc_op(tcg::CcKind::Sub, 2));
  s.hdr.cc_a = 0x1111222233334444, s.hdr.cc_b = 0x5555;
  s.hdr.fp_control = 0x1fa5, s.hdr.fpu_control = 0x27f;
  s.df = -1;
  s.mxcsr = 0x3f80;
  s.fpu_data_segment = DS;
  s.nmi_blocked = 1;
  s.seg_base[FS] = s.seg_base[GS] = 0;  // theirs are in the header
  s.static_mode = 0;
}

/// Everything that is not worked out from the rest.
std::vector<u8> contents(const X86State& s) {
  std::vector<u8> bytes(sizeof(X86State) - sizeof(tcg::EnvHeader));
  std::memcpy(bytes.data(), reinterpret_cast<const u8*>(&s) + sizeof(tcg::EnvHeader), bytes.size());
  const auto leave_out = [&](const void* field, size_t size) {
    const size_t at = size_t(static_cast<const u8*>(field) - reinterpret_cast<const u8*>(&s)) - sizeof(tcg::EnvHeader);
    std::fill_n(bytes.begin() + i64(at), size, u8(0));
  };
  leave_out(&s.vec_tmp, sizeof s.vec_tmp);
  leave_out(&s.temp, sizeof s.temp);
  leave_out(&s.static_mode, sizeof s.static_mode);
  for (const Segment& segment : s.seg) leave_out(&segment.selector + 1, 2);  // padding
  leave_out(&s.gdt.limit + 1, 4), leave_out(&s.idt.limit + 1, 4);
  for (const FpuPointers* p : {&s.fpu_pointers, &s.fpu_trapped}) leave_out(&p->opcode + 1, 2);
  const u8* end = reinterpret_cast<const u8*>(&s.fpu_trapped + 1);
  leave_out(end, size_t(reinterpret_cast<const u8*>(&s + 1) - end));
  return bytes;
}

TEST(SavedState, EverythingComesBack) {
  CpuBench from, to;
  fill(from.cpu.state());
  const qom::FieldTree saved = from.cpu.save_state();
  const auto loaded = to.cpu.load_state(saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  EXPECT_EQ(to.cpu.save_state().dump(), saved.dump());
  const std::vector<u8> a = contents(from.cpu.state()), b = contents(to.cpu.state());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i], b[i]) << "byte " << i + sizeof(tcg::EnvHeader) << " of X86State is not saved";
  }
  const tcg::EnvHeader &x = from.cpu.env(), &y = to.cpu.env();
  EXPECT_EQ(std::memcmp(x.hot, y.hot, sizeof x.hot), 0);
  EXPECT_EQ(std::memcmp(x.hot_aux, y.hot_aux, 2 * sizeof x.hot_aux[0]), 0);
  EXPECT_EQ(std::memcmp(x.fpu_image, y.fpu_image, sizeof x.fpu_image), 0);
  EXPECT_EQ(x.pc, y.pc);
  EXPECT_EQ(std::tuple(x.cc_op, x.cc_a, x.cc_b), std::tuple(y.cc_op, y.cc_a, y.cc_b));
  EXPECT_EQ(std::tuple(x.fp_control, x.fpu_control), std::tuple(y.fp_control, y.fpu_control));
  EXPECT_EQ(from.cpu.fingerprint(), to.cpu.fingerprint());
}

TEST(SavedState, ModeAndWaitingEventsFollow) {
  CpuBench from, to;
  from.enter_long();
  from.cpu.startup(0x42);
  from.cpu.nmi();
  from.cpu.set_interrupt(true);
  ASSERT_TRUE(to.cpu.load_state(from.cpu.save_state()).has_value());
  EXPECT_EQ(to.cpu.mode_key(), from.cpu.mode_key());
  EXPECT_EQ(to.cpu.context_id(), from.cpu.context_id());
  EXPECT_TRUE(to.cpu.has_deliverable_event());
  EXPECT_GT(to.services.kicks, 0) << "the run loop must look";
  EXPECT_GT(to.services.flushes, 0);
}

TEST(SavedState, FingerprintsTellRoundsApart) {
  CpuBench bench;
  const u64 before = bench.cpu.fingerprint();
  bench.cpu.state().gpr(RCX) += 1;
  EXPECT_NE(bench.cpu.fingerprint(), before);
  bench.cpu.state().gpr(RCX) -= 1;
  EXPECT_EQ(bench.cpu.fingerprint(), before);
  bench.cpu.env().pc += 1;
  EXPECT_NE(bench.cpu.fingerprint(), before);
}

/// The error for a saved state with that value in that field.
template <typename V>
std::string refusal(const char* field, V value) {
  CpuBench bench;
  qom::FieldTree saved = bench.cpu.save_state();
  *test::find_field(saved, field) = qom::FieldTree(value);
  const auto loaded = bench.cpu.load_state(saved);
  return loaded ? "" : loaded.error().message();
}

TEST(SavedState, WhatIsNoStateIsRefused) {
  EXPECT_NE(refusal("halt", i64(4)).find("halt"), std::string::npos);
  EXPECT_NE(refusal("cc_op", u64(255)).find("cc_op"), std::string::npos);
  EXPECT_NE(refusal("df", i64(0)).find("df"), std::string::npos);
  EXPECT_NE(refusal("fpu_data_segment", u64(9)).find("fpu_data_segment"), std::string::npos);
  EXPECT_NE(refusal("stepped_from", i64(3)).find("stepped_from"), std::string::npos);
  EXPECT_NE(refusal("mxcsr", u64(0x10000)).find("mxcsr"), std::string::npos);
  EXPECT_NE(refusal("zmm3", std::vector<u8>(63)).find("zmm3"), std::string::npos);
  EXPECT_EQ(refusal("df", i64(-1)), "");
}

}  // namespace
}  // namespace emu::x86
