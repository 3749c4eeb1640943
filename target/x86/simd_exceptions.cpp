// SPDX-License-Identifier: Apache-2.0
#include "target/x86/simd_exceptions.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "target/x86/state.h"
#include "tcg/interp/vector.h"
#include "util/bits.h"

namespace emu::x86 {

using ir::VecOp;

namespace {

enum Flag : u32 { kInvalid = 1, kDenormal = 2, kDivideByZero = 4, kOverflow = 8, kUnderflow = 16, kPrecision = 32 };
constexpr u32 kSticky = 0x3f, kAllMasked = 0x1f80, kRounding = 0x6000;
constexpr u32 kDenormalsAreZeros = 0x40, kFlushToZero = 0x8000;

/// Exponents as frexp() counts: a number is below 2 to its exponent, and at least half of that.
struct Range {
  int least_normal, largest;
};
constexpr Range kHalf{-13, 16}, kSingle{-125, 128}, kDouble{-1021, 1024};

constexpr unsigned distance(VecOp op, VecOp first) { return unsigned(op) - unsigned(first); }

}  // namespace

// ---- What the operation is ------------------------------------------------------------------------------------------

void SimdExceptions::set_size(bool is_f64, bool is_scalar, unsigned bytes) {
  log2_ = is_f64 ? 3 : 2;
  lanes_ = is_scalar ? 1 : bytes >> log2_;
}

/// Families in the order of the opcodes: FMADDSUB, FMSUBADD, FMADD, FMSUB, FNMADD, FNMSUB.
void SimdExceptions::set_fused(unsigned family) {
  kind_ = Kind::Fused;
  form_ = Form::Fused;
  negates_product_ = family >= 4;
  constexpr u8 kNegatesC[] = {1, 2, 0, 3, 0, 3};
  negates_c_ = kNegatesC[family];
}

SimdExceptions::SimdExceptions(VecOp op, unsigned bytes, u8 immediate, const SimdOperands& operands)
    : immediate_(immediate), operands_(operands) {
  const auto is_in = [&](VecOp first, VecOp last) { return op >= first && op <= last; };
  const auto size_of_four = [&](VecOp first) {
    set_size(distance(op, first) & 1, distance(op, first) & 2, bytes);
  };
  if (is_in(VecOp::VAddF32, VecOp::VSubSF64)) {
    kind_ = Kind::Fused;
    form_ = Form::Sum;
    negates_c_ = op >= VecOp::VSubF32 ? 3 : 0;
    size_of_four(VecOp::VAddF32);
  } else if (is_in(VecOp::VMulF32, VecOp::VMulSF64)) {
    kind_ = Kind::Fused;
    form_ = Form::Product;
    size_of_four(VecOp::VMulF32);
  } else if (is_in(VecOp::VDivF32, VecOp::VDivSF64)) {
    kind_ = Kind::Divide;
    size_of_four(VecOp::VDivF32);
  } else if (op == VecOp::VAddSubF32 || op == VecOp::VAddSubF64) {
    kind_ = Kind::Fused;
    form_ = Form::Sum;
    negates_c_ = 1;
    set_size(op == VecOp::VAddSubF64, false, bytes);
  } else if (is_in(VecOp::VHAddF32, VecOp::VHSubF64)) {
    kind_ = Kind::Fused;
    form_ = Form::HorizontalSum;
    negates_c_ = op >= VecOp::VHSubF32 ? 3 : 0;
    set_size(distance(op, VecOp::VHAddF32) & 1, false, bytes);
  } else if (is_in(VecOp::VFmaddF32, VecOp::VFnmsubSF64)) {
    set_fused(2 + distance(op, VecOp::VFmaddF32) / 4);
    size_of_four(VecOp::VFmaddF32);
  } else if (is_in(VecOp::VFmaddsubF32, VecOp::VFmsubaddF64)) {
    set_fused(op >= VecOp::VFmsubaddF32);
    set_size(distance(op, VecOp::VFmaddsubF32) & 1, false, bytes);
  } else if (op == VecOp::VDotF32 || op == VecOp::VDotF64) {
    kind_ = Kind::Dot;
    set_size(op == VecOp::VDotF64, false, bytes);
  } else if (op == VecOp::VCvtF64F32) {
    kind_ = Kind::Narrow;
    set_size(true, false, bytes);
  } else if (op == VecOp::VCvtSF64F32) {
    kind_ = Kind::Narrow;
    set_size(true, true, bytes);
    operands_.a = operands.b;
  } else if (op == VecOp::VCvtF32F16) {
    kind_ = Kind::Half;
    set_size(false, false, bytes);
  }
}

SimdExceptions::SimdExceptions(const tcg::HostVector& v, const u8* slots, const u64* masks) : immediate_(v.imm) {
  using HostKind = tcg::HostVector::Kind;
  const bool in_memory = v.rm.kind == HostKind::Memory;
  if (v.b && !in_memory) return;  // rounds as it says, and suppresses all exceptions
  const auto slot = [&](const tcg::HostVector::Operand& o) { return slots + o.index * 64; };
  const unsigned bytes = 16u << v.length, low = v.opcode & 15;
  const bool is_f64 = v.pp & 1, is_scalar = v.pp & 2;
  operands_ = {slot(v.vvvv), slot(v.rm), nullptr};
  repeats_b_ = v.b;
  if (v.mask != 0) mask_ = masks[v.mask];
  if (v.map == 1 && (v.opcode == 0x58 || v.opcode == 0x59 || v.opcode == 0x5c || v.opcode == 0x5e)) {
    kind_ = v.opcode == 0x5e ? Kind::Divide : Kind::Fused;
    form_ = v.opcode == 0x5e ? Form::Other : v.opcode == 0x59 ? Form::Product : Form::Sum;
    negates_c_ = v.opcode == 0x5c ? 3 : 0;
    set_size(is_f64, is_scalar, bytes);
  } else if (v.map == 1 && v.opcode == 0x5a && is_f64) {
    kind_ = Kind::Narrow;
    operands_.a = operands_.b;
    set_size(true, is_scalar, bytes);
  } else if (v.map == 2 && v.pp == 1 && low >= 6 && v.opcode >= 0x96 && v.opcode <= 0xbf) {
    set_fused(low < 8 ? low - 6 : 2 + (low - 8) / 2);
    set_size(v.w, low >= 8 && (low & 1), bytes);
    const u8 *reg = slot(v.reg), *vvvv = slot(v.vvvv), *rm = slot(v.rm);
    repeats_b_ = v.b && v.opcode >> 4 != 0xa;
    repeats_c_ = v.b && v.opcode >> 4 == 0xa;
    switch (v.opcode >> 4) {
      case 0x9:  // 132
        operands_ = {reg, rm, vvvv};
        break;
      case 0xa:  // 213
        operands_ = {vvvv, reg, rm};
        break;
      default:  // 231
        operands_ = {vvvv, rm, reg};
        break;
    }
  } else if (v.map == 2 && v.pp == 1 && (v.opcode == 0x2c || v.opcode == 0x2d)) {
    kind_ = Kind::Scale;
    set_size(v.w, v.opcode == 0x2d, bytes);
  } else if (v.map == 3 && v.pp == 1 && v.opcode == 0x1d) {
    kind_ = Kind::Half;
    operands_.a = slot(v.reg);
    set_size(false, false, bytes);
  }
}

// ---- Elements -------------------------------------------------------------------------------------------------------

u64 SimdExceptions::operand(const u8* from, unsigned lane) const {
  u64 raw = 0;
  std::memcpy(&raw, from + (size_t(lane) << log2_), size_t(1) << log2_);
  return raw;
}

SimdExceptions::Element SimdExceptions::element(unsigned lane) const {
  Element e;
  const unsigned lane_b = repeats_b_ ? 0 : lane;
  switch (form_) {
    case Form::Fused:
      e = {operand(operands_.a, lane), operand(operands_.b, lane_b), operand(operands_.c, repeats_c_ ? 0 : lane)};
      break;
    case Form::Sum:
      e = {operand(operands_.a, lane), one(), operand(operands_.b, lane_b)};
      break;
    case Form::HorizontalSum: {  // of each sixteen bytes: pairs of a, then of b
      const unsigned in_half = 16u >> log2_, half = lane / in_half * in_half, at = (lane - half) * 2;
      const u8* const from = at < in_half ? operands_.a : operands_.b;
      const unsigned pair = half + at % in_half;
      e = {operand(from, pair), one(), operand(from, pair + 1)};
      break;
    }
    case Form::Product:
      e = {operand(operands_.a, lane), operand(operands_.b, lane_b), 0};
      break;
    case Form::Other: {
      const bool has_one = kind_ == Kind::Narrow || kind_ == Kind::Half;
      const bool repeats = has_one && repeats_b_;
      e = {operand(operands_.a, repeats ? 0 : lane), has_one ? 0 : operand(operands_.b, lane_b), 0};
      break;
    }
  }
  if (negates_product_) e.x ^= sign();
  if (negates_c_ >> (lane & 1) & 1) e.z ^= sign();
  return e;
}

double SimdExceptions::value(u64 raw) const {
  if (log2_ == 3) return std::bit_cast<double>(raw);
  return double(std::bit_cast<float>(u32(raw)));
}

u64 SimdExceptions::raw(double value) const {
  if (log2_ == 3) return std::bit_cast<u64>(value);
  return std::bit_cast<u32>(float(value));
}

/// The masked response's flags, and the result (of Scale it is left as it was).
u32 SimdExceptions::run(const Element& e, u32 control, double& result) const {
  ir::Vector128 x{}, y{}, z{}, r{};
  x.set_lane<u64>(0, e.x);
  y.set_lane<u64>(0, e.y);
  z.set_lane<u64>(0, e.z);
  const bool is_f64 = log2_ == 3;
  switch (kind_) {
    case Kind::Fused:
    case Kind::Dot:
      r = ir::evaluate_vector_fused(is_f64 ? VecOp::VFmaddSF64 : VecOp::VFmaddSF32, x, y, z, 0, control);
      break;
    case Kind::Divide:
      r = ir::evaluate_vector_float(is_f64 ? VecOp::VDivSF64 : VecOp::VDivSF32, x, y, 0, control);
      break;
    case Kind::Narrow:
      r = ir::evaluate_vector_float(VecOp::VCvtSF64F32, y, x, 0, control);
      result = std::bit_cast<float>(r.lane<u32>(0));
      return control & kSticky;
    case Kind::Half: {
      r = ir::evaluate_vector_float(VecOp::VCvtF32F16, x, y, immediate_ & 7, control);
      u32 unused = kAllMasked;
      result = std::bit_cast<float>(ir::evaluate_vector_float(VecOp::VCvtF16F32, r, y, 0, unused).lane<u32>(0));
      return control & kSticky;
    }
    case Kind::Scale: {
      constexpr tcg::HostVector::Kind kVector = tcg::HostVector::Kind::Vector;
      const tcg::HostVector v{.map = 2, .pp = 1, .opcode = 0x2d, .w = is_f64, .reg = {kVector, 2}, .vvvv = {kVector, 0},
                              .rm = {kVector, 1}, .dest = tcg::HostVector::Dest::Reg};
      alignas(64) std::array<u8, tcg::HostVector::kSlots * 64> slots{};
      std::array<u64, tcg::HostVector::kMasks> masks{};
      std::memcpy(slots.data(), &e.x, 8);
      std::memcpy(slots.data() + 64, &e.y, 8);
      tcg::run_host_vector(v, slots.data(), masks.data(), control);
      return control & kSticky;
    }
    case Kind::None:
      return 0;
  }
  result = value(r.lane<u64>(0) & (is_f64 ? ~u64(0) : 0xffff'ffff));
  return control & kSticky;
}

/// The same operation with operands near one, where nothing overflows and nothing is tiny, says what the result's
/// exponent and its precision would be without bounds.
u32 SimdExceptions::element_flags(const Element& e, u32 mxcsr) const {
  double result = 0;
  const u32 masked = run(e, (mxcsr & ~kSticky) | kAllMasked, result);
  if (masked & (kInvalid | kDivideByZero)) return masked;
  const auto operand_value = [&](u64 raw) {
    const double v = value(raw);
    const bool is_zero = (mxcsr & kDenormalsAreZeros) && std::abs(v) < std::ldexp(1.0, log2_ == 3 ? -1022 : -126);
    return is_zero ? std::copysign(0.0, v) : v;
  };
  const double x = operand_value(e.x), y = operand_value(e.y), z = operand_value(e.z);
  if (!std::isfinite(x) || !std::isfinite(y) || !std::isfinite(z)) return masked;

  int x_exponent = 0, y_exponent = 0, z_exponent = 0, shift = 0;
  const double x_part = std::frexp(x, &x_exponent), y_part = std::frexp(y, &y_exponent),
               z_part = std::frexp(z, &z_exponent);
  Range range = log2_ == 3 ? kDouble : kSingle;
  Element near_one;
  if (kind_ == Kind::Fused || kind_ == Kind::Dot) {
    const bool has_product = x != 0 && y != 0, has_c = z != 0;
    if (!has_product && !has_c) return masked;
    const int product_exponent = x_exponent + y_exponent;
    shift = !has_c ? product_exponent : !has_product ? z_exponent : std::max(product_exponent, z_exponent);
    // What lies further below than the significands of both reach only decides on which side of a tie the sum is.
    const int lowest = log2_ == 3 ? -400 : -80;
    const auto at = [&](int exponent) { return std::max(exponent - shift, lowest); };
    near_one = {raw(x_part), has_product ? raw(std::ldexp(y_part, at(product_exponent))) : raw(y_part),
                has_c ? raw(std::ldexp(z_part, at(z_exponent))) : raw(z_part)};
  } else {
    if (x == 0) return masked;
    near_one = {raw(x_part), raw(y_part), 0};
    shift = kind_ == Kind::Divide ? x_exponent - y_exponent : x_exponent;
    if (kind_ == Kind::Narrow) range = kSingle;
    if (kind_ == Kind::Half) range = kHalf;
  }
  double unbounded = x_part;
  u32 precision = 0;
  if (kind_ == Kind::Scale) {  // by a power of two
    shift += int(std::clamp(std::floor(y), -10000.0, 10000.0));
  } else {
    precision = run(near_one, (mxcsr & kRounding) | kAllMasked, unbounded) & kPrecision;
  }
  if (unbounded == 0) return masked;
  int exponent = 0;
  std::frexp(unbounded, &exponent);
  exponent += shift;
  const u32 masks = mxcsr >> 7;
  const u32 before = masked & kDenormal;
  if (exponent > range.largest && !(masks & kOverflow)) return before | kOverflow | precision;
  if (exponent < range.least_normal && !(masks & kUnderflow)) return before | kUnderflow | precision;
  return masked;
}

/// Replaces each operation by its result. False: an exception is unmasked, no further step is done.
bool SimdExceptions::add_step(std::vector<Element>& step, u32 mxcsr, u32& flags) const {
  constexpr u32 kBeforeComputation = kInvalid | kDenormal | kDivideByZero;
  u32 now = 0;
  for (Element& e : step) {
    now |= element_flags(e, mxcsr);
    double result = 0;
    run(e, (mxcsr & ~kSticky) | kAllMasked, result);
    e = {raw(result), one(), 0};
  }
  const u32 unmasked = now & ~(mxcsr >> 7);
  flags |= unmasked & kBeforeComputation ? now & kBeforeComputation : now;
  return unmasked == 0;
}

/// SDM vol. 2, DPPS and DPPD: the products that the immediate selects, then their sums, pair by pair.
u32 SimdExceptions::dot_flags(u32 mxcsr) const {
  u32 flags = 0;
  std::vector<Element> step;
  const unsigned in_half = 16u >> log2_;
  for (unsigned lane = 0; lane < lanes_; ++lane) {
    const bool is_selected = immediate_ >> (4 + lane % in_half) & 1;
    step.push_back(is_selected ? Element{operand(operands_.a, lane), operand(operands_.b, lane), 0}
                               : Element{0, one(), 0});
  }
  while (add_step(step, mxcsr, flags) && step.size() > lanes_ / in_half) {
    for (size_t i = 0; i < step.size() / 2; ++i) step[i] = {step[2 * i].x, one(), step[2 * i + 1].x};
    step.resize(step.size() / 2);
  }
  return flags;
}

bool SimdExceptions::decide(u32 mxcsr) const {
  if (has_steps()) return (~(mxcsr >> 7) & kSticky) != 0;
  return kind_ != Kind::None && (~(mxcsr >> 7) & (kOverflow | kUnderflow)) != 0;
}

u32 SimdExceptions::flags(u32 mxcsr) const {
  if (!(mxcsr >> 7 & kUnderflow)) mxcsr &= ~kFlushToZero;
  if (has_steps()) return dot_flags(mxcsr);
  u32 all = 0;
  for (unsigned lane = 0; lane < lanes_; ++lane) {
    if (mask_ >> lane & 1) all |= element_flags(element(lane), mxcsr);
  }
  return all;
}

}  // namespace emu::x86
