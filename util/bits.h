// SPDX-License-Identifier: Apache-2.0
// Bit numbering as manuals write it: bit 0 is the least significant.
#pragma once

#include <bit>
#include <type_traits>

#include "util/types.h"

namespace emu {

constexpr u64 bit64(unsigned n) { return u64(1) << n; }
constexpr u32 bit(unsigned n) { return u32(1) << n; }

/// A mask of `count` ones (0..64) from bit 0.
constexpr u64 low_mask(unsigned count) { return count >= 64 ? ~u64(0) : bit64(count) - 1; }

/// value[high:low], inclusive on both ends.
constexpr u64 bits(u64 value, unsigned high, unsigned low) { return (value >> low) & low_mask(high - low + 1); }

/// `value` with [high:low] replaced by the low bits of `field`.
constexpr u64 deposit(u64 value, unsigned high, unsigned low, u64 field) {
  const u64 mask = low_mask(high - low + 1) << low;
  return (value & ~mask) | ((field << low) & mask);
}

/// Sign-extends the low `width` bits (1..64).
constexpr i64 sign_extend(u64 value, unsigned width) { return i64(value << (64 - width)) >> (64 - width); }

constexpr u64 align_down(u64 value, u64 power_of_two) { return value & ~(power_of_two - 1); }
constexpr u64 align_up(u64 value, u64 power_of_two) { return (value + power_of_two - 1) & ~(power_of_two - 1); }
constexpr bool is_aligned(u64 value, u64 power_of_two) { return (value & (power_of_two - 1)) == 0; }

}  // namespace emu
