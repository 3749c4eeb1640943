// SPDX-License-Identifier: Apache-2.0
// Random encodings of EVEX rows in each of their forms, and how objdump should write what the decoder made of them.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "target/x86/decode.h"

namespace emu::x86::test {

struct EvexCase {
  std::vector<u8> code;
  Insn insn;
};

/// Register and memory; each length, W and mode of rounding that the row has; masks none, merging, zeroing; broadcast.
std::vector<EvexCase> evex_cases(const Row& row, bool is_64, unsigned per_form, std::mt19937_64& random);
/// In Intel's syntax as binutils 2.40 writes it, but without the {1toN} that it has where the size is ambiguous.
std::string evex_text(const Insn& insn);
/// How often the memory operand's element is repeated: the N of {1toN}; 0 if it is not.
unsigned evex_repeats(const Insn& insn);
/// `text` without {1toN}; N, or 0, goes to `repeats`.
std::string without_repeats(std::string text, unsigned& repeats);

}  // namespace emu::x86::test
