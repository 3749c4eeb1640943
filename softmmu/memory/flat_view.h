// SPDX-License-Identifier: Apache-2.0
// What an address space looks like after flattening: sorted ranges that never change once published.
#pragma once

#include <vector>

#include "softmmu/memory/region.h"
#include "softmmu/memory/types.h"

namespace emu::mem {

/// Guest addresses first..last (inclusive) are one stretch of one region.
struct FlatRange {
  GuestPhys first = 0;
  GuestPhys last = 0;
  RegionRef region;
  u64 offset_in_region = 0;  ///< of `first`
  bool readonly = false;     ///< guest writes are ignored, or go to the callbacks of a RomDevice
  bool direct = false;       ///< reads come from RAM: Ram, Rom, and RomDevice in ROM mode

  bool contains(GuestPhys address) const { return address >= first && address <= last; }
  bool same_mapping(const FlatRange& other) const {
    return first == other.first && last == other.last && region == other.region &&
           offset_in_region == other.offset_in_region && readonly == other.readonly && direct == other.direct;
  }
};

/// Where one address leads. Plain pointers: valid as long as the FlatView (ReadGuard, or Participant not yet
/// quiescent).
struct Section {
  Region* region = nullptr;  ///< null: nothing is mapped here
  RamBlock* ram = nullptr;   ///< set when reads are direct; writes too unless `readonly`
  u64 offset_in_region = 0;
  u64 offset_in_ram = 0;
  u64 size = 0;  ///< bytes from the address to the end of the stretch (or of the gap); 0 stands for 2^64
  bool readonly = false;
  bool starts_page = false;  ///< the stretch began at or before the start of the address's 4 KiB page

  bool is_mapped() const { return region != nullptr; }
  bool is_ram() const { return ram != nullptr; }
  /// The 4 KiB page of `address` lies wholly in this stretch, so one TLB entry can describe it.
  bool covers_page_of(GuestPhys address) const {
    return starts_page && (size == 0 || size >= kPageSize - (address & (kPageSize - 1)));
  }
  RamPage ram_page() const { return ram == nullptr ? kNoRamPage : ram->page_at(offset_in_ram); }
};

/// Immutable. Lookup is a binary search, without locks or allocation.
class FlatView {
 public:
  explicit FlatView(std::vector<FlatRange> ranges, u64 generation)
      : ranges_(std::move(ranges)), generation_(generation) {}

  Section lookup(GuestPhys address) const;
  const std::vector<FlatRange>& ranges() const { return ranges_; }
  /// Grows with each publication of any address space of the machine.
  u64 generation() const { return generation_; }

 private:
  std::vector<FlatRange> ranges_;
  u64 generation_;
};

/// Flattens the tree below `root`.
std::vector<FlatRange> flatten(Region& root);

}  // namespace emu::mem
