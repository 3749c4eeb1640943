// SPDX-License-Identifier: Apache-2.0
// The commands there are.
#pragma once

#include "monitor/command.h"

namespace emu::monitor {

/// All of them. Each group is in a file of its own.
void register_commands(CommandRegistry& registry);

void register_run_commands(CommandRegistry& registry);     ///< stop, cont, system_reset, quit...
void register_info_commands(CommandRegistry& registry);    ///< info ...
void register_memory_commands(CommandRegistry& registry);  ///< x, xp, print

}  // namespace emu::monitor
