// SPDX-License-Identifier: Apache-2.0
// What of a machine keeps it from being taken back to an earlier moment.
#pragma once

#include <optional>
#include <string>

#include "hw/machine/machine.h"
#include "softmmu/start_options.h"

namespace emu::softmmu {

/// The first thing that stands in the way, with what to write instead; empty: nothing. Main thread.
std::optional<std::string> find_obstacle(const StartOptions& options, hw::Machine& machine, bool can_rewind);

}  // namespace emu::softmmu
