// SPDX-License-Identifier: Apache-2.0
// What only generated code shows: links, jump caches, code memory that runs out, two mappings.
#include <gtest/gtest.h>
#include <sys/prctl.h>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

constexpr u64 kCode = 0x1000;

/// 30,000 blocks of two instructions, run through twice by every CPU.
void fill_with_blocks(ToyMachine& m) {
  constexpr u32 kBlocks = 30000;
  std::vector<u32> code;
  for (u32 i = 0; i < kBlocks; ++i) {
    code.push_back(insn(kAddi, 2, 2, 1));
    code.push_back(insn(kJump, 0, 0, 1));
  }
  code.push_back(insn(kAddi, 1, 1, -1));
  code.push_back(insn(kBne, 1, 0, 2));
  code.push_back(insn(kSys, 0, 0, kStop));
  code.push_back(insn(kJr, 3));
  m.ram->write(0x10000, code.data(), code.size() * 4);
  m.load(kCode, {li(0, 0), li(1, 2), li(2, 0), li(3, 1), insn(kSlli, 3, 3, 16), insn(kJr, 3)});
}

struct CodeMemoryCase {
  std::string_view name;
  unsigned cpus;
  const char* without;
};
class CodeMemory : public ::testing::TestWithParam<CodeMemoryCase> {};

TEST_P(CodeMemory, IsReusedWhenItRunsOut) {
  const CodeMemoryCase& how = GetParam();
  ToyMachine m(Engine::Jit, how.cpus, {.code_cache_bytes = 2 << 20, .without = how.without});
  fill_with_blocks(m);
  ASSERT_TRUE(m.run(kCode));
  for (unsigned cpu = 0; cpu < how.cpus; ++cpu) EXPECT_EQ(m.reg(2, cpu), 60000u);
  EXPECT_GT(m.accel().blocks().statistics().evicted_segments.get(), 1u) << m.accel().statistics();
}

INSTANTIATE_TEST_SUITE_P(Jit, CodeMemory,
                         ::testing::Values(CodeMemoryCase{"OneCpu", 1, ""}, CodeMemoryCase{"TwoCpus", 2, ""},
                                           CodeMemoryCase{"TwoCpusInOnePiece", 2, "segments"}),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Jit, ConditionsGoByWayOfRegistersWithoutFusion) {
  ToyMachine m(Engine::Jit, 1, {.without = "flag-fusion"});
  m.load(kCode, {li(0, 0), li(1, 300), li(2, 0), insn(kAdd, 2, 2, 1), insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -2),
                 insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 300u * 301 / 2);
}

TEST(Jit, HugePagesAreRefusedWhileTheAcceleratorLives) {
  const int before = prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0);
  {
    const ToyMachine m(Engine::Jit, 1, {.without = "huge-pages"});
    EXPECT_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
  }
  EXPECT_EQ(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), before);
}

TEST(Jit, CodeRunsFromASecondMapping) {
  ToyMachine m(Engine::Jit, 1, {.split_wx = true});
  m.load(kCode, {li(0, 0), li(1, 300), li(2, 0), insn(kAdd, 2, 2, 1), insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -2),
                 insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 300u * 301 / 2);
}

TEST(Jit, LinkedLoopAndCallsStayInGeneratedCode) {
  ToyMachine m(Engine::Jit);
  m.load(0x3000, {insn(kAddi, 2, 2, 1), insn(kJr, 5)});
  m.load(kCode, {li(0, 0), li(1, 10000), li(2, 0), li(3, 0x3000), /*0x1010*/ li(5, 0x1018), insn(kJr, 3),
                 /*0x1018*/ insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -3), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.reg(2), 10000u);
  const accel::VcpuStatistics& s = m.statistics();
  EXPECT_LT(s.blocks_entered.get(), 20u) << m.accel().statistics();
  EXPECT_LT(s.jump_cache_misses.get(), 20u);
  EXPECT_LT(s.link_misses.get(), 20u);
}

TEST(Jit, MemoryHitsStayInGeneratedCode) {
  ToyMachine m(Engine::Jit);
  m.load(kCode, {li(0, 0), li(1, 10000), li(3, 0x4000), insn(kSt, 1, 3, 0), insn(kLd, 4, 3, 0), insn(kAmoAdd, 4, 3, 4),
                 insn(kAddi, 1, 1, -1), insn(kBne, 1, 0, -4), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_LT(m.statistics().slow_accesses.get(), 20u) << m.accel().statistics();
  EXPECT_EQ(m.word(0x4000), 2u);
}

TEST(Jit, AtomicAddsOfTwoCpusAllCount) {
  ToyMachine m(Engine::Jit, 2);
  m.load(kCode, {li(0, 0), li(1, 20000), li(2, 1), li(3, 0x4000), insn(kAmoAdd, 4, 3, 2), insn(kAddi, 1, 1, -1),
                 insn(kBne, 1, 0, -2), insn(kSys, 0, 0, kStop)});
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x4000), 40000u);
}

}  // namespace
}  // namespace emu::toy
