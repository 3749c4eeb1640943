// SPDX-License-Identifier: Apache-2.0
// Where guest memory is.
#pragma once

#include <vector>

#include "util/types.h"

namespace emu::mem {
class AddressSpace;
}

namespace emu::monitor {

/// Guest physical memory that is RAM.
struct RamRange {
  u64 address = 0, size = 0;
  u64 end() const { return address + size; }
};

/// All that can be written, in order; neighbours are one. Any lock or none: a guest that runs may move its devices.
std::vector<RamRange> ram_ranges(mem::AddressSpace& space);

}  // namespace emu::monitor
