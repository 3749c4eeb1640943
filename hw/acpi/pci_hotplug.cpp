// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/pci_hotplug.h"

#include "hw/core/plug.h"
#include "util/log.h"

namespace emu::hw {
namespace {

/// What the board made stays.
bool is_users(const Device& device) {
  const qom::Object* folder = device.parent();
  return folder != nullptr && (folder->name() == "peripheral" || folder->name() == "peripheral-anon");
}

}  // namespace

u64 AcpiPciHotplug::read(u64 offset) {
  if (state_.bus_select != 0 && offset < BUS_SELECT) return 0;  // there is one bus
  switch (offset) {
    case UP:
      return std::exchange(state_.up, 0);  // told once
    case DOWN:
      return state_.down;
    case REMOVABLE:
      return removable();
    case BUS_SELECT:
      return state_.bus_select;
    default:
      return 0;  // EJECT: no features beyond the basic ones
  }
}

void AcpiPciHotplug::write(u64 offset, u64 value) {
  if (offset == BUS_SELECT) {
    state_.bus_select = u32(value);
  } else if (offset == EJECT && state_.bus_select == 0) {
    eject(u32(value) & removable());
  } else {
    log::guest_error("acpi-pci-hotplug: write of {:#x} to read-only register {:#x}", value, offset);
  }
}

u32 AcpiPciHotplug::removable() const {
  u32 slots = 0;
  for (unsigned slot = 0; slot < pci::kSlots; slot++) {
    bool free = true;
    for (unsigned function = 0; function < pci::kFunctions; function++) {
      const PciDevice* device = bus_.at(pci_devfn(slot, function));
      free = free && (device == nullptr || is_users(*device));
    }
    if (free) slots |= bit(slot);
  }
  return slots;
}

void AcpiPciHotplug::eject(u32 slots) {
  state_.down &= ~slots;
  for (unsigned slot = 0; slot < pci::kSlots; slot++) {
    if (!(slots & bit(slot))) continue;
    for (unsigned function = pci::kFunctions; function-- > 0;) {
      if (PciDevice* device = bus_.at(pci_devfn(slot, function))) queue_unplug(*device);
    }
  }
}

void AcpiPciHotplug::reset() {
  eject(state_.down & removable());
  state_ = {};
}

void AcpiPciHotplug::device_plugged(Device& device) {
  const auto* pci = dynamic_cast<const PciDevice*>(&device);
  if (pci == nullptr || pci->function() != 0) return;  // the slot shows itself when function 0 comes
  state_.up |= bit(pci->slot());
  state_.down &= ~bit(pci->slot());
  raise_();
}

Result<void> AcpiPciHotplug::request_unplug(Device& device) {
  const auto* pci = dynamic_cast<const PciDevice*>(&device);
  if (pci == nullptr || !(removable() & bit(pci->slot()))) {
    return error("Device '{}' does not support hotplugging", device.type().name());
  }
  state_.down |= bit(pci->slot());
  state_.up &= ~bit(pci->slot());
  raise_();
  return {};
}

}  // namespace emu::hw
