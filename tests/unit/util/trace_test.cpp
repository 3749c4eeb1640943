// SPDX-License-Identifier: Apache-2.0
#include "util/trace.h"

#include <gtest/gtest.h>

#include "util/log.h"
#include "util/random.h"

namespace emu {
namespace {

unsigned evaluated = 0;
unsigned value() { return ++evaluated; }
void happen() { EMU_TRACE("test_event", "value {}", value()); }

TEST(Trace, NothingIsComputedWhileAnEventIsOff) {
  happen();
  EXPECT_EQ(evaluated, 0u);
  ASSERT_TRUE(log::open_file("/dev/null"));
  EXPECT_EQ(trace::enable("test_*", true), 1u);
  EXPECT_TRUE(trace::is_enabled("test_event"));
  happen();
  EXPECT_EQ(evaluated, 1u);
  trace::apply("-test_event");
  happen();
  EXPECT_EQ(evaluated, 1u);
  ASSERT_TRUE(log::open_file(""));
}

TEST(Trace, PatternsMatchAsInAShell) {
  EXPECT_TRUE(trace::matches("*", ""));
  EXPECT_TRUE(trace::matches("a*c", "abbc"));
  EXPECT_TRUE(trace::matches("*_*_?", "a_b_c_d"));
  EXPECT_TRUE(trace::matches("**a", "ba"));
  EXPECT_FALSE(trace::matches("a?", "a"));
  EXPECT_FALSE(trace::matches("", "a"));
  EXPECT_FALSE(trace::matches("a*b*c", "acb"));
}

TEST(Trace, SinksAreNamed) {
  EXPECT_TRUE(trace::set_sink("log"));
  EXPECT_FALSE(trace::set_sink("paper"));
}

TEST(Random, ASeedGivesOneSequence) {
  EXPECT_NE(random_u64(), random_u64());
  seed_random(0);
  const u64 first = random_u64(), second = random_u64();
  seed_random(0);
  EXPECT_EQ(random_u64(), first);
  EXPECT_EQ(random_u64(), second);
  // Steele and Vigna's reference for SplitMix64 from 0.
  EXPECT_EQ(first, 0xe220a8397b1dcdafu);
}

}  // namespace
}  // namespace emu
