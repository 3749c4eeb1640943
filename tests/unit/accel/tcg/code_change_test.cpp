// SPDX-License-Identifier: Apache-2.0
// Code that changes: by the CPU itself, by another one, by devices.
#include <gtest/gtest.h>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

class CodeChange : public testing::TestWithParam<Engine> {};

constexpr u64 kCode = 0x1000;

TEST_P(CodeChange, PatchedFunctionIsSeenByTheNextCall) {
  ToyMachine m(GetParam());
  m.load(0x2000, {li(1, 0), insn(kJr, 5)});
  m.poke(0x4000, li(1, 0));
  m.poke(0x4008, u64(1) << 16);  // adds one to the immediate
  m.load(kCode, {li(0, 0), li(2, 0), li(3, 0x2000), li(4, 200), li(6, 0x4000), insn(kLd, 7, 6, 8),
                 /*0x1018*/ insn(kLd, 6, 6, 0), insn(kAdd, 6, 6, 7), insn(kSt32, 6, 3, 0), li(5, 0x4000),
                 insn(kSt, 6, 5, 0), li(5, 0x1034), insn(kJr, 3),
                 /*0x1034*/ insn(kAdd, 2, 2, 1), li(6, 0x4000), insn(kAddi, 4, 4, -1), insn(kBne, 4, 0, -10),
                 insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 200u * 201 / 2);
  EXPECT_GE(m.accel().blocks().statistics().invalidated_blocks.get(), 199u);
}

TEST_P(CodeChange, CodeThatIsChangedBackIsNotTranslatedAgain) {
  ToyMachine m(GetParam());
  m.load(0x2000, {li(1, 1), insn(kJr, 5)});
  m.poke(0x4000, li(1, 1));
  m.poke(0x4008, li(1, 100));
  m.load(kCode, {li(0, 0), li(2, 0), li(3, 0x2000), li(4, 200), li(6, 0x4000), insn(kLd, 7, 6, 8), insn(kLd, 6, 6, 0),
                 /*0x101c*/ insn(kSt32, 6, 3, 0), li(5, 0x1028), insn(kJr, 3),
                 /*0x1028*/ insn(kAdd, 2, 2, 1), insn(kSt32, 7, 3, 0), li(5, 0x1038), insn(kJr, 3),
                 /*0x1038*/ insn(kAdd, 2, 2, 1), insn(kAddi, 4, 4, -1), insn(kBne, 4, 0, -9), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 200u * 101);
  if (m.accel().blocks().statistics().revived_blocks.get() == 0) {
    EXPECT_GE(m.statistics().translations.get(), 400u);  // an engine without host code has nothing to keep
  } else {
    EXPECT_GE(m.accel().blocks().statistics().revived_blocks.get(), 390u);
    EXPECT_LE(m.statistics().translations.get(), 20u);
  }
}

TEST_P(CodeChange, StormOfStoresBesideCodeIsNoLongerSeen) {
  ToyMachine m(GetParam());
  m.accel().blocks().use_clock([] { return ClockNs(); });
  m.load(kCode, {li(0, 0), li(1, 20000), li(2, 0x1800), insn(kSt, 1, 2, 0), insn(kAddi, 1, 1, -1),
                 insn(kBne, 1, 0, -2), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x1800), 1u);
  EXPECT_EQ(m.accel().blocks().statistics().checked_pages.get(), 1u);
  EXPECT_LT(m.statistics().code_stores.get(), 1200u);
}

TEST_P(CodeChange, NoPageIsCheckedWithoutThatTechnique) {
  ToyMachine m(GetParam(), 1, {.without = "checked-pages"});
  m.accel().blocks().use_clock([] { return ClockNs(); });
  m.load(kCode, {li(0, 0), li(1, 5000), li(2, 0x1800), insn(kSt, 1, 2, 0), insn(kAddi, 1, 1, -1),
                 insn(kBne, 1, 0, -2), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.accel().blocks().statistics().checked_pages.get(), 0u);
  EXPECT_GE(m.statistics().code_stores.get(), 5000u);
}

TEST_P(CodeChange, StoresOfCheckedCodeIntoItselfTakeEffectAtOnce) {
  ToyMachine m(GetParam());
  m.accel().blocks().use_clock([] { return ClockNs(); });
  m.poke(0x4000, li(1, 1));
  m.poke(0x4008, li(1, 100));
  // A storm beside the code; then a loop whose stores change, forth and back, the instruction that follows each.
  m.load(kCode, {li(0, 0), li(1, 20000), li(2, 0x1800), insn(kSt, 1, 2, 0), insn(kAddi, 1, 1, -1),
                 insn(kBne, 1, 0, -2), li(4, 200), li(2, 0),
                 /*0x1020*/ li(6, 0x4000), insn(kLd, 7, 6, 8), insn(kLd, 6, 6, 0), li(3, 0x1034),
                 /*0x1030*/ insn(kSt32, 6, 3, 0), /*0x1034*/ li(1, 7), insn(kAdd, 2, 2, 1), li(3, 0x1044),
                 /*0x1040*/ insn(kSt32, 7, 3, 0), /*0x1044*/ li(1, 7), insn(kAdd, 2, 2, 1),
                 /*0x104c*/ li(6, 0x1034), li(7, 0x1044), li(1, 0), insn(kSt32, 1, 6, 0), insn(kSt32, 1, 7, 0),
                 /*0x1060*/ insn(kAddi, 4, 4, -1), insn(kBne, 4, 0, -17), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 200u * 101);
  EXPECT_EQ(m.accel().blocks().statistics().checked_pages.get(), 1u);
}

TEST_P(CodeChange, StoreIntoTheRunningBlockTakesEffectAtTheNextInstruction) {
  ToyMachine m(GetParam());
  m.poke(0x4000, li(1, 42));
  m.load(kCode, {li(2, 0x4000), insn(kLd, 3, 2, 0), li(4, 0x1018), insn(kAddi, 5, 5, 1), insn(kSt32, 3, 4, 0),
                 insn(kAddi, 5, 5, 1), /*0x1018*/ li(1, 7), insn(kAddi, 5, 5, 1), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(1), 42u);
  EXPECT_EQ(m.reg(5), 3u);
  EXPECT_EQ(m.statistics().restarts.get(), 1u);
}

TEST_P(CodeChange, HelperStoreIntoTheRunningBlockTakesEffect) {
  ToyMachine m(GetParam());
  m.poke(0x4000, u64(insn(kAddi, 5, 5, 1)) << 32 | li(1, 42));
  m.load(kCode, {li(2, 0x4000), insn(kLd, 3, 2, 0), li(4, 0x1014), insn(kHelpSt, 3, 4), insn(kAddi, 5, 5, 1),
                 /*0x1014*/ li(1, 7), insn(kNop), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(1), 42u);
  EXPECT_EQ(m.reg(5), 2u);
}

TEST_P(CodeChange, StoreBesideCodeKeepsBlocks) {
  ToyMachine m(GetParam());
  m.load(kCode, {li(0, 0), li(1, 500), li(2, 0x1800), insn(kSt, 1, 2, 0), insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -2),
                 insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x1800), 1u);
  EXPECT_EQ(m.accel().blocks().statistics().invalidated_blocks.get(), 0u);
  EXPECT_GE(m.statistics().code_stores.get(), 500u);
}

TEST_P(CodeChange, WithoutGranulesAStoreEndsAllBlocksOfItsPage) {
  ToyMachine m(GetParam());
  m.accel().blocks().judge_by_granules(false);
  m.accel().blocks().check_pages(false);
  m.load(kCode, {li(0, 0), li(1, 500), li(2, 0x1800), insn(kSt, 1, 2, 0), insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -2),
                 insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x1800), 1u);
  EXPECT_GE(m.accel().blocks().statistics().invalidated_blocks.get(), 400u);
}

TEST_P(CodeChange, WriteByADeviceEndsALoop) {
  ToyMachine m(GetParam());
  m.load(kCode, {insn(kAddi, 1, 1, 1), insn(kJump, 0, 0, -1)});
  m.cpu().restart(kCode);
  m.start();
  while (m.statistics().blocks_entered.get() < 1) std::this_thread::yield();
  m.load(kCode, {insn(kSys, 0, 0, kStop)});
  m.cpu().services().kick(tcg::kExitWork);
  ASSERT_TRUE(m.wait());
}

TEST_P(CodeChange, RemapByDeviceWriteIsSeenByTheNextInstruction) {
  ToyMachine m(GetParam());
  mem::RegionRef over;
  {
    mem::MachineLockScope lock(m.memory().lock());
    auto other = m.memory().make_ram("other", 0x1000);
    ASSERT_TRUE(other);
    const u64 v = 1111;
    (*other)->write(0, &v, 8);
    over = mem::Region::ram(m.memory(), "other", *other);
    over->set_enabled(false);
    m.root()->add(0x6000, over, 1);
  }
  m.poke(0x6000, 2222);
  m.on_write = [&](u64, u64 value) { over->set_enabled(value != 0); };
  m.load(kCode,
         {li(1, 1), insn(kSlli, 1, 1, 23), li(2, 0x6000), li(3, 0), insn(kLd, 4, 2, 0), li(5, 1), insn(kSt, 5, 1, 0),
          insn(kLd, 6, 2, 0), insn(kSt, 3, 1, 0), insn(kLd, 7, 2, 0), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(4), 2222u);
  EXPECT_EQ(m.reg(6), 1111u);
  EXPECT_EQ(m.reg(7), 2222u);
  m.on_write = nullptr;
  mem::MachineLockScope lock(m.memory().lock());
  m.root()->remove(*over);
  over.reset();
}

TEST_P(CodeChange, OneCpuPatchesWhatTheOtherCalls) {
  // CPU 1 writes "li r1, k" over the function, then k to the go word; CPU 0 calls and traps when r1 is not k.
  constexpr i16 kRounds = 100;  // each waits for the other thread, which the host may not run at once
  ToyMachine m(GetParam(), 2);
  m.load(0x3000, {li(1, 0), insn(kJr, 5)});
  m.load(kCode, {li(0, 0), li(2, 1), li(3, 0x3000), li(4, 0x4000), li(6, kRounds + 1),
                 /*0x1014*/ insn(kLd, 7, 4, 0), insn(kBne, 7, 2, -1), li(5, 0x1024), insn(kJr, 3),
                 /*0x1024*/ insn(kBne, 1, 2, 5), insn(kSt, 2, 4, 64), insn(kAddi, 2, 2, 1), insn(kBne, 2, 6, -7),
                 insn(kSys, 0, 0, kStop), /*0x1038*/ insn(kTrap, 0, 0, -1)});
  m.poke(0x5000, li(1, 1));
  m.poke(0x5008, u64(1) << 16);
  m.load(
      0x2000,
      {li(0, 0), li(2, 1), li(3, 0x3000), li(4, 0x4000), li(6, kRounds + 1), li(5, 0x5000), insn(kLd, 1, 5, 0),
       /*0x201c*/ insn(kSt32, 1, 3, 0), insn(kSt, 2, 4, 0), insn(kLd, 7, 4, 64), insn(kBne, 7, 2, -1),
       insn(kLd, 7, 5, 8), insn(kAdd, 1, 1, 7), insn(kAddi, 2, 2, 1), insn(kBne, 2, 6, -7), insn(kSys, 0, 0, kStop)});
  m.cpu(0).restart(kCode);
  m.cpu(1).restart(0x2000);
  m.start();
  ASSERT_TRUE(m.wait());
  EXPECT_EQ(m.cpu(0).traps, 0u);
  EXPECT_EQ(m.word(0x4040), u64(kRounds));
}

TEST_P(CodeChange, NewCodeOnAPageThatTheOtherCpuWritesIsNeverStale) {
  // CPU 1 writes counters on the page on which CPU 0 meets ever new code.
  ToyMachine m(GetParam(), 2);
  for (u64 page = 0; page < 64; ++page) {
    const u64 base = 0x10000 + page * 0x1000;
    m.load(base, {insn(kAddi, 2, 2, 1), insn(kJr, 5)});
  }
  m.load(kCode,
         {li(0, 0), li(1, 64), li(2, 0), li(3, 1), insn(kSlli, 3, 3, 16), li(4, 0x1000), li(5, 0x1020), insn(kJr, 3),
          /*0x1020*/ insn(kAdd, 3, 3, 4), insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -3), insn(kSys, 0, 0, kStop)});
  m.load(0x2000, {li(0, 0), li(1, 64), li(3, 1), insn(kSlli, 3, 3, 16), li(4, 0x1000),
                  /*0x2014*/ insn(kSt, 1, 3, 64), insn(kAdd, 3, 3, 4), insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -3),
                  insn(kSys, 0, 0, kStop)});
  for (int round = 0; round < 50; ++round) {
    m.cpu(0).restart(kCode);
    m.cpu(1).restart(0x2000);
    m.start();
    ASSERT_TRUE(m.wait());
    ASSERT_EQ(m.reg(2), 64u);
    for (u64 page = 0; page < 64; ++page) ASSERT_EQ(m.word(0x10040 + page * 0x1000), 64 - page);
  }
}

TEST_P(CodeChange, NoWakeUpIsLost) {
  ToyMachine m(GetParam());
  m.cpu().state().irq_handler = 0x2000;
  m.load(0x2000, {insn(kAddi, 4, 4, 1), insn(kSys, 0, 0, kReturn)});
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kSys, 0, 0, kHalt), insn(kJump, 0, 0, -1)});
  m.cpu().restart(kCode);
  m.start();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  constexpr u64 kRounds = 20000;
  u64 done = 0;
  for (; done < kRounds && std::chrono::steady_clock::now() < deadline; ++done) {
    m.cpu().set_interrupt(true);
    while (m.cpu().interrupts.load() == done && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
  }
  m.load(kCode + 8, {insn(kSys, 0, 0, kStop)});
  m.cpu().set_interrupt(true);
  EXPECT_TRUE(m.wait());
  EXPECT_GE(m.cpu().interrupts.load(), std::min(done, u64(1000)));
}

INSTANTIATE_TEST_SUITE_P(Engines, CodeChange, TOY_ENGINES);

}  // namespace
}  // namespace emu::toy
