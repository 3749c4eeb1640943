// SPDX-License-Identifier: Apache-2.0
// Arithmetic helpers against the host's own instructions where it has them.
#include <random>

#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

TEST(Divide, SizesAndOverflow) {
  CpuBench b;
  b.s().gpr(RAX) = 0xffff'0000'0000'1234;
  b.call(H_div, 0x20, 1);
  EXPECT_EQ(b.s().gpr(RAX), 0xffff'0000'0000'0000 | 0x1491u);
  b.s().gpr(RAX) = 0x8000;
  b.call(H_div, 0x10, 1);
  EXPECT_EQ(b.pending_vector(), kDE);
  b.s().gpr(RDX) = 5;
  b.s().gpr(RAX) = 7;
  b.call(H_div, 10, 8);
  EXPECT_EQ(b.s().gpr(RAX), u64(((u128(5) << 64) + 7) / 10));
  b.s().gpr(RDX) = ~u64(0);
  b.s().gpr(RAX) = u64(-100);
  b.call(H_idiv, u64(-7), 8);
  EXPECT_EQ(i64(b.s().gpr(RAX)), 14);
  EXPECT_EQ(i64(b.s().gpr(RDX)), -2);
  b.s().gpr(RAX) = 0x80000000;
  b.s().gpr(RDX) = 0xffffffff;
  b.call(H_idiv, 0xffffffff, 4);
  EXPECT_EQ(b.pending_vector(), kDE);
  b.s().gpr(RAX) = 0;
  b.s().gpr(RDX) = bit64(63);
  b.call(H_idiv, ~u64(0), 8);
  EXPECT_EQ(b.pending_vector(), kDE);
}

#if defined(__x86_64__)
// The flags may change by the asm; they are read right behind the instruction under test.
#define HOST_OP(insn, value, count, flags_in, flags_out)     \
  asm volatile("push %3\n popfq\n" insn "\n pushfq\n pop %1" \
               : "+r"(value), "=&r"(flags_out)               \
               : "c"(u8(count)), "r"(u64(flags_in))          \
               : "cc", "memory")

TEST(Rotate, RclAndRcrMatchTheHost) {
  CpuBench b;
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const u64 value = random(), count = random() & 0xff, carry = random() & 1;
    u64 v64 = value, flags = 0;
    HOST_OP("rclq %%cl, %0", v64, count, 0x202 | carry, flags);
    write_rflags(b.s(), carry, kArithmetic);
    ASSERT_EQ(b.call(H_rcl, value, count, 8), v64);
    ASSERT_EQ(read_rflags(b.s()) & kCF, flags & kCF);
    u16 v16 = u16(value);
    HOST_OP("rcrw %%cl, %0", v16, count, 0x202 | carry, flags);
    write_rflags(b.s(), carry, kArithmetic);
    ASSERT_EQ(b.call(H_rcr, value, count, 2), v16) << count;
    ASSERT_EQ(read_rflags(b.s()) & kCF, flags & kCF);
    if ((count & 31) == 1) {
      ASSERT_EQ(read_rflags(b.s()) & kOF, flags & kOF);
    }
  }
}

TEST(DoubleShift, MatchesTheHost) {
  CpuBench b;
  std::mt19937_64 random(3);
  for (int i = 0; i < 3000; ++i) {
    const u64 a = random(), c = random(), count = random() & 0xff, in = random() & kArithmetic;
    u64 flags = 0;
    u32 v = u32(a);
    const u32 source = u32(c);
    const bool right = i & 1;
    if (right) {
      asm volatile("push %3\n popfq\n shrdl %%cl, %4, %0\n pushfq\n pop %1"
                   : "+r"(v), "=&r"(flags)
                   : "c"(u8(count)), "r"(in | 0x202), "r"(source)
                   : "cc", "memory");
    } else {
      asm volatile("push %3\n popfq\n shldl %%cl, %4, %0\n pushfq\n pop %1"
                   : "+r"(v), "=&r"(flags)
                   : "c"(u8(count)), "r"(in | 0x202), "r"(source)
                   : "cc", "memory");
    }
    write_rflags(b.s(), in, kArithmetic);
    ASSERT_EQ(b.call(H_double_shift, a, c, count, 4, right), v);
    const u64 compared = kCF | kZF | kSF | kPF | ((count & 31) <= 1 ? u64(kOF) : 0);
    ASSERT_EQ(read_rflags(b.s()) & compared, flags & compared);
  }
}
#endif

TEST(Bcd, DecimalAdjust) {
  CpuBench b;
  // 0x79 + 0x35 = 0xae, adjusted 0x114.
  b.s().gpr(RAX) = 0xae;
  write_rflags(b.s(), 0, kArithmetic);
  b.call(H_bcd, 0, 0);
  EXPECT_EQ(b.s().gpr(RAX), 0x14u);
  EXPECT_TRUE(read_rflags(b.s()) & kCF);
  b.s().gpr(RAX) = 0xee;  // 0x35 - 0x47
  write_rflags(b.s(), kCF | kAF, kArithmetic);
  b.call(H_bcd, 1, 0);
  EXPECT_EQ(b.s().gpr(RAX), 0x88u);
  b.s().gpr(RAX) = 63;
  b.call(H_bcd, 4, 10);
  EXPECT_EQ(b.s().gpr(RAX), 0x0603u);
  b.call(H_bcd, 5, 10);
  EXPECT_EQ(b.s().gpr(RAX), 63u);
  b.call(H_bcd, 4, 0);
  EXPECT_EQ(b.pending_vector(), kDE);
}

TEST(Cmpxchg16b, ExchangesOrLoads) {
  CpuBench b;
  b.enter_long();
  b.put(0x200000, 8, 1);
  b.put(0x200008, 8, 2);
  b.s().gpr(RAX) = 1;
  b.s().gpr(RDX) = 2;
  b.s().gpr(RBX) = 3;
  b.s().gpr(RCX) = 4;
  b.call(H_cmpxchg16b, 0x200000);
  EXPECT_TRUE(read_rflags(b.s()) & kZF);
  EXPECT_EQ(b.get(0x200008, 8), 4u);
  b.call(H_cmpxchg16b, 0x200000);
  EXPECT_FALSE(read_rflags(b.s()) & kZF);
  EXPECT_EQ(b.s().gpr(RAX), 3u);
  b.call(H_cmpxchg16b, 0x200008);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Enter, NestedFramesCopyPointers) {
  CpuBench b;
  b.enter_protected();
  b.s().gpr(RBP) = 0x7f100;
  b.put(0x7f0fc, 4, 0x11111);
  b.call(H_enter, 0x20, 2, 4, 4);
  EXPECT_EQ(b.s().gpr(RBP), 0x7f000u - 4);
  EXPECT_EQ(b.get(0x7f000 - 4, 4), 0x7f100u);
  EXPECT_EQ(b.get(0x7f000 - 8, 4), 0x11111u);
  EXPECT_EQ(b.get(0x7f000 - 12, 4), 0x7f000u - 4);
  EXPECT_EQ(b.s().gpr(RSP), 0x7f000u - 12 - 0x20);
}

TEST(Bound, RaisesOutsideTheRange) {
  CpuBench b;
  b.enter_protected();
  b.put(0x100000, 4, u32(-5));
  b.put(0x100004, 4, 10);
  b.call(H_bound, u32(-5), 0x100000, 4);
  EXPECT_EQ(b.pending_vector(), -1);
  b.call(H_bound, 11, 0x100000, 4);
  EXPECT_EQ(b.pending_vector(), kBR);
}

TEST(Crc32, KnownValue) {
  CpuBench b;
  u64 crc = 0xffffffff;
  for (char c : std::string("123456789")) crc = b.call(H_crc32, crc, u64(u8(c)), 1);
  EXPECT_EQ(u32(~crc), 0xe3069283u);
}

TEST(Flags, PopfObeysPrivilege) {
  CpuBench b;
  b.enter_long();
  b.go_user64();
  b.call(H_write_flags, kAllFlags & ~u64(kIF | kVM | kTF), 8);
  const u64 flags = read_rflags(b.s());
  EXPECT_TRUE(flags & kIF);  // unchanged: CPL 3 > IOPL 0
  EXPECT_FALSE(flags & kIOPL);
  EXPECT_FALSE(flags & kRF);
  EXPECT_TRUE(flags & kAC);
  EXPECT_EQ(b.s().df, -1);
  b.call(H_cli);
  EXPECT_EQ(b.pending_vector(), kGP);
}

}  // namespace
}  // namespace emu::x86
