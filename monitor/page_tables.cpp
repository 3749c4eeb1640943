// SPDX-License-Identifier: Apache-2.0
#include "monitor/page_tables.h"

#include <fmt/format.h>

#include "util/bits.h"

namespace emu::monitor {
namespace {

constexpr u64 kPG = bit(31), kPSE = bit(4), kPAE = bit(5), kLA57 = bit(12), kLMA = bit(10);
constexpr u64 kPresent = 1, kWrite = 2, kUser = 4, kLarge = 0x80;
constexpr u64 kAddressMask = 0x000f'ffff'ffff'f000;
/// A guest may point table entries at the tables themselves; the walk stops after so many ranges, or entries where what
/// they map is all alike.
constexpr unsigned kMostRanges = 20000, kMostEntries = 1 << 24;

/// How one kind of paging indexes: levels from the root, entry size, bits of index at each.
struct Shape {
  unsigned levels, entry_bytes, index_bits;
  unsigned root_entries;
};

class Walker {
 public:
  Walker(Shape shape, bool has_large_4m, unsigned digits, const PhysicalReader& read)
      : shape_(shape), has_large_4m_(has_large_4m), digits_(digits), read_(read) {}

  std::string walk(u64 root) {
    table(root, 0, 0, kWrite | kUser);
    flush(reached_, 0);
    if (is_over()) text_ += "(more ranges are not shown)\n";
    return std::move(text_);
  }

 private:
  bool is_over() const { return ranges_ >= kMostRanges || entries_ >= kMostEntries; }

  void table(u64 address, unsigned level, u64 va, u64 rights) {
    const unsigned below = shape_.levels - 1 - level;
    const unsigned shift = 12 + below * shape_.index_bits;
    const unsigned entries = level == 0 ? shape_.root_entries : 1u << shape_.index_bits;
    for (unsigned i = 0; i < entries && !is_over(); i++) {
      entries_++;
      const u64 here = va + (u64(i) << shift);
      const auto entry = read_(address + u64(i) * shape_.entry_bytes, shape_.entry_bytes);
      if (!entry || !(*entry & kPresent)) {
        flush(here, 0);
        continue;
      }
      // A PAE root entry has no rights of its own (SDM 4.4.1).
      const bool is_pdpte = shape_.levels == 3 && level == 0;
      const u64 now = is_pdpte ? rights : rights & *entry;
      const bool may_be_large = shape_.levels == 2 ? has_large_4m_ : below <= 2 && !is_pdpte;
      if (below == 0 || ((*entry & kLarge) && may_be_large)) {
        flush(here, kPresent | (now & (kWrite | kUser)));
        reached_ = here + (u64(1) << shift);
      } else {
        table(*entry & (shape_.entry_bytes == 4 ? 0xffff'f000 : kAddressMask), level + 1, here, now);
      }
    }
    if (level == 0 && !is_over()) flush(va + (u64(entries) << shift), 0);
  }

  /// From `va` on rights are `rights`: ends the range before it if they differ.
  void flush(u64 va, u64 rights) {
    if (rights == rights_) return;
    if (rights_ != 0) {
      const u64 first = canonical(start_), end = canonical(va);
      text_ += fmt::format("{:0{}x}-{:0{}x} {:0{}x} {}r{}\n", first, digits_, end, digits_, end - first, digits_,
                           rights_ & kUser ? 'u' : '-', rights_ & kWrite ? 'w' : '-');
      ranges_++;
    }
    start_ = va;
    rights_ = rights;
  }

  /// Sign-extends the top index of long mode.
  u64 canonical(u64 va) const {
    if (shape_.levels < 4) return va;
    const unsigned top = 12 + shape_.levels * shape_.index_bits;
    return va >> (top - 1) == 1 ? va | ~u64(0) << top : va;
  }

  const Shape shape_;
  const bool has_large_4m_;
  const unsigned digits_;
  const PhysicalReader& read_;
  std::string text_;
  u64 start_ = 0, rights_ = 0;
  u64 reached_ = 0;  ///< the end of what was mapped last
  unsigned ranges_ = 0, entries_ = 0;
};

}  // namespace

std::string describe_x86_mappings(const PagingRegisters& r, const PhysicalReader& read) {
  if (!(r.cr0 & kPG)) return "PG disabled\n";
  if (r.efer & kLMA) {
    const unsigned levels = r.cr4 & kLA57 ? 5 : 4;
    return Walker({levels, 8, 9, 512}, false, 16, read).walk(r.cr3 & kAddressMask);
  }
  if (r.cr4 & kPAE) return Walker({3, 8, 9, 4}, false, 8, read).walk(r.cr3 & 0xffff'ffe0);
  return Walker({2, 4, 10, 1024}, (r.cr4 & kPSE) != 0, 8, read).walk(r.cr3 & 0xffff'f000);
}

}  // namespace emu::monitor
