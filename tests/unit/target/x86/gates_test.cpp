// SPDX-License-Identifier: Apache-2.0
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

void go_user32(CpuBench& b) {
  u64 sp = 0x70000;
  for (u64 value : {u64(kUserData), u64(0x1f0000), u64(2), u64(kUserCode32), u64(0x100000)}) b.put(sp -= 4, 4, value);
  b.s().gpr(RSP) = sp;
  b.call(H_iret, 4, 0);
  ASSERT_EQ(b.s().cpl(), 3u);
}

TEST(Segments, LoadSetsRangesAndAccessedBit) {
  CpuBench b;
  b.enter_protected();
  b.put_descriptor(kSpare, 0x12345, 0x2ff, 0x409200);
  b.call(H_load_segment, ES, kSpare);
  EXPECT_EQ(b.s().seg_base[ES], 0x12345u);
  EXPECT_EQ(b.s().seg_range[ES].write_high, 0x2ffu);
  EXPECT_TRUE(b.get(kGdt + kSpare + 5, 1) & 1);
}

TEST(Segments, ExpandDownAndReadOnlyRanges) {
  EXPECT_EQ(make_range(0xfff, 0x409600).write_low, 0x1000u);
  EXPECT_EQ(make_range(0xfff, 0x409600).write_high, 0xffffffffu);
  EXPECT_EQ(make_range(0xfff, 0x009600).read_high, 0xffffu);
  EXPECT_EQ(make_range(0xfff, 0x409000).write_low, 1u);  // read-only: no writes
  EXPECT_EQ(make_range(0xfff, 0x409000).read_high, 0xfffu);
  EXPECT_EQ(make_range(0xfff, 0x409800).read_low, 1u);       // execute-only
  EXPECT_EQ(make_range(0xffffffff, 0xc09600).read_low, 1u);  // expand-down with nothing left
}

TEST(Segments, BadSelectorsFault) {
  CpuBench b;
  b.enter_protected();
  b.call(H_load_segment, ES, 0x1000);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.pending_error(), 0x1000u);
  b.put_descriptor(kSpare, 0, 0xfff, 0x401200);  // not present
  b.call(H_load_segment, ES, kSpare);
  EXPECT_EQ(b.pending_vector(), kNP);
  b.call(H_load_segment, SS, kSpare);
  EXPECT_EQ(b.pending_vector(), kSS);
  b.call(H_load_segment, SS, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.pending_error(), 0u);
  b.call(H_load_segment, SS, kUserData);
  EXPECT_EQ(b.pending_error(), u32(kUserData & ~3));
}

TEST(Segments, RealModeKeepsTheLimitOfProtectedMode) {
  CpuBench b;
  b.enter_protected();
  b.call(H_write_cr, 0, kCr0ET);
  b.call(H_load_segment, DS, 0x1234);
  EXPECT_EQ(b.s().seg_base[DS], 0x12340u);
  EXPECT_EQ(b.s().seg_range[DS].write_high, 0xffffffffu);
}

TEST(Segments, LarLslVerr) {
  CpuBench b;
  b.enter_protected();
  EXPECT_EQ(b.call(H_lar, kKernelData), 0xc09300u | bit64(32));
  EXPECT_EQ(b.call(H_lsl, kKernelData), 0xffffffffu | bit64(32));
  EXPECT_EQ(b.call(H_lar, 0), 0u);
  EXPECT_EQ(b.call(H_lar, 0x1000), 0u);
  EXPECT_EQ(b.call(H_verify_segment, kKernelCode, 0), 1u);
  EXPECT_EQ(b.call(H_verify_segment, kKernelCode, 1), 0u);
  go_user32(b);
  EXPECT_EQ(b.call(H_lar, kKernelData), 0u);
  EXPECT_EQ(b.call(H_verify_segment, kUserData, 1), 1u);
  EXPECT_EQ(b.pending_vector(), -1);
}

TEST(FarTransfer, CallAndReturnSamePrivilege) {
  CpuBench b;
  b.enter_protected();
  b.call(H_far_call, kKernelCode, 0x9000, 4, 0x8007);
  EXPECT_EQ(b.env().pc, 0x9000u);
  EXPECT_EQ(b.get(0x7f000 - 4, 4), kKernelCode);
  EXPECT_EQ(b.get(0x7f000 - 8, 4), 0x8007u);
  b.call(H_far_return, 4, 0);
  EXPECT_EQ(b.env().pc, 0x8007u);
  EXPECT_EQ(b.s().gpr(RSP), 0x7f000u);
}

TEST(FarTransfer, CallGateToInnerRingCopiesParameters) {
  CpuBench b;
  b.enter_protected();
  // 32-bit call gate, DPL 3, two parameters.
  b.put(kGdt + kSpare, 4, 0x9000 | kKernelCode << 16);
  b.put(kGdt + kSpare + 4, 4, 0xec02);
  go_user32(b);
  b.put(0x1f0000, 4, 0x11111111);
  b.put(0x1f0004, 4, 0x22222222);
  b.call(H_far_call, kSpare | 3, 0, 4, 0x100007);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.s().cpl(), 0u);
  EXPECT_EQ(b.env().pc, 0x9000u);
  const u64 sp = b.s().gpr(RSP);
  EXPECT_EQ(sp, kKernelStack - 24);
  EXPECT_EQ(b.get(sp, 4), 0x100007u);
  EXPECT_EQ(b.get(sp + 4, 4), kUserCode32);
  EXPECT_EQ(b.get(sp + 8, 4), 0x11111111u);
  EXPECT_EQ(b.get(sp + 12, 4), 0x22222222u);
  EXPECT_EQ(b.get(sp + 16, 4), 0x1f0000u);
  b.call(H_far_return, 4, 8);
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_EQ(b.s().gpr(RSP), 0x1f0008u);
  EXPECT_EQ(b.env().pc, 0x100007u);
}

TEST(FarTransfer, JumpBeyondTheLimitFaults) {
  CpuBench b;
  b.enter_protected();
  b.put_descriptor(kSpare, 0, 0xfff, 0x409b00);
  b.call(H_far_jump, kSpare, 0x1000, 4);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.s().seg[CS].selector, kKernelCode);
}

TEST(FarTransfer, CompatibilityModeAndBack) {
  CpuBench b;
  b.enter_long();
  b.call(H_far_jump, kKernelCode, 0x9000, 4);
  EXPECT_FALSE(b.cpu.is_code64());
  EXPECT_TRUE(Mode{b.cpu.mode_key()}.has(Mode::kCode32));
  b.call(H_far_jump, kKernelCode64, 0xa000, 4);
  EXPECT_TRUE(b.cpu.is_code64());
}

TEST(Syscall, EntersAndReturns) {
  CpuBench b;
  b.enter_long();
  b.write_msr(0xc0000081, u64(kKernelCode64) << 32 | u64(kUserCode32 & ~3) << 48);
  b.write_msr(0xc0000082, 0x123000);
  b.write_msr(0xc0000084, kIF | kDF);
  b.go_user64();
  b.call(H_syscall, 0x100002);
  EXPECT_EQ(b.env().pc, 0x123000u);
  EXPECT_EQ(b.s().cpl(), 0u);
  EXPECT_EQ(b.s().gpr(RCX), 0x100002u);
  EXPECT_TRUE(b.s().gpr(R11) & kIF);
  EXPECT_FALSE(read_rflags(b.s()) & kIF);
  EXPECT_TRUE(b.cpu.is_code64());
  b.call(H_sysret, 8);
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_EQ(b.s().seg[CS].selector, (kUserCode32 & ~3) + 16 + 3);
  EXPECT_EQ(b.env().pc, 0x100002u);
  EXPECT_TRUE(read_rflags(b.s()) & kIF);
}

TEST(Syscall, SysretToNonCanonicalFaultsInTheKernel) {
  CpuBench b;
  b.enter_long();
  b.s().gpr(RCX) = bit64(47);
  b.call(H_sysret, 8);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.s().cpl(), 0u);
}

TEST(Syscall, WithoutSceIsUndefined) {
  CpuBench b;
  b.enter_long(0, 0);
  b.call(H_syscall, 0);
  EXPECT_EQ(b.pending_vector(), kUD);
}

TEST(Syscall, SysenterAndSysexit) {
  CpuBench b;
  b.enter_long();
  b.write_msr(0x174, kKernelCode64);
  b.write_msr(0x175, 0x55000);
  b.write_msr(0x176, 0x66000);
  b.call(H_sysenter, 0x100);
  EXPECT_EQ(b.env().pc, 0x66000u);
  EXPECT_EQ(b.s().gpr(RSP), 0x55000u);
  b.s().gpr(RCX) = 0x1f0000;
  b.s().gpr(RDX) = 0x100000;
  b.call(H_sysexit, 4);
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_FALSE(b.cpu.is_code64());
  EXPECT_EQ(b.env().pc, 0x100000u);
}

TEST(KernelGsBase, IsCanonical) {
  CpuBench b;
  b.enter_long();
  b.write_msr(0xc0000102, 0xffff'8000'0000'0000);
  EXPECT_EQ(b.read_msr(0xc0000102), 0xffff'8000'0000'0000u);
  b.write_msr(0xc0000102, bit64(48));
  EXPECT_EQ(b.pending_vector(), kGP);
}

// --- Tasks ----------------------------------------------------------------------------------------------------------

constexpr u64 kTss2 = 0x5000;

void make_second_task(CpuBench& b) {
  b.put_descriptor(kSpare2, kTss2, 0x67, 0x008900);
  b.put(kTss2 + 0x20, 4, 0x9000);
  b.put(kTss2 + 0x24, 4, 2);
  b.put(kTss2 + 0x28, 4, 0xaaaa);   // EAX
  b.put(kTss2 + 0x38, 4, 0x6f000);  // ESP
  for (unsigned i = 0; i < 6; ++i) b.put(kTss2 + 0x48 + i * 4, 2, i == CS ? kKernelCode : kKernelData);
}

TEST(Task, CallAndReturnThroughNestedTask) {
  CpuBench b;
  b.enter_protected();
  make_second_task(b);
  b.s().gpr(RAX) = 0x1111;
  b.call(H_far_call, kSpare2, 0, 4, 0x8007);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.env().pc, 0x9000u);
  EXPECT_EQ(b.s().gpr(RAX), 0xaaaau);
  EXPECT_EQ(b.s().gpr(RSP), 0x6f000u);
  EXPECT_TRUE(read_rflags(b.s()) & kNT);
  EXPECT_TRUE(b.s().cr0 & kCr0TS);
  EXPECT_EQ(b.get(kTss2, 2), kTssSelector);
  EXPECT_EQ(b.get(kTss + 0x20, 4), 0x8007u);
  EXPECT_EQ(b.get(kGdt + kSpare2 + 5, 1), 0x8bu);
  b.call(H_iret, 4, 0x9001);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.env().pc, 0x8007u);
  EXPECT_EQ(b.s().gpr(RAX), 0x1111u);
  EXPECT_EQ(b.s().seg[TR].selector, kTssSelector);
  EXPECT_EQ(b.get(kGdt + kSpare2 + 5, 1), 0x89u);
  EXPECT_FALSE(read_rflags(b.s()) & kNT);
}

TEST(Task, JumpSwitchesBehindTheInstruction) {
  CpuBench b;
  b.enter_protected();
  make_second_task(b);
  b.call(H_far_jump, kSpare2, 0, 4);
  EXPECT_EQ(b.env().leave, u32(tcg::kLeaveAfterInsn));
  b.env().pc = 0x8007;  // where the accelerator commits
  EXPECT_TRUE(b.cpu.take_event());
  EXPECT_EQ(b.env().pc, 0x9000u);
  EXPECT_EQ(b.get(kTss + 0x20, 4), 0x8007u);
  EXPECT_EQ(b.get(kGdt + kTssSelector + 5, 1), 0x89u);
}

TEST(Task, DoubleFaultThroughATaskGatePushesItsErrorCode) {
  CpuBench b;
  b.enter_protected();
  make_second_task(b);
  b.put_gate32(kDFv, kSpare2, 0, 5, 0);
  b.env().pc = 0x8765;
  b.cpu.handle_trap(trap_code(kDFv, 0));
  EXPECT_EQ(b.env().pc, 0x9000u);
  EXPECT_EQ(b.s().gpr(RSP), 0x6f000u - 4);
  EXPECT_EQ(b.get(kTss + 0x20, 4), 0x8765u);
}

TEST(Task, BusyTaskFaults) {
  CpuBench b;
  b.enter_protected();
  b.call(H_far_call, kTssSelector, 0, 4, 0x8007);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.pending_error(), kTssSelector);
}

}  // namespace
}  // namespace emu::x86
