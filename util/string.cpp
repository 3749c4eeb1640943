// SPDX-License-Identifier: Apache-2.0
#include "util/string.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace emu {
namespace {

struct Digits {
  std::string_view text;
  int base;
};

Digits split_base(std::string_view text) {
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) return {text.substr(2), 16};
  if (text.size() > 1 && text[0] == '0') return {text.substr(1), 8};
  return {text, 10};
}

/// The power of 1024 that a suffix stands for, or -1.
int suffix_power(char c) {
  static constexpr std::string_view kSuffixes = "bkmgtpe";
  const char lower = c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c;
  const auto at = kSuffixes.find(lower);
  return at == std::string_view::npos ? -1 : int(at);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> pieces;
  for (;;) {
    const auto at = text.find(separator);
    pieces.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return pieces;
    text.remove_prefix(at + 1);
  }
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const auto first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

std::string to_lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = char(c - 'A' + 'a');
  }
  return lower;
}

bool is_identifier(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_';
  });
}

Result<u64> parse_u64(std::string_view text) {
  const auto [digits, base] = split_base(text);
  u64 value = 0;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (failure == std::errc::result_out_of_range) return error("'{}' is too large for a 64-bit number", text);
  if (failure != std::errc() || end != digits.data() + digits.size()) return error("'{}' is not a number", text);
  return value;
}

Result<i64> parse_i64(std::string_view text) {
  const bool negative = text.starts_with('-');
  const auto magnitude = parse_u64(negative ? text.substr(1) : text);
  constexpr u64 kMost = u64(std::numeric_limits<i64>::max());
  if (!magnitude) return error("'{}' is not a number", text);
  if (*magnitude > kMost + (negative ? 1 : 0)) return error("'{}' is too large for a 64-bit number", text);
  return negative ? i64(0 - *magnitude) : i64(*magnitude);
}

Result<u64> parse_size(std::string_view text, u64 default_unit) {
  const auto refused = [text] {
    return error(Error(fmt::format("'{}' is not a size", text)).with_hint("sizes look like 512M, 1.5G or 0x1000"));
  };
  const auto too_large = [text] { return error("'{}' is larger than 64 bits can count", text); };
  if (text.empty() || !is_digit(text[0])) return refused();
  u64 unit = default_unit;
  std::string_view number = text;
  u128 whole = 0;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    const auto value = parse_u64(text);
    if (!value) return refused();
    whole = *value;
    number = {};
  } else {
    if (const int power = suffix_power(text.back()); power >= 0) {
      unit = u64(1) << (10 * power);
      number.remove_suffix(1);
    }
    while (!number.empty() && is_digit(number[0])) {
      whole = whole * 10 + unsigned(number[0] - '0');
      if (whole > std::numeric_limits<u64>::max()) return too_large();
      number.remove_prefix(1);
    }
  }
  u128 bytes = whole * unit;
  if (!number.empty()) {
    if (number[0] != '.' || number.size() < 2 || number.size() > 16) return refused();
    u64 fraction = 0, scale = 1;
    for (const char c : number.substr(1)) {
      if (!is_digit(c)) return refused();
      fraction = fraction * 10 + unsigned(c - '0');
      scale *= 10;
    }
    bytes += u128(fraction) * unit / scale;
  }
  if (bytes > std::numeric_limits<u64>::max()) return too_large();
  return u64(bytes);
}

Result<bool> parse_bool(std::string_view text) {
  if (text == "on" || text == "yes" || text == "true" || text == "y") return true;
  if (text == "off" || text == "no" || text == "false" || text == "n") return false;
  return error("'{}' is neither 'on' nor 'off'", text);
}

}  // namespace emu
