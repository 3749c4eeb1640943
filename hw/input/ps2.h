// SPDX-License-Identifier: Apache-2.0
// PS/2 keyboard and mouse: what sits at the far end of the i8042's two serial lines. IBM PS/2 Hardware Interface
// Technical Reference, "Keyboards" and "Mouse".
#pragma once

#include <initializer_list>
#include <vector>

#include "qom/archive.h"
#include "util/types.h"

namespace emu::hw {

/// Bytes from a PS/2 device to its controller, oldest first. Bounded: what does not fit is lost, as in the parts.
class Ps2Queue {
 public:
  static constexpr size_t kMax = 256;
  bool is_empty() const { return bytes_.empty(); }
  void push(u8 byte) {
    if (bytes_.size() < kMax) bytes_.push_back(byte);
  }
  /// All of them or none: half a packet would put the guest's driver out of step for good.
  void push_all(std::initializer_list<u8> bytes) {
    if (bytes.size() <= kMax - bytes_.size()) bytes_.insert(bytes_.end(), bytes);
  }
  u8 pop() {
    const u8 byte = bytes_.front();
    bytes_.erase(bytes_.begin());
    return byte;
  }
  void clear() { bytes_.clear(); }
  std::vector<u8>& bytes() { return bytes_; }

 private:
  std::vector<u8> bytes_;
};

/// Commands and state of the keyboard (scan code set 2 on the wire).
struct Ps2Keyboard {
  Ps2Queue queue;
  u8 pending_command = 0;  ///< a command that waits for its parameter
  u8 leds = 0, scan_set = 2, rate = 0x2b;
  bool scanning = true;

  void reset();
  void receive(u8 byte);
  /// A key by its set 1 code (as QKeyCode numbers are defined), `extended` with the 0xe0 prefix.
  void key(u8 set1_code, bool extended, bool down);
};

/// Commands and state of the mouse.
struct Ps2Mouse {
  Ps2Queue queue;
  u8 pending_command = 0, sample_rate = 100, resolution = 2, status = 0, buttons = 0, id = 0;
  bool wrap = false;

  void reset();
  void receive(u8 byte);
  void move(int dx, int dy, u8 new_buttons);
};

/// Translation of set 2 codes to set 1 that the controller does when its command byte says so; 0xf0 is handled by the
/// controller.
u8 translate_set2(u8 code);

}  // namespace emu::hw
