// SPDX-License-Identifier: Apache-2.0
// A running Linux' own table of symbols, found in its memory: what /proc/kallsyms shows there.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::mem {
class AddressSpace;
}

namespace emu::monitor {

struct KernelSymbol {
  u64 address = 0;
  std::string name;
  bool operator==(const KernelSymbol&) const = default;
};

/// The tables in a stretch of memory that is aligned to 8, if `digits` is where their tokens "0" to "9" are. Empty:
/// they are not there, or damaged. 64-bit kernels from 4.20 on, whose addresses are relative to a base. Symbols that
/// are no addresses (of per-CPU data) are left out.
std::vector<KernelSymbol> parse_kallsyms(std::span<const u8> memory, std::size_t digits);

/// Looks through all RAM. Errors: no such kernel runs, or it has come no further than its decompressor.
Result<std::vector<KernelSymbol>> find_kallsyms(mem::AddressSpace& memory);

}  // namespace emu::monitor
