// SPDX-License-Identifier: Apache-2.0
// The VGA with the Bochs VBE extensions, without a bus: registers as in IBM's VGA technical reference (sections as §)
// and VBE DISPI 0xb0c5. Devices put its ports, its window and its video memory where their bus has them.
#pragma once

#include <string>
#include <vector>

#include "hw/core/device.h"
#include "hw/display/vga_state.h"
#include "ui/screen.h"

namespace emu::hw {

/// Deviations: the retrace bits flip on every read; timing registers other than the visible area's mean nothing;
/// blinking text and the cursor are always in the phase where they are seen.
class VgaCore : public ui::Screen {
 public:
  static constexpr u64 kWindow = 0xa'0000, kWindowBytes = 0x2'0000;
  static constexpr u16 kFirstPort = 0x3b0, kPortCount = 0x30, kDispiPort = 0x1ce;

  ui::Picture picture() const override;

  bool is_text_mode() const;
  /// The text screen as the guest left it, one string a row, without trailing blanks; code page 437 bytes that are no
  /// ASCII become '?'. Empty in graphics modes.
  std::vector<std::string> text_screen() const;

 protected:
  /// vgamem_mb, the port regions, the window and what is saved. `T` is the device.
  template <typename T>
  static void describe_core(TypeInfo<T>& type);
  /// Makes the video memory. Errors: vgamem_mb, no memory.
  Result<void> make_memory(mem::Memory& memory, const std::string& id);
  void reset_core();

  static void list_fields(qom::Archive& ar, vga::State& s);
  Result<void> check_loaded();

  // vga_core.cpp: registers
  u64 read_port(u64 offset, unsigned size);
  void write_port(u64 offset, u64 value, unsigned size);
  u64 read_dispi_port(u64 offset, unsigned size);
  void write_dispi_port(u64 offset, u64 value, unsigned size);
  u16 read_dispi(unsigned index) const;
  void write_dispi(unsigned index, u16 value);

  // vga_memory.cpp: the window at 0xa0000
  u64 read_window(u64 offset, unsigned size);
  void write_window(u64 offset, u64 value, unsigned size);

  vga::State state_;
  mem::RamRef vram_;

 private:
  u8 read_attribute() const;
  void write_attribute(u8 value);
  void write_crtc(u8 value);
  u8 read_dac();
  void write_dac(u8 value);
  void enable_dispi(u16 value);
  void fit_virtual_size();

  bool window_offset(u64& address) const;
  u8 read_cell(u64 cell, unsigned plane);
  void write_cell(u64 cell, u8 value, u8 planes);
  u8 vram_byte(u64 offset) const;
  void set_vram_byte(u64 offset, u8 value);
  std::array<u8, 4> vram_cell(u64 cell) const;

  u32 memory_mib_ = 16;
};

template <typename T>
void VgaCore::describe_core(TypeInfo<T>& type) {
  type.category(Category::Display);
  type.property("vgamem_mb", &VgaCore::memory_mib_, "video memory in MiB, a power of two from 1 to 256");
  const mem::MmioOptions bytes{.valid = {1, 4}, .impl = {1, 1}};
  type.region("vga-ports", kPortCount, &VgaCore::read_port, &VgaCore::write_port, bytes);
  type.region("vbe", 3, &VgaCore::read_dispi_port, &VgaCore::write_dispi_port,
              {.valid = {1, 2}, .impl = {1, 2}, .unaligned = true});
  type.region("vga-lowmem", kWindowBytes, &VgaCore::read_window, &VgaCore::write_window,
              {.valid = {1, 8}, .impl = {1, 1}});
  type.saved(1, &VgaCore::state_, &VgaCore::list_fields, &VgaCore::check_loaded);
}

}  // namespace emu::hw
