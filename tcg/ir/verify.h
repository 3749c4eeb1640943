// SPDX-License-Identifier: Apache-2.0
// Verifier, printer and parser of IR.
#pragma once

#include <string>
#include <string_view>

#include "tcg/ir/op.h"
#include "util/result.h"

namespace emu::ir {

/// Checks types, operand order, ranges and the block's end. Run after each pass in debug builds.
Result<void> verify(const Block& block, const StateLayout& layout, const HelperTable& helpers);

/// One op a line, "v7 = add.i64 v3, 0x10"; parse(print(b)) gives b back.
std::string print(const Block& block, const StateLayout& layout, const HelperTable& helpers);
Result<void> parse(std::string_view text, const StateLayout& layout, const HelperTable& helpers, Block& block);

}  // namespace emu::ir
