// SPDX-License-Identifier: Apache-2.0
// What translated code tells the helpers of masked memory operands, in a word.
#pragma once

#include "target/x86/cpu.h"

namespace emu::x86 {

/// The first address of an operand whose elements are accessed one by one, as a helper gets it: linear, or, where some of
/// its elements may lie beyond the segment's limit or wrap by themselves, an offset.
struct ElementBase {
  static constexpr u8 kIsLinear = 7;
  u8 segment = kIsLinear;
  u8 address_log2 = 3;

  /// 0 if it is linear.
  u64 pack() const { return u64(segment ^ 7) | u64(address_log2 ^ 3) << 3; }
  static ElementBase unpack(u64 v) { return {u8((v & 7) ^ 7), u8((v >> 3 & 3) ^ 3)}; }
  bool is_linear() const { return segment == kIsLinear; }
  /// Of the element `at` bytes behind `base`. False: #GP or #SS is pending.
  bool linear(X86Cpu& cpu, u64 base, u64 at, unsigned bytes, bool is_write, u64& to) const {
    if (!is_linear()) {
      return cpu.segment_linear(Seg(segment), (base + at) & low_mask(8u << address_log2), bytes, is_write, to);
    }
    to = cpu.is_code64() ? base + at : u32(base + at);
    return true;
  }
};

/// A memory operand of which a mask selects elements; the other side is a slot of X86State::vec.
struct EvexAccess {
  u8 slot = 0;
  u8 mask = 0;  ///< of k0..k7; not k0
  u8 element_log2 = 0;
  u8 bytes = 0;          ///< in memory, if all elements are selected
  u8 repeated = 0;       ///< not 0: of so many elements of the vector, to which those in memory are repeated
  bool compact = false;  ///< memory holds the selected elements one after the other
  bool probes = false;   ///< of a store: only its faults
  ElementBase base;

  u64 pack() const {
    return u64(slot) | u64(mask) << 8 | u64(element_log2) << 16 | u64(bytes) << 24 | u64(repeated) << 32 |
           u64(compact) << 40 | u64(probes) << 41 | base.pack() << 48;
  }
  static EvexAccess unpack(u64 v) {
    return {u8(v),
            u8(v >> 8 & 7),
            u8(v >> 16 & 3),
            u8(v >> 24),
            u8(v >> 32),
            (v >> 40 & 1) != 0,
            (v >> 41 & 1) != 0,
            ElementBase::unpack(v >> 48)};
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
