// SPDX-License-Identifier: Apache-2.0
// Small text helpers: splitting, and numbers and sizes as users write them.
#pragma once

#include <concepts>
#include <string>
#include <string_view>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu {

/// The pieces between separators; an empty text has one empty piece.
std::vector<std::string_view> split(std::string_view text, char separator);
/// The pieces point into the text: one that goes away at the end of the call is refused.
template <typename Text>
requires std::same_as<Text, std::string>
std::vector<std::string_view> split(Text&& text, char separator) = delete;
std::string_view trim(std::string_view text);
std::string to_lower(std::string_view text);

/// Whether an object may be called that: a letter, then letters, digits, '-', '.', '_'.
bool is_identifier(std::string_view text);

/// Decimal, 0x hexadecimal or 0 octal; the whole text must be the number. Errors name the text.
Result<u64> parse_u64(std::string_view text);
Result<i64> parse_i64(std::string_view text);

/// "4", "4K", "1.5G", "0x1000" in bytes. Suffixes B K M G T P E are powers of 1024 in either case; a number without
/// one counts in `default_unit` bytes. Hexadecimal takes no suffix.
Result<u64> parse_size(std::string_view text, u64 default_unit = 1);

/// on/off, yes/no, true/false, y/n.
Result<bool> parse_bool(std::string_view text);

}  // namespace emu
