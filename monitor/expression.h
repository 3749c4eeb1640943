// SPDX-License-Identifier: Apache-2.0
// Numbers as people compute them: "0x7c00 + $sp * 2", with C's operators and their precedence.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "util/result.h"
#include "util/types.h"

namespace emu::monitor {

using RegisterLookup = std::function<std::optional<u64>(std::string_view name)>;

using SymbolLookup = std::function<std::optional<u64>(std::string_view name)>;

/// What names in an expression stand for: "$rax", "start_kernel".
struct ExpressionNames {
  RegisterLookup registers;
  SymbolLookup symbols = {};
};

/// Evaluates the expression at the start of `text` and takes it off, up to the first space that is not inside
/// parentheses or beside an operator, or to the end. Errors: not an expression, unknown register, division by zero.
Result<u64> take_expression(std::string_view& text, const ExpressionNames& names);

}  // namespace emu::monitor
