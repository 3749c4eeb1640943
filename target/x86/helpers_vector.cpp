// SPDX-License-Identifier: Apache-2.0
// PCMPESTRI and its relatives. SDM vol. 1, chapter 12.9 and vol. 2, 4.1.
#include <algorithm>
#include <bit>

#include "target/x86/cpu.h"
#include "target/x86/fpu_image.h"

namespace emu::x86 {
namespace {

constexpr u64 kToMask = 0x100, kImplicit = 0x200;  // in `kind`

/// imm8, by its fields.
struct Control {
  u32 imm;
  bool is_words() const { return imm & 1; }
  bool is_signed() const { return imm & 2; }
  unsigned aggregation() const { return imm >> 2 & 3; }  ///< equal any, ranges, equal each, equal ordered
  unsigned polarity() const { return imm >> 4 & 3; }
  bool is_high() const { return imm & 0x40; }  ///< the last index, or a mask of whole lanes
  unsigned lanes() const { return is_words() ? 8 : 16; }
};

i32 lane(const u8* v, const Control& control, unsigned i) {
  if (!control.is_words()) return control.is_signed() ? i32(i8(v[i])) : i32(v[i]);
  const u16 word = image_get<u16>(v, i * 2);
  return control.is_signed() ? i32(i16(word)) : i32(word);
}

unsigned length_of(const u8* v, const Control& control, bool is_implicit, u64 length) {
  if (!is_implicit) {
    const u64 magnitude = length >> 63 ? u64(0) - length : length;
    return unsigned(std::min<u64>(magnitude, control.lanes()));
  }
  unsigned n = 0;
  while (n < control.lanes() && lane(v, control, n) != 0) ++n;
  return n;
}

/// Bit j of the first intermediate result: what b's lane j says, given a.
bool matches(const Control& control, const u8* a, unsigned length_a, const u8* b, unsigned length_b, unsigned j) {
  const auto at_a = [&](unsigned i) { return lane(a, control, i); };
  const auto at_b = [&](unsigned i) { return lane(b, control, i); };
  const bool has_b = j < length_b;
  switch (control.aggregation()) {
    case 0:
      for (unsigned i = 0; i < length_a; ++i)
        if (has_b && at_a(i) == at_b(j)) return true;
      return false;
    case 1:
      for (unsigned i = 0; i + 1 < length_a; i += 2)
        if (has_b && at_a(i) <= at_b(j) && at_b(j) <= at_a(i + 1)) return true;
      return false;
    case 2:
      return has_b && j < length_a ? at_a(j) == at_b(j) : !has_b && j >= length_a;
    default:
      for (unsigned i = 0; i < length_a && i + j < control.lanes(); ++i)
        if (i + j >= length_b || at_a(i) != at_b(i + j)) return false;
      return true;
  }
}

}  // namespace

u64 X86Cpu::helper_compare_strings(const u64* args) {
  u8* a = s_->vec[args[0] & 15].bytes;
  const u8* b = s_->vec_tmp[0].bytes;
  const Control control{u32(args[1])};
  const unsigned lanes = control.lanes();
  const unsigned length_a = length_of(a, control, args[1] & kImplicit, args[2]);
  const unsigned length_b = length_of(b, control, args[1] & kImplicit, args[3]);
  u32 result = 0;
  for (unsigned j = 0; j < lanes; ++j) result |= u32(matches(control, a, length_a, b, length_b, j)) << j;
  const u32 all = u32(low_mask(lanes));
  if (control.polarity() == 1) result ^= all;
  if (control.polarity() == 3) result ^= u32(low_mask(length_b));

  u64 flags = 0;
  if (result != 0) flags |= kCF;
  if (length_b < lanes) flags |= kZF;
  if (length_a < lanes) flags |= kSF;
  if (result & 1) flags |= kOF;
  if (!(args[1] & kToMask)) {
    const unsigned index = result == 0         ? lanes
                           : control.is_high() ? unsigned(std::bit_width(result)) - 1
                                               : unsigned(std::countr_zero(result));
    return flags << 32 | index;
  }
  u8 mask[16] = {};
  if (!control.is_high()) {
    image_put<u16>(mask, 0, u16(result));
  } else {
    for (unsigned i = 0; i < 16; ++i) mask[i] = result >> (control.is_words() ? i / 2 : i) & 1 ? 0xff : 0;
  }
  std::copy(std::begin(mask), std::end(mask), s_->vec[0].bytes);
  return flags << 32;
}

}  // namespace emu::x86
