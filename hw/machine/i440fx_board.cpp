// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/i440fx_board.h"

#include "hw/acpi/piix4_pm.h"
#include "hw/ide/piix3_ide.h"
#include "hw/isa/piix3.h"
#include "hw/machine/firmware_setup.h"
#include "hw/pci/i440fx.h"

namespace emu::hw {
namespace {

constexpr u64 kGiB = u64(1) << 30;
constexpr u16 kPmBase = 0x600;  ///< where SeaBIOS puts it, too
constexpr u16 kSmbusBase = 0x700;

}  // namespace

/// Up to 3.5 GiB lie below the hole; a larger guest has 3 GiB there, so that the rest above is a round number.
u64 I440FxBoard::low_ram_limit(u64 bytes) const { return bytes >= 0xe000'0000 ? 3 * kGiB : 0xe000'0000; }

Result<void> I440FxBoard::build_chipset() {
  host_ = &place<I440FxHost>(machine(), "i440fx");
  host_->set_board({machine().system_root(), ram_region_, layout_.low_bytes});
  EMU_TRY(host_->realize_on(&machine().system_bus()));

  piix3_ = &place<Piix3>(machine());
  EMU_TRY(piix3_->set("addr", "01.0"));
  EMU_TRY(piix3_->set("multifunction", true));
  EMU_TRY(piix3_->realize_on(&host_->pci_bus()));
  isa_bus_ = &piix3_->isa_bus();

  auto& ide = place<Piix3Ide>(machine());
  EMU_TRY(ide.set("addr", "01.1"));
  EMU_TRY(ide.realize_on(&host_->pci_bus()));
  for (unsigned n = 0; n < Piix3Ide::kChannels; n++) ide.irq_out("irq", n).connect(isa_bus_->irq(14 + n));

  if (!has_acpi()) return {};
  pm_ = &place<Piix4Pm>(machine());
  EMU_TRY(pm_->set("addr", "01.3"));
  EMU_TRY(pm_->realize_on(&host_->pci_bus()));
  pm_->irq_out("sci").connect(isa_bus_->irq(9));
  return {};
}

const mem::RegionRef& I440FxBoard::pci_memory() const { return host_->pci_memory(); }

PciBus& I440FxBoard::pci_bus() const { return host_->pci_bus(); }

void I440FxBoard::open_shadow_ram() { FirmwareSetup(machine().io_ports()).open_shadow_ram(0, I440Fx::PAM0); }

void I440FxBoard::place_chipset_registers() {
  if (pm_ == nullptr) return;
  FirmwareSetup setup(machine().io_ports());
  setup.write32(pci_devfn(1, 3), Piix4Pm::PMBA, kPmBase | 1);
  setup.write8(pci_devfn(1, 3), Piix4Pm::PMREGMISC, 1);
  setup.write32(pci_devfn(1, 3), Piix4Pm::SMBBA, kSmbusBase | 1);
  setup.write8(pci_devfn(1, 3), Piix4Pm::SMBHSTCFG, 0x09);  // enabled, its interrupts on IRQ 9
  setup.enable_io(pci_devfn(1, 3));
}

void I440FxBoard::configure_as_firmware() {
  FirmwareSetup setup(machine().io_ports());
  open_shadow_ram();
  // PIRQA..D to 10, 10, 11, 11, and those level-triggered: what the tables say.
  constexpr std::array<u8, 4> kRoutes = {10, 10, 11, 11};
  for (unsigned i = 0; i < kRoutes.size(); i++) setup.write8(pci_devfn(1, 0), Piix3::PIRQRCA + i, kRoutes[i]);
  setup.set_level_triggered({10, 11});
  place_chipset_registers();
  setup.assign_resources(
      host_->pci_bus(),
      {.memory_base = std::max<u64>(layout_.low_bytes, 0xc000'0000), .memory_end = 0xfec0'0000, .io_base = 0xc000},
      [&](u8 devfn, unsigned pin) { return kRoutes[host_->pci_bus().line_of(devfn, pin)]; });
  setup.set_up_keyboard();
  setup.enable_interrupt_delivery(cpus_[0].memory.get(), chips());
}

void I440FxBoard::adapt_acpi(AcpiConfig& acpi) const {
  acpi.chipset = AcpiConfig::Chipset::I440Fx;
  acpi.pm_base = kPmBase;
  acpi.offers_s3 = pm_ != nullptr && pm_->offers_s3();
  acpi.offers_s4 = pm_ != nullptr && pm_->offers_s4();
  acpi.has_pci_hotplug = pm_ != nullptr && pm_->offers_hotplug();
  acpi.pci_memory32 = {{std::max<u64>(layout_.low_bytes, 0xc000'0000), 0xfebf'ffff}};
}

}  // namespace emu::hw
