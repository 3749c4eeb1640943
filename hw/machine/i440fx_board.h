// SPDX-License-Identifier: Apache-2.0
// Machine "pc": Intel 440FX host bridge, PIIX3 south bridge, PIIX4 power management.
#pragma once

#include "hw/machine/pc_board.h"

namespace emu::hw {

class I440FxHost;
class Piix3;
class Piix4Pm;

class I440FxBoard final : public PcBoard {
 public:
  static void describe(qom::TypeInfo<I440FxBoard>& type) { type.doc("Standard PC (i440FX + PIIX, 1996)"); }

 protected:
  u64 low_ram_limit(u64 bytes) const override;
  Result<void> build_chipset() override;
  const mem::RegionRef& pci_memory() const override;
  void open_shadow_ram() override;
  void place_chipset_registers() override;
  void configure_as_firmware() override;
  PciBus& pci_bus() const override;
  void adapt_acpi(AcpiConfig& acpi) const override;
  std::string product() const override { return "Standard PC (i440FX + PIIX, 1996)"; }
  std::string version_name() const override { return "pc-i440fx-7.2"; }

 private:
  I440FxHost* host_ = nullptr;
  Piix3* piix3_ = nullptr;
  Piix4Pm* pm_ = nullptr;
};

}  // namespace emu::hw
