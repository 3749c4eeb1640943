// SPDX-License-Identifier: Apache-2.0
// PCI Express root port with a hot-plug slot, and the bridge from PCI Express to conventional PCI. PCI Express Base
// specification 3.0, sections 6.7 and 7.8.
#pragma once

#include "hw/core/hotplug.h"
#include "hw/pci/pci_bridge.h"

namespace emu::hw {

/// One slot behind one link. The guest switches its power; a device behind a port without power does not answer.
///
///   device_add    presence detect changed, attention button; the guest switches power on, the link comes up
///   device_del    attention button; the guest lets the device go and switches power off, then it is taken out
class PcieRootPort final : public PciBridge, public HotplugHandler {
 public:
  PcieRootPort()
      : PciBridge({.vendor = 0x1b36, .device = 0x000c, .class_code = pci::kClassPciBridge, .express = true,
                   .bridge = true}) {}
  static void describe(TypeInfo<PcieRootPort>& type);
  Result<void> realize() override;
  void reset_enter() override;

  void device_plugged(Device& device) override;
  Result<void> request_unplug(Device& device) override;
  void device_unplugged(Bus& bus) override;

  bool is_hotpluggable() const { return hotplug_; }

 private:
  void config_written(unsigned offset, unsigned size) override;
  void message_vectors_changed() override { refresh_interrupt(); }
  void fields(Archive& ar);

  unsigned reg(unsigned offset) const { return capability_ + offset; }
  bool is_occupied() const { return secondary_bus().at(0) != nullptr; }
  bool has_power() const;
  void add_reservation();
  void set_status(u16 bits);
  void set_link(bool up);
  void power_changed();
  void take_out();
  void refresh_interrupt();

  u8 port_ = 0, chassis_ = 0;
  u16 slot_ = 0;
  bool hotplug_ = true;
  u32 reserved_buses_ = 0;  ///< for devices that come later; 0 leaves it to the firmware
  qom::Bytes reserved_io_, reserved_memory_, reserved_prefetch32_, reserved_prefetch64_;
  unsigned capability_ = 0;
  bool powered_ = false;         ///< SLOT_CONTROL as last seen
  bool interrupt_ = false;       ///< what the port asks for now
  bool unplug_pending_ = false;  ///< device_del waits for the guest
  ClockNs unplug_asked_{};
};

}  // namespace emu::hw
