// SPDX-License-Identifier: Apache-2.0
#include "hw/input/ps2.h"

#include <algorithm>
#include <array>

namespace emu::hw {
namespace {

constexpr u8 kAck = 0xfa, kResend = 0xfe, kTestPassed = 0xaa;

/// Set 2 code → set 1 code, for 0x00..0x7f (IBM technical reference, scan code tables); 0x83 (F7) and 0x84 are extra.
constexpr std::array<u8, 128> kSet2ToSet1 = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54};

}  // namespace

u8 translate_set2(u8 code) {
  if (code < 128) return kSet2ToSet1[code];
  return code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

void Ps2Keyboard::reset() {
  queue.clear();
  pending_command = 0;
  leds = 0;
  scan_set = 2;
  rate = 0x2b;
  scanning = true;
}

void Ps2Keyboard::receive(u8 byte) {
  if (const u8 command = std::exchange(pending_command, 0); command != 0) {
    if (command == 0xed) leds = byte & 7;
    if (command == 0xf3) rate = byte & 0x7f;
    queue.push(kAck);
    if (command == 0xf0) {
      if (byte == 0) queue.push(scan_set);
      else if (byte <= 3) scan_set = byte;
    }
    return;
  }
  switch (byte) {
    case 0xed: case 0xf0: case 0xf3:
      pending_command = byte;
      queue.push(kAck);
      return;
    case 0xee: return queue.push(0xee);  // echo
    case 0xf2:                           // identify: MF2
      queue.push(kAck);
      queue.push(0xab);
      return queue.push(0x83);
    case 0xf4:
      scanning = true;
      return queue.push(kAck);
    case 0xf5: case 0xf6: {
      const bool on = byte == 0xf6;
      reset();
      scanning = on;
      return queue.push(kAck);
    }
    case 0xff:
      reset();
      queue.push(kAck);
      return queue.push(kTestPassed);
    case 0xf7: case 0xf8: case 0xf9: case 0xfa: case 0xfb: case 0xfc: case 0xfd:
      return queue.push(kAck);  // per-key typematic settings of set 3
    default: return queue.push(kResend);
  }
}

void Ps2Keyboard::key(u8 set1_code, bool extended, bool down) {
  if (!scanning) return;
  u8 code = u8(set1_code | (down ? 0 : 0x80));
  bool break_prefix = false;
  if (scan_set != 1) {
    const auto found = std::find(kSet2ToSet1.begin(), kSet2ToSet1.end(), set1_code);
    if (found == kSet2ToSet1.end()) return;  // no keyboard has such a key
    code = set1_code == 0x41 ? 0x83 : u8(found - kSet2ToSet1.begin());
    break_prefix = !down;
  }
  if (extended && break_prefix) return queue.push_all({0xe0, 0xf0, code});
  if (extended) return queue.push_all({0xe0, code});
  if (break_prefix) return queue.push_all({0xf0, code});
  queue.push(code);
}

void Ps2Mouse::reset() {
  queue.clear();
  *this = {};
}

void Ps2Mouse::receive(u8 byte) {
  if (const u8 command = std::exchange(pending_command, 0); command != 0) {
    if (command == 0xf3) sample_rate = byte;
    if (command == 0xe8) resolution = byte & 3;
    return queue.push(kAck);
  }
  if (wrap && byte != 0xec && byte != 0xff) return queue.push(byte);
  const bool has_room = queue.bytes().size() < Ps2Queue::kMax;
  queue.push(kAck);
  switch (byte) {
    case 0xe6: status &= u8(~0x10); return;   // scaling 1:1
    case 0xe7: status |= 0x10; return;        // scaling 2:1
    case 0xe8: case 0xf3: pending_command = byte; return;
    case 0xe9:
      queue.push(u8(status | buttons));
      queue.push(resolution);
      return queue.push(sample_rate);
    case 0xea: status &= u8(~0x40); return;   // stream mode
    case 0xf0: status |= 0x40; return;        // remote mode
    case 0xec: wrap = false; return;
    case 0xee: wrap = true; return;
    case 0xeb:
      queue.push(u8(8 | buttons));
      queue.push(0);
      return queue.push(0);
    case 0xf2: return queue.push(id);
    case 0xf4: status |= 0x20; return;        // reporting on
    case 0xf5: status &= u8(~0x20); return;
    case 0xf6:
      sample_rate = 100;
      resolution = 2;
      status = 0;
      return;
    case 0xff:
      reset();
      queue.push(kAck);
      queue.push(kTestPassed);
      return queue.push(id);
    default:
      if (has_room) queue.bytes().back() = kResend;
      return;
  }
}

void Ps2Mouse::move(int dx, int dy, u8 new_buttons) {
  buttons = new_buttons & 7;
  if (!(status & 0x20)) return;
  dx = std::clamp(dx, -255, 255);
  dy = std::clamp(dy, -255, 255);
  const u8 signs = u8((dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0));
  queue.push_all({u8(8 | buttons | signs), u8(dx), u8(dy)});
}

}  // namespace emu::hw
