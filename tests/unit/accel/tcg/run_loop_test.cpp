// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

class RunLoop : public testing::TestWithParam<Engine> {};

constexpr u64 kCode = 0x1000;

TEST_P(RunLoop, LoopAddsUpAndStores) {
  ToyMachine m(GetParam());
  m.load(kCode, {li(0, 0), li(1, 1000), li(2, 0), li(3, 0x4000), insn(kAdd, 2, 2, 1),  // 0x1010
                 insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -2), insn(kSt, 2, 3, 0), insn(kLd, 4, 3, 0),
                 insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x4000), 500500u);
  EXPECT_EQ(m.reg(4), 500500u);
}

TEST_P(RunLoop, IndirectJumpsAndCrossPageJumpsArrive) {
  ToyMachine m(GetParam());
  m.load(0x1ff8, {insn(kAddi, 2, 2, 1), insn(kJump, 0, 0, 1)});         // falls into the next page
  m.load(0x2000, {insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, 2), insn(kSys, 0, 0, kStop), insn(kJr, 3)});
  m.load(kCode, {li(0, 0), li(1, 300), li(2, 0), li(3, 0x1ff8), insn(kJr, 3)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 300u);
}

TEST_P(RunLoop, DeviceIsReadAndWritten) {
  ToyMachine m(GetParam());
  m.load(kCode, {li(1, 1), insn(kSlli, 1, 1, 23), li(2, 77), insn(kSt, 2, 1, 8), insn(kLd, 3, 1, 16),
                 insn(kLd, 4, 1, 16), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.last_write, 77u);
  EXPECT_EQ(m.reg(3), 16u);
  EXPECT_EQ(m.reg(4), 17u);
}

TEST_P(RunLoop, AccessAcrossPagesAndSignExtensionWork) {
  ToyMachine m(GetParam());
  m.load(kCode, {li(1, 0x3ffc), li(2, -2), insn(kSt, 2, 1, 0), insn(kLd, 3, 1, 0), insn(kLd32, 4, 1, 1),
                 insn(kAmoAdd, 5, 1, 2), insn(kLd, 6, 1, 0), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(3), u64(-2));
  EXPECT_EQ(m.reg(4), u64(-1));
  EXPECT_EQ(m.reg(5), u64(-2));
  EXPECT_EQ(m.reg(6), u64(-4));
}

TEST_P(RunLoop, TrapIsHandledAndRunGoesOn) {
  ToyMachine m(GetParam());
  m.load(kCode, {li(1, 5), insn(kTrap, 0, 0, 3), insn(kAddi, 1, 1, 1), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.cpu().traps, 1u);
  EXPECT_EQ(m.reg(1), 6u);
}

TEST_P(RunLoop, FaultFindsStateAsBeforeTheInstruction) {
  ToyMachine m(GetParam());
  for (u64 page = 0; page < 16; ++page) m.poke(0x8000 + page * 8, page << 12 | 7);
  m.poke(0x8000 + 5 * 8, 0);  // 0x5000 is not mapped
  m.cpu().state().handler = 0x2000;
  m.load(0x2000, {insn(kSys, 0, 0, kStop)});
  m.load(kCode, {li(0, 0), li(1, 1), insn(kSlli, 0, 1, 15), insn(kSys, 0, 0, kSetTable),
                 li(2, 11), li(3, 0x5008), insn(kAddi, 2, 2, 1), insn(kLd, 2, 3, 0), insn(kAddi, 2, 2, 1)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.cpu().faults, 1u);
  EXPECT_EQ(m.reg(2), 12u);
  EXPECT_EQ(m.reg(6), 0x5008u);
  EXPECT_EQ(m.reg(7), kCode + 7 * 4);
}

TEST_P(RunLoop, HelperFaultIsPrecise) {
  ToyMachine m(GetParam());
  for (u64 page = 0; page < 16; ++page) m.poke(0x8000 + page * 8, page << 12 | 7);
  m.poke(0x8000 + 5 * 8, 5 << 12 | 5);  // read-only
  m.cpu().state().handler = 0x2000;
  m.load(0x2000, {insn(kSys, 0, 0, kStop)});
  m.load(kCode, {li(1, 1), insn(kSlli, 0, 1, 15), insn(kSys, 0, 0, kSetTable), li(2, 11), li(3, 0x5008),
                 insn(kHelpSt, 2, 3), insn(kAddi, 2, 2, 1)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.cpu().faults, 1u);
  EXPECT_EQ(m.reg(2), 11u);
  EXPECT_EQ(m.reg(7), kCode + 5 * 4);
}

TEST_P(RunLoop, StraddlingInstructionIsExecuted) {
  ToyMachine m(GetParam());
  m.load(0x1ffa, {li(1, 41), insn(kAddi, 1, 1, 1), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(0x1ffa));
  EXPECT_EQ(m.reg(1), 42u);
}

TEST_P(RunLoop, StraddlingBlockIsNotUsedForAnotherSecondPage) {
  ToyMachine m(GetParam());
  for (u64 page = 0; page < 32; ++page) m.poke(0x8000 + page * 8, page << 12 | 7);
  // The page behind 0x3000 changes between two executions of the instruction that begins at 0x3ffe.
  const u32 code = li(1, 0x1111);
  u16 half[2];
  std::memcpy(half, &code, 4);
  m.ram->write(0x3ffe, &half[0], 2);
  m.ram->write(0x4000, &half[1], 2);
  const u16 other = 0x2222;
  m.ram->write(0x5000, &other, 2);
  const u32 back = insn(kJr, 5);
  m.ram->write(0x4002, &back, 4);
  m.ram->write(0x5002, &back, 4);
  m.load(kCode,
         {li(1, 1), insn(kSlli, 0, 1, 15), insn(kSys, 0, 0, kSetTable), li(4, 0x3ffe), li(5, 0x1018), insn(kJr, 4),
          /*0x1018*/ insn(kAddi, 2, 1, 0), li(0, 0x5007), li(3, 0x4000), insn(kAdd, 3, 3, 3), insn(kSt, 0, 3, 32),
          li(0, 0x4000), insn(kSys, 0, 0, kFlushPage), li(5, 0x103c), insn(kJr, 4),
          /*0x103c*/ insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 0x1111u);
  EXPECT_EQ(m.reg(1), 0x2222u);
}

TEST_P(RunLoop, CodeOutsideRamIsExecuted) {
  ToyMachine m(GetParam());
  // The device reads as its offset plus a count: as instructions that is odd, so put a ROM-like device beside it.
  const u32 code[2] = {li(1, 9), insn(kSys, 0, 0, kStop)};
  {
    mem::MachineLockScope lock(m.memory().lock());
    m.root()->add(0xa00000, mem::Region::mmio(
        m.memory(), "code", 0x1000,
        [&](u64 offset, unsigned size) {
          u64 v = 0;
          if (offset + size <= sizeof code) std::memcpy(&v, reinterpret_cast<const u8*>(code) + offset, size);
          return v;
        },
        nullptr));
  }
  ASSERT_TRUE(m.run(0xa00000));
  EXPECT_EQ(m.reg(1), 9u);
}

TEST_P(RunLoop, HaltSleepsUntilInterrupt) {
  ToyMachine m(GetParam());
  m.cpu().state().irq_handler = 0x2000;
  m.load(0x2000, {insn(kAddi, 4, 4, 1), insn(kSys, 0, 0, kReturn)});
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kSys, 0, 0, kHalt), insn(kSys, 0, 0, kHalt), insn(kSys, 0, 0, kStop)});
  m.cpu().restart(kCode);
  m.start();
  while (m.statistics().halts.get() < 1) std::this_thread::yield();
  m.cpu().set_interrupt(true);
  while (m.statistics().halts.get() < 2) std::this_thread::yield();
  m.cpu().set_interrupt(true);
  ASSERT_TRUE(m.wait());
  EXPECT_EQ(m.reg(4), 2u);
}

TEST_P(RunLoop, EndlessLoopIsLeftForInterruptAndPause) {
  ToyMachine m(GetParam());
  m.cpu().state().irq_handler = 0x2000;
  m.load(0x2000, {insn(kSys, 0, 0, kStop)});
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kAddi, 1, 1, 1), insn(kJump, 0, 0, -1)});
  m.cpu().restart(kCode);
  m.start();
  for (int i = 0; i < 20; ++i) {
    m.accel().pause_all();
    EXPECT_TRUE(m.accel().is_paused());
    m.accel().resume_all();
  }
  int ran = 0;
  m.accel().run_exclusive([&] { ++ran; });
  EXPECT_EQ(ran, 1);
  m.cpu().set_interrupt(true);
  ASSERT_TRUE(m.wait());
}

TEST_P(RunLoop, ContextsKeepTheirTranslations) {
  ToyMachine m(GetParam());
  for (u64 page = 0; page < 32; ++page) {
    m.poke(0x8000 + page * 8, page << 12 | 7);
    m.poke(0x9000 + page * 8, page << 12 | 7);
  }
  m.poke(0x9000 + 5 * 8, 6 << 12 | 7);  // 0x5000 leads elsewhere in the second context
  m.poke(0x5000, 55);
  m.poke(0x6000, 66);
  m.load(kCode,
         {li(1, 1), insn(kSlli, 6, 1, 15), li(3, 0x1000), insn(kAdd, 7, 6, 3), li(2, 0), li(1, 100), li(3, 0x5000),
          /*0x101c*/ insn(kAddi, 0, 6, 0), insn(kSys, 0, 0, kSwitch), insn(kLd, 4, 3, 0), insn(kAddi, 0, 7, 0),
          insn(kSys, 0, 0, kSwitch), insn(kLd, 5, 3, 0), insn(kAdd, 2, 2, 4), insn(kAdd, 2, 2, 5),
          insn(kAddi, 1, 1, -1), li(0, 0), insn(kBne, 1, 0, -10), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 100u * 121);
}

TEST_P(RunLoop, AnAtomicAccessAcrossPagesIsDoneAndCounted) {
  ToyMachine m(GetParam());
  m.poke(0x4ffc, 41);
  m.load(kCode, {li(1, 0x4ffc), li(2, 1), insn(kAmoAdd, 3, 1, 2), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(3), 41u);
  EXPECT_EQ(m.word(0x4ffc), 42u);
  EXPECT_EQ(m.statistics().page_crossings.get(), 1u);
}

INSTANTIATE_TEST_SUITE_P(Engines, RunLoop, TOY_ENGINES);

}  // namespace
}  // namespace emu::toy
