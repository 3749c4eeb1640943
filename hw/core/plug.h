// SPDX-License-Identifier: Apache-2.0
// Putting devices into a machine, resetting them, and taking them out again.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hw/core/device.h"

namespace emu::hw {

/// Puts a fresh device into the tree at /machine/unattached/device[N], or at `path` below /machine, and prepares it.
/// Next: set properties, wire, realize_on(bus).
Device& place(MachineServices& machine, std::unique_ptr<Device> device, std::string path = "");
template <typename T>
T& place(MachineServices& machine, std::string path = "") {
  return static_cast<T&>(place(machine, machine.tree().make<T>(), std::move(path)));
}
/// The same by type name.
Result<Device*> place(MachineServices& machine, std::string_view type_name, std::string path = "");

/// A device that the user asked for (-device, device_add): created, `properties` set, placed at /machine/peripheral/ID
/// (or /machine/peripheral-anon/device[N] without id), and realized on `bus`, or on the first bus of its kind that has
/// room when null. Errors name the argument; nothing is left behind.
Result<Device*> plug_user_device(MachineServices& machine, std::string_view type_name, const std::string& id,
                                 const std::vector<std::pair<std::string, qom::PropertyValue>>& properties, Bus* bus);

/// Unrealizes the device, takes it out of the tree and frees it after a grace period; `freed` is then called on the
/// main loop (DEVICE_DELETED).
void destroy(Device& device, std::function<void()> freed = {});

/// Takes a device that the user asked for out of a running machine, and first those that sit on its buses. Reports
/// DEVICE_DELETED for each once it is freed. Main loop.
void unplug(Device& device);
/// The same soon, on the main loop: for code that the device's own bus or guest called. Nothing if it is gone by then.
void queue_unplug(Device& device);

/// Resets every device below `root` (usually /machine), phase by phase, in tree order.
void reset_all(qom::Object& root);
/// Resets the devices of a bus and all below them (a secondary bus reset).
void reset_bus(Bus& bus);
/// One device and all below it.
void reset_device(Device& device);

/// That a device of the user's has no bus of its kind, and what would bring one.
Error no_bus_error(std::string_view kind, std::string_view device, bool all_are_full = false);
/// Finds the bus with this id (its name, "pci.0") or path, anywhere below `root`.
Bus* find_bus(qom::Object& root, std::string_view id);

/// The text of `info qtree`.
std::string describe_qtree(Bus& root);
/// The text of `-device help`.
std::string device_help(const qom::TypeRegistry& registry);

}  // namespace emu::hw
