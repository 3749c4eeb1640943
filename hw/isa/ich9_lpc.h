// SPDX-License-Identifier: Apache-2.0
// PCI-to-ISA bridge of machine "q35" with its power management. Intel ICH9 datasheet (316972-004), chapter 13.
#pragma once

#include <array>
#include <memory>

#include "hw/acpi/apm_port.h"
#include "hw/acpi/pm_block.h"
#include "hw/isa/pirq_router.h"
#include "hw/isa/reset_control.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Function 1f.0. Provides bus "isa.0", routes PIRQA..H to it and to I/O APIC inputs 16..23, has the PM registers, the
/// reset port and the root complex registers. Output "smi". Deviations: no GPIO (GPIOBASE is kept, nothing decodes), no
/// TCO watchdog, LPC decode ranges are kept without effect; interrupt routes of slots 25 to 31 are those of reset. The
/// chip's other functions (AHCI 1f.2, SMBus 1f.3) are devices of their own.
class Ich9Lpc final : public PciDevice {
 public:
  enum Reg : unsigned {
    PMBASE = 0x40,
    ACPI_CNTL = 0x44,
    GPIOBASE = 0x48,
    GC = 0x4c,
    PIRQA = 0x60,
    SIRQ_CNTL = 0x64,
    PIRQE = 0x68,
    LPC_IO_DEC = 0x80,
    GEN_PMCON_1 = 0xa0,
    GEN_PMCON_2 = 0xa2,
    GEN_PMCON_3 = 0xa4,
    BIOS_CNTL = 0xdc,
    RCBA = 0xf0,
  };
  enum PmReg : u64 { PM1_STS = 0x00, PM1_CNT = 0x04, PM1_TMR = 0x08, GPE0 = 0x20, SMI_EN = 0x30, SMI_STS = 0x34 };
  static constexpr u32 kGlobalSmi = bit(0), kApmcSmi = bit(5);  // SMI_EN; SMI_STS has the second
  static constexpr u16 kSmiLock = bit(4);                       // GEN_PMCON_1
  static constexpr unsigned kPirqs = 8;
  static constexpr unsigned kFirstGsi = 16;
  static constexpr u8 kAcpiEnable = 2, kAcpiDisable = 3;  ///< commands at the APM port

  Ich9Lpc() : PciDevice({.vendor = 0x8086, .device = 0x2918, .revision = 2, .class_code = pci::kClassIsaBridge}) {}
  static void describe(TypeInfo<Ich9Lpc>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;
  void reset_hold() override;

  IsaBus& isa_bus() const { return *isa_; }
  AcpiPmBlock& pm() { return *pm_; }
  /// By the board: input `gsi` (16..23) of the I/O APIC.
  void connect_gsi(unsigned gsi, IrqInput input) { gsi_lines_.at(gsi - kFirstGsi).connect(input); }
  /// Slots 0 to 24 rotate over PIRQE..H; 25 to 31, the chip's own, have INTA..D on PIRQA..D (DxxIR after reset).
  static unsigned pirq_of(u8 devfn, unsigned pin) {
    const unsigned slot = devfn >> 3;
    return slot < 25 ? 4 + ((slot + pin) & 3) : pin & 3;
  }

  bool offers_s3() const { return !disable_s3_; }
  bool offers_s4() const { return !disable_s4_; }

 private:
  static constexpr unsigned kRootComplexBytes = 0x4000;
  struct State {
    u32 smi_enable = kApmcSmi;  ///< tells firmware that SMM is set up already: there is none to set up
    u32 smi_status = 0;
    std::array<u8, kRootComplexBytes> root_complex{};
  };
  void fields(Archive& ar);
  Result<void> after_load();
  void set_config_defaults();
  void make_pm_region();
  void config_written(unsigned offset, unsigned size) override;
  void refresh();
  void refresh_sci();
  AcpiPmBlock::Sleep sleep(unsigned type) const;

  u64 read_apm(u64 offset, unsigned) { return apm_.read(offset); }
  void write_apm(u64 offset, u64 value, unsigned size);
  u64 read_smi(u64 offset, unsigned size);
  void write_smi(u64 offset, u64 value, unsigned size);
  u64 read_root_complex(u64 offset, unsigned size);
  void write_root_complex(u64 offset, u64 value, unsigned size);

  State state_;
  ApmPort apm_{{.acpi_enable = kAcpiEnable, .acpi_disable = kAcpiDisable}};
  bool disable_s3_ = false, disable_s4_ = false;
  u8 s4_value_ = 2;
  IsaBus* isa_ = nullptr;
  PirqRouter router_{kPirqs};
  ResetControl reset_control_{ResetControl::kHardReset | ResetControl::kFullReset};
  std::array<IrqOr, kPirqs> gsi_lines_;  ///< input 0 the PIRQ, 1 the SCI
  std::array<IrqInput, 3> sci_isa_;      ///< ISA interrupts 9, 10, 11
  std::unique_ptr<AcpiPmBlock> pm_;
  mem::RegionRef io_;
  IrqLine sci_, smi_;
};

void register_ich9_lpc(TypeRegistry& registry);

}  // namespace emu::hw
