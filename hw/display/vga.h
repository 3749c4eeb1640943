// SPDX-License-Identifier: Apache-2.0
// Standard VGA on PCI: QEMU docs/specs/standard-vga.txt.
//
//   BAR 0         video memory (prefetchable)
//   BAR 2         4 KiB: VGA ports 0x3c0..0x3df at 0x400, DISPI registers at 0x500, frame buffer byte order at 0x604
//   ports         0x3b0..0x3df, and 0x1ce..0x1d0 for DISPI
//   memory        0xa0000..0xbffff
#pragma once

#include "hw/display/vga_core.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Deviation: EDID is absent.
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
};

void register_vga(TypeRegistry& registry);

}  // namespace emu::hw
