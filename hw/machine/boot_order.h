// SPDX-License-Identifier: Apache-2.0
// bootindex= as firmware wants it: OpenFirmware device paths in order (SeaBIOS docs/Runtime_config.md, "bootorder").
#pragma once

#include <string>
#include <vector>

#include "hw/core/device.h"

namespace emu::hw {

/// "/pci@i0cf8/ide@1,1/drive@0/disk@0"; empty for a device that firmware cannot start from.
std::string firmware_path(const Device& device);
/// Paths of the devices below `root` that have a bootindex, lowest first; equal ones in tree order.
std::vector<std::string> boot_order(qom::Object& root);

}  // namespace emu::hw
