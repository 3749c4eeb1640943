// SPDX-License-Identifier: Apache-2.0
// Whole files at once.
#pragma once

#include <string>

#include "util/result.h"

namespace emu {

/// All bytes of a file, pipe or device. Errors name the path: it cannot be opened or read (a folder), or has more than
/// `most_bytes`.
Result<std::string> read_file(const std::string& path, std::size_t most_bytes);

/// Whether a file could be written there, which is neither opened nor made. Errors name the path.
Result<void> check_creatable(const std::string& path);

/// The folder that a path's last part lies in: "a/b/" of "a/b/c", "." of "c".
std::string folder_of(const std::string& path);

}  // namespace emu
