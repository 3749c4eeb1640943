// SPDX-License-Identifier: Apache-2.0
// Hot plug of the slots of bus "pci.0" through ACPI: the registers that our DSDT's methods use. Layout and meaning as in
// docs/specs/acpi_pci_hotplug.txt of QEMU, so that its firmware and tables would do, too.
#pragma once

#include <functional>

#include "hw/core/hotplug.h"
#include "hw/pci/pci_bus.h"

namespace emu::hw {

/// One bit a slot.
///
///   device_add    UP and a general-purpose event; the OS looks at the slot
///   device_del    DOWN and the event; the OS lets the device go and evaluates _EJ0, which writes EJECT
class AcpiPciHotplug final : public HotplugHandler {
 public:
  enum Reg : u64 { UP = 0x00, DOWN = 0x04, EJECT = 0x08, REMOVABLE = 0x0c, BUS_SELECT = 0x10 };
  static constexpr u16 kPort = 0xae00;
  static constexpr u64 kBytes = 0x14;
  static constexpr unsigned kGpe = 1;

  /// Both outlive this. `raise` tells the OS to look.
  AcpiPciHotplug(PciBus& bus, std::function<void()> raise) : bus_(bus), raise_(std::move(raise)) {}

  u64 read(u64 offset);
  void write(u64 offset, u64 value);
  /// Devices that were asked to leave do now: the OS that was asked is gone.
  void reset();
  struct State {
    u32 up = 0, down = 0, bus_select = 0;
    void fields(Archive& ar) { ar("up", up)("down", down)("bus_select", bus_select); }
  };
  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

  void device_plugged(Device& device) override;
  Result<void> request_unplug(Device& device) override;

 private:
  u32 removable() const;
  void eject(u32 slots);

  PciBus& bus_;
  std::function<void()> raise_;
  State state_;
};

}  // namespace emu::hw
