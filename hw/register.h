// SPDX-License-Identifier: Apache-2.0
// All device types of the program: what -device, boards and the fuzzer know.
#pragma once

#include "qom/type.h"

namespace emu::hw {

/// Adds every device in hw/. Not the board types: those are in hw/machine.
void register_devices(qom::TypeRegistry& registry);

}  // namespace emu::hw
