// SPDX-License-Identifier: Apache-2.0
// Registers of the VGA.
#include "hw/display/vga.h"

#include <bit>

#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u16 kFirstPort = 0x3b0, kPortCount = 0x30, kDispiPort = 0x1ce;
constexpr u64 kMmioBytes = 0x1000, kMmioPorts = 0x400, kMmioPortsEnd = 0x420, kMmioDispi = 0x500, kMmioExtended = 0x600;
constexpr u16 kMmioFirstPort = 0x3c0;
constexpr u32 kLittleEndian = 0x1e1e'1e1e, kBigEndian = 0xbebe'bebe;
constexpr u16 kDispiIdFirst = 0xb0c0, kDispiIdLast = 0xb0c5, kDispiMaxX = 16000, kDispiMaxY = 12000, kDispiMaxBpp = 32;

// General registers, §2.2
constexpr u8 kMiscColor = 0x01;  // CRTC and status at 0x3dX instead of 0x3bX
constexpr u8 kStatusDisplayDisabled = 0x01, kStatusVerticalRetrace = 0x08;
constexpr u8 kAttributeIndex = 0x1f, kAttributePaletteOn = 0x20;
constexpr u8 kCrtcProtect = 0x80;  // in index 0x11: 0 to 7 are read-only, but for one bit
constexpr unsigned kCrtcOverflow = 0x07, kCrtcProtectIndex = 0x11;
constexpr u8 kCrtcOverflowFree = 0x10;

constexpr std::array<u8, 8> kSequencerMasks = {0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff};
constexpr std::array<u8, 9> kGraphicsMasks = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};

bool is_monochrome_port(u16 port) { return port >= 0x3b0 && port <= 0x3bf; }
bool is_color_port(u16 port) { return port >= 0x3d0 && port <= 0x3df; }

}  // namespace

void Vga::describe(TypeInfo<Vga>& type) {
  type.doc("Standard VGA with Bochs VBE");
  type.category(Category::Display);
  type.property("vgamem_mb", &Vga::memory_mib_, "video memory in MiB, a power of two from 1 to 256");
  type.set_default("romfile", "vgabios-stdvga.bin");
  const mem::MmioOptions bytes{.valid = {1, 4}, .impl = {1, 1}};
  type.region("vga-ports", kPortCount, &Vga::read_port, &Vga::write_port, bytes);
  type.region("vbe", 3, &Vga::read_dispi_port, &Vga::write_dispi_port,
              {.valid = {1, 2}, .impl = {1, 2}, .unaligned = true});
  type.region("vga-lowmem", kWindowBytes, &Vga::read_window, &Vga::write_window, {.valid = {1, 8}, .impl = {1, 1}});
  type.region("vga.mmio", kMmioBytes, &Vga::read_mmio, &Vga::write_mmio, {.valid = {1, 4}, .impl = {1, 4}});
  type.saved(1, &Vga::state_, &Vga::fields, &Vga::after_load);
}

Result<void> Vga::realize() {
  if (!std::has_single_bit(memory_mib_) || memory_mib_ > 256) {
    return error("VGA: vgamem_mb={} is not a power of two from 1 to 256", memory_mib_);
  }
  vram_ = EMU_TRY(memory().make_ram(pci_bus().device_address(*this) + "/vga.vram", u64(memory_mib_) << 20), "VGA");
  add_bar(0, BarKind::PrefetchableMemory32, add_region(mem::Region::ram(memory(), "vga.vram", vram_)));
  add_bar(2, BarKind::Memory32, region("vga.mmio"));
  // Below whatever else has ports in that range, such as a printer at 0x3bc.
  pci_bus().ports().add(kFirstPort, region("vga-ports"), -1);
  pci_bus().ports().add(kDispiPort, region("vbe"));
  pci_bus().memory_space().add(kWindow, region("vga-lowmem"), 1);
  return {};
}

void Vga::unrealize() { vram_.reset(); }

void Vga::reset_enter() {
  state_ = {};
  state_.graphics[5] = 0;
  state_.dispi[DISPI_ID] = kDispiIdLast;
}

void Vga::fields(Archive& ar, State& s) {
  ar("misc", s.misc)("feature", s.feature)("sequencer_index", s.sequencer_index)("graphics_index", s.graphics_index);
  ar("crtc_index", s.crtc_index)("attribute_index", s.attribute_index)("attribute_data_next", s.attribute_data_next);
  ar("sequencer", s.sequencer)("graphics", s.graphics)("crtc", s.crtc)("attribute", s.attribute)("status1", s.status1);
  ar("palette", s.palette)("dac_mask", s.dac_mask)("dac_write", s.dac_write)("dac_read", s.dac_read);
  ar("dac_step", s.dac_step)("dac_reading", s.dac_reading)("latch", s.latch)("dispi_index", s.dispi_index);
  ar("dispi", s.dispi)("big_endian", s.big_endian);
}

Result<void> Vga::after_load() {
  if (state_.sequencer_index > 7 || state_.graphics_index > 15 || state_.crtc_index > 31 ||
      state_.attribute_index > 0x3f || state_.dac_step > 2) {
    return error("VGA: an index is out of range");
  }
  return {};
}

// Ports. -------------------------------------------------------------------------------------------------------------

u64 Vga::read_port(u64 offset, unsigned) {
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

void Vga::write_port(u64 offset, u64 value, unsigned) {
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

u8 Vga::read_attribute() const {
  const u8 index = state_.attribute_index & kAttributeIndex;
  return index < 21 ? state_.attribute[index] : 0;
}

void Vga::write_attribute(u8 value) {
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

void Vga::write_crtc(u8 value) {
  u8& reg = state_.crtc[state_.crtc_index];
  if (state_.crtc_index <= kCrtcOverflow && (state_.crtc[kCrtcProtectIndex] & kCrtcProtect)) {
    if (state_.crtc_index == kCrtcOverflow) reg = u8((reg & ~kCrtcOverflowFree) | (value & kCrtcOverflowFree));
    return;
  }
  if (state_.crtc_index <= 0x18) reg = value;
}

u8 Vga::read_dac() {
  const u8 value = state_.palette[state_.dac_read * 3u + state_.dac_step];
  if (++state_.dac_step == 3) {
    state_.dac_step = 0;
    state_.dac_read++;
  }
  return value;
}

void Vga::write_dac(u8 value) {
  const bool wide = state_.dispi[DISPI_ENABLE] & kDispi8BitDac;
  state_.palette[state_.dac_write * 3u + state_.dac_step] = wide ? value : value & 0x3f;
  if (++state_.dac_step == 3) {
    state_.dac_step = 0;
    state_.dac_write++;
  }
}

// Bochs VBE. ---------------------------------------------------------------------------------------------------------

u64 Vga::read_dispi_port(u64 offset, unsigned size) {
  const u16 value = offset == 0 ? state_.dispi_index : read_dispi(state_.dispi_index);
  return size == 2 ? value : value & 0xff;
}

void Vga::write_dispi_port(u64 offset, u64 value, unsigned size) {
  if (size != 2) return;  // 16-bit registers
  if (offset == 0)
    state_.dispi_index = u16(value);
  else
    write_dispi(state_.dispi_index, u16(value));
}

u16 Vga::read_dispi(unsigned index) const {
  if (index >= kDispiCount) return 0;
  if (index == DISPI_VIDEO_MEMORY_64K) return u16(vram_->size() >> 16);
  if (state_.dispi[DISPI_ENABLE] & kDispiGetCaps) {
    if (index == DISPI_XRES) return kDispiMaxX;
    if (index == DISPI_YRES) return kDispiMaxY;
    if (index == DISPI_BPP) return kDispiMaxBpp;
  }
  return state_.dispi[index];
}

void Vga::write_dispi(unsigned index, u16 value) {
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

void Vga::enable_dispi(u16 value) {
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
void Vga::fit_virtual_size() {
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

// The same registers in memory. --------------------------------------------------------------------------------------

u64 Vga::read_mmio(u64 offset, unsigned size) {
  if (offset >= kMmioPorts && offset < kMmioPortsEnd) {
    u64 value = 0;
    for (unsigned i = 0; i < size; i++)
      value |= read_port(kMmioFirstPort - kFirstPort + offset - kMmioPorts + i, 1) << (8 * i);
    return value;
  }
  if (offset >= kMmioDispi && offset < kMmioDispi + 2 * kDispiCount) {
    return size == 2 ? read_dispi(unsigned(offset - kMmioDispi) / 2) : 0;
  }
  if (offset == kMmioExtended && size == 4) return 8;  // length of this block
  if (offset == kMmioExtended + 4 && size == 4) return state_.big_endian ? kBigEndian : kLittleEndian;
  return 0;  // EDID: none
}

void Vga::write_mmio(u64 offset, u64 value, unsigned size) {
  if (offset >= kMmioPorts && offset < kMmioPortsEnd) {
    for (unsigned i = 0; i < size; i++)
      write_port(kMmioFirstPort - kFirstPort + offset - kMmioPorts + i, u8(value >> (8 * i)), 1);
  } else if (offset >= kMmioDispi && offset < kMmioDispi + 2 * kDispiCount) {
    if (size == 2) write_dispi(unsigned(offset - kMmioDispi) / 2, u16(value));
  } else if (offset == kMmioExtended + 4 && size == 4) {
    if (value == kBigEndian) state_.big_endian = true;
    if (value == kLittleEndian) state_.big_endian = false;
  } else {
    log::guest_error("VGA: write of {:#x} to {:#x}, where no register is", value, offset);
  }
}

void register_vga(TypeRegistry& registry) { registry.add<Vga>("VGA"); }

}  // namespace emu::hw
