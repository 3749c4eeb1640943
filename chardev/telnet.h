// SPDX-License-Identifier: Apache-2.0
// The telnet protocol around a byte stream: RFC 854, with the options of RFC 856 (binary), 857 (echo) and 858 (suppress
// go ahead).
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "util/types.h"

namespace emu::chardev {

/// What the client of one connection sends, without the commands in it.
class TelnetReader {
 public:
  /// What a server says first: the client shall send each key at once, echo nothing, and change no byte.
  static std::string_view greeting();

  struct Found {
    std::size_t bytes = 0;  ///< data left at the front of what was given
    unsigned breaks = 0;    ///< break commands
  };
  /// Removes commands from `data`, in place.
  Found filter(std::span<u8> data);

 private:
  enum class State : u8 { Data, Command, Will, Option, Subnegotiation, SubnegotiationCommand };
  bool take(u8 byte, Found& found);
  State state_ = State::Data;
  bool binary_ = false;     ///< the client has agreed to send bytes as they are
  bool after_cr_ = false;
};

}  // namespace emu::chardev
