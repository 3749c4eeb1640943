// SPDX-License-Identifier: Apache-2.0
// Break- and watchpoints, steps and held vCPUs.
#include <gtest/gtest.h>

#include "accel/tcg/debug_points.h"
#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

using accel::DebugRun;
using accel::DebugStop;
using accel::StepEvents;
using accel::WatchKind;
using Why = accel::DebugStop::Why;

class Debugger : public testing::TestWithParam<Engine> {};

constexpr u64 kCode = 0x1000;
/// r1 = 5; loop: r2 += r1; r1 -= 1; if r1 != r0 loop; [r3] = r2; stop.
const std::initializer_list<u32> kLoop = {li(0, 0), li(1, 5), li(2, 0), li(3, 0x4000),
                                          insn(kAdd, 2, 2, 1),  // 0x1010
                                          insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -2),
                                          insn(kSt, 2, 3, 0),   // 0x101c
                                          insn(kLd, 4, 3, 0), insn(kSys, 0, 0, kStop)};

TEST_P(Debugger, BreakpointStopsBeforeItsInstructionEachTime) {
  ToyMachine m(GetParam());
  m.load(kCode, kLoop);
  ASSERT_TRUE(m.accel().set_debug_points({.breakpoints = {kCode + 0x14}}));
  m.cpu().restart(kCode);
  for (u64 left = 5; left > 0; --left) {
    const auto stop = m.run_to_stop();
    ASSERT_TRUE(stop);
    EXPECT_EQ(stop->second.why, Why::Breakpoint);
    EXPECT_EQ(stop->second.address, kCode + 0x14);
    EXPECT_EQ(m.cpu().debug_pc(), kCode + 0x14);
    EXPECT_EQ(m.reg(1), left);
    m.accel().set_debug_run(0, DebugRun::Step, StepEvents::Deferred);
    const auto stepped = m.run_to_stop();
    ASSERT_TRUE(stepped);
    EXPECT_EQ(stepped->second.why, Why::Step);
    EXPECT_EQ(m.cpu().debug_pc(), kCode + 0x18);
    EXPECT_EQ(m.reg(1), left - 1);
    m.accel().set_debug_run(0, DebugRun::Continue, StepEvents::Taken);
  }
  m.start();
  ASSERT_TRUE(m.wait());
  EXPECT_EQ(m.word(0x4000), 15u);
}

TEST_P(Debugger, BreakpointInHotCodeStopsAndItsRemovalLetsItRun) {
  ToyMachine m(GetParam());
  m.load(kCode, kLoop);
  ASSERT_TRUE(m.run(kCode));  // everything is translated and linked
  ASSERT_TRUE(m.accel().set_debug_points({.breakpoints = {kCode + 0x18, kCode + 0x12}}));  // one within an instruction
  m.cpu().restart(kCode);
  const auto stop = m.run_to_stop();
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->second.address, kCode + 0x18);
  ASSERT_TRUE(m.accel().set_debug_points({}));
  m.start();
  ASSERT_TRUE(m.wait());
  EXPECT_EQ(m.word(0x4000), 15u);
}

TEST_P(Debugger, WatchedStoreStopsBehindItsInstruction) {
  ToyMachine m(GetParam());
  m.load(kCode, kLoop);
  ASSERT_TRUE(m.run(kCode));
  m.poke(0x4000, 0);
  ASSERT_TRUE(m.accel().set_debug_points({.watchpoints = {{0x4004, 1, WatchKind::Write}}}));
  m.cpu().restart(kCode);
  const auto stop = m.run_to_stop();
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->second.why, Why::Watchpoint);
  EXPECT_EQ(stop->second.address, 0x4004u);
  EXPECT_EQ(m.cpu().debug_pc(), kCode + 0x20);
  EXPECT_EQ(m.word(0x4000), 15u);
  m.start();
  ASSERT_TRUE(m.wait());
}

TEST_P(Debugger, ReadsAreWatchedApartFromWrites) {
  ToyMachine m(GetParam());
  m.load(kCode, kLoop);
  for (const WatchKind kind : {WatchKind::Read, WatchKind::Access}) {
    ASSERT_TRUE(m.accel().set_debug_points({.watchpoints = {{0x4000, 8, kind}}}));
    m.cpu().restart(kCode);
    auto stop = m.run_to_stop();
    ASSERT_TRUE(stop);
    if (kind == WatchKind::Access) {
      EXPECT_EQ(m.cpu().debug_pc(), kCode + 0x20);
      stop = m.run_to_stop();
      ASSERT_TRUE(stop);
    }
    EXPECT_EQ(stop->second.kind, kind);
    EXPECT_EQ(m.cpu().debug_pc(), kCode + 0x24);
    m.start();
    ASSERT_TRUE(m.wait());
  }
}

TEST_P(Debugger, NeighboursOnAWatchedPageDoNotStop) {
  ToyMachine m(GetParam());
  m.load(kCode, kLoop);
  ASSERT_TRUE(
      m.accel().set_debug_points({.watchpoints = {{0x4008, 8, WatchKind::Access}, {0x3fff, 1, WatchKind::Access}}}));
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x4000), 15u);
  EXPECT_EQ(m.reg(4), 15u);
}

TEST_P(Debugger, WatchedAtomicAndHelperStoreHappenOnce) {
  ToyMachine m(GetParam());
  m.load(kCode, {li(2, 7), li(3, 0x4000), insn(kAmoAdd, 4, 3, 2), insn(kHelpSt, 2, 3), insn(kSys, 0, 0, kStop)});
  m.poke(0x4000, 1);
  ASSERT_TRUE(m.accel().set_debug_points({.watchpoints = {{0x4000, 8, WatchKind::Write}}}));
  m.cpu().restart(kCode);
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.cpu().debug_pc(), kCode + 12);
  EXPECT_EQ(m.word(0x4000), 8u);
  EXPECT_EQ(m.reg(4), 1u);
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.cpu().debug_pc(), kCode + 16);
  EXPECT_EQ(m.word(0x4000), 7u);
}

TEST_P(Debugger, StepDefersInterruptsUnlessAskedNotTo) {
  ToyMachine m(GetParam());
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kAddi, 1, 1, 1), insn(kAddi, 1, 1, 1), insn(kSys, 0, 0, kStop)});
  m.load(0x2000, {insn(kSys, 0, 0, kReturn)});
  m.cpu().state().irq_handler = 0x2000;
  m.cpu().restart(kCode);
  m.accel().set_debug_run(0, DebugRun::Step, StepEvents::Deferred);
  ASSERT_TRUE(m.run_to_stop());
  m.cpu().set_interrupt(true);
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.cpu().debug_pc(), kCode + 8);
  m.accel().set_debug_run(0, DebugRun::Step, StepEvents::Taken);
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.cpu().debug_pc(), 0x2000u);
  m.accel().set_debug_run(0, DebugRun::Continue, StepEvents::Taken);
  m.start();
  ASSERT_TRUE(m.wait());
  EXPECT_EQ(m.reg(1), 2u);
}

TEST_P(Debugger, StepOfASleepingCpuEndsWhenItIsWoken) {
  ToyMachine m(GetParam());
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kSys, 0, 0, kHalt), insn(kSys, 0, 0, kStop)});
  m.load(0x2000, {insn(kSys, 0, 0, kReturn)});
  m.cpu().state().irq_handler = 0x2000;
  m.cpu().restart(kCode);
  m.accel().set_debug_run(0, DebugRun::Step, StepEvents::Deferred);
  ASSERT_TRUE(m.run_to_stop());
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.cpu().halt_state(), target::Halt::Halted);
  m.cpu().set_interrupt(true);
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.cpu().debug_pc(), 0x2000u);
}

TEST_P(Debugger, HeldCpusStandStillWhileAnotherSteps) {
  ToyMachine m(GetParam(), 2);
  m.load(kCode, {insn(kAddi, 1, 1, 1), insn(kJump, 0, 0, -1)});
  for (unsigned i = 0; i < 2; ++i) m.cpu(i).restart(kCode);
  m.accel().set_debug_run(0, DebugRun::Hold, StepEvents::Deferred);
  m.accel().set_debug_run(1, DebugRun::Step, StepEvents::Deferred);
  for (u64 n = 1; n <= 3; ++n) {
    const auto stop = m.run_to_stop();
    ASSERT_TRUE(stop);
    EXPECT_EQ(stop->first, 1u);
  }
  EXPECT_EQ(m.reg(1, 0), 0u);
  EXPECT_EQ(m.reg(1, 1), 2u);
  m.accel().set_debug_run(0, DebugRun::Continue, StepEvents::Taken);
  ASSERT_TRUE(m.run_to_stop());
  EXPECT_EQ(m.reg(1, 1), 2u) << "the jump";
}

INSTANTIATE_TEST_SUITE_P(Engines, Debugger, TOY_ENGINES);

TEST(DebugTable, RangesMayEndAtTheTopOfTheAddressSpace) {
  accel::DebugTable table;
  EXPECT_FALSE(table.watches_page(0));
  table.set({.breakpoints = {9, 3, 9}, .watchpoints = {{~u64(0) - 7, 8, WatchKind::Write}}});
  EXPECT_TRUE(table.watches_page(~u64(0)));
  EXPECT_FALSE(table.watches_page(0));
  EXPECT_NE(table.hit(~u64(0), 1, target::Access::Store), nullptr);
  EXPECT_EQ(table.hit(~u64(0), 1, target::Access::Load), nullptr);
  EXPECT_NE(table.hit(~u64(0) - 8, 2, target::Access::Store), nullptr);
  EXPECT_EQ(table.hit(~u64(0) - 8, 1, target::Access::Store), nullptr);
  EXPECT_EQ(table.next_break(3, 100), 9u);
  EXPECT_EQ(table.next_break(3, 9), std::nullopt);
  EXPECT_TRUE(table.breaks_at(3));
}

}  // namespace
}  // namespace emu::toy
