// SPDX-License-Identifier: Apache-2.0
// Code on one page of RAM that is met at two virtual pages.
#include <gtest/gtest.h>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

constexpr u64 kCode = 0x1000, kTable = 0x8000, kFunction = 0x3fe0, kAlias = 0x13fe0, kCpuData = 0x6000;

/// Page tables for both, and a function of three blocks that ends on another page: it adds 11 to r2, stores it to [r6]
/// and returns to r5. It changes r2 to nothing else as long as r7 is 0.
void load_function(ToyMachine& m) {
  for (u64 page = 0; page < 512; ++page) m.poke(kTable + page * 8, page << 12 | 7);
  m.poke(kTable + 0x13 * 8, 0x3007);
  m.poke(kTable + 0x14 * 8, 0x4007);
  m.load(kFunction, {insn(kAddi, 2, 2, 1), insn(kBne, 2, 7, 2), insn(kAddi, 2, 2, 100),
                     /*0x3fec*/ insn(kSt, 2, 6, 0), insn(kJump, 0, 0, 8)});
  m.load(0x4010, {insn(kAddi, 2, 2, 10), insn(kJr, 5)});
}

/// Calls the function 100 times at its own address, then 100 times at the other.
void load_calls(ToyMachine& m, i16 data = i16(kCpuData)) {
  load_function(m);
  m.load(kCode, {li(1, 1), insn(kSlli, 0, 1, 15), insn(kSys, 0, 0, kSetTable), li(0, 0), li(2, 0), li(6, i16(kCpuData)),
                 li(7, 0), li(3, i16(kFunction)), li(1, 100),
                 /*0x1024*/ li(5, 0x102c), insn(kJr, 3), /*0x102c*/ insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -3),
                 li(4, 1), insn(kSlli, 4, 4, 16), insn(kAdd, 3, 3, 4), li(6, data), li(1, 100),
                 /*0x1048*/ li(5, 0x1050), insn(kJr, 3), /*0x1050*/ insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -3),
                 insn(kSys, 0, 0, kStop)});
}

const accel::CacheStatistics& cache(ToyMachine& m) { return m.accel().blocks().statistics(); }

TEST(Clones, CodeAtAnotherAddressIsNotTranslatedAgain) {
  for (const bool split : {false, true}) {
    ToyMachine m(Engine::Jit, 1, {.split_wx = split});
    load_calls(m);
    ASSERT_TRUE(m.run(kCode));
    EXPECT_EQ(m.reg(2), 2200u);
    EXPECT_EQ(cache(m).clones.get(), 3u) << m.accel().statistics();
    EXPECT_EQ(m.statistics().clones.get(), 3u);
    ToyMachine other(Engine::Jit, 1, {.split_wx = split, .without = "clones"});
    load_calls(other);
    ASSERT_TRUE(other.run(kCode));
    EXPECT_EQ(other.reg(2), 2200u);
    EXPECT_EQ(cache(other).clones.get(), 0u);
    EXPECT_EQ(other.statistics().translations.get(), m.statistics().translations.get() + 3);
  }
}

TEST(Clones, StayInGeneratedCode) {
  ToyMachine m(Engine::Jit);
  load_calls(m);
  ASSERT_TRUE(m.run(kCode));
  EXPECT_LT(m.statistics().blocks_entered.get(), 20u) << m.accel().statistics();
  EXPECT_LT(m.statistics().link_misses.get(), 40u);
}

TEST(Clones, FaultsInThemAreAtTheirOwnAddress) {
  ToyMachine m(Engine::Jit);
  load_calls(m, 0x5008);
  m.poke(kTable + 5 * 8, 0);
  m.cpu().state().handler = 0x2000;
  m.load(0x2000, {insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.cpu().faults, 1u);
  EXPECT_EQ(m.reg(2), 1101u);
  EXPECT_EQ(m.reg(6), 0x5008u);
  EXPECT_EQ(m.reg(7), 0x13fecu);
  EXPECT_GE(cache(m).clones.get(), 2u);
}

TEST(Clones, AStoreEndsTheBlockAtBothAddresses) {
  ToyMachine m(Engine::Jit);
  load_calls(m);
  ASSERT_TRUE(m.run(kCode));
  const u64 dead = cache(m).invalidated_blocks.get();
  m.load(0x4010, {insn(kAddi, 2, 2, 20)});
  EXPECT_EQ(cache(m).invalidated_blocks.get(), dead + 2);
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 4200u);
  EXPECT_EQ(cache(m).clones.get(), 4u);  // made anew at one address, then cloned
}

TEST(Clones, ComeBackWithTheirBytes) {
  ToyMachine m(Engine::Jit);
  load_calls(m);
  ASSERT_TRUE(m.run(kCode));
  const u64 translations = m.statistics().translations.get();
  m.load(0x4010, {insn(kAddi, 2, 2, 20)});
  m.load(0x4010, {insn(kAddi, 2, 2, 10)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 2200u);
  EXPECT_EQ(cache(m).revived_blocks.get(), 2u);
  EXPECT_EQ(cache(m).clones.get(), 3u);
  EXPECT_EQ(m.statistics().translations.get(), translations);
}

TEST(Clones, AreNotMadeForAnotherPageOfRam) {
  ToyMachine m(Engine::Jit);
  load_calls(m);
  m.poke(kTable + 0x14 * 8, 0x7007);  // the second page of the alias is another one
  m.load(0x7010, {insn(kAddi, 2, 2, 30), insn(kJr, 5)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 1100u + 3100u);
  EXPECT_EQ(cache(m).clones.get(), 2u);
}

TEST(Clones, ABreakpointInOneIsMet) {
  ToyMachine m(Engine::Jit);
  load_calls(m);
  ASSERT_TRUE(m.accel().set_debug_points({.breakpoints = {0x13ff0}}));
  m.cpu().restart(kCode);
  const auto stop = m.run_to_stop();
  ASSERT_TRUE(stop);
  EXPECT_EQ(stop->second.address, 0x13ff0u);
  EXPECT_EQ(m.reg(2), 1101u);
}

constexpr u32 kBlocks = 30000;

/// So many blocks of two instructions at 1 MiB, mapped again half a MiB further on. Each CPU runs through them `rounds`
/// times, beginning at its `first[i]` of these two, `further` bytes further on each time.
void load_many(ToyMachine& m, std::initializer_list<unsigned> first, i16 rounds, unsigned further) {
  std::vector<u32> code;
  for (u32 i = 0; i < kBlocks; ++i) {
    code.push_back(insn(kAddi, 2, 2, 1));
    code.push_back(insn(kJump, 0, 0, 1));
  }
  for (const u32 word : {insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, 2), insn(kSys, 0, 0, kStop), insn(kAdd, 3, 3, 4),
                         insn(kJr, 3)}) {
    code.push_back(word);
  }
  m.ram->write(0x100000, code.data(), code.size() * 4);
  for (u64 page = 0; page < 512; ++page) m.poke(kTable + page * 8, page << 12 | 7);
  for (u64 page = 0; page < 64; ++page) m.poke(kTable + (0x180 + page) * 8, (0x100 + page) << 12 | 7);
  u64 pc = kCode;
  for (const unsigned at : first) {
    m.load(pc, {li(1, 1), insn(kSlli, 0, 1, 15), insn(kSys, 0, 0, kSetTable), li(0, 0), li(1, rounds), li(2, 0),
                li(4, i16(further >> 15)), insn(kSlli, 4, 4, 15), li(3, i16(at >> 15)), insn(kSlli, 3, 3, 15),
                insn(kJr, 3)});
    m.cpu(unsigned(pc - kCode) / 0x100).restart(pc);
    pc += 0x100;
  }
}

TEST(Clones, AreMadeOfAllOfManyBlocks) {
  ToyMachine m(Engine::Jit);
  load_many(m, {0x100000}, 2, 0x80000);
  m.start();
  ASSERT_TRUE(m.wait());
  EXPECT_EQ(m.reg(2), 2 * kBlocks);
  EXPECT_GE(cache(m).clones.get(), kBlocks);
  EXPECT_LT(m.statistics().translations.get(), kBlocks + 20);
}

TEST(Clones, OfTwoCpusAreRightWhileCodeMemoryRunsOut) {
  for (const char* without : {"", "graveyard"}) {
    ToyMachine m(Engine::Jit, 2, {.code_cache_bytes = 4 << 20, .without = without});
    load_many(m, {0x100000, 0x180000}, 3, 0);
    m.start();
    ASSERT_TRUE(m.wait());
    EXPECT_EQ(m.reg(2, 0), 3 * kBlocks);
    EXPECT_EQ(m.reg(2, 1), 3 * kBlocks);
    EXPECT_GT(cache(m).clones.get(), 0u);
    EXPECT_GT(cache(m).evicted_segments.get(), 1u);
  }
}

}  // namespace
}  // namespace emu::toy
