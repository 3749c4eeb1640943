// SPDX-License-Identifier: Apache-2.0
// All virtio devices and transports, for the program's list of types.
#pragma once

#include "qom/type.h"

namespace emu::hw {

/// After the PCI core and the chardev object.
void register_virtio(qom::TypeRegistry& registry);

}  // namespace emu::hw
