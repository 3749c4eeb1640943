// SPDX-License-Identifier: Apache-2.0
#include "tcg/ir/evaluate.h"

#include <bit>

#include "util/bits.h"

namespace emu::ir {
namespace {

u64 bswap(Type type, u64 a) { return __builtin_bswap64(a) >> (64 - width(type)); }

u64 multiply_high(Opcode opcode, unsigned w, u64 a, u64 b) {
  if (opcode == Opcode::MulHiU) return u64((u128(a) * b) >> w);
  return u64((i128(sign_extend(a, w)) * sign_extend(b, w)) >> w);
}

u64 divide(Opcode opcode, unsigned w, u64 a, u64 b) {
  if (b == 0) return 0;
  if (opcode == Opcode::UDiv) return a / b;
  if (opcode == Opcode::URem) return a % b;
  const i64 x = sign_extend(a, w), y = sign_extend(b, w);
  if (y == -1) return opcode == Opcode::SDiv && x != INT64_MIN ? u64(-x) : 0;
  return u64(opcode == Opcode::SDiv ? x / y : x % y);
}

u64 shift(Opcode opcode, unsigned w, u64 a, u64 b) {
  if (opcode == Opcode::Rotl || opcode == Opcode::Rotr) {
    const unsigned count = unsigned(b) % w;
    const unsigned left = opcode == Opcode::Rotl ? count : (w - count) % w;
    return left == 0 ? a : (a << left) | (a >> (w - left));
  }
  const unsigned count = unsigned(b) & (w == 64 ? 63 : 31);
  switch (opcode) {
    case Opcode::Shl:
      return a << count;  // what leaves the width is masked off by the caller
    case Opcode::Shr:
      return a >> count;
    default:
      return u64(sign_extend(a, w) >> count);
  }
}

}  // namespace

u64 evaluate_unary(Opcode opcode, Type type, u64 a) {
  const unsigned w = width(type);
  switch (opcode) {
    case Opcode::Not:
      return ~a & low_mask(w);
    case Opcode::Neg:
      return (0 - a) & low_mask(w);
    case Opcode::Bswap:
      return bswap(type, a);
    case Opcode::Clz:
      return unsigned(std::countl_zero(a)) - (64 - w);
    case Opcode::Ctz:
      return a == 0 ? w : unsigned(std::countr_zero(a));
    case Opcode::Popcnt:
      return unsigned(std::popcount(a));
    default:
      return 0;
  }
}

u64 evaluate_binary(Opcode opcode, Type type, u64 a, u64 b) {
  const unsigned w = width(type);
  u64 result = 0;
  switch (opcode) {
    case Opcode::Add:
      result = a + b;
      break;
    case Opcode::Sub:
      result = a - b;
      break;
    case Opcode::Mul:
      result = a * b;
      break;
    case Opcode::MulHiU:
    case Opcode::MulHiS:
      result = multiply_high(opcode, w, a, b);
      break;
    case Opcode::UDiv:
    case Opcode::URem:
    case Opcode::SDiv:
    case Opcode::SRem:
      result = divide(opcode, w, a, b);
      break;
    case Opcode::And:
      result = a & b;
      break;
    case Opcode::Or:
      result = a | b;
      break;
    case Opcode::Xor:
      result = a ^ b;
      break;
    case Opcode::AndNot:
      result = ~a & b;
      break;
    default:
      result = shift(opcode, w, a, b);
      break;
  }
  return result & low_mask(w);
}

u64 evaluate_double_shift(Opcode opcode, Type type, u64 a, u64 b, u64 count) {
  const unsigned w = width(type), n = unsigned(count) % w;
  if (n == 0) return a;
  return (opcode == Opcode::Shld ? (a << n) | (b >> (w - n)) : (a >> n) | (b << (w - n))) & low_mask(w);
}

u64 evaluate_with_carry(Opcode opcode, Type type, u64 a, u64 b, u64 c) {
  const unsigned w = width(type);
  switch (opcode) {
    case Opcode::AddCarry:
      return (a + b + c) & low_mask(w);
    case Opcode::SubBorrow:
      return (a - b - c) & low_mask(w);
    case Opcode::CarryOut:
      return ((a & b) | ((a | b) & ~c)) >> (w - 1) & 1;
    default:
      return ((~a & b) | ((~a | b) & c)) >> (w - 1) & 1;
  }
}

bool evaluate_compare(Cond condition, Type type, u64 a, u64 b) {
  const unsigned w = width(type);
  const i64 x = sign_extend(a, w), y = sign_extend(b, w);
  switch (condition) {
    case Cond::Below:
      return a < b;
    case Cond::NotBelow:
      return a >= b;
    case Cond::Equal:
      return a == b;
    case Cond::NotEqual:
      return a != b;
    case Cond::BelowEqual:
      return a <= b;
    case Cond::Above:
      return a > b;
    case Cond::Less:
      return x < y;
    case Cond::GreaterEqual:
      return x >= y;
    case Cond::LessEqual:
      return x <= y;
    case Cond::Greater:
      return x > y;
    default:
      return false;
  }
}

Cond mirror(Cond condition) {
  switch (condition) {
    case Cond::Below:
      return Cond::Above;
    case Cond::NotBelow:
      return Cond::BelowEqual;
    case Cond::BelowEqual:
      return Cond::NotBelow;
    case Cond::Above:
      return Cond::Below;
    case Cond::Less:
      return Cond::Greater;
    case Cond::GreaterEqual:
      return Cond::LessEqual;
    case Cond::LessEqual:
      return Cond::GreaterEqual;
    case Cond::Greater:
      return Cond::Less;
    default:
      return condition;
  }
}

FlagTuple evaluate_flags(Opcode opcode, Type type, u64 a, u64 b, u64 c) {
  using tcg::CcKind;
  const auto tuple = [type](CcKind kind, u64 x, u64 y) { return FlagTuple{tcg::cc_op(kind, log2_bytes(type)), x, y}; };
  switch (opcode) {
    case Opcode::FlAdd:
      return tuple(CcKind::Add, c, b);
    case Opcode::FlAdc:
      return tuple(CcKind::Carries, c, (a & b) | ((a | b) & ~c));
    case Opcode::FlSub:
      return tuple(CcKind::Sub, c, b);
    case Opcode::FlSbb:
      return tuple(CcKind::Carries, c, (~a & b) | ((~a | b) & c));
    case Opcode::FlCmp:
      return tuple(CcKind::Cmp, a, b);
    case Opcode::FlLogic:
      return tuple(CcKind::Logic, a, 0);
    case Opcode::FlTest:
      return tuple(CcKind::Logic, a & b, 0);
    case Opcode::FlInc:
      return tuple(CcKind::Inc, a, b & tcg::kFlagCarry);
    case Opcode::FlDec:
      return tuple(CcKind::Dec, a, b & tcg::kFlagCarry);
    case Opcode::FlShl:
      return tuple(CcKind::Shl, a, b);
    case Opcode::FlShr:
      return tuple(CcKind::Shr, a, b);
    case Opcode::FlMulU:
      return tuple(CcKind::MulU, a, b);
    case Opcode::FlMulS:
      return tuple(CcKind::MulS, a, b);
    case Opcode::FlUnpack:
      return FlagTuple{0, a & tcg::kFlagsAll, 0};
    case Opcode::FlJoin:
      return tuple(CcKind::Joined, a, b);
    case Opcode::FlSetCarry:
      return FlagTuple{0, (b & ~u64(tcg::kFlagCarry)) | (a & 1), 0};
    default:
      return {};
  }
}

}  // namespace emu::ir
