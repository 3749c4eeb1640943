// SPDX-License-Identifier: Apache-2.0
// Format `qcow2` in the table of drivers.
#pragma once

#include <functional>
#include <string>

#include "block/driver.h"

namespace emu::block {

namespace qcow2 {
struct Corruption;
/// Hears what BLOCK_IMAGE_CORRUPTED tells, on the node's loop.
using CorruptionListener = std::function<void(const std::string& node_name, const Corruption& corruption)>;
}  // namespace qcow2

void register_qcow2_driver(DriverRegistry& drivers, qcow2::CorruptionListener listener = {});

}  // namespace emu::block
