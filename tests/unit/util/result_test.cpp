// SPDX-License-Identifier: Apache-2.0
#include "util/result.h"

#include <gtest/gtest.h>

namespace emu {
namespace {

Result<int> half(int n) {
  if (n % 2) return error("{} is odd", n);
  return n / 2;
}
Result<int> quarter(int n) {
  const int h = EMU_TRY(half(n), fmt::format("quarter of {}", n));
  return EMU_TRY(half(h));
}

TEST(Result, TryYieldsTheValue) { EXPECT_EQ(quarter(8).value(), 2); }

TEST(Result, TryPutsTheContextInFrontOfTheError) {
  EXPECT_EQ(quarter(3).error().message(), "quarter of 3: 3 is odd");
  EXPECT_EQ(quarter(6).error().message(), "3 is odd");
}

}  // namespace
}  // namespace emu
