// SPDX-License-Identifier: Apache-2.0
// AHCI controller of the ICH9. Serial ATA AHCI 1.3.1; Intel ICH9 datasheet (316972-004), chapter 16.
//
//   BAR 5   ABAR: generic host control at 0x00, port n at 0x100 + 0x80 * n
//   buses   "ide.0" to "ide.5", one drive each; "ID.0" and so on for one that the user made with an id
#pragma once

#include <array>
#include <memory>

#include "hw/ide/ahci_port.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// Function 1f.2 of q35, or -device ahci. Always in AHCI mode. Deviations: no legacy mode and no index/data pair in
/// BAR 4, no command completion coalescing, enclosure management or port multipliers.
class Ahci final : public PciDevice {
 public:
  static constexpr unsigned kPorts = 6;
  enum Reg : unsigned { CAP = 0x00, GHC = 0x04, IS = 0x08, PI = 0x0c, VS = 0x10 };
  static constexpr unsigned kFirstPort = 0x100, kPortBytes = 0x80;
  static constexpr u32 kGhcReset = bit(0), kGhcInterrupts = bit(1), kGhcAhci = bit(31);

  Ahci() : PciDevice({.vendor = 0x8086, .device = 0x2922, .revision = 2, .class_code = 0x0106, .prog_if = 1}) {}
  static void describe(TypeInfo<Ahci>& type);
  Result<void> realize() override;
  void unrealize() override;
  void reset_hold() override;

  IdeBus& ide_bus(unsigned port) const { return *buses_.at(port); }

 private:
  struct State {
    u32 ghc = kGhcAhci, is = 0;
  };
  void fields(Archive& ar);
  Result<void> after_load();
  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  void refresh(bool tells_again = false);
  void finish_reset();

  State state_;
  std::array<IdeBus*, kPorts> buses_{};
  std::array<std::unique_ptr<AhciPort>, kPorts> ports_;
  std::shared_ptr<bool> alive_;
};

/// Registers "ich9-ahci" and its alias "ahci".
void register_ahci(TypeRegistry& registry);

}  // namespace emu::hw
