// SPDX-License-Identifier: Apache-2.0
// Properties of -machine: the board's own, and those of QEMU that we accept with the value that says how things are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "hw/machine/board.h"
#include "util/options.h"

namespace emu::softmmu {

/// Sets each pair on the board. Errors: no such property, with the nearest spelling; a value that is not supported.
Result<void> set_machine_properties(hw::Board& board, const Options& properties);

/// Names of the properties that every machine accepts.
std::vector<std::string_view> common_machine_properties();

/// Lines for `-machine NAME,help`.
std::string common_machine_help(const qom::Type& type);

}  // namespace emu::softmmu
