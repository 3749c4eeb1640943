// SPDX-License-Identifier: Apache-2.0
#include "target/x86/fpu_image.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

constexpr u64 kArea = 0x200000;

void set_st(CpuBench& b, unsigned i, long double value) { std::memcpy(FpuImage(b.env()).st(i), &value, 10); }
long double get_st(CpuBench& b, unsigned i) {
  long double value = 0;
  std::memcpy(&value, FpuImage(b.env()).st(i), 10);
  return value;
}
/// Two values on the stack: TOP = 6, ST(0) = 2.5, ST(1) = -1.
void fill_state(CpuBench& b) {
  FpuImage fpu(b.env());
  fpu.init();
  fpu.set_control(0x27f);
  fpu.set_status(6 << 11 | 0x4100);
  fpu.set_tags(0xc0);
  set_st(b, 0, 2.5L);
  set_st(b, 1, -1.0L);
  for (unsigned i = 0; i < 16; ++i) std::memset(b.s().vec[i].bytes, int(i + 1), 16);
  b.call(H_load_mxcsr, 0x9fc0);
}

TEST(Fxsave, RoundTrip) {
  CpuBench b;
  b.enter_long();
  fill_state(b);
  b.call(H_fxsave, kArea, 1);
  EXPECT_EQ(b.get(kArea, 2), 0x27fu);
  EXPECT_EQ(b.get(kArea + 2, 2), 0x7100u);
  EXPECT_EQ(b.get(kArea + 4, 1), 0xc0u);
  EXPECT_EQ(b.get(kArea + 8, 8), 0u);  // never the host's pointers
  EXPECT_EQ(b.get(kArea + 24, 4), 0x9fc0u);
  EXPECT_EQ(b.get(kArea + 28, 4), 0xffffu);
  EXPECT_EQ(b.get(kArea + 160 + 240, 1), 16u);

  b.cpu.reset();
  CpuBench c;
  c.enter_long();
  std::copy_n(&b.memory.ram[kArea], 512, &c.memory.ram[kArea]);
  c.call(H_fxrstor, kArea, 1);
  EXPECT_EQ(get_st(c, 0), 2.5L);
  EXPECT_EQ(get_st(c, 1), -1.0L);
  EXPECT_EQ(FpuImage(c.env()).top(), 6u);
  EXPECT_EQ(c.env().fpu_control, 0x27fu);
  EXPECT_EQ(image_get<u16>(c.env().fpu_image, 0) & 0x3f, 0x3f);
  EXPECT_EQ(c.s().vec[15].bytes[7], 16);
  EXPECT_EQ(c.call(H_store_mxcsr), 0x9fc0u);
}

TEST(Fxsave, MisalignedOrReservedFaults) {
  CpuBench b;
  b.enter_long();
  b.call(H_fxsave, kArea + 8, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.put(kArea + 24, 4, 0x10000);
  b.call(H_fxrstor, kArea, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Fxsave, PageFaultChangesNothing) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(kArea + 0x1000), 8, 0);
  b.call(H_fxsave, kArea + 0xf80, 0);
  EXPECT_EQ(b.pending_vector(), kPFv);
  EXPECT_EQ(b.get(kArea + 0xf80, 8), 0u);
}

TEST(Fxsave, UnmaskedExceptionShowsInTheSummaryBit) {
  CpuBench b;
  b.enter_long();
  FpuImage fpu(b.env());
  fpu.init();
  fpu.set_control(0x37e);  // invalid operation unmasked
  fpu.set_status(1);
  b.call(H_fxsave, kArea, 0);
  EXPECT_EQ(b.get(kArea + 2, 2), 0x8081u);
}

TEST(Xsave, StandardRoundTripAndInit) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.s().gpr(RCX) = 0;
  b.s().gpr(RAX) = 3;
  b.s().gpr(RDX) = 0;
  b.call(H_xsetbv);
  fill_state(b);
  b.s().gpr(RAX) = 3;
  b.call(H_xsave, kArea, 1, 0);
  EXPECT_EQ(b.get(kArea + 512, 8), 3u);
  EXPECT_EQ(b.get(kArea + 520, 8), 0u);
  b.put(kArea + 512, 8, 2);  // x87 in its initial state
  std::memset(b.s().vec[3].bytes, 0, 16);
  b.s().gpr(RAX) = 3;
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.s().vec[3].bytes[0], 4);
  EXPECT_EQ(b.env().fpu_control, 0x37fu);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0);
}

TEST(Xsave, BadHeadersFault) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.s().xcr0 = 3;
  b.s().gpr(RAX) = 3;
  b.s().gpr(RDX) = 0;
  b.put(kArea + 512, 8, 4);  // AVX is not enabled
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.put(kArea + 512, 8, 3);
  b.put(kArea + 520, 8, 1);  // compaction bits without bit 63
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Xsave, CompactedForm) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.s().xcr0 = 3;
  fill_state(b);
  b.s().gpr(RAX) = 3;
  b.s().gpr(RDX) = 0;
  b.call(H_xsave, kArea, 1, 2);
  EXPECT_EQ(b.get(kArea + 520, 8), 3 | bit64(63));
  b.call(H_fsave, kArea + 0x1000, 4);
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(get_st(b, 0), 2.5L);
}

TEST(Fsave, FullTagsAndRoundTrip) {
  CpuBench b;
  b.enter_protected();
  fill_state(b);
  set_st(b, 1, 0.0L);
  b.call(H_fsave, kArea, 4);
  EXPECT_EQ(b.get(kArea + 8, 2), 0x4fffu);  // R7 zero, R6 valid, rest empty
  EXPECT_EQ(b.get(kArea, 2), 0x27fu);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0);
  EXPECT_EQ(b.env().fpu_control, 0x37fu);
  b.call(H_frstor, kArea, 4);
  EXPECT_EQ(get_st(b, 0), 2.5L);
  EXPECT_EQ(FpuImage(b.env()).top(), 6u);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0xc0);
}

TEST(Fldenv, MovesTopButNotTheRegisters) {
  CpuBench b;
  b.enter_protected();
  fill_state(b);
  b.call(H_fstenv, kArea, 4);
  EXPECT_EQ(b.env().fpu_control & 0x3f, 0x3fu);
  b.put(kArea + 4, 2, 7 << 11);
  b.call(H_fldenv, kArea, 4);
  EXPECT_EQ(FpuImage(b.env()).top(), 7u);
  EXPECT_EQ(get_st(b, 0), -1.0L);  // R7
  EXPECT_EQ(get_st(b, 7), 2.5L);   // R6
}

TEST(Decimal, LoadAndStore) {
  CpuBench b;
  b.enter_protected();
  FpuImage(b.env()).init();
  const u8 packed[10] = {0x89, 0x67, 0x45, 0x23, 0x01, 0, 0, 0, 0, 0x80};
  std::copy_n(packed, 10, &b.memory.ram[kArea]);
  b.call(H_fbld, kArea);
  EXPECT_EQ(get_st(b, 0), -123456789.0L);
  EXPECT_EQ(FpuImage(b.env()).top(), 7u);
  set_st(b, 0, -123456789.5L);  // a tie: to even
  b.call(H_fbstp, kArea + 16);
  EXPECT_EQ(b.get(kArea + 16, 8), 0x123456790u);
  EXPECT_EQ(b.get(kArea + 24, 2), 0x8000u);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0);
  EXPECT_TRUE(FpuImage(b.env()).status() & 0x20);
}

TEST(Decimal, TooLargeStoresTheIndefinite) {
  CpuBench b;
  b.enter_protected();
  FpuImage fpu(b.env());
  fpu.init();
  fpu.set_status(7 << 11);
  fpu.set_tags(0x80);
  set_st(b, 0, 1e18L);
  b.call(H_fbstp, kArea);
  EXPECT_EQ(b.get(kArea, 8), 0xc000000000000000u);
  EXPECT_EQ(b.get(kArea + 8, 2), 0xffffu);
}

}  // namespace
}  // namespace emu::x86
