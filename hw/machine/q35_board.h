// SPDX-License-Identifier: Apache-2.0
// Machine "q35": MCH host bridge with PCI Express, ICH9 south bridge with AHCI. Its SMBus function is not there yet.
#pragma once

#include "hw/machine/pc_board.h"

namespace emu::hw {

class Ich9Lpc;
class Q35Host;

class Q35Board final : public PcBoard {
 public:
  static void describe(qom::TypeInfo<Q35Board>& type) { type.doc("Standard PC (Q35 + ICH9, 2009)"); }

 protected:
  u64 low_ram_limit(u64 bytes) const override;
  Result<void> build_chipset() override;
  const mem::RegionRef& pci_memory() const override;
  PciBus& pci_bus() const override;
  void open_shadow_ram() override;
  void place_chipset_registers() override;
  void configure_as_firmware() override;
  void adapt_acpi(AcpiConfig& acpi) const override;
  std::string product() const override { return "Standard PC (Q35 + ICH9, 2009)"; }
  std::string version_name() const override { return "pc-q35-7.2"; }

 private:
  Q35Host* host_ = nullptr;
  Ich9Lpc* lpc_ = nullptr;
};

}  // namespace emu::hw
