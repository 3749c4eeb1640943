// SPDX-License-Identifier: Apache-2.0
#include "monitor/ram_ranges.h"

#include "softmmu/memory/address_space.h"
#include "softmmu/memory/memory.h"

namespace emu::monitor {

std::vector<RamRange> ram_ranges(mem::AddressSpace& space) {
  const mem::GracePeriods::ReadGuard guard(space.memory().grace());
  const mem::FlatView& view = space.view();
  std::vector<RamRange> ranges;
  for (u64 address = 0;;) {
    const mem::Section section = view.lookup(address);
    const u64 size = section.size;
    if (section.is_ram() && !section.readonly && size != 0) {
      if (!ranges.empty() && ranges.back().end() == address) {
        ranges.back().size += size;
      } else {
        ranges.push_back({address, size});
      }
    }
    if (size == 0 || address + size <= address) return ranges;
    address += size;
  }
}

}  // namespace emu::monitor
