// SPDX-License-Identifier: Apache-2.0
// Compressed clusters: raw deflate with a 4 KiB window, or one zstd frame.
#pragma once

#include <span>
#include <vector>

#include "block/qcow2/format.h"

namespace emu::block::qcow2 {

/// False if `from` does not hold a whole cluster. `from` may have more bytes than the data has.
bool decompress(Compression type, std::span<const u8> from, std::span<u8> cluster);

/// Empty if it would not be smaller than the cluster.
std::vector<u8> compress(Compression type, std::span<const u8> cluster);

}  // namespace emu::block::qcow2
