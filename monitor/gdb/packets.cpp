// SPDX-License-Identifier: Apache-2.0
#include "monitor/gdb/packets.h"

namespace emu::monitor::gdb {
namespace {

constexpr u8 kInterrupt = 0x03;
constexpr u8 kEscape = '}', kEscapeBit = 0x20;
constexpr char kDigits[] = "0123456789abcdef";

}  // namespace

void PacketReader::reset() { *this = {}; }

void PacketReader::append(u8 byte) {
  if (packet_.size() >= kPacketSize) {
    too_long_ = true;
    return;
  }
  packet_ += char(byte);
}

PacketReader::What PacketReader::take(u8 byte) {
  switch (state_) {
    case State::Idle:
      if (byte == '+') return What::Ack;
      if (byte == '-') return What::Nak;
      if (byte == kInterrupt) return What::Interrupt;
      if (byte == '$') {
        reset();
        state_ = State::Body;
      }
      return What::None;
    case State::Body:
      if (byte == '#') {
        state_ = State::FirstDigit;
        return What::None;
      }
      if (byte == '$') {  // the rest of the last packet was lost
        reset();
        state_ = State::Body;
        return What::None;
      }
      sum_ = u8(sum_ + byte);
      if (byte == kEscape) {
        state_ = State::Escaped;
      } else {
        append(byte);
      }
      return What::None;
    case State::Escaped:
      sum_ = u8(sum_ + byte);
      append(u8(byte ^ kEscapeBit));
      state_ = State::Body;
      return What::None;
    case State::FirstDigit: {
      const auto digit = hex_digit(char(byte));
      bad_digit_ = !digit;
      digit_ = u8(digit.value_or(0));
      state_ = State::SecondDigit;
      return What::None;
    }
    case State::SecondDigit: {
      const auto digit = hex_digit(char(byte));
      state_ = State::Idle;
      if (bad_digit_ || !digit || (digit_ << 4 | *digit) != sum_) return What::Bad;
      return too_long_ ? What::TooLong : What::Packet;
    }
  }
  return What::None;
}

std::string frame(std::string_view data) {
  std::string out = "$";
  u8 sum = 0;
  const auto put = [&](char c) {
    out += c;
    sum = u8(sum + u8(c));
  };
  for (const char c : data) {
    // '*' begins a run length in what a stub sends.
    if (c == '#' || c == '$' || c == '*' || c == char(kEscape)) {
      put(char(kEscape));
      put(char(u8(c) ^ kEscapeBit));
    } else {
      put(c);
    }
  }
  out += '#';
  out += kDigits[sum >> 4];
  out += kDigits[sum & 15];
  return out;
}

std::optional<unsigned> hex_digit(char c) {
  if (c >= '0' && c <= '9') return unsigned(c - '0');
  if (c >= 'a' && c <= 'f') return unsigned(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return unsigned(c - 'A' + 10);
  return std::nullopt;
}

std::string to_hex(std::span<const u8> bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const u8 byte : bytes) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string to_hex(std::string_view text) {
  return to_hex(std::span(reinterpret_cast<const u8*>(text.data()), text.size()));
}

std::optional<std::string> from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string out;
  out.reserve(digits.size() / 2);
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const auto high = hex_digit(digits[i]), low = hex_digit(digits[i + 1]);
    if (!high || !low) return std::nullopt;
    out += char(*high << 4 | *low);
  }
  return out;
}

std::optional<u64> take_number(std::string_view& text) {
  u64 value = 0;
  std::size_t digits = 0;
  while (digits < text.size()) {
    const auto digit = hex_digit(text[digits]);
    if (!digit) break;
    if (value >> 60 != 0) return std::nullopt;
    value = value << 4 | *digit;
    digits++;
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, char c) {
  if (text.empty() || text.front() != c) return false;
  text.remove_prefix(1);
  return true;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace emu::monitor::gdb
