// SPDX-License-Identifier: Apache-2.0
// Format `qcow2` in the table of drivers.
#pragma once

#include "block/driver.h"

namespace emu::block {

void register_qcow2_driver(DriverRegistry& drivers, qcow2::CorruptionListener listener = {});

}  // namespace emu::block
