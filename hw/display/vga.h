// SPDX-License-Identifier: Apache-2.0
// Standard VGA with the Bochs VBE extensions: QEMU docs/specs/standard-vga.txt; registers as in IBM's VGA technical
// reference (sections as §) and VBE DISPI 0xb0c5.
//
//   BAR 0         video memory (prefetchable)
//   BAR 2         4 KiB: VGA ports 0x3c0..0x3df at 0x400, DISPI registers at 0x500, frame buffer byte order at 0x604
//   ports         0x3b0..0x3df, and 0x1ce..0x1d0 for DISPI
//   memory        0xa0000..0xbffff
#pragma once

#include <array>
#include <string>
#include <vector>

#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Registers and memory behave as VGA BIOSes and text consoles need. Deviation: nothing is drawn; EDID is absent; the
/// retrace bits flip on every read.
class Vga final : public PciDevice {
 public:
  static constexpr u64 kWindow = 0xa'0000, kWindowBytes = 0x2'0000;
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
  static constexpr u16 kDispiEnabled = 0x01, kDispiGetCaps = 0x02, kDispi8BitDac = 0x20, kDispiLinear = 0x40,
                       kDispiNoClear = 0x80;

  Vga() : PciDevice({.vendor = 0x1234, .device = 0x1111, .revision = 2, .class_code = pci::kClassVga}) {}
  static void describe(TypeInfo<Vga>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;

  bool is_text_mode() const;
  /// The text screen as the guest left it, one string a row, without trailing blanks; code page 437 bytes that are no
  /// ASCII become '?'. Empty in graphics modes.
  std::vector<std::string> text_screen() const;

 private:
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
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  // vga.cpp: registers
  u64 read_port(u64 offset, unsigned size);
  void write_port(u64 offset, u64 value, unsigned size);
  u8 read_attribute() const;
  void write_attribute(u8 value);
  void write_crtc(u8 value);
  u8 read_dac();
  void write_dac(u8 value);
  u64 read_dispi_port(u64 offset, unsigned size);
  void write_dispi_port(u64 offset, u64 value, unsigned size);
  u16 read_dispi(unsigned index) const;
  void write_dispi(unsigned index, u16 value);
  void enable_dispi(u16 value);
  void fit_virtual_size();
  u64 read_mmio(u64 offset, unsigned size);
  void write_mmio(u64 offset, u64 value, unsigned size);

  // vga_memory.cpp: the window at 0xa0000
  bool window_offset(u64& address) const;
  bool is_linear() const;
  u64 read_window(u64 offset, unsigned size);
  void write_window(u64 offset, u64 value, unsigned size);
  u8 read_planes(u64 cell);
  void write_planes(u64 cell, u8 value, u8 planes);
  u8 vram_byte(u64 offset) const;
  void set_vram_byte(u64 offset, u8 value);
  std::array<u8, 4> vram_cell(u64 cell) const;

  u32 memory_mib_ = 16;
  State state_;
  mem::RamRef vram_;
};

void register_vga(TypeRegistry& registry);

}  // namespace emu::hw
