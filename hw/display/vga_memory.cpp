// SPDX-License-Identifier: Apache-2.0
// The VGA's memory window: four planes behind 128 KiB, and the text in them. IBM VGA technical reference, §2.4, §2.6.
//
// Byte n of plane p is at 4 * n + p of video memory, so that a text cell's character, attribute and font bytes lie
// together.
#include <algorithm>

#include "hw/display/vga.h"

namespace emu::hw {
namespace {

// Sequencer
constexpr unsigned kMapMask = 2, kMemoryMode = 4;
constexpr u8 kSequencerOddEvenOff = 0x04, kChain4 = 0x08;
// Graphics controller
enum Graphics : unsigned {
  kSetReset,
  kEnableSetReset,
  kColorCompare,
  kRotate,
  kReadMap,
  kMode,
  kMisc,
  kColorDontCare,
  kBitMask
};
constexpr u8 kReadModeCompare = 0x08, kMiscGraphics = 0x01;
// CRT controller
enum Crtc : unsigned {
  kHorizontalEnd = 0x01,
  kOverflow = 0x07,
  kMaxScanLine = 0x09,
  kStartHigh = 0x0c,
  kStartLow = 0x0d,
  kVerticalEnd = 0x12,
  kOffset = 0x13
};
constexpr unsigned kMaxColumns = 256, kMaxRows = 128;

u8 rotate_right(u8 value, unsigned count) { return u8(value >> count | value << (8 - count)); }

}  // namespace

u8 Vga::vram_byte(u64 offset) const {
  u8 value = 0xff;
  if (offset < vram_->size()) vram_->read(offset, &value, 1);
  return value;
}

void Vga::set_vram_byte(u64 offset, u8 value) {
  if (offset < vram_->size()) vram_->write(offset, &value, 1);
}

std::array<u8, 4> Vga::vram_cell(u64 cell) const {
  std::array<u8, 4> planes{};
  if (cell * 4 + 4 <= vram_->size()) vram_->read(cell * 4, planes.data(), 4);
  return planes;
}

/// Where the window is and how long, by memory map select; then the bank. False: the address is not ours.
bool Vga::window_offset(u64& address) const {
  struct Map {
    u64 first, size;
  };
  static constexpr std::array<Map, 4> kMaps = {{{0, 0x2'0000}, {0, 0x1'0000}, {0x1'0000, 0x8000}, {0x1'8000, 0x8000}}};
  const Map& map = kMaps[state_.graphics[kMisc] >> 2 & 3];
  if (address < map.first || address >= map.first + map.size) return false;
  address -= map.first;
  if (state_.dispi[DISPI_ENABLE] & kDispiEnabled) address += u64(state_.dispi[DISPI_BANK]) << 16;
  return true;
}

bool Vga::is_linear() const { return (state_.sequencer[kMemoryMode] & kChain4) != 0; }

u64 Vga::read_window(u64 offset, unsigned) {
  u64 address = offset;
  if (!window_offset(address)) return 0xff;
  if (is_linear()) return vram_byte(address);
  if (!(state_.sequencer[kMemoryMode] & kSequencerOddEvenOff)) {
    // Even addresses are of plane 0, odd ones of plane 1: how the CPU sees text.
    return vram_byte((address & ~u64(1)) << 1 | (address & 1));
  }
  return read_planes(address);
}

void Vga::write_window(u64 offset, u64 value, unsigned) {
  u64 address = offset;
  if (!window_offset(address)) return;
  const u8 enabled = state_.sequencer[kMapMask];
  if (is_linear()) {
    if (enabled & bit(unsigned(address & 3))) set_vram_byte(address, u8(value));
  } else if (!(state_.sequencer[kMemoryMode] & kSequencerOddEvenOff)) {
    const unsigned plane = unsigned(address & 1);
    if (enabled & bit(plane)) set_vram_byte((address & ~u64(1)) << 1 | plane, u8(value));
  } else {
    write_planes(address, u8(value), enabled);
  }
}

u8 Vga::read_planes(u64 cell) {
  state_.latch = vram_cell(cell);
  if (!(state_.graphics[kMode] & kReadModeCompare)) return state_.latch[state_.graphics[kReadMap] & 3];
  // Read mode 1: a bit for each pixel whose colour is the compared one, in the planes that matter.
  u8 differs = 0;
  for (unsigned plane = 0; plane < 4; plane++) {
    if (!(state_.graphics[kColorDontCare] & bit(plane))) continue;
    const u8 wanted = state_.graphics[kColorCompare] & bit(plane) ? 0xff : 0x00;
    differs |= u8(state_.latch[plane] ^ wanted);
  }
  return u8(~differs);
}

void Vga::write_planes(u64 cell, u8 value, u8 planes) {
  if (cell * 4 + 4 > vram_->size()) return;
  const auto& graphics = state_.graphics;
  const unsigned mode = graphics[kMode] & 3;
  const u8 rotated = rotate_right(value, graphics[kRotate] & 7);
  std::array<u8, 4> result = vram_cell(cell);
  for (unsigned plane = 0; plane < 4; plane++) {
    if (!(planes & bit(plane))) continue;
    const u8 latch = state_.latch[plane];
    const u8 set_reset = graphics[kSetReset] & bit(plane) ? 0xff : 0x00;
    if (mode == 1) {
      result[plane] = latch;
      continue;
    }
    u8 data = mode == 2 ? (value & bit(plane) ? 0xff : 0x00) : rotated;
    u8 mask = graphics[kBitMask];
    if (mode == 3) {
      data = set_reset;
      mask &= rotated;
    } else if (mode == 0 && (graphics[kEnableSetReset] & bit(plane))) {
      data = set_reset;
    }
    switch (graphics[kRotate] >> 3 & 3) {
      case 1:
        data &= latch;
        break;
      case 2:
        data |= latch;
        break;
      case 3:
        data ^= latch;
        break;
      default:
        break;
    }
    result[plane] = u8((data & mask) | (latch & ~mask));
  }
  vram_->write(cell * 4, result.data(), 4);
}

// Text. --------------------------------------------------------------------------------------------------------------

bool Vga::is_text_mode() const {
  return !(state_.graphics[kMisc] & kMiscGraphics) && !(state_.dispi[DISPI_ENABLE] & kDispiEnabled) &&
         state_.crtc[kHorizontalEnd] != 0;
}

std::vector<std::string> Vga::text_screen() const {
  std::vector<std::string> lines;
  if (!is_text_mode()) return lines;
  const auto& crtc = state_.crtc;
  const unsigned columns = std::min(crtc[kHorizontalEnd] + 1u, kMaxColumns);
  const unsigned scan_lines =
      (crtc[kVerticalEnd] | (crtc[kOverflow] & 0x02u) << 7 | (crtc[kOverflow] & 0x40u) << 3) + 1u;
  const unsigned rows = std::min(scan_lines / ((crtc[kMaxScanLine] & 31u) + 1), kMaxRows);
  const u64 start = u64(crtc[kStartHigh]) << 8 | crtc[kStartLow];
  const u64 pitch = u64(crtc[kOffset]) * 2;
  for (unsigned row = 0; row < rows; row++) {
    std::string line;
    for (unsigned column = 0; column < columns; column++) {
      const u8 c = vram_cell((start + row * pitch + column) & 0xffff)[0];
      line += c == 0 ? ' ' : c < 0x20 || c > 0x7e ? '?' : char(c);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace emu::hw
