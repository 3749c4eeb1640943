// SPDX-License-Identifier: Apache-2.0
#include "target/x86/half_exceptions.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace emu::x86 {

namespace {

enum Flag : u32 { kOverflow = 8, kUnderflow = 16, kPrecision = 32 };
constexpr u32 kDenormalsAreZeros = 0x40;
constexpr int kBits = 11, kLargest = 15, kLeastNormal = -14,
              kLeast = -24;  // of a significand; exponents of leading bits

int bit_width(u128 v) {
  const u64 high = u64(v >> 64);
  return high != 0 ? 64 + int(std::bit_width(high)) : int(std::bit_width(u64(v)));
}

/// Whether what is left below `drop` bits rounds away from zero; `inexact`: whether anything is.
bool rounds_up(u128 magnitude, int drop, bool sticky, bool negative, unsigned mode, bool& inexact) {
  const u128 one = 1;
  const bool is_odd = drop < 128 && (magnitude >> drop & 1);
  const u128 rest = drop >= 128 ? magnitude : magnitude & ((one << drop) - 1);
  inexact = rest != 0 || sticky;
  if (!inexact) return false;
  switch (mode) {
    case 1:
      return negative;
    case 2:
      return !negative;
    case 3:
      return false;
    default:
      break;
  }
  if (drop == 0 || drop > 127) return false;
  const u128 middle = one << (drop - 1);
  return rest > middle || (rest == middle && (sticky || is_odd));
}

}  // namespace

// ---- What the instruction is ----------------------------------------------------------------------------------------

HalfExceptions::HalfExceptions(const tcg::HostVector& v, const u8* slots, const u64* masks) {
  using HostKind = tcg::HostVector::Kind;
  if (v.map < 5) return;
  const bool in_memory = v.rm.kind == HostKind::Memory;
  if (v.b && !in_memory) return;  // suppresses all exceptions
  const auto slot = [&](const tcg::HostVector::Operand& o) {
    return slots + (o.kind == HostKind::General ? tcg::HostVector::kGeneralSlot : o.index) * 64;
  };
  a_ = slot(v.vvvv);
  b_ = slot(v.rm);
  repeats_b_ = v.b;
  if (v.mask != 0) mask_ = masks[v.mask];
  v.map == 5 ? set_map5(v) : set_map6(v, slots);
  lanes_ = is_scalar_ ? 1 : (16u << v.length) >> log2_;
}

void HalfExceptions::set_map5(const tcg::HostVector& v) {
  const auto is = [&](u8 opcode, u8 pp) { return v.opcode == opcode && v.pp == pp; };
  const auto set = [&](Kind kind, bool is_scalar, u8 log2) {
    kind_ = kind;
    is_scalar_ = is_scalar;
    log2_ = log2;
  };
  const u8 by_w = v.w ? 3 : 2;
  if (v.pp == 0 || v.pp == 2) {
    if (v.opcode == 0x58) set(Kind::Sum, v.pp == 2, 1);
    if (v.opcode == 0x5c) set(Kind::Difference, v.pp == 2, 1);
    if (v.opcode == 0x59) set(Kind::Product, v.pp == 2, 1);
    if (v.opcode == 0x5e) set(Kind::Quotient, v.pp == 2, 1);
  }
  if (is(0x5a, 1) || is(0x5a, 3)) set(Kind::Double, v.pp == 3, 3);
  if (is(0x1d, 0) || is(0x1d, 1)) set(Kind::Single, v.pp == 0, 2);
  if (is(0x2a, 2)) set(Kind::Signed, true, by_w);
  if (is(0x7b, 2)) set(Kind::Unsigned, true, by_w);
  if (is(0x5b, 0)) set(Kind::Signed, false, by_w);
  if (is(0x7a, 3)) set(Kind::Unsigned, false, by_w);
  if (is(0x7d, 3)) set(Kind::Unsigned, false, 1);
}

void HalfExceptions::set_map6(const tcg::HostVector& v, const u8* slots) {
  const unsigned low = v.opcode & 15, form = v.opcode >> 4;
  if (v.pp != 1) return;  // complex arithmetic raises nothing
  if (v.opcode == 0x2c || v.opcode == 0x2d) {
    kind_ = Kind::Scale;
    is_scalar_ = v.opcode == 0x2d;
  }
  if (form < 9 || form > 0xb || low < 6) return;
  kind_ = Kind::Fused;
  is_scalar_ = low >= 8 && (low & 1);
  constexpr u8 kNegatesC[] = {1, 2, 0, 3, 0, 3};  // FMADDSUB, FMSUBADD, FMADD, FMSUB, FNMADD, FNMSUB
  const unsigned family = low < 8 ? low - 6 : 2 + (low - 8) / 2;
  negates_c_ = kNegatesC[family];
  negates_product_ = family >= 4;
  const u8 *reg = slots + v.reg.index * 64, *vvvv = a_, *rm = b_;
  repeats_b_ = v.b && form != 0xa;
  repeats_c_ = v.b && form == 0xa;
  a_ = form == 9 ? reg : vvvv;
  b_ = form == 0xa ? reg : rm;
  c_ = form == 9 ? vvvv : form == 0xa ? rm : reg;
}

// ---- Elements -------------------------------------------------------------------------------------------------------

HalfExceptions::Number HalfExceptions::half(const u8* at) {
  u16 bits = 0;
  std::memcpy(&bits, at, 2);
  const int exponent = bits >> 10 & 31;
  const u64 fraction = bits & 0x3ff;
  if (exponent == 31) return {.is_finite = false};
  return {true, (bits >> 15) != 0, exponent == 0 ? fraction : fraction | 0x400, exponent == 0 ? kLeast : exponent - 25};
}

/// What a conversion reads.
HalfExceptions::Number HalfExceptions::source(unsigned lane, u32 mxcsr) const {
  u64 bits = 0;
  std::memcpy(&bits, b_ + (size_t(repeats_b_ ? 0 : lane) << log2_), size_t(1) << log2_);
  const unsigned width = 8u << log2_;
  if (kind_ == Kind::Unsigned) return {true, false, bits, 0};
  const bool negative = bits >> (width - 1) & 1;
  if (kind_ == Kind::Signed) {
    const u64 magnitude = negative ? ~bits + 1 : bits;
    return {true, negative, width == 64 ? magnitude : magnitude & ((u64(1) << width) - 1), 0};
  }
  const int fraction_bits = kind_ == Kind::Double ? 52 : 23, all = kind_ == Kind::Double ? 0x7ff : 0xff;
  const int bias = (all >> 1) + fraction_bits;
  const int exponent = int(bits >> fraction_bits) & all;
  const u64 fraction = bits & ((u64(1) << fraction_bits) - 1);
  if (exponent == all) return {.is_finite = false};
  if (exponent == 0) return {true, negative, mxcsr & kDenormalsAreZeros ? 0 : fraction, 1 - bias};
  return {true, negative, fraction | u64(1) << fraction_bits, exponent - bias};
}

HalfExceptions::Exact HalfExceptions::multiply(const Number& a, const Number& b) {
  return {a.is_finite && b.is_finite, a.negative != b.negative, false, u128(a.significand) * b.significand,
          a.exponent + b.exponent};
}

/// Products and terms of halves: from 2^-48 to 2^33, so that one exponent holds both.
HalfExceptions::Exact HalfExceptions::add(const Exact& a, const Exact& b) {
  const int exponent = std::min(a.exponent, b.exponent);
  const auto at = [exponent](const Exact& e) {
    const auto v = __int128(e.magnitude << (e.exponent - exponent));
    return e.negative ? -v : v;
  };
  const __int128 sum = at(a) + at(b);
  return {a.is_number && b.is_number, sum < 0, false, u128(sum < 0 ? -sum : sum), exponent};
}

HalfExceptions::Exact HalfExceptions::result(unsigned lane, u32 mxcsr) const {
  constexpr Number kOne{true, false, 1, 0};
  if (kind_ >= Kind::Single) return multiply(source(lane, mxcsr), kOne);
  const Number a = half(a_ + 2 * lane), b = half(b_ + (repeats_b_ ? 0 : 2 * lane));
  switch (kind_) {
    case Kind::Sum:
    case Kind::Difference: {
      Exact other = multiply(b, kOne);
      if (kind_ == Kind::Difference) other.negative = !other.negative;
      return add(multiply(a, kOne), other);
    }
    case Kind::Product:
      return multiply(a, b);
    case Kind::Quotient: {
      if (!a.is_finite || !b.is_finite || b.significand == 0) return {.is_number = false};
      constexpr int kShift = 40;
      const u64 dividend = a.significand << kShift;
      return {true, a.negative != b.negative, dividend % b.significand != 0, dividend / b.significand,
              a.exponent - b.exponent - kShift};
    }
    case Kind::Fused: {
      Exact product = multiply(a, b), c = multiply(half(c_ + (repeats_c_ ? 0 : 2 * lane)), kOne);
      product.negative ^= negates_product_;
      c.negative ^= (negates_c_ >> (lane & 1) & 1) != 0;
      return add(product, c);
    }
    default: {  // Scale: a * 2^floor(b)
      if (!a.is_finite || !b.is_finite) return {.is_number = false};
      const i64 size = b.exponent >= 0 ? i64(b.significand << b.exponent) : i64(b.significand >> -b.exponent);
      const bool has_fraction = b.exponent < 0 && (b.significand & ((u64(1) << -b.exponent) - 1)) != 0;
      const i64 power = b.negative ? -size - has_fraction : size;
      return {true, a.negative, false, a.significand, a.exponent + int(power)};
    }
  }
}

// ---- Rounding -------------------------------------------------------------------------------------------------------

/// SDM vol. 1, 4.9.1.4 to 4.9.1.6: tiny is what is so after rounding to any exponent.
u32 HalfExceptions::round(const Exact& e, u32 mxcsr) {
  if (e.magnitude == 0) return 0;
  const unsigned mode = mxcsr >> 13 & 3;
  const u32 masks = mxcsr >> 7;
  const int width = bit_width(e.magnitude), drop = std::max(width - kBits, 0);
  bool is_inexact = false;
  const bool up = rounds_up(e.magnitude, drop, e.sticky, e.negative, mode, is_inexact);
  const bool carries = up && (e.magnitude >> drop) + 1 == u128(1) << kBits;
  const int exponent = e.exponent + width - 1 + carries;
  const u32 precision = is_inexact ? u32(kPrecision) : 0;
  if (exponent > kLargest) return kOverflow | (masks & kOverflow ? u32(kPrecision) : precision);
  if (exponent >= kLeastNormal) return precision;
  if (!(masks & kUnderflow)) return kUnderflow | precision;
  const int denormal_drop = kLeast - e.exponent;  // what lies below the least denormal
  if (denormal_drop <= 0 && !e.sticky) return 0;
  rounds_up(e.magnitude, std::max(denormal_drop, 0), e.sticky, e.negative, mode, is_inexact);
  return is_inexact ? kUnderflow | kPrecision : 0;
}

bool HalfExceptions::decide(u32 mxcsr) const {
  return kind_ != Kind::None && (~(mxcsr >> 7) & (kOverflow | kUnderflow)) != 0;
}

u32 HalfExceptions::flags(u32 mxcsr) const {
  u32 all = 0;
  for (unsigned lane = 0; lane < lanes_; ++lane) {
    if (!(mask_ >> lane & 1)) continue;
    const Exact e = result(lane, mxcsr);
    if (e.is_number) all |= round(e, mxcsr);
  }
  return all;
}

}  // namespace emu::x86
