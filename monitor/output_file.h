// SPDX-License-Identifier: Apache-2.0
// Files that commands write.
#pragma once

#include <span>
#include <string>

#include "monitor/command.h"

namespace emu::monitor {

/// A new file, or an old one emptied; "/dev/fdset/N" is a descriptor that was handed in.
Result<Fd> open_for_writing(CommandContext& context, const std::string& path);

/// All of `bytes`. Errors name `path`.
Result<void> write_all(const Fd& out, std::span<const u8> bytes, const std::string& path);

}  // namespace emu::monitor
