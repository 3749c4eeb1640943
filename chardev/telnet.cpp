// SPDX-License-Identifier: Apache-2.0
#include "chardev/telnet.h"

namespace emu::chardev {
namespace {

// RFC 854, "TELNET COMMAND STRUCTURE"
enum Command : u8 { SE = 240, BREAK = 243, SB = 250, WILL = 251, WONT = 252, DO = 253, DONT = 254, IAC = 255 };
enum Option : u8 { BINARY = 0, ECHO = 1, SUPPRESS_GO_AHEAD = 3 };

constexpr u8 kGreeting[] = {IAC, WILL, ECHO, IAC, WILL, SUPPRESS_GO_AHEAD, IAC, WILL, BINARY, IAC, DO, BINARY};

}  // namespace

std::string_view TelnetReader::greeting() { return {reinterpret_cast<const char*>(kGreeting), sizeof kGreeting}; }

TelnetReader::Found TelnetReader::filter(std::span<u8> data) {
  Found found;
  for (const u8 byte : data) {
    if (take(byte, found)) data[found.bytes++] = byte;
  }
  return found;
}

/// Whether the byte is data.
bool TelnetReader::take(u8 byte, Found& found) {
  switch (state_) {
    case State::Data: {
      if (byte == IAC) {
        state_ = State::Command;
        return false;
      }
      // "CR NUL" is how a carriage return is written where bytes are characters.
      const bool pad = after_cr_ && byte == 0 && !binary_;
      after_cr_ = byte == '\r';
      return !pad;
    }
    case State::Command:
      state_ = State::Data;
      if (byte == IAC) return true;
      if (byte == BREAK) found.breaks++;
      if (byte == SB) state_ = State::Subnegotiation;
      if (byte == WILL) state_ = State::Will;
      if (byte == WONT || byte == DO || byte == DONT) state_ = State::Option;
      return false;
    case State::Will:
      binary_ |= byte == BINARY;
      state_ = State::Data;
      return false;
    case State::Option:  // we offered all we want: the answers change nothing
      state_ = State::Data;
      return false;
    case State::Subnegotiation:
      if (byte == IAC) state_ = State::SubnegotiationCommand;
      return false;
    case State::SubnegotiationCommand:
      state_ = byte == SE ? State::Data : State::Subnegotiation;
      return false;
  }
  return false;
}

}  // namespace emu::chardev
