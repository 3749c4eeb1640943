// SPDX-License-Identifier: Apache-2.0
// Packets of the GDB remote serial protocol: "$data#cc", with escapes and a checksum; hexadecimal fields. GDB manual,
// appendix "GDB Remote Serial Protocol", section "Overview".
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "util/types.h"

namespace emu::monitor::gdb {

/// The longest packet, between '$' and '#', that is taken: also what PacketSize says.
inline constexpr std::size_t kPacketSize = 0x4000;

/// Cuts a byte stream into packets. What is no packet is skipped.
class PacketReader {
 public:
  enum class What : u8 {
    None,       ///< more bytes are needed
    Packet,     ///< packet() has it, escapes resolved
    Bad,        ///< the checksum is wrong
    TooLong,    ///< complete and right, but more than kPacketSize
    Interrupt,  ///< 0x03
    Ack,
    Nak,
  };
  What take(u8 byte);
  std::string_view packet() const { return packet_; }
  void reset();

 private:
  enum class State : u8 { Idle, Body, Escaped, FirstDigit, SecondDigit };
  void append(u8 byte);
  State state_ = State::Idle;
  std::string packet_;
  bool too_long_ = false;
  u8 sum_ = 0, digit_ = 0;
  bool bad_digit_ = false;
};

/// "$" + escaped + "#cc".
std::string frame(std::string_view data);

// Fields.
std::optional<unsigned> hex_digit(char c);
std::string to_hex(std::span<const u8> bytes);
std::string to_hex(std::string_view text);
/// Empty: an odd number of digits, or something else among them.
std::optional<std::string> from_hex(std::string_view digits);
/// Takes a hexadecimal number off the front; empty: there is none, or it has more than 64 bits.
std::optional<u64> take_number(std::string_view& text);
/// Takes `c` off the front.
bool take(std::string_view& text, char c);
bool take(std::string_view& text, std::string_view prefix);

}  // namespace emu::monitor::gdb
