// SPDX-License-Identifier: Apache-2.0
// Texts that -help, and `help` as a value, print.
#pragma once

#include <string>

#include "softmmu/parts.h"
#include "softmmu/start_options.h"

namespace emu::softmmu {

/// -help, from the option table.
std::string options_help();
/// docs/user/command-line.md, from the same table.
std::string options_markdown();
/// Any of them. Errors: a machine or device that does not exist.
Result<std::string> help_text(const HelpRequest& request, const StartOptions& options, const Parts& parts);

/// Folders that firmware is looked for in when -L names none, best first.
std::vector<std::string> default_data_dirs();

}  // namespace emu::softmmu
