// SPDX-License-Identifier: Apache-2.0
// Power management function of machine "pc": PIIX4 function 3. Intel 82371AB datasheet (290562-001), chapter 7;
// general- purpose events at the fixed ports of QEMU's board, where firmware and our ACPI tables expect them.
#pragma once

#include <memory>

#include "hw/acpi/apm_port.h"
#include "hw/acpi/pci_hotplug.h"
#include "hw/acpi/pm_block.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Outputs "sci" (ISA interrupt 9 on the board) and "smi". Deviation: of the device monitors, GPI, GPO and the system
/// management bus only what a guest's drivers need to find nothing there.
class Piix4Pm final : public PciDevice {
 public:
  enum Reg : unsigned { PMBA = 0x40, DEVACTB = 0x58, PMREGMISC = 0x80, SMBBA = 0x90, SMBHSTCFG = 0xd2 };
  static constexpr u16 kGpePort = 0xafe0;
  static constexpr u8 kAcpiEnable = 0xf1, kAcpiDisable = 0xf0;  ///< commands at the APM port
  static constexpr u32 kApmcEnable = bit(25);                   // DEVACTB

  Piix4Pm() : PciDevice({.vendor = 0x8086, .device = 0x7113, .revision = 3, .class_code = pci::kClassOtherBridge}) {}
  static void describe(TypeInfo<Piix4Pm>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;
  void reset_hold() override;
  AcpiPmBlock& pm() { return *pm_; }

  bool offers_s3() const { return !disable_s3_; }
  bool offers_s4() const { return !disable_s4_; }
  bool offers_hotplug() const { return hotplug_ != nullptr; }

 private:
  struct State {
    u8 smbus_status = 0, smbus_control = 0, smbus_command = 0, smbus_address = 0, smbus_data0 = 0, smbus_data1 = 0;
  };
  void fields(Archive& ar);
  Result<void> after_load() { return pm_->after_load(); }
  void config_written(unsigned offset, unsigned size) override;
  void refresh_ports();
  AcpiPmBlock::Sleep sleep(unsigned type) const;

  u64 read_apm(u64 offset, unsigned) { return apm_.read(offset); }
  void write_apm(u64 offset, u64 value, unsigned size);
  u64 read_hotplug(u64 offset, unsigned) { return hotplug_->read(offset); }
  void write_hotplug(u64 offset, u64 value, unsigned) { hotplug_->write(offset, value); }
  u64 read_smbus(u64 offset, unsigned size);
  void write_smbus(u64 offset, u64 value, unsigned size);

  State state_;
  ApmPort apm_{{.acpi_enable = kAcpiEnable, .acpi_disable = kAcpiDisable}};
  bool disable_s3_ = false, disable_s4_ = false;
  u8 s4_value_ = 2;
  bool root_hotplug_ = true;
  std::unique_ptr<AcpiPmBlock> pm_;
  std::unique_ptr<AcpiPciHotplug> hotplug_;  ///< null: acpi-root-pci-hotplug=off
  mem::RegionRef io_;
  IrqLine sci_, smi_;
};

void register_piix4_pm(TypeRegistry& registry);

}  // namespace emu::hw
