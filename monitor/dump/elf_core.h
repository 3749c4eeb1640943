// SPDX-License-Identifier: Apache-2.0
// Guest memory and registers as an ELF core file, which crash and gdb open. ELF-64 Object File Format; note layouts of
// Linux' <linux/elfcore.h> (NT_PRSTATUS) and of QEMU's (docs: crash's reading of "QEMU" notes).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "monitor/ram_ranges.h"
#include "util/types.h"

namespace emu::monitor {

/// Everything before the memory itself: headers and notes, in a file where the ranges follow one another in order.
/// `registers` holds one x86 register dump a CPU.
std::vector<u8> make_elf_core_head(const std::vector<RamRange>& ranges, const std::vector<std::string>& registers);

/// The part of `ranges` within [begin, begin + length).
std::vector<RamRange> clip_ranges(const std::vector<RamRange>& ranges, u64 begin, u64 length);

}  // namespace emu::monitor
