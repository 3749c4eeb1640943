// SPDX-License-Identifier: Apache-2.0
// IDE function of the PIIX3. Intel 82371SB (PIIX3) datasheet (290550-002), §2.3 and §2.7.
//
//   ports 0x1f0..0x1f7, 0x3f6   channel 0, interrupt 14: bus "ide.0"
//   ports 0x170..0x177, 0x376   channel 1, interrupt 15: bus "ide.1"
//   BAR 4                       bus master registers, 8 bytes a channel
#pragma once

#include <array>
#include <memory>

#include "hw/ide/ide_channel.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Function 01.1. Deviation: the ports decode whatever IDETIM and COMMAND say, and IDETIM's enable bits are set after
/// reset: a kernel that is entered without firmware looks at them, and nobody would have set them.
class Piix3Ide final : public PciDevice {
 public:
  static constexpr unsigned kChannels = 2;
  enum Reg : unsigned { IDETIM = 0x40, SIDETIM = 0x44 };

  Piix3Ide() : PciDevice({.vendor = 0x8086, .device = 0x7010, .class_code = 0x0101, .prog_if = 0x80}) {}
  static void describe(TypeInfo<Piix3Ide>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_hold() override;

  IdeBus& ide_bus(unsigned channel) const { return *buses_.at(channel); }

 private:
  void fields(Archive& ar);
  Result<void> after_load();
  u64 read_bus_master(u64 offset, unsigned size);
  void write_bus_master(u64 offset, u64 value, unsigned size);

  std::array<IdeBus*, kChannels> buses_{};
  std::array<std::unique_ptr<IdeChannel>, kChannels> channels_;
  std::array<IrqLine, kChannels> irqs_;
};

/// Registers "piix3-ide".
void register_piix3_ide(TypeRegistry& registry);

}  // namespace emu::hw
