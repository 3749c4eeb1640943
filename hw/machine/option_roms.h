// SPDX-License-Identifier: Apache-2.0
// Option ROMs of ours that are part of the program; sources in roms/.
#pragma once

#include <vector>

#include "util/types.h"

namespace emu::hw {

/// Starts the kernel that is in fw_cfg, as a boot device of the BIOS. Checksums are right.
std::vector<u8> kernel_boot_rom();

}  // namespace emu::hw
