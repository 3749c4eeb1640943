// SPDX-License-Identifier: Apache-2.0
// A VGA's registers: what is reset, saved and drawn. Sections (§) are of IBM's VGA technical reference.
#pragma once

#include <array>

#include "util/types.h"

namespace emu::hw::vga {

/// Sequencer, §2.3.
enum Sequencer : unsigned { SEQ_RESET, SEQ_CLOCKING_MODE, SEQ_MAP_MASK, SEQ_CHARACTER_MAP, SEQ_MEMORY_MODE };
constexpr u8 kClockingEightDots = 0x01, kClockingHalf = 0x08, kClockingScreenOff = 0x20;
constexpr u8 kMemoryOddEvenOff = 0x04, kMemoryChain4 = 0x08;

/// Graphics controller, §2.5.
enum Graphics : unsigned {
  GFX_SET_RESET,
  GFX_ENABLE_SET_RESET,
  GFX_COLOR_COMPARE,
  GFX_ROTATE,
  GFX_READ_MAP,
  GFX_MODE,
  GFX_MISC,
  GFX_COLOR_DONT_CARE,
  GFX_BIT_MASK
};
constexpr u8 kModeReadCompare = 0x08, kModeInterleave = 0x20, kMode256 = 0x40;
constexpr u8 kMiscGraphics = 0x01;

/// CRT controller, §2.4.
enum Crtc : unsigned {
  CRTC_HORIZONTAL_END = 0x01,
  CRTC_OVERFLOW = 0x07,
  CRTC_PRESET_ROW = 0x08,
  CRTC_MAX_SCAN_LINE = 0x09,
  CRTC_CURSOR_START = 0x0a,
  CRTC_CURSOR_END = 0x0b,
  CRTC_START_HIGH = 0x0c,
  CRTC_START_LOW = 0x0d,
  CRTC_CURSOR_HIGH = 0x0e,
  CRTC_CURSOR_LOW = 0x0f,
  CRTC_PROTECT = 0x11,
  CRTC_VERTICAL_END = 0x12,
  CRTC_OFFSET = 0x13,
  CRTC_UNDERLINE = 0x14,
  CRTC_MODE = 0x17,
  CRTC_LINE_COMPARE = 0x18
};
constexpr u8 kScanDouble = 0x80, kCursorOff = 0x20, kUnderlineDoubleWord = 0x40;
constexpr u8 kModeKeepBit13 = 0x01, kModeKeepBit14 = 0x02, kModeVerticalDouble = 0x04, kModeByte = 0x40;

/// Attribute controller, §2.6; 0 to 15 are the palette.
enum Attribute : unsigned { ATTR_MODE = 0x10, ATTR_OVERSCAN, ATTR_PLANE_ENABLE, ATTR_PANNING, ATTR_COLOR_SELECT };
constexpr u8 kAttributeLineGraphics = 0x04, kAttributeBlink = 0x08, kAttributePanTopOnly = 0x20,
             kAttributeColorBits54 = 0x80;
constexpr u8 kAttributePaletteOn = 0x20;  // in the index: the screen is shown

/// Bochs VBE, by index.
enum Dispi : unsigned {
  DISPI_ID,
  DISPI_XRES,
  DISPI_YRES,
  DISPI_BPP,
  DISPI_ENABLE,
  DISPI_BANK,
  DISPI_VIRT_WIDTH,
  DISPI_VIRT_HEIGHT,
  DISPI_X_OFFSET,
  DISPI_Y_OFFSET,
  DISPI_VIDEO_MEMORY_64K,
  kDispiCount,
};
constexpr u16 kDispiEnabled = 0x01, kDispiGetCaps = 0x02, kDispi8BitDac = 0x20, kDispiLinear = 0x40,
              kDispiNoClear = 0x80;

struct State {
  u8 misc = 0, feature = 0;
  u8 sequencer_index = 0, graphics_index = 0, crtc_index = 0;
  u8 attribute_index = 0;
  bool attribute_data_next = false;  ///< the flip-flop of port 0x3c0
  std::array<u8, 8> sequencer{};
  std::array<u8, 16> graphics{};
  std::array<u8, 32> crtc{};
  std::array<u8, 32> attribute{};
  u8 status1 = 0;
  std::array<u8, 768> palette{};
  u8 dac_mask = 0xff, dac_write = 0, dac_read = 0, dac_step = 0;
  bool dac_reading = false;
  std::array<u8, 4> latch{};
  u16 dispi_index = 0;
  std::array<u16, kDispiCount> dispi{};
  bool big_endian = false;

  bool is_dispi() const { return (dispi[DISPI_ENABLE] & kDispiEnabled) != 0; }
  /// Bochs VBE with whole pixels in memory; with four bits a pixel the planes are as the VGA has them.
  bool is_dispi_packed() const { return is_dispi() && dispi[DISPI_BPP] > 4; }
  bool is_text() const { return !is_dispi() && (graphics[GFX_MISC] & kMiscGraphics) == 0; }
  /// Character clocks of a line.
  unsigned columns() const { return crtc[CRTC_HORIZONTAL_END] + 1u; }
  unsigned scan_lines() const {
    const unsigned overflow = crtc[CRTC_OVERFLOW];
    return (crtc[CRTC_VERTICAL_END] | (overflow & 0x02) << 7 | (overflow & 0x40) << 3) + 1u;
  }
  unsigned line_compare() const {
    return crtc[CRTC_LINE_COMPARE] | (crtc[CRTC_OVERFLOW] & 0x10u) << 4 | (crtc[CRTC_MAX_SCAN_LINE] & 0x40u) << 3;
  }
  unsigned start_address() const { return u32(crtc[CRTC_START_HIGH]) << 8 | crtc[CRTC_START_LOW]; }
  /// Cells between lines.
  unsigned pitch() const { return crtc[CRTC_OFFSET] * 2u; }
};

}  // namespace emu::hw::vga
