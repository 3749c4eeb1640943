// SPDX-License-Identifier: Apache-2.0
// Standard VGA on PCI: QEMU docs/specs/standard-vga.txt.
//
//   BAR 0         video memory (prefetchable)
//   BAR 2         4 KiB: EDID at 0, VGA ports 0x3c0..0x3df at 0x400, DISPI registers at 0x500, frame buffer byte order
//                 at 0x604
//   ports         0x3b0..0x3df, and 0x1ce..0x1d0 for DISPI
//   memory        0xa0000..0xbffff
#pragma once

#include "hw/display/edid.h"
#include "hw/display/vga_core.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

class Vga final : public PciDevice, public VgaCore {
 public:
  Vga() : PciDevice({.vendor = 0x1234, .device = 0x1111, .revision = 2, .class_code = pci::kClassVga}) {}
  static void describe(TypeInfo<Vga>& type);
  Result<void> realize() override;
  void unrealize() override { vram_.reset(); }
  void reset_enter() override { reset_core(); }

 private:
  u64 read_mmio(u64 offset, unsigned size);
  void write_mmio(u64 offset, u64 value, unsigned size);

  bool edid_enabled_ = true;
  u32 preferred_width_ = 1280, preferred_height_ = 800;
  std::array<u8, kEdidBytes> edid_{};
};

void register_vga(TypeRegistry& registry);

}  // namespace emu::hw
