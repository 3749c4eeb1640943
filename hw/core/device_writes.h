// SPDX-License-Identifier: Apache-2.0
// What a machine's accelerator brings, for devices.
#pragma once

#include "hw/core/services.h"
#include "target/acceleration.h"

namespace emu::hw {

/// Null: the machine's guests are translated, or run by nobody.
inline target::Acceleration* acceleration(MachineServices& machine) {
  const auto* accelerated = dynamic_cast<const target::Accelerated*>(machine.tree().find("/machine/board"));
  return accelerated == nullptr ? nullptr : accelerated->acceleration();
}

/// Null: each write comes to its region's callback at once.
inline target::DeviceWrites* device_writes(MachineServices& machine) {
  target::Acceleration* const found = acceleration(machine);
  return found == nullptr ? nullptr : found->device_writes();
}

}  // namespace emu::hw
