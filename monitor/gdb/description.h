// SPDX-License-Identifier: Apache-2.0
// The XML that gdb reads: a CPU's registers (GDB manual, appendix "Target Descriptions") and what its addresses are
// (appendix "GDB Remote Serial Protocol", "Memory Map Format").
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "target/debug_registers.h"

namespace emu::monitor::gdb {

/// "target.xml", or a file that it includes; empty: there is no such file.
std::optional<std::string> description_file(const target::DebugRegisters& registers, std::string_view name);

/// Every address is RAM. The map is of the addresses that a debugger uses, which are virtual: what lies behind them
/// changes with each page table, and gdb refuses by itself, without asking, what a map leaves out, and writes to what
/// it calls ROM. In two halves, as the length of the whole does not fit 64 bits.
inline constexpr std::string_view kMemoryMap = R"(<?xml version="1.0"?>
<!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN"
  "http://sourceware.org/gdb/gdb-memory-map.dtd">
<memory-map>
<memory type="ram" start="0x0" length="0x8000000000000000"/>
<memory type="ram" start="0x8000000000000000" length="0x8000000000000000"/>
</memory-map>
)";

}  // namespace emu::monitor::gdb
