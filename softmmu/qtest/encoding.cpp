// SPDX-License-Identifier: Apache-2.0
#include "softmmu/qtest/encoding.h"

namespace emu::softmmu {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string to_hex(std::span<const u8> data) {
  std::string text = "0x";
  text.reserve(2 + 2 * data.size());
  for (const u8 byte : data) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

Result<std::vector<u8>> from_hex(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  if (text.size() % 2 != 0) return error("An odd number of hexadecimal digits");
  std::vector<u8> data(text.size() / 2);
  for (std::size_t i = 0; i < data.size(); i++) {
    const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return error("Not hexadecimal: '{}'", text.substr(2 * i, 2));
    data[i] = u8(high << 4 | low);
  }
  return data;
}

std::string to_base64(std::span<const u8> data) {
  std::string text;
  text.reserve((data.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < data.size(); i += 3) {
    u32 group = u32(data[i]) << 16;
    if (i + 1 < data.size()) group |= u32(data[i + 1]) << 8;
    if (i + 2 < data.size()) group |= data[i + 2];
    text += kBase64[group >> 18];
    text += kBase64[group >> 12 & 63];
    text += i + 1 < data.size() ? kBase64[group >> 6 & 63] : '=';
    text += i + 2 < data.size() ? kBase64[group & 63] : '=';
  }
  return text;
}

Result<std::vector<u8>> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return error("Not base64: its length is no multiple of 4");
  std::vector<u8> data;
  data.reserve(text.size() / 4 * 3);
  for (std::size_t i = 0; i < text.size(); i += 4) {
    // Padding stands at the very end only, one or two of it.
    const bool last = i + 4 == text.size();
    const unsigned padding = !last ? 0 : text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
    u32 group = 0;
    for (std::size_t k = 0; k < 4; k++) {
      const std::size_t digit = k + padding >= 4 ? 0 : kBase64.find(text[i + k]);
      if (digit == std::string_view::npos) return error("Not base64: '{}'", text.substr(i, 4));
      group = group << 6 | u32(digit);
    }
    data.push_back(u8(group >> 16));
    if (padding < 2) data.push_back(u8(group >> 8));
    if (padding < 1) data.push_back(u8(group));
  }
  return data;
}

}  // namespace emu::softmmu
