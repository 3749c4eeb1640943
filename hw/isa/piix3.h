// SPDX-License-Identifier: Apache-2.0
// PCI-to-ISA bridge of machine "pc". Intel 82371SB (PIIX3) datasheet (290550-002).
#pragma once

#include "hw/isa/pirq_router.h"
#include "hw/isa/reset_control.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Function 01.0. Provides bus "isa.0", routes PCI interrupts to it and has the reset port. The edge/level registers
/// are with the interrupt controllers.
class Piix3 final : public PciDevice {
 public:
  enum Reg : unsigned {
    IORT = 0x4c,
    XBCS = 0x4e,
    PIRQRCA = 0x60,
    TOM = 0x69,
    MSTAT = 0x6a,
    MBIRQ = 0x70,
    APICBASE = 0x80,
    DLC = 0x82,
    SMICNTL = 0xa0
  };
  static constexpr unsigned kPirqs = 4;

  Piix3() : PciDevice({.vendor = 0x8086, .device = 0x7000, .class_code = pci::kClassIsaBridge}) {}
  static void describe(TypeInfo<Piix3>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override { refresh_routes(); }

  IsaBus& isa_bus() const { return *isa_; }
  /// Interrupt lines of the PCI bus rotate with the slot: PIRQ = (slot - 1 + pin) mod 4.
  static unsigned pirq_of(u8 devfn, unsigned pin) { return ((devfn >> 3) + 3 + pin) & 3; }

 private:
  void fields(Archive& ar) { reset_control_.fields(ar); }
  void config_written(unsigned offset, unsigned size) override;
  void refresh_routes();

  IsaBus* isa_ = nullptr;
  PirqRouter router_{kPirqs};
  ResetControl reset_control_{ResetControl::kHardReset};
};

void register_piix3(TypeRegistry& registry);

}  // namespace emu::hw
