// SPDX-License-Identifier: Apache-2.0
// What binutils' objdump says of bytes, in Intel's syntax or AT&T's.
#pragma once

#include <string>
#include <vector>

#include "util/types.h"

namespace emu::x86::test {

enum class Syntax : u8 { Intel, Att };

/// Whether there is an objdump that knows AVX512-FP16 (binutils 2.38).
bool has_objdump();
/// Of each instruction the text, with single spaces; empty if it is not one instruction of that length.
std::vector<std::string> objdump(const std::vector<std::vector<u8>>& insns, bool is_64, Syntax syntax);
/// The same of each instruction of a piece of code.
std::vector<std::string> objdump(const std::vector<u8>& code);

}  // namespace emu::x86::test
