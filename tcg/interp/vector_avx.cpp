// SPDX-License-Identifier: Apache-2.0
// Vector operations on 256 bits: half by half, but for those that cross halves.
#include <algorithm>

#include "tcg/interp/vector.h"
#include "util/check.h"

namespace emu::ir {
namespace {

template <typename T, typename F>
Vector128 lanes(const Vector128& a, const Vector128& b, F f) {
  Vector128 r;
  for (unsigned i = 0; i < Vector128::count<T>(); ++i) r.set_lane<T>(i, T(f(a.lane<T>(i), b.lane<T>(i))));
  return r;
}

template <typename T>
Vector128 choose_by_sign(const Vector128& a, const Vector128& b, const Vector128& c) {
  Vector128 r;
  for (unsigned i = 0; i < Vector128::count<T>(); ++i) r.set_lane<T>(i, c.lane<T>(i) < 0 ? b.lane<T>(i) : a.lane<T>(i));
  return r;
}

template <typename T>
Vector256 broadcast(const Vector256& a) {
  Vector256 r;
  for (unsigned i = 0; i < 32 / sizeof(T); ++i) r.set_lane<T>(i, a.lane<T>(0));
  return r;
}

Vector128 bytes_from(const Vector128& a, unsigned first) {
  Vector128 r;
  std::copy(a.bytes.begin() + first, a.bytes.end(), r.bytes.begin());
  return r;
}

/// Bytes that the lower half of the result takes from the operand; 0 for what does not widen.
unsigned widening_step(VecOp op) {
  switch (op) {
    case VecOp::VCvtF32F64:
    case VecOp::VCvtI32F64:
    case VecOp::VCvtF16F32:
    case VecOp::VSextI8I16:
    case VecOp::VSextI16I32:
    case VecOp::VSextI32I64:
    case VecOp::VZextU8U16:
    case VecOp::VZextU16U32:
    case VecOp::VZextU32U64:
      return 8;
    case VecOp::VSextI8I32:
    case VecOp::VSextI16I64:
    case VecOp::VZextU8U32:
    case VecOp::VZextU16U64:
      return 4;
    case VecOp::VSextI8I64:
    case VecOp::VZextU8U64:
      return 2;
    default:
      return 0;
  }
}

bool is_narrowing(VecOp op) {
  return op == VecOp::VCvtF64F32 || op == VecOp::VCvtF64I32 || op == VecOp::VCvttF64I32 || op == VecOp::VCvtF32F16;
}

/// Shifts of every lane by one count, which b's low half holds.
bool has_one_count(VecOp op) {
  switch (op) {
    case VecOp::VShlV16:
    case VecOp::VShrV16:
    case VecOp::VSarV16:
    case VecOp::VShlV32:
    case VecOp::VShrV32:
    case VecOp::VSarV32:
    case VecOp::VShlV64:
    case VecOp::VShrV64:
      return true;
    default:
      return false;
  }
}

/// What imm means for the upper half.
u8 upper_immediate(VecOp op, u8 imm) {
  switch (op) {
    case VecOp::VShufF64:
      return u8(imm >> 2);
    case VecOp::VSadBlocks:
      return u8(imm >> 3);
    case VecOp::VBlend32:
      return u8(imm >> 4);
    default:
      return imm;
  }
}

Vector128 half_of(const Vector256& a, const Vector256& b, unsigned choice) {
  if (choice & 8) return {};
  return (choice & 2 ? b : a).half[choice & 1];
}

/// Operations that move lanes between the halves. False: op is none.
bool evaluate_crossing(VecOp op, const Vector256& a, const Vector256& b, u8 imm, Vector256& r) {
  switch (op) {
    case VecOp::VPerm2x128:
      r.half = {half_of(a, b, imm & 15), half_of(a, b, imm >> 4)};
      return true;
    case VecOp::VInsert128:
      r = a;
      r.half[imm & 1] = b.half[0];
      return true;
    case VecOp::VExtract128:
      r.half[0] = a.half[imm & 1];
      return true;
    case VecOp::VPerm64:
      for (unsigned i = 0; i < 4; ++i) r.set_lane<u64>(i, a.lane<u64>(imm >> 2 * i & 3));
      return true;
    case VecOp::VPermute32:
      for (unsigned i = 0; i < 8; ++i) r.set_lane<u32>(i, b.lane<u32>(a.lane<u32>(i) & 7));
      return true;
    case VecOp::VBroadcast8:
      r = broadcast<u8>(a);
      return true;
    case VecOp::VBroadcast16:
      r = broadcast<u16>(a);
      return true;
    case VecOp::VBroadcast32:
      r = broadcast<u32>(a);
      return true;
    case VecOp::VBroadcast64:
      r = broadcast<u64>(a);
      return true;
    default:
      return false;
  }
}

}  // namespace

Vector128 evaluate_vector_avx(VecOp op, const Vector128& a, const Vector128& b, u8 imm) {
  switch (op) {
    case VecOp::VPermilV32: {
      Vector128 r;
      for (unsigned i = 0; i < 4; ++i) r.set_lane<u32>(i, a.lane<u32>(b.lane<u32>(i) & 3));
      return r;
    }
    case VecOp::VPermilV64: {
      Vector128 r;
      for (unsigned i = 0; i < 2; ++i) r.set_lane<u64>(i, a.lane<u64>(b.lane<u64>(i) >> 1 & 1));
      return r;
    }
    case VecOp::VShlVar32:
      return lanes<u32>(a, b, [](u32 x, u32 n) { return n > 31 ? 0 : x << n; });
    case VecOp::VShlVar64:
      return lanes<u64>(a, b, [](u64 x, u64 n) { return n > 63 ? 0 : x << n; });
    case VecOp::VShrVar32:
      return lanes<u32>(a, b, [](u32 x, u32 n) { return n > 31 ? 0 : x >> n; });
    case VecOp::VShrVar64:
      return lanes<u64>(a, b, [](u64 x, u64 n) { return n > 63 ? 0 : x >> n; });
    case VecOp::VSarVar32:
      return lanes<u32>(a, b, [](u32 x, u32 n) { return i32(x) >> std::min(n, 31u); });
    case VecOp::VBlend32: {
      Vector128 r;
      for (unsigned i = 0; i < 4; ++i) r.set_lane<u32>(i, (imm >> i & 1 ? b : a).lane<u32>(i));
      return r;
    }
    default:
      EMU_CHECK(!"an operation on 256 bits alone");
      return {};
  }
}

Vector256 evaluate_vector_wide(VecOp op, bool low_half, const Vector256& a, const Vector256& b, const Vector256& c,
                               u8 imm, u32& control) {
  Vector256 r;
  if (evaluate_crossing(op, a, b, imm, r)) {
    if (low_half) r.half[1] = {};
    return r;
  }
  const unsigned step = widening_step(op);
  for (unsigned h = 0; h < (low_half ? 1 : 2); ++h) {
    const Vector128 x = step != 0 && h == 1 ? bytes_from(a.half[0], step) : a.half[h];
    const Vector128 y = b.half[has_one_count(op) ? 0 : h], z = c.half[h];
    const u8 number = h == 0 ? imm : upper_immediate(op, imm);
    if (op >= VecOp::VFmaddF32 && op <= VecOp::VFmsubaddF64)
      r.half[h] = evaluate_vector_fused(op, x, y, z, number, control);
    else if (is_float(op))
      r.half[h] = evaluate_vector_float(op, x, y, number, control);
    else if (info(op).arity == 3)
      r.half[h] = evaluate_vector3(op, x, y, z);
    else
      r.half[h] = evaluate_vector(op, x, y, number);
  }
  if (is_narrowing(op) && !low_half) {
    r.half[0].set_lane<u64>(1, r.half[1].lane<u64>(0));
    r.half[1] = {};
  }
  return r;
}

Vector128 evaluate_vector3(VecOp op, const Vector128& a, const Vector128& b, const Vector128& c) {
  const auto word = [](const Vector128& v, unsigned i) { return v.lane<u32>(i); };
  const auto turn = [](u32 v, unsigned n) { return v >> n | v << (32 - n); };
  switch (op) {
    case VecOp::VBlendV8:
      return choose_by_sign<i8>(a, b, c);
    case VecOp::VBlendV32:
      return choose_by_sign<i32>(a, b, c);
    case VecOp::VBlendV64:
      return choose_by_sign<i64>(a, b, c);
    case VecOp::VSha256Rounds: {
      // a = {c d g h}, b = {a b e f}, from the highest lane down; SDM vol. 2, SHA256RNDS2.
      u32 s[8] = {word(b, 3), word(b, 2), word(a, 3), word(a, 2), word(b, 1), word(b, 0), word(a, 1), word(a, 0)};
      for (unsigned i = 0; i < 2; ++i) {
        const u32 choice = (s[4] & s[5]) ^ (~s[4] & s[6]);
        const u32 majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        const u32 t = choice + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + word(c, i) + s[7];
        const u32 first = t + majority + (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22));
        const u32 fifth = t + s[3];
        for (unsigned k = 7; k > 0; --k) s[k] = s[k - 1];
        s[0] = first;
        s[4] = fifth;
      }
      Vector128 r;
      r.set_lane<u32>(3, s[0]);
      r.set_lane<u32>(2, s[1]);
      r.set_lane<u32>(1, s[4]);
      r.set_lane<u32>(0, s[5]);
      return r;
    }
    default:
      EMU_CHECK(!"no operation on three vectors");
      return {};
  }
}

}  // namespace emu::ir
