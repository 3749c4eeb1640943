// SPDX-License-Identifier: Apache-2.0
// The VGA's memory window: four planes behind 128 KiB, and the text in them. IBM VGA technical reference, §2.4, §2.6.
//
// Byte n of plane p is at 4 * n + p of video memory, so that a text cell's character, attribute and font bytes lie
// together.
#include <algorithm>

#include "hw/display/vga_core.h"

namespace emu::hw {

using namespace vga;

namespace {

constexpr u64 kPlaneBytes = 0x1'0000;
constexpr unsigned kMaxColumns = 256, kMaxRows = 128;

u8 rotate_right(u8 value, unsigned count) { return u8(value >> count | value << (8 - count)); }

}  // namespace

u8 VgaCore::vram_byte(u64 offset) const {
  u8 value = 0xff;
  if (offset < vram_->size()) vram_->read(offset, &value, 1);
  return value;
}

void VgaCore::set_vram_byte(u64 offset, u8 value) {
  if (offset < vram_->size()) vram_->write(offset, &value, 1);
}

std::array<u8, 4> VgaCore::vram_cell(u64 cell) const {
  std::array<u8, 4> planes{};
  if (cell * 4 + 4 <= vram_->size()) vram_->read(cell * 4, planes.data(), 4);
  return planes;
}

/// Where the window is and how long, by memory map select; then the bank. False: the address is not ours.
bool VgaCore::window_offset(u64& address) const {
  struct Map {
    u64 first, size;
  };
  static constexpr std::array<Map, 4> kMaps = {{{0, 0x2'0000}, {0, 0x1'0000}, {0x1'0000, 0x8000}, {0x1'8000, 0x8000}}};
  const Map& map = kMaps[state_.is_dispi_packed() ? 1 : state_.graphics[GFX_MISC] >> 2 & 3];
  if (address < map.first || address >= map.first + map.size) return false;
  address -= map.first;
  if (state_.is_dispi()) address += u64(state_.dispi[DISPI_BANK]) << 16;
  return true;
}

u64 VgaCore::read_window(u64 offset, unsigned) {
  u64 address = offset;
  if (!window_offset(address)) return 0xff;
  if (state_.is_dispi_packed()) return vram_byte(address);
  // Chain 4: the low address bits choose the plane.
  if (state_.sequencer[SEQ_MEMORY_MODE] & kMemoryChain4) return read_cell(address >> 2, unsigned(address & 3));
  const unsigned chosen = state_.graphics[GFX_READ_MAP] & 3;
  // Even addresses are of plane 0 or 2, odd ones of plane 1 or 3: how the CPU sees text.
  if (!(state_.sequencer[SEQ_MEMORY_MODE] & kMemoryOddEvenOff)) {
    return read_cell(address >> 1, (chosen & 2) | unsigned(address & 1));
  }
  return read_cell(address, chosen);
}

void VgaCore::write_window(u64 offset, u64 value, unsigned) {
  u64 address = offset;
  if (!window_offset(address)) return;
  const u8 enabled = state_.sequencer[SEQ_MAP_MASK];
  if (state_.is_dispi_packed()) {
    set_vram_byte(address, u8(value));
  } else if (state_.sequencer[SEQ_MEMORY_MODE] & kMemoryChain4) {
    write_cell(address >> 2, u8(value), u8(enabled & bit(unsigned(address & 3))));
  } else if (!(state_.sequencer[SEQ_MEMORY_MODE] & kMemoryOddEvenOff)) {
    write_cell(address >> 1, u8(value), u8(enabled & (address & 1 ? 0b1010 : 0b0101)));
  } else {
    write_cell(address, u8(value), enabled);
  }
}

/// §2.5, read modes. All four planes go to the latches.
u8 VgaCore::read_cell(u64 cell, unsigned plane) {
  if (!state_.is_dispi()) cell &= kPlaneBytes - 1;
  state_.latch = vram_cell(cell);
  if (!(state_.graphics[GFX_MODE] & kModeReadCompare)) return state_.latch[plane];
  // Read mode 1: a bit for each pixel whose colour is the compared one, in the planes that matter.
  u8 differs = 0;
  for (unsigned p = 0; p < 4; p++) {
    if (!(state_.graphics[GFX_COLOR_DONT_CARE] & bit(p))) continue;
    const u8 wanted = state_.graphics[GFX_COLOR_COMPARE] & bit(p) ? 0xff : 0x00;
    differs |= u8(state_.latch[p] ^ wanted);
  }
  return u8(~differs);
}

/// §2.5, write modes.
void VgaCore::write_cell(u64 cell, u8 value, u8 planes) {
  if (!state_.is_dispi()) cell &= kPlaneBytes - 1;
  if (cell * 4 + 4 > vram_->size()) return;
  const auto& graphics = state_.graphics;
  const unsigned mode = graphics[GFX_MODE] & 3;
  const u8 rotated = rotate_right(value, graphics[GFX_ROTATE] & 7);
  for (unsigned plane = 0; plane < 4; plane++) {
    if (!(planes & bit(plane))) continue;
    const u8 latch = state_.latch[plane];
    if (mode == 1) {
      set_vram_byte(cell * 4 + plane, latch);
      continue;
    }
    const u8 set_reset = graphics[GFX_SET_RESET] & bit(plane) ? 0xff : 0x00;
    u8 data = mode == 2 ? (value & bit(plane) ? 0xff : 0x00) : rotated;
    u8 mask = graphics[GFX_BIT_MASK];
    if (mode == 3) {
      data = set_reset;
      mask &= rotated;
    } else if (mode == 0 && (graphics[GFX_ENABLE_SET_RESET] & bit(plane))) {
      data = set_reset;
    }
    switch (graphics[GFX_ROTATE] >> 3 & 3) {
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
    set_vram_byte(cell * 4 + plane, u8((data & mask) | (latch & ~mask)));
  }
}

// Text. --------------------------------------------------------------------------------------------------------------

bool VgaCore::is_text_mode() const { return state_.is_text() && state_.crtc[CRTC_HORIZONTAL_END] != 0; }

std::vector<std::string> VgaCore::text_screen() const {
  std::vector<std::string> lines;
  if (!is_text_mode()) return lines;
  const unsigned columns = std::min(state_.columns(), kMaxColumns);
  const unsigned rows = std::min(state_.scan_lines() / ((state_.crtc[CRTC_MAX_SCAN_LINE] & 31u) + 1), kMaxRows);
  for (unsigned row = 0; row < rows; row++) {
    std::string line;
    for (unsigned column = 0; column < columns; column++) {
      const u8 c = vram_cell((state_.start_address() + row * state_.pitch() + column) & (kPlaneBytes - 1))[0];
      line += c == 0 ? ' ' : c < 0x20 || c > 0x7e ? '?' : char(c);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace emu::hw
