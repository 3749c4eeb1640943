// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/q35_board.h"

#include "hw/ide/ahci.h"
#include "hw/isa/ich9_lpc.h"
#include "hw/machine/firmware_setup.h"
#include "hw/pci/q35.h"

namespace emu::hw {
namespace {

constexpr u64 kEcamBytes = 0x1000'0000;
constexpr u16 kPmBase = 0x600;
constexpr u32 kRootComplexBase = 0xfed1'c000;
constexpr u8 kLpcDevfn = pci_devfn(31, 0);

}  // namespace

/// Up to the ECAM window at 0xb0000000; a larger guest has 2 GiB below the hole.
u64 Q35Board::low_ram_limit(u64 bytes) const { return bytes >= 0xb000'0000 ? u64(2) << 30 : 0xb000'0000; }

Result<void> Q35Board::build_chipset() {
  host_ = &place<Q35Host>(machine(), "q35");
  host_->set_board({machine().system_root(), ram_region_, layout_.low_bytes});
  EMU_TRY(host_->realize_on(&machine().system_bus()));

  lpc_ = &place<Ich9Lpc>(machine());
  EMU_TRY(lpc_->set("addr", "1f.0"));
  EMU_TRY(lpc_->set("multifunction", true));
  EMU_TRY(lpc_->realize_on(&host_->pci_bus()));
  isa_bus_ = &lpc_->isa_bus();
  auto& ahci = place<Ahci>(machine());
  EMU_TRY(ahci.set("addr", "1f.2"));
  EMU_TRY(ahci.set("multifunction", true));
  EMU_TRY(ahci.realize_on(&host_->pci_bus()));
  for (unsigned gsi = Ich9Lpc::kFirstGsi; gsi < IoApic::kPins; gsi++)
    lpc_->connect_gsi(gsi, gsi_input(gsi));
  return {};
}

const mem::RegionRef& Q35Board::pci_memory() const { return host_->pci_memory(); }
PciBus& Q35Board::pci_bus() const { return host_->pci_bus(); }

void Q35Board::open_shadow_ram() { FirmwareSetup(machine().io_ports()).open_shadow_ram(0, Mch::PAM0); }

void Q35Board::place_chipset_registers() {
  FirmwareSetup setup(machine().io_ports());
  setup.write32(0, Mch::PCIEXBAR + 4, 0);
  setup.write32(0, Mch::PCIEXBAR, u32(Mch::kEcamDefault) | 1);  // 256 buses, enabled
  setup.write32(kLpcDevfn, Ich9Lpc::PMBASE, kPmBase | 1);
  setup.write8(kLpcDevfn, Ich9Lpc::ACPI_CNTL, 0x80);
  setup.write32(kLpcDevfn, Ich9Lpc::RCBA, kRootComplexBase | 1);
}

void Q35Board::configure_as_firmware() {
  FirmwareSetup setup(machine().io_ports());
  open_shadow_ram();
  place_chipset_registers();
  // PIRQA..H to 10, 10, 11, 11, twice over; in APIC mode they are inputs 16 to 23.
  constexpr std::array<u8, 4> kRoutes = {10, 10, 11, 11};
  for (unsigned i = 0; i < 4; i++) {
    setup.write8(kLpcDevfn, Ich9Lpc::PIRQA + i, kRoutes[i]);
    setup.write8(kLpcDevfn, Ich9Lpc::PIRQE + i, kRoutes[i]);
  }
  setup.set_level_triggered({10, 11});
  setup.assign_resources(host_->pci_bus(),
                         {.memory_base = Mch::kEcamDefault + kEcamBytes, .memory_end = 0xfec0'0000, .io_base = 0xc000},
                         [&](u8 devfn, unsigned pin) { return kRoutes[Ich9Lpc::pirq_of(devfn, pin) & 3]; });
  setup.set_up_keyboard();
  setup.enable_interrupt_delivery(cpus_[0].memory.get(), chips());
}

void Q35Board::adapt_acpi(AcpiConfig& acpi) const {
  acpi.chipset = AcpiConfig::Chipset::Q35;
  acpi.pm_base = kPmBase;
  acpi.offers_s3 = lpc_->offers_s3();
  acpi.offers_s4 = lpc_->offers_s4();
  acpi.ecam_base = Mch::kEcamDefault;
  acpi.rcba = kRootComplexBase;
  acpi.pci_memory32 = {{Mch::kEcamDefault + kEcamBytes, 0xfebf'ffff}};
}

}  // namespace emu::hw
