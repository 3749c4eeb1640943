// SPDX-License-Identifier: Apache-2.0
// Masked loads and stores, and gathers: SDM vol. 2, VMASKMOV, VPMASKMOV, VGATHER and VPGATHER. A lane that its mask
// leaves out is not accessed and cannot fault.
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/evex_access.h"

namespace emu::x86 {

using target::AccessStatus;

namespace {

struct MaskedAccess {
  unsigned reg, mask, log2, bytes;
  ElementBase base;
  explicit MaskedAccess(u64 packed)
      : reg(packed & 15),
        mask(packed >> 8 & 15),
        log2(packed >> 16 & 3),
        bytes(packed >> 24 & 63),
        base(ElementBase::unpack(packed >> 32)) {}
  unsigned lanes() const { return bytes >> log2; }
};

bool is_negative(const u8* vector, unsigned lane, unsigned log2) { return vector[((lane + 1) << log2) - 1] & 0x80; }

}  // namespace

u64 X86Cpu::helper_load_masked(const u64* args) {
  const MaskedAccess access(args[1]);
  const u8* mask = s_->vec[access.mask].bytes;
  u8 result[32] = {};
  for (unsigned i = 0; i < access.lanes(); ++i) {
    if (!is_negative(mask, i, access.log2)) continue;
    const unsigned at = i << access.log2, size = 1u << access.log2;
    u64 from = 0;
    if (!access.base.linear(*this, args[0], at, size, false, from)) return 0;
    if (memory_->load_bytes(from, std::span(result + at, size), current_view()) != AccessStatus::Ok) return 0;
  }
  std::memcpy(s_->vec[access.reg].bytes, result, 32);
  std::memset(s_->vec[access.reg].bytes + 32, 0, 32);
  return 0;
}

u64 X86Cpu::helper_store_masked(const u64* args) {
  const MaskedAccess access(args[1]);
  const u8* mask = s_->vec[access.mask].bytes;
  const u8* source = s_->vec[access.reg].bytes;
  const u8 view = current_view();
  const unsigned size = 1u << access.log2;
  u64 to[8] = {};
  for (unsigned i = 0; i < access.lanes(); ++i) {
    if (!is_negative(mask, i, access.log2)) continue;
    if (!access.base.linear(*this, args[0], u64(i) << access.log2, size, true, to[i])) return 0;
    if (memory_->probe(to[i], size, target::Access::Store, view) != AccessStatus::Ok) return 0;
  }
  for (unsigned i = 0; i < access.lanes(); ++i) {
    if (!is_negative(mask, i, access.log2)) continue;
    if (memory_->store_bytes(to[i], std::span(source + (i << access.log2), size), view) != AccessStatus::Ok) return 0;
  }
  return 0;
}

/// Lanes are loaded from the lowest up. A fault leaves those before it loaded and their masks cleared, so that the
/// instruction continues where it was.
u64 X86Cpu::helper_gather(const u64* args) {
  const u64 kind = args[1];
  u8* result = s_->vec[kind & 15].bytes;
  u8* mask = s_->vec[kind >> 4 & 15].bytes;
  const u8* indexes = s_->vec[kind >> 8 & 15].bytes;
  const unsigned scale = kind >> 12 & 3, index_log2 = kind >> 16 & 3, log2 = kind >> 20 & 3, bytes = kind >> 24 & 63;
  const unsigned segment = kind >> 32 & 7, address_log2 = kind >> 40 & 3;
  const unsigned size = 1u << log2, lanes = bytes >> std::max(index_log2, log2);
  for (unsigned i = 0; i < lanes; ++i) std::memset(mask + i * size, is_negative(mask, i, log2) ? 0xff : 0, size);
  for (unsigned i = 0; i < lanes; ++i) {
    if (!mask[i * size]) continue;
    i64 index = 0;
    std::memcpy(&index, indexes + (i << index_log2), size_t(1) << index_log2);
    if (index_log2 == 2) index = i32(index);
    u64 offset = args[0] + (u64(index) << scale);
    if (address_log2 == 2) offset = u32(offset);
    if (!is_code64()) {
      const SegmentRange& range = s_->seg_range[segment];
      if (offset < range.read_low || offset + size - 1 > range.read_high) {
        raise(segment == SS ? Vector::kSS : Vector::kGP, 0);
        return 0;
      }
    }
    const bool has_base = !is_code64() || segment == FS || segment == GS;
    const u64 linear = wrap_operand(offset + (has_base ? s_->segment_base(segment) : 0));
    u8 lane[8];
    if (memory_->load_bytes(linear, std::span(lane, size), current_view()) != AccessStatus::Ok) return 0;
    std::memcpy(result + i * size, lane, size);
    std::memset(mask + i * size, 0, size);
  }
  std::memset(result + lanes * size, 0, 64 - lanes * size);
  std::memset(mask, 0, 64);
  return 0;
}

}  // namespace emu::x86
