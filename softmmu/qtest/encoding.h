// SPDX-License-Identifier: Apache-2.0
// Bytes as text: hexadecimal and base64, as the qtest protocol writes them.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::softmmu {

/// "0x0123ab".
std::string to_hex(std::span<const u8> data);
/// "0x" may be left out. Errors: not hexadecimal, half a byte.
Result<std::vector<u8>> from_hex(std::string_view text);

std::string to_base64(std::span<const u8> data);
/// Errors: a character that is none of base64, a length that is no multiple of four.
Result<std::vector<u8>> from_base64(std::string_view text);

}  // namespace emu::softmmu
