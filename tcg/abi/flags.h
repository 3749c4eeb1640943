// SPDX-License-Identifier: Apache-2.0
// Lazy condition flags as they lie in EnvHeader: {cc_op, cc_a, cc_b}. Guest-neutral; guests map their own names.
#pragma once

#include "util/types.h"

namespace emu::tcg {

struct EnvHeader;

/// Bits of packed flags. Carry after a subtraction means borrow (guests with the other convention invert it).
enum PackedFlag : u64 {
  kFlagCarry = 1u << 0,
  kFlagParity = 1u << 2,   ///< even number of ones in the low byte
  kFlagAdjust = 1u << 4,   ///< carry out of bit 3
  kFlagZero = 1u << 6,
  kFlagSign = 1u << 7,
  kFlagOverflow = 1u << 11,
  kFlagsAll = kFlagCarry | kFlagParity | kFlagAdjust | kFlagZero | kFlagSign | kFlagOverflow,
};

/// How cc_a and cc_b are to be read. A cc_op word is kind << 2 | log2(width in bytes). Values above the width are
/// ignored: consumers truncate.
enum class CcKind : u32 {
  Packed = 0,  ///< cc_a = PackedFlag bits (width ignored)
  Add,         ///< cc_a = result, cc_b = second addend
  Sub,         ///< cc_a = result, cc_b = subtrahend
  Cmp,         ///< cc_a = minuend, cc_b = subtrahend (no result is kept)
  Logic,       ///< cc_a = result; carry, overflow and adjust are 0
  Inc,         ///< cc_a = result, cc_b = carry before (0 or 1)
  Dec,         ///< cc_a = result, cc_b = carry before (0 or 1)
  Shl,      ///< cc_a = result, cc_b = operand << (count - 1); carry = its msb, overflow = msb(result) ^ carry, adjust 0
  Shr,      ///< cc_a = result, cc_b = operand >> (count - 1), logical or arithmetic; carry = its bit 0,
            ///< overflow = msb(result ^ cc_b), adjust 0
  MulU,     ///< cc_a = low half, cc_b = high half; carry = overflow = high != 0; zero, sign, parity of low; adjust 0
  MulS,     ///< the same with carry = overflow = high != sign of low
  Carries,  ///< cc_a = result, cc_b = carry out of each bit: carry = msb, adjust = bit 3, overflow = top two bits
            ///< differ
  Joined,   ///< cc_a = PackedFlag bits but for overflow, cc_b = overflow (bit 0): rows of ADCX and ADOX, which keep two
            ///< carries apart (width ignored)
};

constexpr u32 cc_op(CcKind kind, unsigned log2_bytes) { return u32(kind) << 2 | log2_bytes; }
constexpr CcKind cc_kind(u32 op) { return CcKind(op >> 2); }
constexpr unsigned cc_log2_bytes(u32 op) { return op & 3; }

/// Conditions over flags or over a comparison of two operands. The low bit inverts, except for none.
enum class Cond : u8 {
  Overflow, NotOverflow,
  Below, NotBelow,          ///< unsigned <, >= (carry)
  Equal, NotEqual,
  BelowEqual, Above,        ///< unsigned <=, >
  Sign, NotSign,
  Parity, NotParity,
  Less, GreaterEqual,       ///< signed
  LessEqual, Greater,
};
constexpr Cond invert(Cond c) { return Cond(u8(c) ^ 1); }

/// Packed flags of a lazy tuple; the reference for every other evaluation. Leaf: touches no vector register.
u64 pack_flags(u32 cc_op, u64 cc_a, u64 cc_b);
/// Whether `condition` holds for packed flags.
bool test_packed(Cond condition, u64 packed);
inline bool test_flags(Cond condition, u32 op, u64 a, u64 b) { return test_packed(condition, pack_flags(op, a, b)); }

// The same as helpers of generated code (HelperFn) that touch general registers only. args: cc_op, cc_a, cc_b and, for
// tests, a Cond; those of home take the tuple in `env`.
u64 leaf_pack_flags(EnvHeader& env, const u64* args);
u64 leaf_pack_home_flags(EnvHeader& env, const u64* args);
u64 leaf_test_flags(EnvHeader& env, const u64* args);
u64 leaf_test_home_flags(EnvHeader& env, const u64* args);

}  // namespace emu::tcg
