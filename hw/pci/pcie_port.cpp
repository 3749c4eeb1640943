// SPDX-License-Identifier: Apache-2.0
#include "hw/pci/pcie_port.h"

#include "hw/core/plug.h"
#include "hw/pci/pci_express.h"

namespace emu::hw {

using namespace pci;
using namespace express;

namespace {

/// A guest that is asked twice within this time takes the second press of the button for "never mind".
constexpr ClockNs kButtonTime = std::chrono::seconds(5);
constexpr u16 kControlBits = 0x17ff;  // enables, indicators, power controller, link state changed
constexpr u16 kStatusEvents = kButtonPressed | kPresenceChanged | kCommandCompleted | kLinkChanged;

}  // namespace

void PcieRootPort::describe(TypeInfo<PcieRootPort>& type) {
  type.doc("PCI Express Root Port");
  type.plugs_into(PcieBus::kTypeName);
  type.property("port", &PcieRootPort::port_, "number of the port");
  type.property("chassis", &PcieRootPort::chassis_, "number of the chassis");
  type.property("slot", &PcieRootPort::slot_, "number of the slot in the chassis");
  type.property("hotplug", &PcieRootPort::hotplug_, "whether devices may come and go while the guest runs");
  type.property("bus-reserve", &PcieRootPort::reserved_buses_, "bus numbers for firmware to leave free");
  type.property("io-reserve", &PcieRootPort::reserved_io_, "ports for firmware to leave free");
  type.property("mem-reserve", &PcieRootPort::reserved_memory_, "memory for firmware to leave free");
  type.property("pref32-reserve", &PcieRootPort::reserved_prefetch32_,
                "prefetchable memory below 4 GiB for firmware to leave free");
  type.property("pref64-reserve", &PcieRootPort::reserved_prefetch64_,
                "prefetchable memory for firmware to leave free");
  type.saved(1, &PcieRootPort::fields);
}

Result<void> PcieRootPort::realize() {
  if (slot_ > 0x1fff) return error("pcie-root-port: slot={} is more than 8191", slot_);
  PcieBus& bus = add_secondary_bus<PcieBus>();
  bus.set_slot_count(1);
  use_interrupt_pin(1);
  PciConfig& c = config();
  capability_ = add_express_capability(c, ExpressKind::RootPort, port_);
  c.set16(reg(CAPABILITIES), u16(c.get16(reg(CAPABILITIES)) | kSlotImplemented));
  c.set32(reg(LINK_CAPABILITIES), c.get32(reg(LINK_CAPABILITIES)) | kLinkActiveReporting);
  c.device_changes(reg(LINK_STATUS) + 1, u8(kLinkActive >> 8));
  u32 slot = u32(slot_) << 19;
  if (hotplug_) {
    slot |= kSlotButton | kSlotPowerController | kSlotAttentionIndicator | kSlotPowerIndicator | kSlotHotplug;
    c.allow16(reg(SLOT_CONTROL), kControlBits);
    bus.set_hotplug(this);
  }
  c.set32(reg(SLOT_CAPABILITIES), slot);
  c.clears16(reg(SLOT_STATUS), kStatusEvents);
  c.device_changes(reg(SLOT_STATUS), u8(kPresent));
  add_msi(1);
  add_reservation();
  return {};
}

/// The capability by which firmware of virtual machines learns how much room a bridge wants: vendor-specific, of
/// vendor 1b36 (docs/pcie_pci_bridge.txt of QEMU).
void PcieRootPort::add_reservation() {
  constexpr unsigned kLength = 32, kType = 3, kBuses = 4, kIoAt = 8, kMemoryAt = 16, kPrefetch32At = 20,
                     kPrefetch64At = 24;
  constexpr u8 kReserve = 1;
  const u64 io = reserved_io_.count, memory = reserved_memory_.count;
  const u64 prefetch32 = reserved_prefetch32_.count, prefetch64 = reserved_prefetch64_.count;
  if ((reserved_buses_ | io | memory | prefetch32 | prefetch64) == 0) return;
  const auto or_unset = [](u64 value) { return value == 0 ? ~u64(0) : value; };
  PciConfig& c = config();
  const unsigned at = c.add_capability(kCapVendor, kLength);
  c.set8(at + 2, kLength);
  c.set8(at + kType, kReserve);
  c.set32(at + kBuses, u32(or_unset(reserved_buses_)));
  c.set32(at + kIoAt, u32(or_unset(io)));
  c.set32(at + kIoAt + 4, u32(or_unset(io) >> 32));
  c.set32(at + kMemoryAt, u32(or_unset(memory)));
  c.set32(at + kPrefetch32At, u32(or_unset(prefetch32)));
  c.set32(at + kPrefetch64At, u32(or_unset(prefetch64)));
  c.set32(at + kPrefetch64At + 4, u32(or_unset(prefetch64) >> 32));
}

// Slot. --------------------------------------------------------------------------------------------------------------

bool PcieRootPort::has_power() const { return !(config().get16(reg(SLOT_CONTROL)) & kPowerOff); }

void PcieRootPort::reset_enter() {
  PciBridge::reset_enter();
  const bool occupied = is_occupied();
  if (hotplug_) {
    config().set16(reg(SLOT_CONTROL), occupied ? kAttentionOff | kPowerIndicatorOn
                                               : kAttentionOff | kPowerIndicatorOff | kPowerOff);
  }
  powered_ = has_power();
  set_link(occupied && powered_);
  config().set16(reg(SLOT_STATUS), occupied ? kPresent : u16(0));  // and no events
  interrupt_ = false;
  set_intx(false);
  if (unplug_pending_) take_out();  // the guest has forgotten everything about it
}

void PcieRootPort::set_status(u16 bits) {
  config().set16(reg(SLOT_STATUS), u16(config().get16(reg(SLOT_STATUS)) | bits));
}

void PcieRootPort::set_link(bool up) {
  const u16 status = config().get16(reg(LINK_STATUS));
  const u16 now = u16(up ? status | kLinkActive : status & ~kLinkActive);
  config().set16(reg(LINK_STATUS), now);
  secondary_bus().set_reachable(up);
  if (now != status) set_status(kLinkChanged);
}

void PcieRootPort::device_plugged(Device& device) {
  const auto* pci = dynamic_cast<const PciDevice*>(&device);
  if (pci == nullptr || pci->function() != 0) return;  // the slot shows itself when function 0 comes
  set_status(kPresent | kPresenceChanged);
  if (powered_) {
    set_link(true);
  } else {
    // Linux leaves the presence event off where there is a button: it wants to be told by that.
    set_status(kButtonPressed);
  }
  refresh_interrupt();
}

Result<void> PcieRootPort::request_unplug(Device& device) {
  if (!powered_) {
    take_out();
    return {};
  }
  if (unplug_pending_ && clock().now() < unplug_asked_ + kButtonTime) {
    return error("Device {} is already in the process of unplug", device.id());
  }
  unplug_pending_ = true;
  unplug_asked_ = clock().now();
  set_status(kButtonPressed);
  refresh_interrupt();
  return {};
}

void PcieRootPort::device_unplugged(Bus&) {
  if (is_occupied()) return;
  PciConfig& c = config();
  c.set16(reg(SLOT_STATUS), u16((c.get16(reg(SLOT_STATUS)) & ~kPresent) | kPresenceChanged));
  set_link(false);
  refresh_interrupt();
}

/// All functions of the slot leave, 0 last.
void PcieRootPort::take_out() {
  unplug_pending_ = false;
  for (unsigned function = kFunctions; function-- > 0;) {
    if (PciDevice* device = secondary_bus().at(u8(function))) queue_unplug(*device);
  }
}

void PcieRootPort::power_changed() {
  if (powered_) {
    set_link(is_occupied());
    return;
  }
  set_link(false);
  reset_bus(secondary_bus());
  if (unplug_pending_) take_out();
}

void PcieRootPort::config_written(unsigned offset, unsigned size) {
  PciBridge::config_written(offset, size);
  if (offset == 0 && size == config().size()) {  // loaded
    powered_ = has_power();
    secondary_bus().set_reachable((config().get16(reg(LINK_STATUS)) & kLinkActive) != 0);
    return;
  }
  if (offset >= reg(SLOT_STATUS) + 2 || offset + size <= reg(SLOT_CONTROL)) return;
  if (hotplug_ && offset < reg(SLOT_STATUS)) {
    if (powered_ != has_power()) {
      powered_ = has_power();
      power_changed();
    }
    set_status(kCommandCompleted);  // at once
  }
  refresh_interrupt();
}

/// §6.7.3.4: the events that the guest enabled, and a message for each time that there begins to be one.
void PcieRootPort::refresh_interrupt() {
  const u16 control = config().get16(reg(SLOT_CONTROL)), status = config().get16(reg(SLOT_STATUS));
  // Enables of events 0..4 stand at their status bits.
  const bool wanted = (control & status & 0x1f) != 0 || ((control & kLinkChangedEnable) && (status & kLinkChanged));
  const bool before = std::exchange(interrupt_, wanted && (control & kHotplugInterrupt));
  set_intx(interrupt_);
  if (interrupt_ && !before) notify_msi(0);
}

void PcieRootPort::fields(Archive& ar) { ar("interrupt", interrupt_)("unplug_pending", unplug_pending_); }

namespace {

/// A conventional bus below PCI Express.
class PciePciBridge final : public PciBridge {
 public:
  PciePciBridge()
      : PciBridge({.vendor = 0x1b36, .device = 0x000e, .class_code = kClassPciBridge, .express = true,
                   .bridge = true}) {}
  static void describe(TypeInfo<PciePciBridge>& type) {
    type.doc("PCIE-TO-PCI bridge");
    type.plugs_into(PcieBus::kTypeName);
    type.property("msi", &PciePciBridge::msi_, "message-signalled interrupts");
  }
  Result<void> realize() override {
    add_secondary_bus<PciBus>();
    add_express_capability(config(), ExpressKind::PcieToPciBridge);
    if (msi_ != qom::OnOffAuto::Off) add_msi(1);
    return {};
  }

 private:
  qom::OnOffAuto msi_ = qom::OnOffAuto::Auto;
};

}  // namespace

void register_pcie_ports(TypeRegistry& registry) {
  registry.add<PcieRootPort>("pcie-root-port");
  registry.add<PciePciBridge>("pcie-pci-bridge");
}

}  // namespace emu::hw
