// SPDX-License-Identifier: Apache-2.0
#include "target/x86/fpu_image.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

TEST(Reset, PowerOnState) {
  CpuBench b;
  EXPECT_EQ(b.env().pc, 0xfffffff0u);
  EXPECT_EQ(b.s().seg[CS].selector, 0xf000);
  EXPECT_EQ(b.s().seg_base[CS], 0xffff0000u);
  EXPECT_EQ(b.s().cr0, 0x60000010u);
  EXPECT_EQ(b.s().gpr(RDX), 0x60fb1u);
  EXPECT_EQ(b.s().dr[6], 0xffff0ff0u);
  EXPECT_EQ(read_rflags(b.s()), 2u);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
}

TEST(Events, SecondCpuWaitsForStartup) {
  CpuBench b("max", 1);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::WaitForStartup);
  b.cpu.startup(0x9f);
  EXPECT_TRUE(b.cpu.wakeup_pending());
  EXPECT_TRUE(b.cpu.take_event());
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
  EXPECT_EQ(b.env().pc, 0x9f000u);
  EXPECT_EQ(b.s().seg[CS].selector, 0x9f00);
  b.cpu.init();
  EXPECT_TRUE(b.cpu.take_event());
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::WaitForStartup);
}

TEST(Events, InterruptWaitsForFlagAndShadow) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(0x40, kKernelCode, kHandler, 14, 0);
  b.port.pending = 0x40;
  b.cpu.set_interrupt(true);
  EXPECT_FALSE(b.cpu.has_deliverable_event());
  b.call(H_sti);
  EXPECT_EQ(b.s().inhibit_interrupts, 1u);
  EXPECT_FALSE(b.cpu.has_deliverable_event());
  b.s().inhibit_interrupts = 0;
  EXPECT_TRUE(b.cpu.has_deliverable_event());
  b.env().pc = 0x8123;
  EXPECT_TRUE(b.cpu.take_event());
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.get(b.s().gpr(RSP), 4), 0x8123u);
  EXPECT_FALSE(read_rflags(b.s()) & kIF);
  b.cpu.set_interrupt(false);
  EXPECT_FALSE(b.cpu.has_deliverable_event());
}

TEST(NearBranches, RefusedTargetGivesBackTheStackPointer) {
  CpuBench b;
  b.enter_long();
  b.put_gate64(kGP, kKernelCode64, kHandler, 14, 0);
  const u64 sp = b.s().gpr(RSP);
  b.put(0x8100, 4, 0x0010c2);  // ret $16
  b.env().pc = 0x8100;
  b.env().slow_address = 0x0000'8000'0000'0000;
  b.s().gpr(RSP) = sp + 0x18;
  b.cpu.handle_trap(kTrapBadTarget);
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.get(b.s().gpr(RSP), 8), 0u);
  EXPECT_EQ(b.get(b.s().gpr(RSP) + 8, 8), 0x8100u);
  EXPECT_EQ(b.get(b.s().gpr(RSP) + 32, 8), sp);
}

TEST(NearBranches, FiveLevelsAcceptWhatFourRefuse) {
  CpuBench b;
  b.enter_long();
  b.s().cr4 |= kCr4LA57;
  const u64 sp = b.s().gpr(RSP);
  b.env().slow_address = 0x0000'8000'0000'0000;
  b.cpu.handle_trap(kTrapBadTarget);
  EXPECT_EQ(b.env().pc, 0x0000'8000'0000'0000u);
  EXPECT_EQ(b.s().gpr(RSP), sp);
}

TEST(X87Errors, GoThroughFerrWhileNumericErrorIsClear) {
  CpuBench b;
  b.enter_protected();
  bool ferr = false, ignne = false;
  b.cpu.connect_fpu_error({.set_ferr = [&](bool level) { ferr = level; }, .ignne = [&] { return ignne; }});
  b.s().cr0 &= ~u64(kCr0NE);
  b.s().hdr.fpu_control = 0x37b;
  image_put<u16>(b.s().hdr.fpu_image, 2, 4);  // a division by zero
  b.env().pc = 0x8100;
  b.call(H_x87_pending);
  EXPECT_TRUE(ferr);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Halted);
  EXPECT_EQ(b.env().pc, 0x8100u);
  EXPECT_FALSE(b.cpu.has_pending_fault());
  ignne = true;
  b.call(H_x87_pending);
  EXPECT_FALSE(b.cpu.has_pending_fault());
  image_put<u16>(b.s().hdr.fpu_image, 2, 0);
  b.call(H_x87_pending);
  EXPECT_FALSE(ferr);
}

TEST(Events, HaltEndsWithAnInterruptAndNothingElse) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(0x40, kKernelCode, kHandler, 14, 0);
  write_rflags(b.s(), kIF, kIF);
  b.env().pc = 0x8001;
  b.cpu.handle_system(kSysHalt);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Halted);
  EXPECT_EQ(b.env().pc, 0x8001u);
  EXPECT_FALSE(b.cpu.wakeup_pending());
  b.port.pending = 0x40;
  b.cpu.set_interrupt(true);
  EXPECT_TRUE(b.cpu.wakeup_pending());
  EXPECT_TRUE(b.cpu.take_event());
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
}

/// MONITOR of the line at 0x200000, then MWAIT with these extensions.
void wait_for_line(CpuBench& b, u32 extensions) {
  b.enter_protected();
  b.s().gpr(RCX) = 0;
  b.call(H_monitor, 0x200010);
  b.s().gpr(RCX) = extensions;
  b.call(H_mwait, 0x8003);
  b.cpu.handle_system(kSysWait);
}

TEST(Monitor, AStoreToTheLineEndsTheWait) {
  CpuBench b;
  wait_for_line(b, 0);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Halted);
  EXPECT_GT(b.cpu.idle_poll_ns(), 0u);
  EXPECT_FALSE(b.cpu.idle_poll());
  b.put(0x200040, 1, 1);  // the next line
  EXPECT_FALSE(b.cpu.idle_poll());
  b.put(0x20003f, 1, 1);
  EXPECT_TRUE(b.cpu.idle_poll());
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
  b.cpu.handle_system(kSysWait);  // the monitor is not armed any more
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
}

TEST(Monitor, TheWaitEndsByItselfAtLast) {
  CpuBench b;
  wait_for_line(b, 0);
  unsigned polls = 1;
  while (!b.cpu.idle_poll() && polls < 1000) ++polls;
  EXPECT_LT(polls, 1000u);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
}

TEST(Monitor, InterruptsThatAreMaskedEndItIfItSaysSo) {
  for (const u32 extensions : {0u, 1u}) {
    CpuBench b;
    wait_for_line(b, extensions);
    b.cpu.set_interrupt(true);
    EXPECT_EQ(b.cpu.idle_poll(), extensions == 1);
  }
}

TEST(Monitor, ExtensionsThatAreNotThereFault) {
  CpuBench b;
  b.enter_protected();
  b.s().gpr(RCX) = 1;
  b.call(H_monitor, 0x200010);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.s().gpr(RCX) = 2;
  b.call(H_mwait, 0x8003);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Events, NmiIsBlockedUntilIret) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(2, kKernelCode, kHandler, 14, 0);
  b.env().pc = 0x8000;
  b.cpu.nmi();
  EXPECT_TRUE(b.cpu.take_event());
  b.cpu.nmi();
  EXPECT_FALSE(b.cpu.has_deliverable_event());
  b.call(H_iret, 4, 0);
  EXPECT_EQ(b.env().pc, 0x8000u);
  EXPECT_TRUE(b.cpu.has_deliverable_event());
}

TEST(RealMode, InterruptAndReturn) {
  CpuBench b;
  b.call(H_far_jump, 0x1000, 0x10, 2);
  b.s().idt = {0, 0x3ff};
  b.put(0x21 * 4, 4, 0x2000'0100);
  b.s().gpr(RSP) = 0x12340800;
  write_rflags(b.s(), kIF | kCF, kIF | kCF);
  b.call(H_software_int, 0x21, 0x10012);
  EXPECT_EQ(b.env().pc, 0x20100u);
  EXPECT_EQ(b.s().gpr(RSP), 0x123407fau);
  EXPECT_EQ(b.get(0x7fa, 2), 0x12u);
  EXPECT_EQ(b.get(0x7fc, 2), 0x1000u);
  EXPECT_EQ(b.get(0x7fe, 2), u64(kIF | kCF | 2));
  EXPECT_FALSE(read_rflags(b.s()) & kIF);
  b.call(H_iret, 2, 0);
  EXPECT_EQ(b.env().pc, 0x10012u);
  EXPECT_EQ(read_rflags(b.s()), u64(kIF | kCF | 2));
}

TEST(Protected, InnerInterruptSwitchesStacksAndReturns) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(0x80, kKernelCode, kHandler, 15, 3);
  // To ring 3 with IRET.
  u64 sp = 0x70000;
  for (u64 value : {u64(kUserData), u64(0x1f0000), u64(kIF | 2), u64(kUserCode32), u64(0x100000)})
    b.put(sp -= 4, 4, value);
  b.s().gpr(RSP) = sp;
  b.call(H_iret, 4, 0);
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_EQ(b.s().gpr(RSP), 0x1f0000u);
  EXPECT_EQ(b.s().seg[DS].selector, 0);  // kernel data is dropped
  EXPECT_EQ(b.s().seg_range[DS].read_low, 1u);

  b.call(H_software_int, 0x80, 0x100002);
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.s().cpl(), 0u);
  EXPECT_EQ(b.s().gpr(RSP), kKernelStack - 20);
  EXPECT_EQ(b.get(kKernelStack - 4, 4), kUserData);
  EXPECT_EQ(b.get(kKernelStack - 8, 4), 0x1f0000u);
  EXPECT_EQ(b.get(kKernelStack - 16, 4), kUserCode32);
  EXPECT_EQ(b.get(kKernelStack - 20, 4), 0x100002u);
  EXPECT_TRUE(read_rflags(b.s()) & kIF);  // a trap gate
  b.call(H_iret, 4, 0);
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_EQ(b.env().pc, 0x100002u);
}

TEST(Protected, SoftwareIntChecksTheGatesPrivilege) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(0x30, kKernelCode, kHandler, 14, 0);
  b.s().seg[SS].attributes |= 3 << 13;  // CPL 3
  b.call(H_software_int, 0x30, 0x100002);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.pending_error(), 0x30u * 8 + 2);
  EXPECT_EQ(b.env().leave, u32(tcg::kLeaveAtInsn));
}

TEST(Protected, FaultPushesErrorCodeAndResumeFlag) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(kGP, kKernelCode, kHandler, 14, 0);
  b.env().pc = 0x8765;
  b.cpu.handle_trap(trap_code(kGP, 0x18));
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.get(b.s().gpr(RSP), 4), 0x18u);
  EXPECT_EQ(b.get(b.s().gpr(RSP) + 4, 4), 0x8765u);
  EXPECT_TRUE(b.get(b.s().gpr(RSP) + 12, 4) & kRF);
}

TEST(Protected, MissingGateLeadsToDoubleFault) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(kDFv, kKernelCode, kHandler, 14, 0);
  b.cpu.handle_trap(trap_code(kGP, 0));  // its gate is absent: #GP again
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.get(b.s().gpr(RSP), 4), 0u);
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Running);
}

TEST(Protected, TripleFaultShutsDownAndSaysWhy) {
  CpuBench b;
  b.enter_protected();
  b.s().idt.limit = 0;
  b.cpu.handle_trap(trap_code(kPFv, 2));
  EXPECT_EQ(b.cpu.halt_state(), target::Halt::Shutdown);
  EXPECT_NE(b.cpu.shutdown_reason().find("page fault (0xe, error 0x2)"), std::string::npos) << b.cpu.shutdown_reason();
  EXPECT_NE(b.cpu.shutdown_reason().find("double fault"), std::string::npos);
  EXPECT_NE(b.cpu.shutdown_reason().find("EAX="), std::string::npos);
}

TEST(Protected, BenignFaultFollowedByAnotherIsServedInTurn) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(kNP, kKernelCode, kHandler, 14, 0);
  b.put_gate32(kUD, kKernelCode, kHandler, 14, 0);
  b.memory.ram[kIdt + kUD * 8 + 5] &= 0x7f;  // its gate is not present
  b.cpu.handle_trap(trap_code(kUD));
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.get(b.s().gpr(RSP), 4), u64(kUD * 8 + 2 + 1));  // EXT
}

TEST(Vm86, RoundTripThroughAMonitor) {
  CpuBench b;
  b.enter_protected();
  b.put_gate32(kGP, kKernelCode, kHandler, 14, 0);
  u64 sp = 0x70000;
  for (u64 value : {u64(0x5000), u64(0x4000), u64(0x3000), u64(0x2000), u64(0x1000), u64(0xfff0), u64(kVM | kIF | 2),
                    u64(0x1234), u64(0x56)}) {
    b.put(sp -= 4, 4, value);
  }
  b.s().gpr(RSP) = sp;
  b.call(H_iret, 4, 0);
  EXPECT_TRUE(b.cpu.is_vm86());
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_EQ(b.env().pc, 0x12396u);
  EXPECT_EQ(b.s().seg[DS].selector, 0x3000);
  EXPECT_EQ(b.s().seg_base[GS] + b.s().segment_base(GS), 0x50000u);
  EXPECT_TRUE(Mode{b.cpu.mode_key()}.has(Mode::kVM86));

  b.call(H_software_int, 0x10, 0x12398);  // IOPL 0: to the monitor
  EXPECT_EQ(b.pending_vector(), kGP);
  b.deliver();
  EXPECT_FALSE(b.cpu.is_vm86());
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.s().gpr(RSP), kKernelStack - 40);
  EXPECT_EQ(b.get(kKernelStack - 4, 4), 0x5000u);
  EXPECT_EQ(b.get(kKernelStack - 20, 4), 0x1000u);  // SS
  EXPECT_EQ(b.get(kKernelStack - 36, 4), 0x56u);    // IP of the INT
  EXPECT_EQ(b.s().seg[DS].selector, 0);
  b.s().gpr(RSP) += 4;
  b.call(H_iret, 4, 0);
  EXPECT_TRUE(b.cpu.is_vm86());
  EXPECT_EQ(b.env().pc, 0x12396u);
}

TEST(Vm86, VmeRedirectsInterruptsToTheGuestsOwnTable) {
  CpuBench b;
  b.enter_protected();
  b.call(H_write_cr, 4, kCr4VME);
  b.put(kTss + 0x66, 2, 0x88);  // I/O map; the redirection map is below it, all zero
  b.put(0x10 * 4, 4, 0xc000'0123);
  u64 sp = 0x70000;
  for (u64 value : {0ull, 0ull, 0ull, 0ull, 0x1000ull, 0xfff0ull, kVM | kVIF | 2ull, 0x1234ull, 0x56ull})
    b.put(sp -= 4, 4, value);
  b.s().gpr(RSP) = sp;
  b.call(H_iret, 4, 0);
  b.call(H_software_int, 0x10, 0x12398);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_TRUE(b.cpu.is_vm86());
  EXPECT_EQ(b.env().pc, 0xc0123u);
  EXPECT_EQ(b.get(0x10000 + 0xffee, 2) & (kIF | kIOPL), u64(kIF | kIOPL));  // VIF shown as IF
  EXPECT_FALSE(b.s().rflags_system & kVIF);
}

TEST(LongMode, PageFaultFromUserUsesRsp0AndSetsCr2) {
  CpuBench b;
  b.enter_long();
  b.put_gate64(kPFv, kKernelCode64, 0x40000, 14, 0);
  b.put(kTss + 4, 8, kKernelStack + 8);  // misaligned on purpose
  b.go_user64();
  b.put(CpuBench::pte_address(0x300000), 8, 0);
  u64 value = 0;
  EXPECT_EQ(b.memory.load(0x300010, 8, kViewUser, value), target::AccessStatus::Fault);
  b.deliver();
  EXPECT_EQ(b.s().cr2, 0x300010u);
  EXPECT_EQ(b.env().pc, 0x40000u);
  EXPECT_EQ(b.s().cpl(), 0u);
  const u64 sp = b.s().gpr(RSP);
  EXPECT_EQ(sp, kKernelStack - 48);  // aligned down to 16
  EXPECT_EQ(b.get(sp, 8), 4u);
  EXPECT_EQ(b.get(sp + 8, 8), 0x100000u);
  EXPECT_EQ(b.get(sp + 16, 8), kUserCode64);
  EXPECT_EQ(b.get(sp + 32, 8), 0x1ff000u);
  EXPECT_EQ(b.get(sp + 40, 8), kUserData);
  EXPECT_EQ(b.s().seg[SS].selector, 0);
  b.s().gpr(RSP) += 8;
  b.call(H_iret, 8, 0);
  EXPECT_EQ(b.s().cpl(), 3u);
  EXPECT_EQ(b.env().pc, 0x100000u);
  EXPECT_EQ(b.s().gpr(RSP), 0x1ff000u);
}

TEST(LongMode, InterruptStackTable) {
  CpuBench b;
  b.enter_long();
  b.put_gate64(kDFv, kKernelCode64, 0x40000, 14, 0, 2);
  b.put(kTss + 0x24 + 8, 8, 0x90000);
  b.s().gpr(RSP) = 0x12348;
  b.cpu.handle_trap(trap_code(kDFv, 0));
  EXPECT_EQ(b.s().gpr(RSP), 0x90000u - 48);
  EXPECT_EQ(b.get(0x90000 - 16, 8), 0x12348u);
}

TEST(LongMode, IretToNonCanonicalAddressFaults) {
  CpuBench b;
  b.enter_long();
  u64 sp = 0x70000;
  for (u64 value : {u64(kUserData), u64(0x1000), u64(2), u64(kUserCode64), u64(bit64(48))}) b.put(sp -= 8, 8, value);
  b.s().gpr(RSP) = sp;
  b.call(H_iret, 8, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
  EXPECT_EQ(b.s().gpr(RSP), sp);
  EXPECT_EQ(b.s().cpl(), 0u);
}

TEST(LongMode, OnlyWhatIsNotCanonicalIsAStackFault) {
  CpuBench b;
  b.enter_long();
  b.cpu.raise_alignment_fault(0x200008, 16, target::Access::Store);  // MOVAPS [rsp + 8]
  b.cpu.stack_access_faulted();
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  target::TlbFill fill;
  EXPECT_FALSE(b.cpu.walk(bit64(47), target::Access::Load, kViewKernel, fill));
  b.cpu.stack_access_faulted();
  EXPECT_EQ(b.pending_vector(), kSS);
}

TEST(LongMode, AlignmentIsLookedAtBehindTheEndOfAddresses) {
  CpuBench b;
  b.enter_long();
  b.s().cr0 |= kCr0AM;
  b.go_user64(0x100000, 0x1ff000, kIF | kAC);
  b.cpu.raise_alignment_fault(bit64(47) - 9, 8, target::Access::Load);
  EXPECT_EQ(b.pending_vector(), kACv);
  CpuTestAccess::drop(b.cpu);
  b.cpu.raise_alignment_fault(bit64(47) - 7, 8, target::Access::Load);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(LongMode, StackFaultDuringDeliveryFromBadRsp0) {
  CpuBench b;
  b.enter_long();
  b.put_gate64(kUD, kKernelCode64, 0x40000, 14, 0);
  b.put_gate64(kDFv, kKernelCode64, 0x50000, 14, 0, 1);
  b.put_gate64(kSS, kKernelCode64, 0x60000, 14, 0, 1);
  b.put(kTss + 0x24, 8, 0x90000);
  b.put(kTss + 4, 8, bit64(50));
  b.go_user64();
  b.cpu.handle_trap(trap_code(kUD));
  EXPECT_EQ(b.env().pc, 0x60000u);  // #UD is benign: the #SS is served by itself
}

TEST(ModeKey, FollowsState) {
  CpuBench b;
  Mode m{b.cpu.mode_key()};
  EXPECT_FALSE(m.has(Mode::kPE));
  EXPECT_TRUE(m.has(Mode::kIopl));
  b.enter_protected();
  m = Mode{b.cpu.mode_key()};
  EXPECT_TRUE(m.has(Mode::kPE) && m.has(Mode::kCode32) && m.has(Mode::kStack32) && m.has(Mode::kFlatDS) &&
              m.has(Mode::kFlatSS));
  b.call(H_load_segment, DS, 0);
  EXPECT_FALSE(Mode{b.cpu.mode_key()}.has(Mode::kFlatDS));
  CpuBench c;
  c.enter_long();
  m = Mode{c.cpu.mode_key()};
  EXPECT_TRUE(m.has(Mode::kCode64) && m.has(Mode::kFlatDS) && !m.has(Mode::kCode32));
  c.s().rflags_system |= kTF;
  EXPECT_TRUE(Mode{c.cpu.mode_key()}.has(Mode::kTF));
  c.go_user64();
  EXPECT_EQ(Mode{c.cpu.mode_key()}.cpl(), 3u);
  EXPECT_EQ(c.cpu.current_view(), kViewUser);
}

}  // namespace
}  // namespace emu::x86
