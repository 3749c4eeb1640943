// SPDX-License-Identifier: Apache-2.0
// Integer vector operations that came with SSSE3 and SSE4.
#include <algorithm>
#include <cstdlib>
#include <limits>

#include "tcg/interp/vector.h"

namespace emu::ir {
namespace {

template <typename T, typename F>
Vector128 lanes(const Vector128& a, const Vector128& b, F f) {
  Vector128 r;
  for (unsigned i = 0; i < Vector128::count<T>(); ++i) r.set_lane<T>(i, T(f(a.lane<T>(i), b.lane<T>(i))));
  return r;
}

template <typename T>
T saturate(i64 v) {
  return T(std::clamp<i64>(v, std::numeric_limits<T>::min(), std::numeric_limits<T>::max()));
}

/// Lane i = f of neighbours 2i and 2i + 1 in a, then in b.
template <typename T, typename F>
Vector128 horizontal(const Vector128& a, const Vector128& b, F f) {
  constexpr unsigned kHalf = Vector128::count<T>() / 2;
  Vector128 r;
  for (unsigned i = 0; i < kHalf; ++i) {
    r.set_lane<T>(i, T(f(i64(a.lane<T>(2 * i)), i64(a.lane<T>(2 * i + 1)))));
    r.set_lane<T>(kHalf + i, T(f(i64(b.lane<T>(2 * i)), i64(b.lane<T>(2 * i + 1)))));
  }
  return r;
}

template <typename T>
Vector128 sign(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return y < 0 ? -i64(x) : y == 0 ? 0 : i64(x); });
}
template <typename T>
Vector128 absolute(const Vector128& a) {
  return lanes<T>(a, a, [](T x, T) { return x < 0 ? -i64(x) : i64(x); });
}
template <typename T>
Vector128 minimum(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return std::min(x, y); });
}
template <typename T>
Vector128 maximum(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return std::max(x, y); });
}

/// Low lanes, widened as their types say.
template <typename From, typename To>
Vector128 widen(const Vector128& a) {
  Vector128 r;
  for (unsigned i = 0; i < Vector128::count<To>(); ++i) r.set_lane<To>(i, To(a.lane<From>(i)));
  return r;
}

Vector128 shuffle_bytes(const Vector128& a, const Vector128& b) {
  return lanes<u8>(b, b, [&a](u8 index, u8) { return index & 0x80 ? 0 : a.lane<u8>(index & 15); });
}

Vector128 multiply_add_bytes(const Vector128& a, const Vector128& b) {
  Vector128 r;
  for (unsigned i = 0; i < 8; ++i) {
    const i64 low = i64(a.lane<u8>(2 * i)) * b.lane<i8>(2 * i);
    const i64 high = i64(a.lane<u8>(2 * i + 1)) * b.lane<i8>(2 * i + 1);
    r.set_lane<i16>(i, saturate<i16>(low + high));
  }
  return r;
}

Vector128 align_bytes(const Vector128& a, const Vector128& b, unsigned by) {
  Vector128 r;
  for (unsigned i = 0; i < 16; ++i) {
    const unsigned from = i + by;
    r.bytes[i] = from < 16 ? b.bytes[from] : from < 32 ? a.bytes[from - 16] : 0;
  }
  return r;
}

Vector128 pack_unsigned(const Vector128& a, const Vector128& b) {
  Vector128 r;
  for (unsigned i = 0; i < 4; ++i) {
    r.set_lane<u16>(i, saturate<u16>(a.lane<i32>(i)));
    r.set_lane<u16>(4 + i, saturate<u16>(b.lane<i32>(i)));
  }
  return r;
}

Vector128 least_position(const Vector128& a) {
  unsigned best = 0;
  for (unsigned i = 1; i < 8; ++i)
    if (a.lane<u16>(i) < a.lane<u16>(best)) best = i;
  Vector128 r;
  r.set_lane<u16>(0, a.lane<u16>(best));
  r.set_lane<u16>(1, u16(best));
  return r;
}

Vector128 blend(const Vector128& a, const Vector128& b, unsigned imm) {
  Vector128 r;
  for (unsigned i = 0; i < 8; ++i) r.set_lane<u16>(i, (imm >> i & 1 ? b : a).lane<u16>(i));
  return r;
}

Vector128 insert_f32(const Vector128& a, const Vector128& b, unsigned imm) {
  Vector128 r = a;
  r.set_lane<u32>(imm >> 4 & 3, b.lane<u32>(imm >> 6 & 3));
  for (unsigned i = 0; i < 4; ++i)
    if (imm >> i & 1) r.set_lane<u32>(i, 0);
  return r;
}

Vector128 block_differences(const Vector128& a, const Vector128& b, unsigned imm) {
  const unsigned from_a = (imm & 4), from_b = (imm & 3) * 4;
  Vector128 r;
  for (unsigned i = 0; i < 8; ++i) {
    int sum = 0;
    for (unsigned k = 0; k < 4; ++k) sum += std::abs(int(a.bytes[from_a + i + k]) - int(b.bytes[from_b + k]));
    r.set_lane<u16>(i, u16(sum));
  }
  return r;
}

Vector128 evaluate_extension(VecOp op, const Vector128& a) {
  switch (op) {
    case VecOp::VSextI8I16:
      return widen<i8, i16>(a);
    case VecOp::VSextI8I32:
      return widen<i8, i32>(a);
    case VecOp::VSextI8I64:
      return widen<i8, i64>(a);
    case VecOp::VSextI16I32:
      return widen<i16, i32>(a);
    case VecOp::VSextI16I64:
      return widen<i16, i64>(a);
    case VecOp::VSextI32I64:
      return widen<i32, i64>(a);
    case VecOp::VZextU8U16:
      return widen<u8, u16>(a);
    case VecOp::VZextU8U32:
      return widen<u8, u32>(a);
    case VecOp::VZextU8U64:
      return widen<u8, u64>(a);
    case VecOp::VZextU16U32:
      return widen<u16, u32>(a);
    case VecOp::VZextU16U64:
      return widen<u16, u64>(a);
    default:
      return widen<u32, u64>(a);
  }
}

}  // namespace

Vector128 evaluate_vector_sse4(VecOp op, const Vector128& a, const Vector128& b, u8 imm) {
  if (op >= VecOp::VSextI8I16 && op <= VecOp::VZextU32U64) return evaluate_extension(op, a);
  switch (op) {
    case VecOp::VShuffle8:
      return shuffle_bytes(a, b);
    case VecOp::VHAddI16:
      return horizontal<i16>(a, b, [](i64 x, i64 y) { return x + y; });
    case VecOp::VHAddI32:
      return horizontal<i32>(a, b, [](i64 x, i64 y) { return x + y; });
    case VecOp::VHAddSatI16:
      return horizontal<i16>(a, b, [](i64 x, i64 y) { return saturate<i16>(x + y); });
    case VecOp::VHSubI16:
      return horizontal<i16>(a, b, [](i64 x, i64 y) { return x - y; });
    case VecOp::VHSubI32:
      return horizontal<i32>(a, b, [](i64 x, i64 y) { return x - y; });
    case VecOp::VHSubSatI16:
      return horizontal<i16>(a, b, [](i64 x, i64 y) { return saturate<i16>(x - y); });
    case VecOp::VMulAddU8I8:
      return multiply_add_bytes(a, b);
    case VecOp::VSignI8:
      return sign<i8>(a, b);
    case VecOp::VSignI16:
      return sign<i16>(a, b);
    case VecOp::VSignI32:
      return sign<i32>(a, b);
    case VecOp::VMulRoundI16:
      return lanes<i16>(a, b, [](i16 x, i16 y) { return ((i32(x) * y >> 14) + 1) >> 1; });
    case VecOp::VAbsI8:
      return absolute<i8>(a);
    case VecOp::VAbsI16:
      return absolute<i16>(a);
    case VecOp::VAbsI32:
      return absolute<i32>(a);
    case VecOp::VAlignBytes:
      return align_bytes(a, b, imm);
    case VecOp::VMulI32:
      return lanes<i64>(a, b, [](i64 x, i64 y) { return i64(i32(x)) * i32(y); });
    case VecOp::VCmpEq64:
      return lanes<i64>(a, b, [](i64 x, i64 y) { return x == y ? -1 : 0; });
    case VecOp::VCmpGtI64:
      return lanes<i64>(a, b, [](i64 x, i64 y) { return x > y ? -1 : 0; });
    case VecOp::VPackI32U16:
      return pack_unsigned(a, b);
    case VecOp::VMinI8:
      return minimum<i8>(a, b);
    case VecOp::VMinI32:
      return minimum<i32>(a, b);
    case VecOp::VMinU16:
      return minimum<u16>(a, b);
    case VecOp::VMinU32:
      return minimum<u32>(a, b);
    case VecOp::VMaxI8:
      return maximum<i8>(a, b);
    case VecOp::VMaxI32:
      return maximum<i32>(a, b);
    case VecOp::VMaxU16:
      return maximum<u16>(a, b);
    case VecOp::VMaxU32:
      return maximum<u32>(a, b);
    case VecOp::VMulLo32:
      return lanes<u32>(a, b, [](u32 x, u32 y) { return x * y; });
    case VecOp::VMinPosU16:
      return least_position(a);
    case VecOp::VBlend16:
      return blend(a, b, imm);
    case VecOp::VInsertF32:
      return insert_f32(a, b, imm);
    default:
      return block_differences(a, b, imm);
  }
}

}  // namespace emu::ir
