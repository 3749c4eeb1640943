// SPDX-License-Identifier: Apache-2.0
// A CPU's registers as the XML that gdb reads. GDB manual, appendix "Target Descriptions".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "target/debug_registers.h"

namespace emu::monitor::gdb {

/// "target.xml", or a file that it includes; empty: there is no such file.
std::optional<std::string> description_file(const target::DebugRegisters& registers, std::string_view name);

}  // namespace emu::monitor::gdb
