// SPDX-License-Identifier: Apache-2.0
// Compiled to use general registers only: generated code calls it while guest vectors are in the host's.
#include "tcg/abi/flags.h"

#include "tcg/abi/env.h"
#include "util/bits.h"

namespace emu::tcg {
namespace {

constexpr u64 when(bool condition, u64 flags) { return condition ? flags : 0; }

u64 zero_sign_parity(u64 result, unsigned width) {
  result &= low_mask(width);
  return when(result == 0, kFlagZero) | when(result >> (width - 1), kFlagSign) |
         when(!__builtin_parity(unsigned(result & 0xff)), kFlagParity);
}

/// Flags of a sum or difference whose carry (or borrow) out of every bit is known.
u64 from_carries(u64 result, u64 carries, unsigned width) {
  const u64 top = (carries >> (width - 1)) & 1;
  const u64 next = (carries >> (width - 2)) & 1;
  return zero_sign_parity(result, width) | when(top, kFlagCarry) | when(top != next, kFlagOverflow) |
         when((carries >> 3) & 1, kFlagAdjust);
}

u64 add_carries(u64 a, u64 b, u64 result) { return (a & b) | ((a | b) & ~result); }
u64 sub_borrows(u64 a, u64 b, u64 result) { return (~a & b) | ((~a | b) & result); }

}  // namespace

u64 pack_flags(u32 op, u64 a, u64 b) {
  const unsigned width = 8u << cc_log2_bytes(op);
  const u64 msb = bit64(width - 1);
  switch (cc_kind(op)) {
    case CcKind::Packed: return a & kFlagsAll;
    case CcKind::Add: return from_carries(a, add_carries(a - b, b, a), width);
    case CcKind::Sub: return from_carries(a, sub_borrows(a + b, b, a), width);
    case CcKind::Cmp: return from_carries(a - b, sub_borrows(a, b, a - b), width);
    case CcKind::Logic: return zero_sign_parity(a, width);
    case CcKind::Inc:
      return (from_carries(a, add_carries(a - 1, 1, a), width) & ~u64(kFlagCarry)) | (b & 1);
    case CcKind::Dec:
      return (from_carries(a, sub_borrows(a + 1, 1, a), width) & ~u64(kFlagCarry)) | (b & 1);
    case CcKind::Shl:
      return zero_sign_parity(a, width) | when(b & msb, kFlagCarry) | when((a ^ b) & msb, kFlagOverflow);
    case CcKind::Shr:
      return zero_sign_parity(a, width) | (b & 1) | when((a ^ b) & msb, kFlagOverflow);
    case CcKind::MulU:
      return zero_sign_parity(a, width) | when(b & low_mask(width), kFlagCarry | kFlagOverflow);
    case CcKind::MulS: {
      const u64 sign = a & msb ? low_mask(width) : 0;
      return zero_sign_parity(a, width) | when((b & low_mask(width)) != sign, kFlagCarry | kFlagOverflow);
    }
    case CcKind::Carries: return from_carries(a, b, width);
    case CcKind::Joined: return (a & (kFlagsAll & ~kFlagOverflow)) | when(b & 1, kFlagOverflow);
  }
  return 0;
}

bool test_packed(Cond condition, u64 f) {
  const bool sign_differs = !(f & kFlagSign) != !(f & kFlagOverflow);
  bool holds = false;
  switch (Cond(u8(condition) & ~1)) {
    case Cond::Overflow: holds = f & kFlagOverflow; break;
    case Cond::Below: holds = f & kFlagCarry; break;
    case Cond::Equal: holds = f & kFlagZero; break;
    case Cond::BelowEqual: holds = f & (kFlagCarry | kFlagZero); break;
    case Cond::Sign: holds = f & kFlagSign; break;
    case Cond::Parity: holds = f & kFlagParity; break;
    case Cond::Less: holds = sign_differs; break;
    default: holds = (f & kFlagZero) || sign_differs; break;
  }
  return holds != bool(u8(condition) & 1);
}

u64 leaf_pack_flags(EnvHeader&, const u64* args) { return pack_flags(u32(args[0]), args[1], args[2]); }
u64 leaf_pack_home_flags(EnvHeader& env, const u64*) { return pack_flags(env.cc_op, env.cc_a, env.cc_b); }
u64 leaf_test_flags(EnvHeader&, const u64* args) {
  return test_packed(Cond(args[3]), pack_flags(u32(args[0]), args[1], args[2]));
}
u64 leaf_test_home_flags(EnvHeader& env, const u64* args) {
  return test_packed(Cond(args[3]), pack_flags(env.cc_op, env.cc_a, env.cc_b));
}

}  // namespace emu::tcg
