// SPDX-License-Identifier: Apache-2.0
// Segment descriptors as they lie in memory, and what a loaded one admits.
#pragma once

#include "target/x86/state.h"

namespace emu::x86 {

/// A segment descriptor's two dwords as they lie in memory; the second half of a 16-byte one in `upper`.
struct Descriptor {
  u32 low = 0, high = 0, upper = 0;

  u64 base() const { return (low >> 16) | (high & 0xff) << 16 | (high & 0xff000000) | u64(upper) << 32; }
  u32 limit() const {
    const u32 raw = (low & 0xffff) | (high & 0xf0000);
    return high & bit(23) ? raw << 12 | 0xfff : raw;
  }
  u32 attributes() const { return high & 0x00f0ff00; }
  unsigned type() const { return high >> 8 & 15; }
  unsigned dpl() const { return high >> 13 & 3; }
  bool is_segment() const { return high & bit(12); }  ///< code or data, not system
  bool is_code() const { return is_segment() && (high & bit(11)); }
  bool is_conforming() const { return high & bit(10); }
  bool is_writable_data() const { return is_segment() && !(high & bit(11)) && (high & bit(9)); }
  bool is_readable() const { return is_segment() && (!(high & bit(11)) || (high & bit(9))); }
  bool is_present() const { return high & bit(15); }
  bool is_long() const { return high & bit(21); }
  bool is_big() const { return high & bit(22); }
  // As a gate:
  u16 gate_selector() const { return u16(low >> 16); }
  u64 gate_offset() const { return (low & 0xffff) | (high & 0xffff0000) | u64(upper) << 32; }
  unsigned gate_parameters() const { return high & 31; }
  unsigned gate_ist() const { return high & 7; }
};

inline constexpr u32 kAttrAccessed = bit(8), kAttrWritable = bit(9) /* code: readable */, kAttrExpandDown = bit(10),
                     kAttrCode = bit(11), kAttrSegment = bit(12), kAttrPresent = bit(15), kAttrLong = bit(21),
                     kAttrBig = bit(22);

/// The offsets that a segment of this limit and these attributes admits.
inline SegmentRange make_range(u32 limit, u32 attributes) {
  SegmentRange none;
  if (!(attributes & kAttrPresent) || !(attributes & kAttrSegment)) return none;
  SegmentRange range;
  const bool code = attributes & kAttrCode;
  u64 low = 0, high = limit;
  if (!code && (attributes & kAttrExpandDown)) {
    low = u64(limit) + 1;
    high = attributes & kAttrBig ? 0xffffffff : 0xffff;
    if (low > high) return none;
  }
  if (!code || (attributes & kAttrWritable)) {
    range.read_low = u32(low);
    range.read_high = u32(high);
  }
  if (!code && (attributes & kAttrWritable)) {
    range.write_low = u32(low);
    range.write_high = u32(high);
  }
  return range;
}

inline void load_segment(X86State& s, Seg seg, u16 selector, u64 base, u32 limit, u32 attributes) {
  if (s.fpu_ip != kFpuSettled) settle_fpu_pointers(s);  // its selectors are those of now
  s.segment_base(seg) = base;
  s.seg[seg] = {selector, attributes & 0x00f0ff00, limit};
  if (seg < LDTR) s.seg_range[seg] = make_range(limit, attributes);
}

/// A null FS or GS keeps its base when a return to an outer privilege takes it away; so does everything that such a
/// privilege may use.
inline bool outlives_return(const Segment& segment, unsigned cpl) {
  const bool conforming = (segment.attributes & kAttrCode) && (segment.attributes & kAttrExpandDown);
  return !(segment.attributes & kAttrPresent) || conforming || (segment.attributes >> 13 & 3) >= cpl;
}

/// CS and SS as SYSCALL, SYSENTER and their returns set them.
inline void load_flat_code(X86State& s, u16 selector, unsigned dpl, bool is_long) {
  load_segment(s, CS, u16((selector & ~3) | dpl), 0, 0xffffffff,
               0x809b00 | u32(dpl) << 13 | (is_long ? kAttrLong : kAttrBig));
}
inline void load_flat_stack(X86State& s, u16 selector, unsigned dpl) {
  load_segment(s, SS, u16((selector & ~3) | dpl), 0, 0xffffffff, 0xc09300 | u32(dpl) << 13);
}

}  // namespace emu::x86
