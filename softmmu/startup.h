// SPDX-License-Identifier: Apache-2.0
// From arguments to a running machine, and down again.
#pragma once

#include <span>
#include <string>

#include "softmmu/parts.h"

namespace emu::softmmu {

/// The whole program but for what main links in. Returns the exit status. Call once, from main.
int run_program(std::span<const std::string> arguments, const Parts& parts);

}  // namespace emu::softmmu
