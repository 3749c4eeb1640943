// SPDX-License-Identifier: Apache-2.0
// The VGA's picture, as a monitor would show it: made from registers and video memory alone. IBM VGA technical
// reference, §2.3 to §2.6.
//
// One character clock shows one cell of video memory (its four planes): a character; eight pixels of four bits; four of
// eight, each two dots wide; or, as the CGA had it, eight of two. All is twice as wide where the dot clock is halved,
// so that 40 and 80 columns fill the same screen.
#include <algorithm>
#include <span>

#include "hw/display/vga_core.h"

namespace emu::hw {

using namespace vga;

namespace {

constexpr unsigned kBlankWidth = 640, kBlankHeight = 480;  // before a guest has set a mode
constexpr u64 kCells = 0x1'0000;
constexpr unsigned kGlyphBytes = 32, kFontPlane = 2;
constexpr u8 kLineGraphicsFirst = 0xc0, kLineGraphicsLast = 0xdf;

struct Rgb {
  u8 red = 0, green = 0, blue = 0;
};

void put(u8* at, Rgb color) {
  at[0] = color.red;
  at[1] = color.green;
  at[2] = color.blue;
}

/// The 256 colours of the DAC, through its pixel mask.
class Colors {
 public:
  explicit Colors(const State& state) {
    const bool wide = (state.dispi[DISPI_ENABLE] & kDispi8BitDac) != 0;
    const auto level = [wide](u8 value) { return wide ? value : u8((value & 0x3f) << 2 | (value & 0x3f) >> 4); };
    for (unsigned i = 0; i < 256; i++) {
      const u8* at = &state.palette[(i & state.dac_mask) * 3];
      dac_[i] = {level(at[0]), level(at[1]), level(at[2])};
    }
    for (unsigned i = 0; i < 16; i++) attribute_[i] = dac_[attribute_index(state, i)];
  }
  Rgb dac(unsigned value) const { return dac_[value & 255]; }
  /// Of four bits, through the attribute controller.
  Rgb attribute(unsigned value) const { return attribute_[value & 15]; }

 private:
  static unsigned attribute_index(const State& state, unsigned value) {
    const unsigned select = state.attribute[ATTR_COLOR_SELECT];
    unsigned index = state.attribute[value & state.attribute[ATTR_PLANE_ENABLE] & 15] & 0x3f;
    if (state.attribute[ATTR_MODE] & kAttributeColorBits54) index = (index & 15) | (select & 3) << 4;
    return index | (select & 12) << 4;
  }
  std::array<Rgb, 256> dac_;
  std::array<Rgb, 16> attribute_;
};

/// Text and the VGA's own graphics modes, and Bochs VBE's with four planes.
class Raster {
 public:
  Raster(const State& state, const mem::RamBlock& memory)
      : state_(state), memory_(memory), colors_(state), text_(state.is_text()), columns_(state.columns()),
        height_(state.scan_lines()), pitch_(state.pitch()), start_(state.start_address()), cells_(kCells) {
    char_dots_ = text_ && !(state.sequencer[SEQ_CLOCKING_MODE] & kClockingEightDots) ? 9 : 8;
    dot_width_ = state.sequencer[SEQ_CLOCKING_MODE] & kClockingHalf ? 2 : 1;
    line_compare_ = state.line_compare();
    last_row_scan_ = state.crtc[CRTC_MAX_SCAN_LINE] & 31u;
    doubled_ = (state.crtc[CRTC_MAX_SCAN_LINE] & kScanDouble) != 0;
    row_scan_ = state.crtc[CRTC_PRESET_ROW] & 31u;
    start_ += state.crtc[CRTC_PRESET_ROW] >> 5 & 3;
    panning_ = panning(state.attribute[ATTR_PANNING]);
    if (state.crtc[CRTC_MODE] & kModeVerticalDouble) height_ *= 2;
    if (state.is_dispi()) take_dispi_mode();
    memory_cells_ = std::min<u64>(cells_, memory.size() / 4);
  }

  unsigned width() const { return columns_ * char_dots_ * dot_width_; }
  unsigned height() const { return height_; }

  ui::Picture draw() {
    ui::Picture picture(width(), height_);
    // One cell more than is shown, for panning.
    line_.resize((columns_ + 1) * 16);
    unsigned address = start_;
    bool second = false;
    for (unsigned y = 0; y < height_; y++) {
      draw_line(address, picture.row(y));
      if (y == line_compare_) {
        address = row_scan_ = 0;
        second = false;
        if (state_.attribute[ATTR_MODE] & kAttributePanTopOnly) panning_ = 0;
      } else if (doubled_ && !second) {
        second = true;
      } else {
        second = false;
        if (row_scan_ == last_row_scan_) {
          row_scan_ = 0;
          address += pitch_;
        } else {
          row_scan_ = (row_scan_ + 1) & 31;
        }
      }
    }
    return picture;
  }

 private:
  /// Dots to the left, §2.6. Nine-dot text counts from 8; 256-colour pixels are two steps each.
  unsigned panning(u8 value) const {
    value &= 15;
    if (char_dots_ == 9) return value >= 8 ? 0 : value + 1u;
    return value & 7u;
  }

  void take_dispi_mode() {
    columns_ = (state_.dispi[DISPI_XRES] + 7u) / 8;
    height_ = state_.dispi[DISPI_YRES];
    pitch_ = state_.dispi[DISPI_VIRT_WIDTH] / 8u;
    start_ = state_.dispi[DISPI_Y_OFFSET] * pitch_ + state_.dispi[DISPI_X_OFFSET] / 8u;
    panning_ = state_.dispi[DISPI_X_OFFSET] & 7u;
    dot_width_ = 1;
    line_compare_ = ~0u;
    last_row_scan_ = row_scan_ = 0;
    doubled_ = false;
    cells_ = memory_.size() / 4;
  }

  /// §2.4, CRTC mode control: address bits 13 and 14 may come from the row scan counter, counted after the address was
  /// doubled (word mode) or quadrupled; memory has it as it was before.
  unsigned cell_address(unsigned counter) const {
    if (state_.is_dispi()) return counter;
    const unsigned mode = state_.crtc[CRTC_MODE];
    const unsigned shift =
        state_.crtc[CRTC_UNDERLINE] & kUnderlineDoubleWord ? 2 : (mode & kModeByte) != 0 ? 0 : 1;
    const auto replace = [&](unsigned number, unsigned value) {
      const unsigned mask = 1u << (number - shift);
      counter = (counter & ~mask) | (value != 0 ? mask : 0);
    };
    if (!(mode & kModeKeepBit13)) replace(13, row_scan_ & 1);
    if (!(mode & kModeKeepBit14)) replace(14, row_scan_ & 2);
    return counter;
  }

  std::array<u8, 4> cell(u64 number) const {
    std::array<u8, 4> planes{};
    number %= cells_;
    if (number < memory_cells_) memory_.read(number * 4, planes.data(), 4);
    return planes;
  }

  void draw_line(unsigned address, u8* out) {
    unsigned dots = 0;
    for (unsigned column = 0; column <= columns_; column++) {
      const unsigned at = cell_address(address + column);
      const std::span<Rgb> to(&line_[dots], 16);
      dots += text_ ? draw_character(at, to) : draw_pixels(at, to);
    }
    const unsigned shown = columns_ * char_dots_;
    for (unsigned x = 0; x < shown; x++) {
      const Rgb color = line_[std::min(x + panning_, dots - 1)];
      for (unsigned n = 0; n < dot_width_; n++, out += 3) put(out, color);
    }
  }

  /// §2.4 cursor, §2.5 fonts, §2.6 attributes.
  unsigned draw_character(unsigned at, std::span<Rgb> to) {
    const auto [character, attribute, unused, also_unused] = cell(at);
    const bool blinks = (state_.attribute[ATTR_MODE] & kAttributeBlink) != 0;
    unsigned dots = glyph_row(character, (attribute & 0x08) != 0);
    // Doubled in nine-dot text for the characters of which boxes are drawn, so that their lines meet.
    const bool joins = (state_.attribute[ATTR_MODE] & kAttributeLineGraphics) != 0 && character >= kLineGraphicsFirst &&
                       character <= kLineGraphicsLast;
    dots = dots << 1 | (joins ? dots & 1 : 0);
    if ((attribute & 0x07) == 1 && row_scan_ == (state_.crtc[CRTC_UNDERLINE] & 31u)) dots = 0x1ff;
    if (has_cursor(at)) dots = 0x1ff;
    const Rgb foreground = colors_.attribute(attribute & 15);
    const Rgb background = colors_.attribute(attribute >> 4 & (blinks ? 7 : 15));
    for (unsigned x = 0; x < char_dots_; x++) to[x] = dots & (0x100u >> x) ? foreground : background;
    return char_dots_;
  }

  u8 glyph_row(u8 character, bool intense) const {
    const u8 select = state_.sequencer[SEQ_CHARACTER_MAP];
    const unsigned low = intense ? select >> 2 & 3u : select & 3u;
    const unsigned high = intense ? select >> 5 & 1u : select >> 4 & 1u;
    return cell(low * 0x4000 + high * 0x2000 + character * kGlyphBytes + row_scan_)[kFontPlane];
  }

  bool has_cursor(unsigned at) const {
    const auto& crtc = state_.crtc;
    const unsigned place = u32(crtc[CRTC_CURSOR_HIGH]) << 8 | crtc[CRTC_CURSOR_LOW];
    const unsigned skew = crtc[CRTC_CURSOR_END] >> 5 & 3;
    return !(crtc[CRTC_CURSOR_START] & kCursorOff) && (at & (kCells - 1)) == ((place + skew) & (kCells - 1)) &&
           row_scan_ >= (crtc[CRTC_CURSOR_START] & 31u) && row_scan_ <= (crtc[CRTC_CURSOR_END] & 31u);
  }

  unsigned draw_pixels(unsigned at, std::span<Rgb> to) const {
    const std::array<u8, 4> planes = cell(at);
    const u8 mode = state_.graphics[GFX_MODE];
    if (!state_.is_dispi() && (mode & kMode256)) {
      for (unsigned x = 0; x < 8; x++) to[x] = colors_.dac(planes[x / 2]);
    } else if (!state_.is_dispi() && (mode & kModeInterleave)) {
      // Two bits of planes 0 and 1, and above them two of planes 2 and 3, §2.5.
      for (unsigned x = 0; x < 8; x++) {
        const unsigned pair = x / 4, shift = 6 - x % 4 * 2;
        to[x] = colors_.attribute((planes[pair] >> shift & 3u) | (planes[pair + 2] >> shift & 3u) << 2);
      }
    } else {
      for (unsigned x = 0; x < 8; x++) {
        unsigned value = 0;
        for (unsigned plane = 0; plane < 4; plane++) value |= (planes[plane] >> (7 - x) & 1u) << plane;
        to[x] = colors_.attribute(value);
      }
    }
    return 8;
  }

  const State& state_;
  const mem::RamBlock& memory_;
  const Colors colors_;
  const bool text_;
  unsigned columns_, height_, pitch_, start_;
  unsigned char_dots_ = 8, dot_width_ = 1;
  unsigned line_compare_ = 0, last_row_scan_ = 0, row_scan_ = 0, panning_ = 0;
  bool doubled_ = false;
  u64 cells_, memory_cells_ = 0;
  std::vector<Rgb> line_;
};

/// Bochs VBE with 8, 15, 16, 24 and 32 bits a pixel.
class PackedRaster {
 public:
  PackedRaster(const State& state, const mem::RamBlock& memory)
      : state_(state), memory_(memory), colors_(state), bits_(state.dispi[DISPI_BPP]), bytes_((bits_ + 7u) / 8) {}

  ui::Picture draw() const {
    const auto& dispi = state_.dispi;
    ui::Picture picture(dispi[DISPI_XRES], dispi[DISPI_YRES]);
    std::vector<u8> line(std::size_t(picture.width) * bytes_);
    for (unsigned y = 0; y < picture.height; y++) {
      const u64 first = (u64(dispi[DISPI_Y_OFFSET] + y) * dispi[DISPI_VIRT_WIDTH] + dispi[DISPI_X_OFFSET]) * bytes_;
      if (first + line.size() > memory_.size()) break;  // the rest stays black
      memory_.read(first, line.data(), line.size());
      u8* out = picture.row(y);
      for (unsigned x = 0; x < picture.width; x++) put(out + std::size_t(x) * 3, color(&line[std::size_t(x) * bytes_]));
    }
    return picture;
  }

 private:
  Rgb color(const u8* at) const {
    if (bytes_ == 1) return colors_.dac(at[0]);
    u32 value = 0;
    for (unsigned i = 0; i < bytes_; i++) value |= u32(at[state_.big_endian ? bytes_ - 1 - i : i]) << (8 * i);
    const auto five = [&](unsigned shift) { return u8((value >> shift & 31) << 3 | (value >> shift & 31) >> 2); };
    if (bits_ == 15) return {five(10), five(5), five(0)};
    if (bits_ == 16) return {five(11), u8((value >> 5 & 63) << 2 | (value >> 5 & 63) >> 4), five(0)};
    return {u8(value >> 16), u8(value >> 8), u8(value)};
  }

  const State& state_;
  const mem::RamBlock& memory_;
  const Colors colors_;
  const unsigned bits_, bytes_;
};

}  // namespace

ui::Picture VgaCore::picture() const {
  if (vram_ == nullptr) return {kBlankWidth, kBlankHeight};  // not realized
  const bool shown = (state_.attribute_index & kAttributePaletteOn) != 0;
  if (state_.is_dispi_packed()) {
    if (!shown) return {state_.dispi[DISPI_XRES], state_.dispi[DISPI_YRES]};
    return PackedRaster(state_, *vram_).draw();
  }
  if (!state_.is_dispi() && state_.crtc[CRTC_HORIZONTAL_END] == 0) return {kBlankWidth, kBlankHeight};
  Raster raster(state_, *vram_);
  if (!shown || (state_.sequencer[SEQ_CLOCKING_MODE] & kClockingScreenOff)) return {raster.width(), raster.height()};
  return raster.draw();
}

}  // namespace emu::hw
