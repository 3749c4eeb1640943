// SPDX-License-Identifier: Apache-2.0
// Flattening a region tree.
#include "softmmu/memory/flat_view.h"

#include <algorithm>

#include "util/check.h"

namespace emu::mem {

namespace {
// Of nesting; deeper is a cycle of aliases. 255 PCI buses one behind the other take two levels each.
constexpr unsigned kMaxDepth = 1024;
}

/// Renders regions highest priority first; what comes later only fills the gaps.
class FlatViewBuilder {
 public:
  void render(Region& region, i128 base, i128 clip_first, i128 clip_end, bool readonly, unsigned depth) {
    EMU_CHECK(depth < kMaxDepth);
    if (!region.enabled_) return;
    const i128 first = std::max(base, clip_first);
    const i128 end = std::min(base + i128(region.size_), clip_end);
    if (first >= end) return;
    readonly |= region.readonly_;
    if (region.kind_ == Region::Kind::Alias) {
      render(*region.target_, base - i128(region.alias_offset_), first, end, readonly, depth + 1);
      return;
    }
    for (const RegionRef& child : region.children_) {
      render(*child, base + i128(child->address_), first, end, readonly, depth + 1);
    }
    if (region.kind_ != Region::Kind::Container) fill(region, base, first, end, readonly);
  }

  std::vector<FlatRange> take() {
    std::vector<FlatRange> merged;
    for (FlatRange& range : ranges_) {
      if (!merged.empty() && continues(merged.back(), range)) {
        merged.back().last = range.last;
      } else {
        merged.push_back(std::move(range));
      }
    }
    return merged;
  }

 private:
  static bool continues(const FlatRange& before, const FlatRange& after) {
    return before.last + 1 == after.first && before.region == after.region &&
           before.offset_in_region + (before.last - before.first) + 1 == after.offset_in_region &&
           before.readonly == after.readonly && before.direct == after.direct;
  }

  void fill(Region& region, i128 base, i128 first, i128 end, bool readonly) {
    using Kind = Region::Kind;
    FlatRange range;
    range.region = region.shared_from_this();
    range.readonly = readonly || region.kind_ == Kind::Rom || region.kind_ == Kind::RomDevice;
    range.direct = region.kind_ == Kind::Ram || region.kind_ == Kind::Rom ||
                   (region.kind_ == Kind::RomDevice && region.rom_mode_);
    auto place = std::find_if(ranges_.begin(), ranges_.end(),
                              [&](const FlatRange& r) { return i128(r.last) >= first; });
    while (first < end) {
      const i128 gap_end = place == ranges_.end() ? end : std::min(end, i128(place->first));
      if (first < gap_end) {
        range.first = u64(first);
        range.last = u64(gap_end - 1);
        range.offset_in_region = u64(first - base);
        place = std::next(ranges_.insert(place, range));
      }
      if (place == ranges_.end()) return;
      first = i128(place->last) + 1;
      ++place;
    }
  }

  std::vector<FlatRange> ranges_;  // sorted, disjoint
};

std::vector<FlatRange> flatten(Region& root) {
  FlatViewBuilder builder;
  builder.render(root, 0, 0, i128(kWholeAddressSpace), false, 0);
  return builder.take();
}

Section FlatView::lookup(GuestPhys address) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                      [](GuestPhys a, const FlatRange& r) { return a < r.first; });
  const GuestPhys page = align_down(address, kPageSize);
  Section section;
  if (after != ranges_.begin() && std::prev(after)->contains(address)) {
    const FlatRange& range = *std::prev(after);
    section.region = range.region.get();
    section.offset_in_region = range.offset_in_region + (address - range.first);
    section.size = range.last - address + 1;
    section.readonly = range.readonly;
    section.starts_page = range.first <= page;
    if (range.direct) {
      section.ram = range.region->ram_block().get();
      section.offset_in_ram = section.offset_in_region;
    }
    return section;
  }
  section.size = after == ranges_.end() ? u64(0) - address : after->first - address;
  section.starts_page = after == ranges_.begin() || std::prev(after)->last < page;
  return section;
}

}  // namespace emu::mem
