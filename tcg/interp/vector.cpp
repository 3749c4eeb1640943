// SPDX-License-Identifier: Apache-2.0
#include "tcg/interp/vector.h"

#include <algorithm>
#include <limits>
#include <type_traits>

namespace emu::ir {
namespace {

/// Result lane i = f(a lane i, b lane i).
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

template <typename T>
Vector128 add_saturating(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return saturate<T>(i64(x) + y); });
}
template <typename T>
Vector128 sub_saturating(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return saturate<T>(i64(x) - y); });
}
template <typename T>
Vector128 average(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return (u32(x) + y + 1) >> 1; });
}
template <typename T>
Vector128 minimum(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return std::min(x, y); });
}
template <typename T>
Vector128 maximum(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return std::max(x, y); });
}
template <typename T>
Vector128 equal(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return x == y ? -1 : 0; });
}
template <typename T>
Vector128 greater(const Vector128& a, const Vector128& b) {
  return lanes<T>(a, b, [](T x, T y) { return x > y ? -1 : 0; });
}

template <typename T>  // T unsigned
Vector128 shift_left(const Vector128& a, u64 n) {
  return lanes<T>(a, a, [n](T x, T) { return n >= 8 * sizeof(T) ? 0 : T(u64(x) << n); });
}
template <typename T>  // T unsigned
Vector128 shift_right(const Vector128& a, u64 n) {
  return lanes<T>(a, a, [n](T x, T) { return n >= 8 * sizeof(T) ? 0 : T(x >> n); });
}
template <typename T>  // T signed
Vector128 shift_right_signed(const Vector128& a, u64 n) {
  const u64 count = std::min<u64>(n, 8 * sizeof(T) - 1);
  return lanes<T>(a, a, [count](T x, T) { return x >> count; });
}

/// Alternates lanes of a and b, from lane `first` of each.
template <typename T>
Vector128 unpack(const Vector128& a, const Vector128& b, unsigned first) {
  Vector128 r;
  for (unsigned i = 0; i < Vector128::count<T>() / 2; ++i) {
    r.set_lane<T>(2 * i, a.lane<T>(first + i));
    r.set_lane<T>(2 * i + 1, b.lane<T>(first + i));
  }
  return r;
}

/// Lanes of a, then of b, narrowed with saturation.
template <typename Wide, typename Narrow>
Vector128 pack(const Vector128& a, const Vector128& b) {
  constexpr unsigned kHalf = Vector128::count<Wide>();
  Vector128 r;
  for (unsigned i = 0; i < kHalf; ++i) {
    r.set_lane<Narrow>(i, saturate<Narrow>(a.lane<Wide>(i)));
    r.set_lane<Narrow>(kHalf + i, saturate<Narrow>(b.lane<Wide>(i)));
  }
  return r;
}

/// Four lanes from `first` on are chosen by two bits of imm each, from four lanes of a; the others stay.
template <typename T>
Vector128 shuffle4(const Vector128& a, u8 imm, unsigned first) {
  Vector128 r = a;
  for (unsigned i = 0; i < 4; ++i) r.set_lane<T>(first + i, a.lane<T>(first + (imm >> 2 * i & 3)));
  return r;
}

Vector128 shift_bytes(const Vector128& a, int by) {
  Vector128 r;
  for (int i = 0; i < 16; ++i) {
    const int from = i - by;
    r.bytes[unsigned(i)] = from >= 0 && from < 16 ? a.bytes[unsigned(from)] : 0;
  }
  return r;
}

Vector128 with_lane64(const Vector128& a, unsigned to, u64 v) {
  Vector128 r = a;
  r.set_lane<u64>(to, v);
  return r;
}

Vector128 shuffle_f32(const Vector128& a, const Vector128& b, u8 imm) {
  Vector128 r;
  for (unsigned i = 0; i < 4; ++i) r.set_lane<u32>(i, (i < 2 ? a : b).lane<u32>(imm >> 2 * i & 3));
  return r;
}

Vector128 shuffle_f64(const Vector128& a, const Vector128& b, u8 imm) {
  Vector128 r;
  r.set_lane<u64>(0, a.lane<u64>(imm & 1));
  r.set_lane<u64>(1, b.lane<u64>(imm >> 1 & 1));
  return r;
}

Vector128 merge_low32(const Vector128& a, const Vector128& b) {
  Vector128 r = a;
  r.set_lane<u32>(0, b.lane<u32>(0));
  return r;
}

Vector128 multiply_add(const Vector128& a, const Vector128& b) {
  Vector128 r;
  for (unsigned i = 0; i < 4; ++i) {
    const i64 sum = i64(a.lane<i16>(2 * i)) * b.lane<i16>(2 * i) + i64(a.lane<i16>(2 * i + 1)) * b.lane<i16>(2 * i + 1);
    r.set_lane<u32>(i, u32(sum));  // wraps only for four times -32768
  }
  return r;
}

Vector128 sum_of_differences(const Vector128& a, const Vector128& b) {
  Vector128 r;
  for (unsigned half = 0; half < 2; ++half) {
    u64 sum = 0;
    for (unsigned i = 0; i < 8; ++i) {
      const int x = a.lane<u8>(8 * half + i), y = b.lane<u8>(8 * half + i);
      sum += unsigned(x > y ? x - y : y - x);
    }
    r.set_lane<u64>(half, sum);
  }
  return r;
}

Vector128 evaluate_move(VecOp op, const Vector128& a, const Vector128& b, u8 imm) {
  switch (op) {
    case VecOp::VMergeLow32:
      return merge_low32(a, b);
    case VecOp::VMergeLow64:
      return with_lane64(a, 0, b.lane<u64>(0));
    case VecOp::VZeroHigh64:
      return with_lane64(a, 1, 0);
    case VecOp::VLowToHigh64:
      return with_lane64(a, 1, b.lane<u64>(0));
    case VecOp::VHighToLow64:
      return with_lane64(a, 0, b.lane<u64>(1));
    case VecOp::VUnpackLoF32:
      return unpack<u32>(a, b, 0);
    case VecOp::VUnpackHiF32:
      return unpack<u32>(a, b, 2);
    case VecOp::VUnpackLo64:
      return unpack<u64>(a, b, 0);
    case VecOp::VUnpackHi64:
      return unpack<u64>(a, b, 1);
    case VecOp::VUnpackLo8:
      return unpack<u8>(a, b, 0);
    case VecOp::VUnpackHi8:
      return unpack<u8>(a, b, 8);
    case VecOp::VUnpackLo16:
      return unpack<u16>(a, b, 0);
    case VecOp::VUnpackHi16:
      return unpack<u16>(a, b, 4);
    case VecOp::VShufF32:
      return shuffle_f32(a, b, imm);
    case VecOp::VShufF64:
      return shuffle_f64(a, b, imm);
    case VecOp::VShufI32:
      return shuffle4<u32>(a, imm, 0);
    case VecOp::VShufLo16:
      return shuffle4<u16>(a, imm, 0);
    case VecOp::VShufHi16:
      return shuffle4<u16>(a, imm, 4);
    case VecOp::VShlBytes:
      return shift_bytes(a, imm);
    case VecOp::VShrBytes:
      return shift_bytes(a, -int(imm));
    default:
      return {};
  }
}

Vector128 evaluate_shift(VecOp op, const Vector128& a, const Vector128& b, u8 imm) {
  const u64 n = info(op).immediate ? imm : b.lane<u64>(0);
  switch (op) {
    case VecOp::VShlI16:
    case VecOp::VShlV16:
      return shift_left<u16>(a, n);
    case VecOp::VShrI16:
    case VecOp::VShrV16:
      return shift_right<u16>(a, n);
    case VecOp::VShlI32:
    case VecOp::VShlV32:
      return shift_left<u32>(a, n);
    case VecOp::VShrI32:
    case VecOp::VShrV32:
      return shift_right<u32>(a, n);
    case VecOp::VShlI64:
    case VecOp::VShlV64:
      return shift_left<u64>(a, n);
    case VecOp::VShrI64:
    case VecOp::VShrV64:
      return shift_right<u64>(a, n);
    case VecOp::VSarI16:
    case VecOp::VSarV16:
      return shift_right_signed<i16>(a, n);
    case VecOp::VSarI32:
    case VecOp::VSarV32:
      return shift_right_signed<i32>(a, n);
    default:
      return {};
  }
}

Vector128 evaluate_integer(VecOp op, const Vector128& a, const Vector128& b) {
  switch (op) {
    case VecOp::VAnd:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return x & y; });
    case VecOp::VAndNot:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return ~x & y; });
    case VecOp::VOr:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return x | y; });
    case VecOp::VXor:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return x ^ y; });
    case VecOp::VAddI8:
      return lanes<u8>(a, b, [](u8 x, u8 y) { return x + y; });
    case VecOp::VSubI8:
      return lanes<u8>(a, b, [](u8 x, u8 y) { return x - y; });
    case VecOp::VAddI16:
      return lanes<u16>(a, b, [](u16 x, u16 y) { return x + y; });
    case VecOp::VSubI16:
      return lanes<u16>(a, b, [](u16 x, u16 y) { return x - y; });
    case VecOp::VAddI32:
      return lanes<u32>(a, b, [](u32 x, u32 y) { return x + y; });
    case VecOp::VSubI32:
      return lanes<u32>(a, b, [](u32 x, u32 y) { return x - y; });
    case VecOp::VAddI64:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return x + y; });
    case VecOp::VSubI64:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return x - y; });
    case VecOp::VAddSatI8:
      return add_saturating<i8>(a, b);
    case VecOp::VSubSatI8:
      return sub_saturating<i8>(a, b);
    case VecOp::VAddSatU8:
      return add_saturating<u8>(a, b);
    case VecOp::VSubSatU8:
      return sub_saturating<u8>(a, b);
    case VecOp::VAddSatI16:
      return add_saturating<i16>(a, b);
    case VecOp::VSubSatI16:
      return sub_saturating<i16>(a, b);
    case VecOp::VAddSatU16:
      return add_saturating<u16>(a, b);
    case VecOp::VSubSatU16:
      return sub_saturating<u16>(a, b);
    case VecOp::VMulLo16:
      return lanes<i16>(a, b, [](i16 x, i16 y) { return i32(x) * y; });
    case VecOp::VMulHiI16:
      return lanes<i16>(a, b, [](i16 x, i16 y) { return (i32(x) * y) >> 16; });
    case VecOp::VMulHiU16:
      return lanes<u16>(a, b, [](u16 x, u16 y) { return (u32(x) * y) >> 16; });
    case VecOp::VMulU32:
      return lanes<u64>(a, b, [](u64 x, u64 y) { return u64(u32(x)) * u32(y); });
    case VecOp::VMulAddI16:
      return multiply_add(a, b);
    case VecOp::VSadU8:
      return sum_of_differences(a, b);
    case VecOp::VAvgU8:
      return average<u8>(a, b);
    case VecOp::VAvgU16:
      return average<u16>(a, b);
    case VecOp::VMinU8:
      return minimum<u8>(a, b);
    case VecOp::VMaxU8:
      return maximum<u8>(a, b);
    case VecOp::VMinI16:
      return minimum<i16>(a, b);
    case VecOp::VMaxI16:
      return maximum<i16>(a, b);
    case VecOp::VCmpEq8:
      return equal<u8>(a, b);
    case VecOp::VCmpEq16:
      return equal<u16>(a, b);
    case VecOp::VCmpEq32:
      return equal<u32>(a, b);
    case VecOp::VCmpGtI8:
      return greater<i8>(a, b);
    case VecOp::VCmpGtI16:
      return greater<i16>(a, b);
    case VecOp::VCmpGtI32:
      return greater<i32>(a, b);
    case VecOp::VPackI16I8:
      return pack<i16, i8>(a, b);
    case VecOp::VPackI32I16:
      return pack<i32, i16>(a, b);
    case VecOp::VPackI16U8:
      return pack<i16, u8>(a, b);
    default:
      return {};
  }
}

}  // namespace

Vector128 evaluate_vector(VecOp op, const Vector128& a, const Vector128& b, u8 imm) {
  if (op >= VecOp::VAesEnc) return evaluate_vector_crypto(op, a, b, imm);
  if (op >= VecOp::VPermilV32) return evaluate_vector_avx(op, a, b, imm);
  if (op >= VecOp::VShuffle8) return evaluate_vector_sse4(op, a, b, imm);
  if (op <= VecOp::VShrBytes) return evaluate_move(op, a, b, imm);
  if (op >= VecOp::VShlI16) return evaluate_shift(op, a, b, imm);
  return evaluate_integer(op, a, b);
}

}  // namespace emu::ir
