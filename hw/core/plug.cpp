// SPDX-License-Identifier: Apache-2.0
// Devices into and out of a machine, and reset.
#include "hw/core/plug.h"

#include <set>

#include "qom/user_creatable.h"
#include "util/suggest.h"

namespace emu::hw {

namespace {

Result<void> check_id(const std::string& id) {
  if (qom::is_object_id(id)) return {};
  return error(Error("Parameter 'id' expects an identifier")
                   .with_hint("Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."));
}

/// What people may miss who know QEMU, and what there is instead.
const char* substitute_for(std::string_view name) {
  if (name == "scsi-block" || name == "scsi-generic") {
    return "commands are not passed on to a device of the host; -device scsi-hd over -blockdev host_device shows its "
           "blocks";
  }
  return nullptr;
}

Result<const qom::Type*> pluggable_type(const qom::TypeRegistry& registry, std::string_view name) {
  const qom::Type* type = registry.find(name);
  if (type == nullptr && name.starts_with("vhost-user-")) {
    return error(Error(fmt::format("'{}' is not supported", name))
                     .with_hint("of what other processes serve there are vhost-user-blk-pci, vhost-user-fs-pci, and "
                                "-netdev vhost-user"));
  }
  if (type == nullptr || !type->is_a(Device::kTypeName)) {
    if (const char* instead = substitute_for(name)) return error("'{}' is not supported: {}", name, instead);
    std::vector<std::string> names;
    for (const qom::Type* known : registry.list(Device::kTypeName)) {
      if (is_user_creatable(*known)) names.push_back(known->name());
    }
    for (const auto& [alias, target] : registry.aliases()) names.push_back(alias);
    return error(
        Error(fmt::format("'{}' is not a valid device model name", name)).with_hint(did_you_mean(name, names)));
  }
  if (type->is_abstract())
    return error("Parameter 'driver' expects a non-abstract device type; '{}' is abstract", name);
  if (!is_user_creatable(*type)) {
    return error("Parameter 'driver' expects a pluggable device type; '{}' belongs to the machine", name);
  }
  return type;
}

Result<Bus*> bus_for(MachineServices& machine, const qom::Type& type, Bus* asked) {
  const std::string wanted = bus_type_of(type);
  if (wanted.empty()) {
    if (asked != nullptr) return error("Device '{}' plugs into no bus", type.name());
    return nullptr;
  }
  if (asked != nullptr) {
    if (!asked->type().is_a(wanted)) {
      return error("Device '{}' can't go on {} bus", type.name(), asked->type().name());
    }
    if (asked->is_full()) return error("Bus '{}' is full", asked->name());
    return asked;
  }
  Bus* found = nullptr;
  bool any = false;
  machine.tree().root().visit([&](qom::Object& object) {
    auto* bus = dynamic_cast<Bus*>(&object);
    if (bus == nullptr || !bus->type().is_a(wanted)) return;
    any = true;
    if (found == nullptr && !bus->is_full()) found = bus;
  });
  if (found != nullptr) return found;
  return error(no_bus_error(wanted, type.name(), any));
}

}  // namespace

Error no_bus_error(std::string_view kind, std::string_view device, bool all_are_full) {
  Error error(fmt::format("No {}'{}' bus found for device '{}'", all_are_full ? "free " : "", kind, device));
  if (kind == "SCSI") return std::move(error).with_hint("-device virtio-scsi-pci before it brings one");
  if (kind == "virtio-serial-bus") return std::move(error).with_hint("-device virtio-serial-pci before it brings one");
  if (kind == "PCIE") return std::move(error).with_hint("-machine q35 has one, pc has not");
  if (kind == "IDE" && all_are_full) return std::move(error).with_hint("-device ich9-ahci before it brings six more");
  return error;
}

Device& place(MachineServices& machine, std::unique_ptr<Device> device, std::string path) {
  qom::Object* folder = &machine.tree().container("/machine/unattached");
  std::string name = "device[*]";
  if (!path.empty()) {
    const size_t slash = path.rfind('/');
    name = slash == std::string::npos ? path : path.substr(slash + 1);
    folder = &machine.tree().container(slash == std::string::npos ? "/machine" : "/machine/" + path.substr(0, slash));
  }
  Device& placed = folder->adopt(std::move(name), std::move(device));
  placed.prepare(machine);
  return placed;
}

Result<Device*> place(MachineServices& machine, std::string_view type_name, std::string path) {
  auto object = EMU_TRY(machine.tree().create(type_name, "device model"));
  auto* device = dynamic_cast<Device*>(object.get());
  if (device == nullptr) return error("'{}' is not a device", type_name);
  static_cast<void>(object.release());
  return &place(machine, std::unique_ptr<Device>(device), std::move(path));
}

Result<Device*> plug_user_device(MachineServices& machine, std::string_view type_name, const std::string& id,
                                 const std::vector<std::pair<std::string, qom::PropertyValue>>& properties, Bus* bus) {
  const qom::Type* type = EMU_TRY(pluggable_type(machine.tree().registry(), type_name));
  if (!id.empty()) EMU_TRY(check_id(id));
  auto object = EMU_TRY(machine.tree().create(*type));
  auto& device = static_cast<Device&>(*object);
  qom::Object& folder = machine.tree().container(id.empty() ? "/machine/peripheral-anon" : "/machine/peripheral");
  if (!id.empty() && folder.child(id) != nullptr) return error("Duplicate device ID '{}'", id);
  EMU_TRY(folder.add_child(id.empty() ? "device[*]" : id, std::move(object)));
  device.prepare(machine);

  const auto finish = [&]() -> Result<void> {
    for (const auto& [name, value] : properties) EMU_TRY(device.set(name, value));
    return device.realize_on(EMU_TRY(bus_for(machine, *type, bus)));
  };
  if (auto done = finish(); !done) {
    destroy(device);
    return error(std::move(done).error());
  }
  return &device;
}

void destroy(Device& device, std::function<void()> freed) {
  if (device.is_realized()) device.unrealize_all();
  EMU_CHECK(device.parent() != nullptr && device.is_prepared());
  mem::Memory& memory = device.machine_services().memory();
  // A callback of the device may still be running on another thread: its regions were only just revoked.
  std::shared_ptr<qom::Object> owned = device.parent()->remove_child(device);
  memory.defer([owned = std::move(owned), freed = std::move(freed)]() mutable {
    owned.reset();
    if (freed) freed();
  });
}

void unplug(Device& device) {
  for (Bus* bus : device.child_buses()) {
    const std::vector<Device*> behind = bus->devices();
    for (Device* child : behind) {
      // What a device made for itself it takes away itself.
      if (!child->path().starts_with(device.path() + "/")) unplug(*child);
    }
  }
  MachineServices& machine = device.machine_services();
  Bus* bus = device.bus();
  destroy(device, [&machine, id = device.id(), path = device.path()] { machine.report_device_deleted(id, path); });
  if (bus != nullptr && bus->hotplug() != nullptr) bus->hotplug()->device_unplugged(*bus);
}

void queue_unplug(Device& device) {
  MachineServices& machine = device.machine_services();
  machine.run_on_main_loop([&machine, path = device.path()] {
    auto* found = dynamic_cast<Device*>(machine.tree().find(path));
    if (found != nullptr && found->is_realized()) unplug(*found);
  });
}

/// Devices to reset together, in order.
class ResetList {
 public:
  void add(qom::Object& object) {
    if (auto* device = dynamic_cast<Device*>(&object)) {
      if (!device->is_realized() || !seen_.insert(device).second) return;
      devices_.push_back(device);
      for (Bus* bus : device->child_buses()) add_bus(*bus);
    }
    for (const auto& child : object.children()) add(*child);
  }
  void add_bus(Bus& bus) {
    for (Device* device : bus.devices()) add(*device);
  }
  void run() {
    for (Device* device : devices_) {
      device->before_reset_enter();
      device->reset_enter();
    }
    for (Device* device : devices_) device->reset_hold();
    for (Device* device : devices_) device->reset_exit();
  }

 private:
  std::vector<Device*> devices_;
  std::set<Device*> seen_;
};

void reset_all(qom::Object& root) {
  ResetList list;
  list.add(root);
  list.run();
}

void reset_bus(Bus& bus) {
  ResetList list;
  list.add_bus(bus);
  list.run();
}

void reset_device(Device& device) {
  ResetList list;
  list.add(device);
  list.run();
}

Bus* find_bus(qom::Object& root, std::string_view id) {
  if (id.starts_with('/')) return root.tree() == nullptr ? nullptr : dynamic_cast<Bus*>(root.tree()->find(id));
  Bus* found = nullptr;
  root.visit([&](qom::Object& object) {
    if (found == nullptr && object.name() == id) found = dynamic_cast<Bus*>(&object);
  });
  return found;
}

}  // namespace emu::hw
