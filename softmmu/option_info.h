// SPDX-License-Identifier: Apache-2.0
// The option table for programs: query-command-line-options.
#pragma once

#include <vector>

#include "monitor/control.h"
#include "qom/type.h"

namespace emu::softmmu {

/// One entry an option that takes keys, read off its syntax in the table; -machine has what all boards take.
std::vector<monitor::OptionInfo> option_infos(const qom::TypeRegistry& types);

}  // namespace emu::softmmu
