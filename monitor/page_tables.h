// SPDX-License-Identifier: Apache-2.0
// `info mem`: what an x86 guest's page tables map, as ranges. Intel SDM volume 3, chapter 4 "Paging".
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "util/types.h"

namespace emu::monitor {

struct PagingRegisters {
  u64 cr0 = 0, cr3 = 0, cr4 = 0, efer = 0;
};

/// Reads a little-endian table entry of 4 or 8 bytes at a physical address; nothing when there is no memory.
using PhysicalReader = std::function<std::optional<u64>(u64 address, unsigned bytes)>;

/// One line a range with equal rights, "first-end size urw"; "PG disabled" without paging.
std::string describe_x86_mappings(const PagingRegisters& registers, const PhysicalReader& read);

}  // namespace emu::monitor
