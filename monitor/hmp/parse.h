// SPDX-License-Identifier: Apache-2.0
// A typed line as a command with checked arguments.
#pragma once

#include <string_view>

#include "monitor/command.h"
#include "monitor/expression.h"

namespace emu::monitor {

struct ParsedLine {
  const Command* command = nullptr;  ///< null: the line was empty
  Arguments arguments;
};

/// Reads one line: NAME[/FMT] ARGUMENTS. A format that is left out is the session's last, which is updated.
/// Errors: unknown command (with the nearest spelling), missing or surplus arguments, a bad expression or format.
Result<ParsedLine> parse_line(std::string_view line, const CommandRegistry& registry, Session& session,
                              const ExpressionNames& names);

}  // namespace emu::monitor
