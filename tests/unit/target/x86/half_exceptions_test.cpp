// SPDX-License-Identifier: Apache-2.0
// Overflow, underflow and precision of FP16 results, against those of VCVTPS2PH (SimdExceptions, which the instruction
// oracle holds against processors): the exact result goes through a single that is rounded to odd, so that it rounds on
// to a half as the exact one does.
#include "target/x86/half_exceptions.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "target/x86/simd_exceptions.h"

namespace emu::x86 {
namespace {

using tcg::HostVector;
using Kind = HostVector::Kind;

constexpr u32 kOE = 8, kUE = 16, kPE = 32;
constexpr u32 kMasked = 0x1f80, kOverflowUnmasked = kMasked & ~0x400u, kUnderflowUnmasked = kMasked & ~0x800u;

double value(u16 bits) {
  const int exponent = bits >> 10 & 31;
  const double magnitude = exponent == 31  ? double(INFINITY)
                           : exponent == 0 ? std::ldexp(bits & 0x3ff, -24)
                                           : std::ldexp(1024 + (bits & 0x3ff), exponent - 25);
  return bits & 0x8000 ? -magnitude : magnitude;
}

/// `rounded` is exact + `error` rounded to nearest; towards zero, with the last bit set if that is not exact, it is
template <typename Float, typename Bits>
Float to_odd(Float rounded, double error) {
  auto bits = std::bit_cast<Bits>(rounded);
  if (error == 0) return rounded;
  if ((error < 0) != (rounded < 0)) --bits;  // it is too large
  return std::bit_cast<Float>(Bits(bits | 1));
}

u32 reference(double rounded, double error, u32 mxcsr) {
  const double odd = to_odd<double, u64>(rounded, error);
  const auto single = float(odd);
  const std::array<float, 4> x{to_odd<float, u32>(single, odd - double(single)), 1, 1, 1};
  const auto* bytes = reinterpret_cast<const u8*>(x.data());
  constexpr u8 kRoundAsMxcsrSays = 4;
  return SimdExceptions(ir::VecOp::VCvtF32F16, 16, kRoundAsMxcsrSays, {bytes, bytes, bytes}).flags(mxcsr) &
         HalfExceptions::kRangeFlags;
}

/// Registers 0 to 2, and the memory operand.
struct Slots {
  alignas(64) std::array<u8, HostVector::kSlots * 64> bytes{};
  std::array<u64, HostVector::kMasks> masks{};
  template <typename T>
  void put(unsigned slot, T v, unsigned lane = 0) {
    std::memcpy(&bytes[slot * 64 + lane * sizeof v], &v, sizeof v);
  }
  HalfExceptions of(const HostVector& v) const { return {v, bytes.data(), masks.data()}; }
};

/// reg 0, vvvv 1, rm 2.
HostVector scalar(u8 map, u8 pp, u8 opcode) {
  return {.map = map,
          .pp = pp,
          .opcode = opcode,
          .reg = {Kind::Vector, 0},
          .vvvv = {Kind::Vector, 1},
          .rm = {Kind::Vector, 2},
          .dest = HostVector::Dest::Reg};
}

class HalfArithmetic : public testing::Test {
 protected:
  u16 number() {
    for (;;) {
      const u16 bits = u16(random_() % 4 != 0 ? random_() : (random_() & 0x83ff) | (random_() % 2 ? 0x7800 : 0x0400));
      if ((bits >> 10 & 31) != 31) return bits;
    }
  }
  u32 control() {
    constexpr u32 kMasks[] = {0x400, 0x800, 0xc00};
    return (kMasked & ~kMasks[random_() % 3]) | u32(random_() % 4) << 13;
  }
  template <typename Exact>
  void compare(const HostVector& v, Exact&& exact) {
    for (int i = 0; i < 100'000; ++i) {
      const u16 a = number(), b = number(), c = number();
      Slots s;
      s.put(0, c);
      s.put(1, a);
      s.put(2, b);
      const u32 mxcsr = control();
      const auto [rounded, error] = exact(value(a), value(b), value(c));
      if (!std::isfinite(rounded)) continue;
      const HalfExceptions exceptions = s.of(v);
      ASSERT_TRUE(exceptions.decide(mxcsr));
      ASSERT_EQ(exceptions.flags(mxcsr), reference(rounded, error, mxcsr))
          << std::hex << a << " " << b << " " << c << " " << mxcsr;
    }
  }
  std::mt19937_64 random_{6};
};

struct Sum {
  double rounded, error;
};
Sum add(double a, double b) {
  const double sum = a + b, part = sum - a;
  return {sum, (a - (sum - part)) + (b - part)};
}

TEST_F(HalfArithmetic, SumsDifferencesProductsQuotients) {
  compare(scalar(5, 2, 0x58), [](double a, double b, double) { return Sum{a + b, 0}; });
  compare(scalar(5, 2, 0x5c), [](double a, double b, double) { return Sum{a - b, 0}; });
  compare(scalar(5, 2, 0x59), [](double a, double b, double) { return Sum{a * b, 0}; });
  compare(scalar(5, 2, 0x5e), [](double a, double b, double) {
    const double q = a / b, rest = std::fma(-q, b, a);
    return Sum{q, b < 0 ? -rest : rest};
  });
}

TEST_F(HalfArithmetic, FusedOperationsRoundOnce) {
  compare(scalar(6, 1, 0x99), [](double a, double b, double c) { return add(c * b, a); });    // VFMADD132SH
  compare(scalar(6, 1, 0xa9), [](double a, double b, double c) { return add(a * c, b); });    // VFMADD213SH
  compare(scalar(6, 1, 0xb9), [](double a, double b, double c) { return add(a * b, c); });    // VFMADD231SH
  compare(scalar(6, 1, 0xbb), [](double a, double b, double c) { return add(a * b, -c); });   // VFMSUB231SH
  compare(scalar(6, 1, 0xbd), [](double a, double b, double c) { return add(-a * b, c); });   // VFNMADD231SH
  compare(scalar(6, 1, 0xbf), [](double a, double b, double c) { return add(-a * b, -c); });  // VFNMSUB231SH
}

TEST_F(HalfArithmetic, ScalesByPowersOfTwo) {
  compare(scalar(6, 1, 0x2d), [](double a, double b, double) {  // what a single can hold
    return std::abs(b) < 90 ? Sum{std::ldexp(a, int(std::floor(b))), 0} : Sum{NAN, 0};
  });
  Slots s;
  s.put<u16>(1, 0x3c00);
  s.put<u16>(2, 0xfbff);  // -65504
  EXPECT_EQ(s.of(scalar(6, 1, 0x2d)).flags(kUnderflowUnmasked), kUE);
  EXPECT_EQ(s.of(scalar(6, 1, 0x2d)).flags(kOverflowUnmasked), kUE | kPE);
  s.put<u16>(2, 0x7bff);
  EXPECT_EQ(s.of(scalar(6, 1, 0x2d)).flags(kOverflowUnmasked), kOE);
}

TEST_F(HalfArithmetic, ConversionsFromOtherFormats) {
  for (int i = 0; i < 100'000; ++i) {
    Slots s;
    const u32 mxcsr = control();
    const double d = std::ldexp(double(i64(random_())), int(random_() % 64) - 100);
    s.put(2, d);
    ASSERT_EQ(s.of(scalar(5, 3, 0x5a)).flags(mxcsr), reference(d, 0, mxcsr)) << d;
    s.put(2, float(d));
    ASSERT_EQ(s.of(scalar(5, 0, 0x1d)).flags(mxcsr), reference(float(d), 0, mxcsr)) << d;
    const i64 n = i64(random_()) >> random_() % 64;
    HostVector v = scalar(5, 2, 0x2a);
    v.w = true;
    v.rm = {Kind::General, 0};
    s.put(HostVector::kGeneralSlot, n);
    const auto nearest = double(n);
    ASSERT_EQ(s.of(v).flags(mxcsr),
              reference(nearest, double(i64(u64(n) - u64(std::abs(nearest) < 9e18 ? i64(nearest) : n))), mxcsr))
        << n;
  }
  Slots s;
  s.put<u16>(2, 0xffff);  // VCVTUW2PH
  EXPECT_EQ(s.of(scalar(5, 3, 0x7d)).flags(kOverflowUnmasked), kOE | kPE);
  s.put<u32>(2, 0x80000000);  // VCVTUDQ2PH
  EXPECT_EQ(s.of(scalar(5, 3, 0x7a)).flags(kOverflowUnmasked), kOE);
  s.put<u64>(2, 0x1ull);  // a double denormal
  EXPECT_EQ(s.of(scalar(5, 3, 0x5a)).flags(kUnderflowUnmasked), kUE);
  EXPECT_EQ(s.of(scalar(5, 3, 0x5a)).flags(kUnderflowUnmasked | 0x40), 0u);
}

TEST(HalfExceptions, MasksBroadcastsAndLanes) {
  Slots s;
  HostVector v = scalar(5, 0, 0x59);  // VMULPH xmm
  for (unsigned lane = 0; lane < 8; ++lane) s.put<u16>(1, 0x3c00, lane);
  s.put<u16>(1, 0x7bff, 5);
  s.put<u16>(2, 0x7bff);
  EXPECT_EQ(s.of(v).flags(kOverflowUnmasked), 0u);
  v.rm = {Kind::Memory, HostVector::kMemorySlot};
  v.b = true;
  s.put<u16>(HostVector::kMemorySlot, 0x7bff);
  EXPECT_EQ(s.of(v).flags(kOverflowUnmasked), kOE | kPE);
  v.mask = 3;
  s.masks[3] = 0xdf;
  EXPECT_EQ(s.of(v).flags(kOverflowUnmasked), 0u);
}

TEST(HalfExceptions, SubtractsInTheLanesThatItSays) {
  Slots s;
  for (unsigned lane = 0; lane < 2; ++lane) {
    s.put<u16>(1, 0x7bff, lane);
    s.put<u16>(2, 0x3c00, lane);
    s.put<u16>(0, lane == 0 ? 0x7bff : 0xfbff, lane);
  }
  EXPECT_EQ(s.of(scalar(6, 1, 0xb6)).flags(kOverflowUnmasked), 0u);   // VFMADDSUB231PH: even lanes subtract
  EXPECT_EQ(s.of(scalar(6, 1, 0xb7)).flags(kOverflowUnmasked), kOE);  // VFMSUBADD231PH
}

TEST(HalfExceptions, LeavesOthersAlone) {
  const Slots s;
  EXPECT_FALSE(s.of(scalar(5, 2, 0x58)).decide(kMasked));
  EXPECT_FALSE(s.of(scalar(5, 2, 0x51)).decide(0));  // VSQRTSH
  EXPECT_FALSE(s.of(scalar(6, 2, 0xd7)).decide(0));  // VFMULCSH raises nothing
  EXPECT_FALSE(s.of(scalar(1, 2, 0x58)).decide(0));  // VADDSS
  HostVector v = scalar(5, 2, 0x58);
  v.b = true;  // suppresses all exceptions
  EXPECT_FALSE(s.of(v).decide(0));
}

}  // namespace
}  // namespace emu::x86
