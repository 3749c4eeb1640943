// SPDX-License-Identifier: Apache-2.0
#include <numeric>

#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

constexpr u64 string_mode(unsigned bytes, unsigned address_bytes, Seg seg = DS) {
  return bytes | address_bytes << 8 | u64(seg) << 16;
}

void set_strings(CpuBench& b, u64 rsi, u64 rdi, u64 rcx) {
  b.s().gpr(RSI) = rsi;
  b.s().gpr(RDI) = rdi;
  b.s().gpr(RCX) = rcx;
}

TEST(RepMovs, CopiesAcrossPagesInRuns) {
  CpuBench b;
  b.enter_long();
  std::iota(&b.memory.ram[0x200000], &b.memory.ram[0x200000 + 10000], u8(1));
  set_strings(b, 0x200123, 0x240777, 6001);
  b.call(H_rep_movs, string_mode(1, 8));
  EXPECT_EQ(std::memcmp(&b.memory.ram[0x200123], &b.memory.ram[0x240777], 6001), 0);
  EXPECT_EQ(b.memory.ram[0x240777 + 6001], 0);
  EXPECT_EQ(b.s().gpr(RCX), 0u);
  EXPECT_EQ(b.s().gpr(RSI), 0x200123u + 6001);
  EXPECT_GT(b.memory.run_bytes, 5900u);
}

TEST(RepMovs, ForwardOverlapRepeatsThePattern) {
  CpuBench b;
  b.enter_long();
  b.memory.ram[0x200000] = 0xab;
  b.memory.ram[0x200001] = 0xcd;
  set_strings(b, 0x200000, 0x200002, 100);
  b.call(H_rep_movs, string_mode(1, 8));
  for (unsigned i = 0; i < 102; ++i) ASSERT_EQ(b.memory.ram[0x200000 + i], i & 1 ? 0xcd : 0xab) << i;
}

TEST(RepMovs, BackwardCopiesElementByElement) {
  CpuBench b;
  b.enter_long();
  b.s().df = -1;
  b.put(0x200000, 8, 0x1111222233334444);
  set_strings(b, 0x200004, 0x200104, 2);
  b.call(H_rep_movs, string_mode(4, 8));
  EXPECT_EQ(b.get(0x200100, 8), 0x1111222233334444u);
  EXPECT_EQ(b.s().gpr(RDI), 0x2000fcu);
}

TEST(RepMovs, FaultLeavesTheCountOfWhatRemains) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x241000), 8, 0);
  set_strings(b, 0x200000, 0x240f00, 0x80);
  b.call(H_rep_movs, string_mode(8, 8));
  EXPECT_EQ(b.pending_vector(), kPFv);
  EXPECT_EQ(CpuTestAccess::pending_address(b.cpu), 0x241000u);
  EXPECT_EQ(b.s().gpr(RCX), 0x60u);
  EXPECT_EQ(b.s().gpr(RSI), 0x200100u);
  EXPECT_EQ(b.s().gpr(RDI), 0x241000u);
  EXPECT_EQ(b.env().leave, u32(tcg::kLeaveAtInsn));
}

TEST(RepMovs, StopsForEventsAndStartsAgain) {
  CpuBench b;
  b.enter_long();
  b.env().exit_req = tcg::kExitInterrupt;
  set_strings(b, 0x200000, 0x240000, 10000);
  b.call(H_rep_movs, string_mode(1, 8));
  EXPECT_EQ(b.env().leave, u32(tcg::kLeaveAtInsn));
  EXPECT_FALSE(b.cpu.has_pending_fault());
  EXPECT_EQ(b.s().gpr(RCX), 10000u - 4096);
}

TEST(RepMovs, SixteenBitAddressesWrapAndKeepUpperHalves) {
  CpuBench b;
  for (Seg seg : {DS, ES}) b.call(H_load_segment, seg, 0x2000);
  b.memory.ram[0x2ffff] = 1;
  b.memory.ram[0x20000] = 2;
  set_strings(b, 0xaaaaffff, 0xbbbb1000, 0xcccc0002);
  b.call(H_rep_movs, string_mode(1, 2));
  EXPECT_EQ(b.get(0x21000, 2), 0x0201u);
  EXPECT_EQ(b.s().gpr(RSI), 0xaaaa0001u);
  EXPECT_EQ(b.s().gpr(RCX), 0xcccc0000u);
}

TEST(RepMovs, SegmentLimitFaultsAtTheElement) {
  CpuBench b;
  b.enter_protected();
  b.put_descriptor(kSpare, 0x200000, 0xff, 0x409200);
  b.call(H_load_segment, ES, kSpare);
  set_strings(b, 0x100000, 0, 0x200);
  b.call(H_rep_movs, string_mode(1, 4));
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.s().gpr(RCX), 0x100u);
}

TEST(RepStos, FillsInRunsAndByElements) {
  CpuBench b;
  b.enter_long();
  b.s().gpr(RAX) = 0;
  std::fill_n(&b.memory.ram[0x200000], 0x3000, u8(0xff));
  set_strings(b, 0, 0x200800, 0x200);
  b.call(H_rep_stos, string_mode(8, 8));
  EXPECT_EQ(b.memory.run_bytes, 0x1000u);
  EXPECT_EQ(b.get(0x2017f8, 8), 0u);
  EXPECT_EQ(b.memory.ram[0x201800], 0xff);
  b.s().gpr(RAX) = 0x0720;
  set_strings(b, 0, 0x200801, 300);
  b.call(H_rep_stos, string_mode(2, 8));
  EXPECT_EQ(b.get(0x200801 + 598, 2), 0x0720u);
  EXPECT_EQ(b.get(0x200801 + 600, 2), 0u);
}

TEST(RepScas, StopsBehindTheMatch) {
  CpuBench b;
  b.enter_long();
  std::fill_n(&b.memory.ram[0x200ff0], 64, u8('x'));
  b.memory.ram[0x201005] = 0;
  b.s().gpr(RAX) = 0;
  set_strings(b, 0, 0x200ff0, ~u64(0));
  b.call(H_rep_scas, string_mode(1, 8), 0);
  EXPECT_EQ(b.s().gpr(RDI), 0x201006u);
  EXPECT_EQ(b.s().gpr(RCX), ~u64(0) - 0x16);
  EXPECT_TRUE(read_rflags(b.s()) & kZF);
}

TEST(RepCmps, FlagsOfTheLastComparison) {
  CpuBench b;
  b.enter_long();
  b.memory.ram[0x200010] = 3;
  b.memory.ram[0x240010] = 5;
  set_strings(b, 0x200000, 0x240000, 100);
  b.call(H_rep_cmps, string_mode(1, 8), 1);
  EXPECT_EQ(b.s().gpr(RSI), 0x200011u);
  EXPECT_EQ(b.s().gpr(RCX), 100u - 17);
  EXPECT_TRUE(read_rflags(b.s()) & kCF);
  EXPECT_FALSE(read_rflags(b.s()) & kZF);
}

TEST(RepCmps, ZeroCountKeepsFlags) {
  CpuBench b;
  b.enter_long();
  write_rflags(b.s(), kZF | kCF, kArithmetic);
  set_strings(b, 0x200000, 0x240000, 0);
  b.call(H_rep_cmps, string_mode(1, 8), 1);
  EXPECT_EQ(read_rflags(b.s()) & kArithmetic, u64(kZF | kCF));
}

TEST(Ports, BitmapGuardsUserMode) {
  CpuBench b;
  b.enter_long();
  b.memory.ports[0x71] = 0x5a;
  b.put(kTss + 0x66, 2, 0x68);
  b.put(kTss + 0x68 + 0x70 / 8, 1, 0xfd);  // port 0x71 allowed
  EXPECT_EQ(b.call(H_port_in, 0x71, 1), 0x5au);
  b.go_user64();
  EXPECT_EQ(b.call(H_port_in, 0x71, 1), 0x5au);
  b.call(H_port_out, 0x70, 1, 1);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_TRUE(b.memory.port_writes.empty());
}

TEST(Ports, StringInDoesNotReadTheDeviceBeforeTheStoreCanSucceed) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(0x240000), 8, 0);
  b.memory.ports[0x1f0] = 0x1234;
  b.s().gpr(RDX) = 0x1f0;
  set_strings(b, 0, 0x23fffc, 4);
  b.call(H_string_in, 2, 8, 1);
  EXPECT_EQ(b.pending_vector(), kPFv);
  EXPECT_EQ(b.s().gpr(RCX), 2u);
  EXPECT_EQ(b.get(0x23fffc, 4), 0x12341234u);
}

}  // namespace
}  // namespace emu::x86
