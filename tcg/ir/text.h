// SPDX-License-Identifier: Apache-2.0
// Names in the textual form of IR, shared by printer and parser.
#pragma once

#include <string_view>

namespace emu::ir::text {

inline constexpr std::string_view kTypeNames[] = {"void", "i1", "i8", "i16", "i32", "i64", "v128", "v256", "flags"};
inline constexpr std::string_view kCondNames[] = {
    "overflow", "not_overflow", "below",  "not_below",  "equal", "not_equal",     "below_equal", "above",
    "sign",     "not_sign",     "parity", "not_parity", "less",  "greater_equal", "less_equal",  "greater"};
inline constexpr std::string_view kRmwNames[] = {"add", "sub", "and", "or", "xor", "xchg"};
inline constexpr std::string_view kOrderNames[] = {"relaxed", "acquire", "release", "tso", "seq_cst"};

}  // namespace emu::ir::text
