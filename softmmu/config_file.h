// SPDX-License-Identifier: Apache-2.0
// -readconfig: options in a file of sections, `[device "disk0"]` with lines `driver = "ide-hd"`; and -set.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "softmmu/option_table.h"

namespace emu::softmmu {

/// The options that a file's text stands for, in order. Errors name file and line.
Result<std::vector<GivenOption>> parse_config(std::string_view text, const std::string& file);

/// Puts what -readconfig names in its place, and what -set says into the options it means. Reads files.
Result<std::vector<GivenOption>> expand_config(std::vector<GivenOption> given);

}  // namespace emu::softmmu
