// SPDX-License-Identifier: Apache-2.0
// Who we say we are.
#pragma once

#include <string_view>

namespace emu {

inline constexpr std::string_view kVersion = "0.1";
/// The QEMU release whose command line, monitor and machine types we offer.
inline constexpr std::string_view kCompatibleVersion = "7.2.0";
/// What -version prints.
inline constexpr std::string_view kVersionLine = "system-emu 0.1 (compatible with QEMU 7.2)";

}  // namespace emu
