// SPDX-License-Identifier: Apache-2.0
// What a machine's accelerator may do with writes to devices, for devices.
#pragma once

#include "hw/core/services.h"
#include "target/acceleration.h"

namespace emu::hw {

/// Null: each write comes to its region's callback at once.
inline target::DeviceWrites* device_writes(MachineServices& machine) {
  const auto* accelerated = dynamic_cast<const target::Accelerated*>(machine.tree().find("/machine/board"));
  target::Acceleration* const found = accelerated == nullptr ? nullptr : accelerated->acceleration();
  return found == nullptr ? nullptr : found->device_writes();
}

}  // namespace emu::hw
