// SPDX-License-Identifier: Apache-2.0
// Segmentation: bases, limits, widths of addresses and of the stack.
#include "unit/target/x86/translate_bench.h"

namespace emu::x86::test {
namespace {

TEST(TranslateSegment, RealModeAddsTheSegmentBase) {
  Bench b;
  b.state().seg_base[DS] = 0x12340;
  b.poke(0x12340 + 0x20, 0xbeef, 2);
  b.run({0xa1, 0x20, 0x00}, 0x7c00, kReal);  // mov ax, [0x20]
  EXPECT_EQ(b.state().gpr(RAX), 0xbeefu);
}

TEST(TranslateSegment, WordAcrossTheLimitIsAGeneralProtectionFault) {
  Bench b;
  const auto r = b.run({0xa1, 0xff, 0xff}, 0x7c00, kReal);
  EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
  EXPECT_EQ(r.arg, u64(trap_code(kGP, 0)));
}

TEST(TranslateSegment, StackLimitIsAStackFault) {
  Bench b;
  b.state().seg_range[SS] = {0x100, 0xffff, 0x100, 0xffff};
  b.state().gpr(RSP) = 0x80;
  const auto r = b.run({0x50}, 0x7c00, kProtected16);
  EXPECT_EQ(r.arg, u64(trap_code(kSS, 0)));
  EXPECT_EQ(b.state().gpr(RSP), 0x80u);
}

TEST(TranslateSegment, ReadOnlySegmentAdmitsLoadsOnly) {
  Bench b;
  b.state().seg_range[ES] = {0, 0xffff, 1, 0};
  b.state().gpr(RBX) = 0x40;
  EXPECT_EQ(b.run({0x26, 0x8a, 0x07, 0xeb, 0x00}, 0x100, kProtected16).reason, tcg::ExitReason::Lookup);
  EXPECT_EQ(b.run({0x26, 0x88, 0x07}, 0x100, kProtected16).arg, u64(trap_code(kGP, 0)));
}

TEST(TranslateSegment, CodeSegmentIsNotWritableInProtectedMode) {
  Bench b;
  b.state().gpr(RBX) = 0x40;
  EXPECT_EQ(b.run({0x2e, 0x88, 0x07}, 0x100, kProtected16).arg, u64(trap_code(kGP, 0)));
  EXPECT_EQ(b.run({0x2e, 0x88, 0x07, 0xeb, 0x00}, 0x100, kReal).reason, tcg::ExitReason::Lookup);
}

TEST(TranslateSegment, SixteenBitStackWrapsAt64K) {
  Bench b;
  b.state().seg_base[SS] = 0x20000;
  b.state().gpr(RSP) = 0x1234'0000;
  b.state().gpr(RAX) = 0xabcd;
  b.run({0x50, 0xeb, 0x00}, 0x7c00, kReal);
  EXPECT_EQ(b.state().gpr(RSP), 0x1234'fffeu);
  EXPECT_EQ(b.peek(0x2fffe, 2), 0xabcdu);
}

TEST(TranslateSegment, CallPushesTheOffsetNotTheLinearAddress) {
  Bench b;
  b.state().seg_base[CS] = 0xf0000;
  b.state().gpr(RSP) = 0x1000;
  const auto r = b.run({0xe8, 0x10, 0x00}, 0xf0100, kReal);
  EXPECT_EQ(r.pc, 0xf0113u);
  EXPECT_EQ(b.peek(0xffe, 2), 0x103u);
}

TEST(TranslateSegment, RelativeJumpWrapsWithinTheSegment) {
  Bench b;
  b.state().seg_base[CS] = 0x10000;
  EXPECT_EQ(b.run({0xe9, 0x00, 0xff}, 0x10010, kReal).pc, 0x1ff13u);  // 0x13 - 0x100 = 0xff13
  EXPECT_EQ(b.run({0xe9, 0x20, 0x00}, 0x1fff0, kReal).pc, 0x10013u);  // 0xfff3 + 0x20 = 0x13
  EXPECT_EQ(b.run({0xe9, 0x20, 0x00}, 0x10100, kReal).pc, 0x10123u);
}

TEST(TranslateSegment, JumpBeyondTheCodeLimitFaults) {
  Bench b;
  b.state().seg_base[CS] = 0x10000;
  b.state().seg[CS].limit = 0xfff;
  const auto r = b.run({0xe9, 0x00, 0x20}, 0x10010, kProtected16);
  EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
  EXPECT_EQ(r.arg, u64(trap_code(kGP, 0)));
  // A conditional one only if taken
  b.state().hdr.cc_op = 0;
  b.state().hdr.cc_a = 0;
  EXPECT_EQ(b.run({0x0f, 0x84, 0x00, 0x20, 0xeb, 0x00}, 0x10010, kProtected16).pc, 0x10016u);
}

TEST(TranslateSegment, NearReturnAddsTheCodeBase) {
  Bench b;
  b.state().seg_base[CS] = 0x10000;
  b.state().gpr(RSP) = 0x1000;
  b.poke(0x1000, 0x234, 2);
  EXPECT_EQ(b.run({0xc3}, 0x10010, kReal).pc, 0x10234u);
  EXPECT_EQ(b.state().gpr(RSP), 0x1002u);
}

TEST(TranslateSegment, SixteenBitAddressingWraps) {
  Bench b;
  b.state().gpr(RBX) = 0xfff0;
  b.state().gpr(RSI) = 0x20;
  b.poke(0x12, 0x5a, 1);
  b.run({0x8a, 0x40, 0x02, 0xeb, 0x00}, 0x7c00, kReal);  // mov al, [bx+si+2]
  EXPECT_EQ(b.state().gpr(RAX) & 0xff, 0x5au);
}

TEST(TranslateSegment, FsBaseIsAddedInLongMode) {
  Bench b;
  b.state().segment_base(FS) = 0x8000;
  b.poke(0x8028, 0x1122334455667788, 8);
  b.run({0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0xeb, 0x00}, 0x1000, kLong);
  EXPECT_EQ(b.state().gpr(RAX), 0x1122334455667788u);
}

TEST(TranslateSegment, DsOverrideIsIgnoredInLongModeAndKeepsFs) {
  Bench b;
  b.state().segment_base(FS) = 0x8000;
  b.state().seg_base[DS] = 0x4000;
  b.poke(0x8028, 0x77, 1);
  b.run({0x64, 0x3e, 0x8a, 0x04, 0x25, 0x28, 0, 0, 0, 0xeb, 0x00}, 0x1000, kLong);
  EXPECT_EQ(b.state().gpr(RAX), 0x77u);
}

TEST(TranslateSegment, LoopCountsInTheAddressSize) {
  Bench b;
  b.state().gpr(RCX) = 0xffff'0000'0000'0001;
  EXPECT_EQ(b.run({0xe2, 0x10, 0xeb, 0x00}, 0x1000, kLong).pc, 0x1012u);
  b.state().gpr(RCX) = 0x5'0000'0001;
  const auto r = b.run({0x67, 0xe2, 0x10, 0xeb, 0x00}, 0x1000, kLong);
  EXPECT_EQ(r.pc, 0x1005u);
  EXPECT_EQ(b.state().gpr(RCX), 0u);
}

}  // namespace
}  // namespace emu::x86::test
