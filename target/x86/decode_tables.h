// SPDX-License-Identifier: Apache-2.0
// How the decoder reaches the rows of an opcode.
#pragma once

#include <span>

#include "target/x86/decode.h"

namespace emu::x86 {

/// Indexes into all_rows(), in the tables' order: the first match wins.
std::span<const u16> rows_of(Map map, u8 opcode);
bool opcode_has_modrm(Map map, u8 opcode);

}  // namespace emu::x86
