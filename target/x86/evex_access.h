// SPDX-License-Identifier: Apache-2.0
// What translated code tells the helpers of masked memory operands, in a word.
#pragma once

#include "util/types.h"

namespace emu::x86 {

/// A memory operand of which a mask selects elements; the other side is a slot of X86State::vec.
struct EvexAccess {
  u8 slot = 0;
  u8 mask = 0;  ///< of k0..k7; not k0
  u8 element_log2 = 0;
  u8 bytes = 0;          ///< in memory, if all elements are selected
  u8 repeated = 0;       ///< not 0: of so many elements of the vector, to which those in memory are repeated
  bool compact = false;  ///< memory holds the selected elements one after the other
  bool probes = false;   ///< of a store: only its faults

  u64 pack() const {
    return u64(slot) | u64(mask) << 8 | u64(element_log2) << 16 | u64(bytes) << 24 | u64(repeated) << 32 |
           u64(compact) << 40 | u64(probes) << 41;
  }
  static EvexAccess unpack(u64 v) {
    return {u8(v), u8(v >> 8 & 7), u8(v >> 16 & 3), u8(v >> 24), u8(v >> 32), (v >> 40 & 1) != 0, (v >> 41 & 1) != 0};
  }
};

/// A gather or scatter.
struct EvexGather {
  u8 reg = 0, index = 0, mask = 0, scale = 0, index_log2 = 0, element_log2 = 0, length_log2 = 0, segment = 0,
     address_log2 = 0;
  bool scatters = false;

  u64 pack() const {
    return u64(reg) | u64(index) << 8 | u64(mask) << 16 | u64(scale) << 20 | u64(index_log2) << 24 |
           u64(element_log2) << 28 | u64(length_log2) << 32 | u64(segment) << 36 | u64(address_log2) << 40 |
           u64(scatters) << 44;
  }
  static EvexGather unpack(u64 v) {
    return {u8(v & 31),      u8(v >> 8 & 31), u8(v >> 16 & 7), u8(v >> 20 & 3), u8(v >> 24 & 3),
            u8(v >> 28 & 3), u8(v >> 32 & 7), u8(v >> 36 & 7), u8(v >> 40 & 3), (v >> 44 & 1) != 0};
  }
};

}  // namespace emu::x86
