// SPDX-License-Identifier: Apache-2.0
// Vector operations: integer lanes against the host's SSE2 instructions, floating point against C++ arithmetic.
#include "tcg/interp/vector.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "unit/tcg/random_block.h"

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace emu::test {
namespace {

using ir::VecOp;
using ir::Vector128;

template <typename T, typename... U>
Vector128 lanes(U... values) {
  Vector128 v;
  unsigned i = 0;
  (v.set_lane<T>(i++, T(values)), ...);
  return v;
}
Vector128 f32(float a, float b = 0, float c = 0, float d = 0) { return lanes<float>(a, b, c, d); }
Vector128 f64(double a, double b = 0) { return lanes<double>(a, b); }

Vector128 draw_vector(RandomBlock& random) {
  Vector128 v;
  for (unsigned i = 0; i < 2; ++i) v.set_lane<u64>(i, random.chance(50) ? random.draw() : random.awkward());
  return v;
}

#if defined(__x86_64__)

__m128i host(const Vector128& v) { return _mm_load_si128(reinterpret_cast<const __m128i*>(v.bytes.data())); }
Vector128 ours(__m128i v) {
  Vector128 r;
  _mm_store_si128(reinterpret_cast<__m128i*>(r.bytes.data()), v);
  return r;
}

struct Row {
  VecOp op;
  __m128i (*host)(__m128i a, __m128i b, int imm);
};
#define EMU_TWO(op, f)                                           \
  {                                                              \
    VecOp::op, [](__m128i a, __m128i b, int) { return f(a, b); } \
  }
#define EMU_COUNT(op, f)                                         \
  {                                                              \
    VecOp::op, [](__m128i a, __m128i, int n) { return f(a, n); } \
  }

const Row kRows[] = {
    EMU_TWO(VAnd, _mm_and_si128),
    EMU_TWO(VAndNot, _mm_andnot_si128),
    EMU_TWO(VOr, _mm_or_si128),
    EMU_TWO(VXor, _mm_xor_si128),
    EMU_TWO(VAddI8, _mm_add_epi8),
    EMU_TWO(VSubI8, _mm_sub_epi8),
    EMU_TWO(VAddI16, _mm_add_epi16),
    EMU_TWO(VSubI16, _mm_sub_epi16),
    EMU_TWO(VAddI32, _mm_add_epi32),
    EMU_TWO(VSubI32, _mm_sub_epi32),
    EMU_TWO(VAddI64, _mm_add_epi64),
    EMU_TWO(VSubI64, _mm_sub_epi64),
    EMU_TWO(VAddSatI8, _mm_adds_epi8),
    EMU_TWO(VSubSatI8, _mm_subs_epi8),
    EMU_TWO(VAddSatU8, _mm_adds_epu8),
    EMU_TWO(VSubSatU8, _mm_subs_epu8),
    EMU_TWO(VAddSatI16, _mm_adds_epi16),
    EMU_TWO(VSubSatI16, _mm_subs_epi16),
    EMU_TWO(VAddSatU16, _mm_adds_epu16),
    EMU_TWO(VSubSatU16, _mm_subs_epu16),
    EMU_TWO(VMulLo16, _mm_mullo_epi16),
    EMU_TWO(VMulHiI16, _mm_mulhi_epi16),
    EMU_TWO(VMulHiU16, _mm_mulhi_epu16),
    EMU_TWO(VMulU32, _mm_mul_epu32),
    EMU_TWO(VMulAddI16, _mm_madd_epi16),
    EMU_TWO(VSadU8, _mm_sad_epu8),
    EMU_TWO(VAvgU8, _mm_avg_epu8),
    EMU_TWO(VAvgU16, _mm_avg_epu16),
    EMU_TWO(VMinU8, _mm_min_epu8),
    EMU_TWO(VMaxU8, _mm_max_epu8),
    EMU_TWO(VMinI16, _mm_min_epi16),
    EMU_TWO(VMaxI16, _mm_max_epi16),
    EMU_TWO(VCmpEq8, _mm_cmpeq_epi8),
    EMU_TWO(VCmpEq16, _mm_cmpeq_epi16),
    EMU_TWO(VCmpEq32, _mm_cmpeq_epi32),
    EMU_TWO(VCmpGtI8, _mm_cmpgt_epi8),
    EMU_TWO(VCmpGtI16, _mm_cmpgt_epi16),
    EMU_TWO(VCmpGtI32, _mm_cmpgt_epi32),
    EMU_TWO(VPackI16I8, _mm_packs_epi16),
    EMU_TWO(VPackI32I16, _mm_packs_epi32),
    EMU_TWO(VPackI16U8, _mm_packus_epi16),
    EMU_TWO(VUnpackLo8, _mm_unpacklo_epi8),
    EMU_TWO(VUnpackHi8, _mm_unpackhi_epi8),
    EMU_TWO(VUnpackLo16, _mm_unpacklo_epi16),
    EMU_TWO(VUnpackHi16, _mm_unpackhi_epi16),
    EMU_TWO(VUnpackLoF32, _mm_unpacklo_epi32),
    EMU_TWO(VUnpackHiF32, _mm_unpackhi_epi32),
    EMU_TWO(VUnpackLo64, _mm_unpacklo_epi64),
    EMU_TWO(VUnpackHi64, _mm_unpackhi_epi64),
    EMU_TWO(VShlV16, _mm_sll_epi16),
    EMU_TWO(VShrV16, _mm_srl_epi16),
    EMU_TWO(VShlV32, _mm_sll_epi32),
    EMU_TWO(VShrV32, _mm_srl_epi32),
    EMU_TWO(VShlV64, _mm_sll_epi64),
    EMU_TWO(VShrV64, _mm_srl_epi64),
    EMU_TWO(VSarV16, _mm_sra_epi16),
    EMU_TWO(VSarV32, _mm_sra_epi32),
    EMU_COUNT(VShlI16, _mm_slli_epi16),
    EMU_COUNT(VShrI16, _mm_srli_epi16),
    EMU_COUNT(VShlI32, _mm_slli_epi32),
    EMU_COUNT(VShrI32, _mm_srli_epi32),
    EMU_COUNT(VShlI64, _mm_slli_epi64),
    EMU_COUNT(VShrI64, _mm_srli_epi64),
    EMU_COUNT(VSarI16, _mm_srai_epi16),
    EMU_COUNT(VSarI32, _mm_srai_epi32),
};

TEST(VectorOps, integer_lanes_are_those_of_the_host) {
  RandomBlock random(1);
  for (const Row& row : kRows) {
    for (int i = 0; i < 500; ++i) {
      const Vector128 a = draw_vector(random);
      Vector128 b = draw_vector(random);
      const u8 imm = u8(random.chance(50) ? random.below(20) : random.below(256));
      const bool shifts = row.op >= VecOp::VShlI16;
      if (shifts && random.chance(70)) b.set_lane<u64>(0, random.below(70));
      ASSERT_EQ(ir::evaluate_vector(row.op, a, b, imm).bytes, ours(row.host(host(a), host(b), imm)).bytes)
          << info(row.op).text << " " << unsigned(imm);
    }
  }
}

#endif

TEST(VectorOps, shuffles_choose_lanes_by_immediate) {
  const Vector128 a = lanes<u32>(10, 11, 12, 13), b = lanes<u32>(20, 21, 22, 23);
  const u8 imm = 0b01'00'11'10;  // lanes 2 3 0 1
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShufI32, a, a, imm).bytes, lanes<u32>(12, 13, 10, 11).bytes);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShufF32, a, b, imm).bytes, lanes<u32>(12, 13, 20, 21).bytes);
  const Vector128 c = lanes<u64>(1, 2), d = lanes<u64>(3, 4);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShufF64, c, d, 0b01).bytes, lanes<u64>(2, 3).bytes);
  const Vector128 w = lanes<u16>(0, 1, 2, 3, 4, 5, 6, 7);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShufLo16, w, w, imm).bytes, lanes<u16>(2, 3, 0, 1, 4, 5, 6, 7).bytes);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShufHi16, w, w, imm).bytes, lanes<u16>(0, 1, 2, 3, 6, 7, 4, 5).bytes);
}

TEST(VectorOps, moves_keep_what_they_do_not_name) {
  const Vector128 a = lanes<u32>(10, 11, 12, 13), b = lanes<u32>(20, 21, 22, 23);
  const auto run = [&](VecOp op) { return ir::evaluate_vector(op, a, b, 0).bytes; };
  EXPECT_EQ(run(VecOp::VMergeLow32), lanes<u32>(20, 11, 12, 13).bytes);
  EXPECT_EQ(run(VecOp::VMergeLow64), lanes<u32>(20, 21, 12, 13).bytes);
  EXPECT_EQ(run(VecOp::VZeroHigh64), lanes<u32>(10, 11, 0, 0).bytes);
  EXPECT_EQ(run(VecOp::VLowToHigh64), lanes<u32>(10, 11, 20, 21).bytes);
  EXPECT_EQ(run(VecOp::VHighToLow64), lanes<u32>(22, 23, 12, 13).bytes);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShlBytes, a, a, 4).bytes, lanes<u32>(0, 10, 11, 12).bytes);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShrBytes, a, a, 8).bytes, lanes<u32>(12, 13, 0, 0).bytes);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShlBytes, a, a, 16).bytes, Vector128{}.bytes);
  EXPECT_EQ(ir::evaluate_vector(VecOp::VShrBytes, a, a, 255).bytes, Vector128{}.bytes);
}

class FloatOps : public testing::Test {
 protected:
  void SetUp() override {
    if (!ir::host_has_vector_float())
      GTEST_SKIP() << "cannot run here: floating-point vectors are interpreted on x86 hosts only";
  }
  Vector128 run(VecOp op, const Vector128& a, const Vector128& b, u8 imm = 0) {
    return ir::evaluate_vector_float(op, a, b, imm, control_);
  }
  u32 control_ = 0x1f80;
};
constexpr u32 kInvalid = 1, kDenormal = 2, kDivideByZero = 4, kInexact = 32;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::bit_cast<float>(0x7fc01234u);

TEST_F(FloatOps, arithmetic_is_that_of_cpp) {
  const Vector128 a = f32(1.5f, -2.25f, 1e20f, 7), b = f32(0.5f, 3, 1e10f, -4);
  EXPECT_EQ(run(VecOp::VAddF32, a, b).bytes, f32(2.0f, 0.75f, 1e20f + 1e10f, 3).bytes);
  EXPECT_EQ(run(VecOp::VSubF32, a, b).bytes, f32(1.0f, -5.25f, 1e20f - 1e10f, 11).bytes);
  EXPECT_EQ(run(VecOp::VMulF32, a, b).bytes, f32(0.75f, -6.75f, 1e20f * 1e10f, -28).bytes);
  EXPECT_EQ(run(VecOp::VDivF32, a, b).bytes, f32(3.0f, -0.75f, 1e20f / 1e10f, -1.75f).bytes);
  EXPECT_EQ(run(VecOp::VAddSF32, a, b).bytes, f32(2.0f, -2.25f, 1e20f, 7).bytes) << "upper lanes from a";
  const Vector128 x = f64(1.0, 9.0), y = f64(3.0, 4.0);
  EXPECT_EQ(run(VecOp::VDivF64, x, y).bytes, f64(1.0 / 3.0, 2.25).bytes);
  EXPECT_EQ(run(VecOp::VSqrtSF64, x, y).bytes, f64(std::sqrt(3.0), 9.0).bytes);
  EXPECT_EQ(run(VecOp::VSqrtF64, y, y).bytes, f64(std::sqrt(3.0), 2.0).bytes);
  EXPECT_EQ(run(VecOp::VMaxF64, x, y).bytes, f64(3.0, 9.0).bytes);
}

TEST_F(FloatOps, minimum_gives_the_second_operand_for_nan_and_zeros) {
  EXPECT_EQ(run(VecOp::VMinF32, f32(kNan, 1, 0.0f, 1), f32(1, kNan, -0.0f, 2)).bytes, f32(1, kNan, -0.0f, 1).bytes);
  EXPECT_EQ(control_ & 0x3f, kInvalid);
}

TEST_F(FloatOps, rounding_follows_the_control_word_and_sticky_flags_add_up) {
  const Vector128 one = f64(1), three = f64(3);
  const double nearest = 1.0 / 3.0;
  EXPECT_EQ(run(VecOp::VDivSF64, one, three).lane<double>(0), nearest);
  EXPECT_EQ(control_, 0x1f80u | kInexact);
  control_ = 0x5f80;  // up
  EXPECT_EQ(run(VecOp::VDivSF64, one, three).lane<double>(0), std::nextafter(nearest, 1));
  control_ = 0x1f80;
  run(VecOp::VDivSF32, f32(1), f32(0));
  run(VecOp::VMulSF32, f32(kInfinity), f32(0));
  EXPECT_EQ(control_, 0x1f80u | kDivideByZero | kInvalid);
  control_ = 0;  // everything unmasked by the guest: still no trap in the host
  run(VecOp::VDivSF32, f32(1), f32(0));
  EXPECT_EQ(control_, kDivideByZero);
}

TEST_F(FloatOps, denormals_flush_when_asked) {
  const Vector128 tiny = f32(std::bit_cast<float>(u32(1)));
  EXPECT_EQ(run(VecOp::VAddSF32, tiny, f32(0)).lane<u32>(0), 1u);
  EXPECT_EQ(control_ & 0x3f, kDenormal);
  control_ = 0x1fc0;  // denormals are zeros
  EXPECT_EQ(run(VecOp::VAddSF32, tiny, f32(0)).lane<u32>(0), 0u);
  control_ = 0x9f80;  // flush to zero
  EXPECT_EQ(run(VecOp::VMulSF32, f32(std::bit_cast<float>(0x00800000u)), f32(0.5f)).lane<u32>(0), 0u);
}

TEST_F(FloatOps, nan_is_the_first_operand_made_quiet) {
  const Vector128 signalling = lanes<u32>(0x7f800001, 0, 0, 0), quiet = lanes<u32>(0x7fc00002, 0, 0, 0);
  EXPECT_EQ(run(VecOp::VAddSF32, signalling, quiet).lane<u32>(0), 0x7fc00001u);
  EXPECT_EQ(run(VecOp::VAddSF32, quiet, signalling).lane<u32>(0), 0x7fc00002u);
  EXPECT_EQ(run(VecOp::VSubSF32, f32(kInfinity), f32(kInfinity)).lane<u32>(0), 0xffc00000u);
}

TEST_F(FloatOps, comparisons_give_masks) {
  const float a[] = {1, 2, 3, kNan}, b[] = {2, 2, 2, 2};
  const bool expected[8][4] = {{0, 1, 0, 0}, {1, 0, 0, 0}, {1, 1, 0, 0}, {0, 0, 0, 1},
                               {1, 0, 1, 1}, {0, 1, 1, 1}, {0, 0, 1, 1}, {1, 1, 1, 0}};
  for (u8 imm = 0; imm < 8; ++imm) {
    const Vector128 r = run(VecOp::VCmpF32, f32(a[0], a[1], a[2], a[3]), f32(b[0], b[1], b[2], b[3]), imm);
    for (unsigned i = 0; i < 4; ++i)
      EXPECT_EQ(r.lane<u32>(i), expected[imm][i] ? ~0u : 0u) << unsigned(imm) << " " << i;
  }
  EXPECT_EQ(run(VecOp::VCmpSF64, f64(1, 5), f64(2), 1).lane<double>(1), 5.0);
}

TEST_F(FloatOps, conversions_between_vectors) {
  const Vector128 a = f32(1.5f, -2.5f, 3e9f, 4), d = f64(2.5, -1e10);
  EXPECT_EQ(run(VecOp::VCvtF32F64, a, a).bytes, f64(1.5, -2.5).bytes);
  EXPECT_EQ(run(VecOp::VCvtF64F32, d, d).bytes, f32(2.5f, -1e10f, 0, 0).bytes);
  EXPECT_EQ(run(VecOp::VCvtSF32F64, d, a).bytes, f64(1.5, -1e10).bytes);
  EXPECT_EQ(run(VecOp::VCvtSF64F32, a, d).bytes, f32(2.5f, -2.5f, 3e9f, 4).bytes);
  EXPECT_EQ(run(VecOp::VCvtF32I32, a, a).bytes, lanes<u32>(2, -2, 0x80000000, 4).bytes);
  EXPECT_EQ(run(VecOp::VCvttF32I32, a, a).bytes, lanes<u32>(1, -2, 0x80000000, 4).bytes);
  EXPECT_EQ(run(VecOp::VCvtF64I32, d, d).bytes, lanes<u32>(2, 0x80000000, 0, 0).bytes);
  EXPECT_EQ(run(VecOp::VCvttF64I32, d, d).bytes, lanes<u32>(2, 0x80000000, 0, 0).bytes);
  const Vector128 i = lanes<u32>(1, -1, 7, 16777217);
  EXPECT_EQ(run(VecOp::VCvtI32F32, i, i).bytes, f32(1, -1, 7, 16777216).bytes);
  EXPECT_EQ(run(VecOp::VCvtI32F64, i, i).bytes, f64(1, -1).bytes);
}

TEST_F(FloatOps, conversions_from_and_to_integers) {
  using ir::Round;
  using ir::Type;
  EXPECT_EQ(ir::convert_from_int(f32(9, 8), Type::I32, u32(-5), false, control_).bytes, f32(-5, 8).bytes);
  EXPECT_EQ(ir::convert_from_int(f64(9, 8), Type::I64, u64(-5), true, control_).bytes, f64(-5, 8).bytes);
  EXPECT_EQ(ir::convert_to_int(Type::I32, f32(-2.5f), false, Round::Current, control_), 0xfffffffeu);
  EXPECT_EQ(ir::convert_to_int(Type::I64, f64(-3.7), true, Round::Truncate, control_), u64(-3));
  EXPECT_EQ(ir::convert_to_int(Type::I64, f64(1e300), true, Round::Truncate, control_), 0x8000000000000000u);
  EXPECT_EQ(ir::convert_to_int(Type::I32, f64(3e9), true, Round::Current, control_) & 0xffffffff, 0x80000000u);
}

TEST_F(FloatOps, compare_sets_zero_parity_carry) {
  using namespace tcg;
  EXPECT_EQ(ir::compare_float(f32(2), f32(1), false, false, control_), 0u);
  EXPECT_EQ(ir::compare_float(f32(1), f32(2), false, false, control_), u64(kFlagCarry));
  EXPECT_EQ(ir::compare_float(f64(1), f64(1), true, true, control_), u64(kFlagZero));
  EXPECT_EQ(control_ & kInvalid, 0u);
  EXPECT_EQ(ir::compare_float(f32(kNan), f32(1), false, false, control_), u64(kFlagZero | kFlagParity | kFlagCarry));
  EXPECT_EQ(control_ & kInvalid, 0u) << "a quiet NaN is no error here";
  ir::compare_float(f32(kNan), f32(1), false, true, control_);
  EXPECT_EQ(control_ & kInvalid, kInvalid);
}

TEST_F(FloatOps, estimates_are_near) {
  const Vector128 a = f32(4, 2, 0.25f, 100);
  for (unsigned i = 0; i < 4; ++i) {
    EXPECT_NEAR(run(VecOp::VRcpF32, a, a).lane<float>(i) * a.lane<float>(i), 1, 1.5 / 4096);
    EXPECT_NEAR(run(VecOp::VRsqrtF32, a, a).lane<float>(i) * std::sqrt(a.lane<float>(i)), 1, 1.5 / 4096);
  }
  EXPECT_EQ(run(VecOp::VRcpSF32, f32(1, 2, 3, 4), a).lane<float>(3), 4.0f);
  EXPECT_EQ(control_, 0x1f80u);
}

}  // namespace
}  // namespace emu::test
