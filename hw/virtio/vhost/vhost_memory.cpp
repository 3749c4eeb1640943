// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_memory.h"

#include <algorithm>

#include "softmmu/memory/host_access.h"
#include "util/bits.h"

namespace emu::hw {

VhostMemory VhostMemory::of(const mem::AddressSpace& space, bool shared) {
  std::vector<VhostRegion> found;
  for (const mem::FlatRange& range : space.view().ranges()) {
    if (range.region->kind() != mem::Region::Kind::Ram || range.readonly) continue;
    const mem::RamRef& ram = range.region->ram_block();
    if (ram == nullptr || (shared && ram->shared_fd() < 0) || ram->is_logging(mem::DirtyClient::Display)) continue;
    const u64 offset = range.offset_in_region, size = range.last - range.first + 1;
    if (!is_aligned(range.first | offset | size, mem::kPageSize)) continue;
    const auto continued = std::find_if(found.begin(), found.end(), [&](const VhostRegion& known) {
      return known.ram == ram && known.guest - known.offset_in_ram == range.first - offset;
    });
    if (continued != found.end()) {  // ranges come by their addresses
      continued->size = range.last - continued->guest + 1;
      continue;
    }
    found.push_back({range.first, size, u64(mem::host_address(*ram, offset)), ram, offset});
  }
  // No back end takes regions that overlap; what lies in a hole of the main memory falls away.
  VhostMemory memory;
  for (VhostRegion& region : found) {
    if (!memory.regions_.empty() && region.guest <= memory.regions_.back().last()) continue;
    memory.regions_.push_back(std::move(region));
  }
  return memory;
}

std::optional<u64> VhostMemory::user_address(u64 guest, u64 length) const {
  for (const VhostRegion& region : regions_) {
    if (guest < region.guest || guest > region.last()) continue;
    const u64 offset = guest - region.guest;
    if (length > region.size - offset) return std::nullopt;
    return region.user + offset;
  }
  return std::nullopt;
}

}  // namespace emu::hw
