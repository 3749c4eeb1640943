// SPDX-License-Identifier: Apache-2.0
// Registers of the VGA.
#include "hw/display/vga_core.h"

#include <algorithm>
#include <bit>

#include "util/log.h"

namespace emu::hw {

using namespace vga;

namespace {

constexpr u16 kDispiIdFirst = 0xb0c0, kDispiIdLast = 0xb0c5, kDispiMaxX = 16000, kDispiMaxY = 12000, kDispiMaxBpp = 32;

// General registers, §2.2
constexpr u8 kMiscColor = 0x01;  // CRTC and status at 0x3dX instead of 0x3bX
constexpr u8 kStatusDisplayDisabled = 0x01, kStatusVerticalRetrace = 0x08;
constexpr u8 kAttributeIndex = 0x1f;
constexpr u8 kCrtcProtected = 0x80;  // in CRTC_PROTECT: 0 to 7 are read-only, but for one bit
constexpr u8 kCrtcOverflowFree = 0x10;

constexpr std::array<u8, 8> kSequencerMasks = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff};
constexpr std::array<u8, 9> kGraphicsMasks = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

bool is_monochrome_port(u16 port) { return port >= 0x3b0 && port <= 0x3bf; }
bool is_color_port(u16 port) { return port >= 0x3d0 && port <= 0x3df; }

}  // namespace

Result<void> VgaCore::make_memory(mem::Memory& memory, const std::string& id) {
  if (!std::has_single_bit(memory_mib_) || memory_mib_ > 256) {
    return error("VGA: vgamem_mb={} is not a power of two from 1 to 256", memory_mib_);
  }
  vram_ = EMU_TRY(memory.make_ram(id, u64(memory_mib_) << 20), "VGA");
  return {};
}

void VgaCore::reset_core() {
  state_ = {};
  state_.graphics[GFX_BIT_MASK] = 0xff;
  state_.dispi[DISPI_ID] = kDispiIdLast;
}

void VgaCore::list_fields(Archive& ar, State& s) {
  ar("misc", s.misc)("feature", s.feature)("sequencer_index", s.sequencer_index)("graphics_index", s.graphics_index);
  ar("crtc_index", s.crtc_index)("attribute_index", s.attribute_index)("attribute_data_next", s.attribute_data_next);
  ar("sequencer", s.sequencer)("graphics", s.graphics)("crtc", s.crtc)("attribute", s.attribute)("status1", s.status1);
  ar("palette", s.palette)("dac_mask", s.dac_mask)("dac_write", s.dac_write)("dac_read", s.dac_read);
  ar("dac_step", s.dac_step)("dac_reading", s.dac_reading)("latch", s.latch)("dispi_index", s.dispi_index);
  ar("dispi", s.dispi)("big_endian", s.big_endian);
}

Result<void> VgaCore::check_loaded() {
  if (state_.sequencer_index > 7 || state_.graphics_index > 15 || state_.crtc_index > 31 ||
      state_.attribute_index > 0x3f || state_.dac_step > 2) {
    return error("VGA: an index is out of range");
  }
  const auto dispi = state_.dispi;
  if (state_.is_dispi()) fit_virtual_size();
  if (dispi != state_.dispi) return error("VGA: a Bochs VBE mode that does not fit the video memory");
  return {};
}

// Ports. -------------------------------------------------------------------------------------------------------------

u64 VgaCore::read_port(u64 offset, unsigned) {
  const u16 port = u16(kFirstPort + offset);
  const bool color = state_.misc & kMiscColor;
  if (color ? is_monochrome_port(port) : is_color_port(port)) return 0xff;
  switch (port) {
    case 0x3c0:
      return state_.attribute_data_next ? 0 : state_.attribute_index;
    case 0x3c1:
      return read_attribute();
    case 0x3c2:
      return 0;  // input status 0
    case 0x3c4:
      return state_.sequencer_index;
    case 0x3c5:
      return state_.sequencer[state_.sequencer_index];
    case 0x3c6:
      return state_.dac_mask;
    case 0x3c7:
      return state_.dac_reading ? 3 : 0;
    case 0x3c8:
      return state_.dac_write;
    case 0x3c9:
      return read_dac();
    case 0x3ca:
      return state_.feature;
    case 0x3cc:
      return state_.misc;
    case 0x3ce:
      return state_.graphics_index;
    case 0x3cf:
      return state_.graphics[state_.graphics_index];
    case 0x3b4:
    case 0x3d4:
      return state_.crtc_index;
    case 0x3b5:
    case 0x3d5:
      return state_.crtc[state_.crtc_index];
    case 0x3ba:
    case 0x3da:
      state_.attribute_data_next = false;
      state_.status1 ^= kStatusDisplayDisabled | kStatusVerticalRetrace;
      return state_.status1;
    default:
      return 0xff;
  }
}

void VgaCore::write_port(u64 offset, u64 value, unsigned) {
  const u16 port = u16(kFirstPort + offset);
  const u8 byte = u8(value);
  const bool color = state_.misc & kMiscColor;
  if (color ? is_monochrome_port(port) : is_color_port(port)) return;
  switch (port) {
    case 0x3c0:
      return write_attribute(byte);
    case 0x3c2:
      state_.misc = byte & 0xef;
      return;
    case 0x3c4:
      state_.sequencer_index = byte & 7;
      return;
    case 0x3c5:
      state_.sequencer[state_.sequencer_index] = byte & kSequencerMasks[state_.sequencer_index];
      return;
    case 0x3c6:
      state_.dac_mask = byte;
      return;
    case 0x3c7:
      state_.dac_read = byte;
      state_.dac_step = 0;
      state_.dac_reading = true;
      return;
    case 0x3c8:
      state_.dac_write = byte;
      state_.dac_step = 0;
      state_.dac_reading = false;
      return;
    case 0x3c9:
      return write_dac(byte);
    case 0x3ce:
      state_.graphics_index = byte & 15;
      return;
    case 0x3cf:
      if (state_.graphics_index < kGraphicsMasks.size()) {
        state_.graphics[state_.graphics_index] = byte & kGraphicsMasks[state_.graphics_index];
      }
      return;
    case 0x3b4:
    case 0x3d4:
      state_.crtc_index = byte & 31;
      return;
    case 0x3b5:
    case 0x3d5:
      return write_crtc(byte);
    case 0x3ba:
    case 0x3da:
      state_.feature = byte & 0x10;
      return;
    default:
      return;
  }
}

u8 VgaCore::read_attribute() const {
  const u8 index = state_.attribute_index & kAttributeIndex;
  return index < 21 ? state_.attribute[index] : 0;
}

void VgaCore::write_attribute(u8 value) {
  if (!state_.attribute_data_next) {
    state_.attribute_index = value & (kAttributeIndex | kAttributePaletteOn);
  } else {
    static constexpr std::array<u8, 5> kModeMasks = {0xef, 0xff, 0x3f, 0x0f, 0x0f};  // 0x10 to 0x14
    const u8 index = state_.attribute_index & kAttributeIndex;
    if (index < 16)
      state_.attribute[index] = value & 0x3f;
    else if (index < 21)
      state_.attribute[index] = value & kModeMasks[index - 16];
  }
  state_.attribute_data_next = !state_.attribute_data_next;
}

void VgaCore::write_crtc(u8 value) {
  u8& reg = state_.crtc[state_.crtc_index];
  if (state_.crtc_index <= CRTC_OVERFLOW && (state_.crtc[CRTC_PROTECT] & kCrtcProtected)) {
    if (state_.crtc_index == CRTC_OVERFLOW) reg = u8((reg & ~kCrtcOverflowFree) | (value & kCrtcOverflowFree));
    return;
  }
  if (state_.crtc_index <= 0x18) reg = value;
}

u8 VgaCore::read_dac() {
  const u8 value = state_.palette[state_.dac_read * 3u + state_.dac_step];
  if (++state_.dac_step == 3) {
    state_.dac_step = 0;
    state_.dac_read++;
  }
  return value;
}

void VgaCore::write_dac(u8 value) {
  const bool wide = state_.dispi[DISPI_ENABLE] & kDispi8BitDac;
  state_.palette[state_.dac_write * 3u + state_.dac_step] = wide ? value : value & 0x3f;
  if (++state_.dac_step == 3) {
    state_.dac_step = 0;
    state_.dac_write++;
  }
}

// Bochs VBE. ---------------------------------------------------------------------------------------------------------

u64 VgaCore::read_dispi_port(u64 offset, unsigned size) {
  const u16 value = offset == 0 ? state_.dispi_index : read_dispi(state_.dispi_index);
  return size == 2 ? value : value & 0xff;
}

void VgaCore::write_dispi_port(u64 offset, u64 value, unsigned size) {
  if (size != 2) return;  // 16-bit registers
  if (offset == 0)
    state_.dispi_index = u16(value);
  else
    write_dispi(state_.dispi_index, u16(value));
}

u16 VgaCore::read_dispi(unsigned index) const {
  if (index >= kDispiCount) return 0;
  if (index == DISPI_VIDEO_MEMORY_64K) return u16(vram_->size() >> 16);
  if (state_.dispi[DISPI_ENABLE] & kDispiGetCaps) {
    if (index == DISPI_XRES) return kDispiMaxX;
    if (index == DISPI_YRES) return kDispiMaxY;
    if (index == DISPI_BPP) return kDispiMaxBpp;
  }
  return state_.dispi[index];
}

void VgaCore::write_dispi(unsigned index, u16 value) {
  auto& dispi = state_.dispi;
  switch (index) {
    case DISPI_ID:
      if (value >= kDispiIdFirst && value <= kDispiIdLast) dispi[DISPI_ID] = value;
      return;
    case DISPI_XRES:
    case DISPI_YRES:
    case DISPI_BPP:
      dispi[index] = value;
      break;
    case DISPI_BANK:
      if (u64(value) << 16 < vram_->size()) dispi[DISPI_BANK] = value;
      return;
    case DISPI_ENABLE:
      return enable_dispi(value);
    case DISPI_VIRT_WIDTH:
    case DISPI_X_OFFSET:
    case DISPI_Y_OFFSET:
      dispi[index] = value;
      break;
    default:
      return;
  }
  if (dispi[DISPI_ENABLE] & kDispiEnabled) fit_virtual_size();
}

void VgaCore::enable_dispi(u16 value) {
  auto& dispi = state_.dispi;
  const bool was = dispi[DISPI_ENABLE] & kDispiEnabled;
  dispi[DISPI_ENABLE] = value & (kDispiEnabled | kDispiGetCaps | kDispi8BitDac | kDispiLinear | kDispiNoClear);
  if (!(value & kDispiEnabled)) {
    dispi[DISPI_BANK] = 0;
    return;
  }
  if (was) return;
  dispi[DISPI_VIRT_WIDTH] = dispi[DISPI_X_OFFSET] = dispi[DISPI_Y_OFFSET] = 0;
  fit_virtual_size();
  if (!(value & kDispiNoClear)) {
    const u64 wanted = u64(dispi[DISPI_YRES]) * dispi[DISPI_VIRT_WIDTH] * ((dispi[DISPI_BPP] + 7u) / 8);
    vram_->fill(0, 0, std::min(wanted, vram_->size()));
  }
}

/// Keeps the mode inside video memory: a guest that asks for more gets less and can read so.
void VgaCore::fit_virtual_size() {
  auto& dispi = state_.dispi;
  const u16 bpp = dispi[DISPI_BPP];
  if (bpp != 4 && bpp != 8 && bpp != 15 && bpp != 16 && bpp != 24 && bpp != 32) dispi[DISPI_BPP] = 8;
  dispi[DISPI_XRES] = u16(std::clamp<unsigned>(dispi[DISPI_XRES] & ~7u, 8, kDispiMaxX));
  const unsigned bits_a_pixel = dispi[DISPI_BPP] == 15 ? 16 : dispi[DISPI_BPP];
  u64 width = std::max<u64>(dispi[DISPI_VIRT_WIDTH], dispi[DISPI_XRES]);
  const u64 memory_bits = vram_->size() * 8;
  width = std::min(width, memory_bits / bits_a_pixel);
  const u64 height = std::min<u64>(memory_bits / (width * bits_a_pixel), 0xffff);
  dispi[DISPI_VIRT_WIDTH] = u16(width);
  dispi[DISPI_XRES] = u16(std::min<u64>(dispi[DISPI_XRES], width));
  dispi[DISPI_VIRT_HEIGHT] = u16(height);
  dispi[DISPI_YRES] = u16(std::clamp<u64>(dispi[DISPI_YRES], 1, std::min<u64>(height, kDispiMaxY)));
  dispi[DISPI_X_OFFSET] = u16(std::min<u64>(dispi[DISPI_X_OFFSET], width - dispi[DISPI_XRES]));
  dispi[DISPI_Y_OFFSET] = u16(std::min<u64>(dispi[DISPI_Y_OFFSET], height - dispi[DISPI_YRES]));
}

}  // namespace emu::hw
