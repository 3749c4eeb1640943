// SPDX-License-Identifier: Apache-2.0
#include "target/x86/simd_exceptions.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace emu::x86 {
namespace {

constexpr u32 kDE = 2, kOE = 8, kUE = 16, kPE = 32;
constexpr u32 kMasked = 0x1f80, kOverflowUnmasked = kMasked & ~0x400u, kUnderflowUnmasked = kMasked & ~0x800u;

u32 flags_of(ir::VecOp op, double a, double b, u32 mxcsr, double c = 0) {
  const std::array<double, 4> x{a, a, a, a}, y{b, b, b, b}, z{c, c, c, c};
  const auto bytes = [](const auto& v) { return reinterpret_cast<const u8*>(v.data()); };
  const SimdExceptions exceptions(op, 16, 0, {bytes(x), bytes(y), bytes(z)});
  EXPECT_TRUE(exceptions.decide(mxcsr));
  return exceptions.flags(mxcsr);
}

TEST(SimdExceptions, ExactTinyProductUnderflowsIfUnmasked) {
  const double least = std::ldexp(1.0, -1022);
  EXPECT_EQ(flags_of(ir::VecOp::VMulF64, least, 0.5, kUnderflowUnmasked), kUE);
  EXPECT_EQ(flags_of(ir::VecOp::VMulF64, least, 0.5, kOverflowUnmasked), 0u);
}

TEST(SimdExceptions, PrecisionIsOfTheResultWithoutBounds) {
  const double least = std::ldexp(1.0, -1022), largest = std::ldexp(1.0, 1023);
  // Inexact only as a denormal.
  EXPECT_EQ(flags_of(ir::VecOp::VMulF64, 1 + std::ldexp(1.0, -52), least / 2, kUnderflowUnmasked), kUE | kDE);
  EXPECT_EQ(flags_of(ir::VecOp::VMulSF64, 1 + std::ldexp(1.0, -52), std::ldexp(1.0, -1060), kUnderflowUnmasked),
            kUE | kDE);
  EXPECT_EQ(flags_of(ir::VecOp::VMulF64, largest, 4, kOverflowUnmasked), kOE);
  EXPECT_EQ(flags_of(ir::VecOp::VDivF64, largest, 1.0 / 3, kOverflowUnmasked), kOE | kPE);
  EXPECT_EQ(flags_of(ir::VecOp::VMulF64, largest, 4, kUnderflowUnmasked), kOE | kPE);
}

TEST(SimdExceptions, SumsAndFusedOperationsKeepWhatLiesFarBelow) {
  const double largest = std::ldexp(1.0, 1023);
  EXPECT_EQ(flags_of(ir::VecOp::VAddF64, largest, largest, kOverflowUnmasked), kOE);
  EXPECT_EQ(flags_of(ir::VecOp::VFmaddF64, largest, 2, kOverflowUnmasked, std::ldexp(1.0, -900)), kOE | kPE);
  EXPECT_EQ(flags_of(ir::VecOp::VFnmaddF64, largest, 2, kOverflowUnmasked, largest), 0u);
}

TEST(SimdExceptions, NarrowingCountsTheSmallFormatsRange) {
  EXPECT_EQ(flags_of(ir::VecOp::VCvtF64F32, std::ldexp(1.0, 128), 0, kOverflowUnmasked), kOE);
  EXPECT_EQ(flags_of(ir::VecOp::VCvtF64F32, std::ldexp(1.0, -130), 0, kUnderflowUnmasked), kUE);
  EXPECT_EQ(flags_of(ir::VecOp::VCvtF64F32, std::ldexp(1.0 / 3, -130), 0, kUnderflowUnmasked), kUE | kPE);
}

TEST(SimdExceptions, OperationsWithoutRangeAreLeftAlone) {
  const std::array<double, 4> x{};
  const auto* bytes = reinterpret_cast<const u8*>(x.data());
  EXPECT_FALSE(SimdExceptions(ir::VecOp::VMaxF64, 16, 0, {bytes, bytes, bytes}).decide(0));
  EXPECT_FALSE(SimdExceptions(ir::VecOp::VAddF64, 16, 0, {bytes, bytes, bytes}).decide(kMasked));
}

}  // namespace
}  // namespace emu::x86
