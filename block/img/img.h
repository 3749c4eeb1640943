// SPDX-License-Identifier: Apache-2.0
// system-emu-img: makes, looks at and converts disk images. The same binary under another name.
#pragma once

#include <string>
#include <vector>

namespace emu::block::img {

/// Whether the program was called by a name that means this tool: ".../system-emu-img", ".../qemu-img".
bool is_tool_name(const std::string& argv0);

/// The whole tool; the exit status. arguments[0] is the program's name.
int run(const std::vector<std::string>& arguments);

}  // namespace emu::block::img
