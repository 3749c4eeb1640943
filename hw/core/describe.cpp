// SPDX-License-Identifier: Apache-2.0
// Texts about devices: info qtree and -device help.
#include <algorithm>
#include <map>

#include "hw/core/plug.h"

namespace emu::hw {

namespace {

void describe_bus(std::string& out, Bus& bus, unsigned indent);

void describe_device(std::string& out, Device& device, const Bus& bus, unsigned indent) {
  out += fmt::format("{:{}}dev: {}, id \"{}\"\n", "", indent, device.type().name(), device.id());
  indent += 2;
  for (const qom::Type* type = &device.type(); type != nullptr; type = type->parent()) {
    const auto* known = type->extension<DeviceClass>();
    if (known == nullptr) continue;
    for (const auto& in : known->irq_ins) {
      out += fmt::format("{:{}}gpio-in \"{}\" {}\n", "", indent, in.name, in.count);
    }
    for (const auto& line : known->irq_outs) {
      out += fmt::format("{:{}}gpio-out \"{}\" {}\n", "", indent, line.name, line.lines(device).size());
    }
  }
  for (const qom::Property* property : device.type().properties()) {
    out += fmt::format("{:{}}{} = {}\n", "", indent, property->name(), property->display(property->get(device)));
  }
  if (const std::string address = bus.device_address(device); !address.empty()) {
    out += fmt::format("{:{}}addr {}\n", "", indent, address);
  }
  for (const auto& region : device.regions()) {
    if (region->parent() == nullptr) continue;
    out += fmt::format("{:{}}mmio {:016x}/{:016x}\n", "", indent, region->address(), u64(region->size()));
  }
  for (Bus* child : device.child_buses()) describe_bus(out, *child, indent);
}

void describe_bus(std::string& out, Bus& bus, unsigned indent) {
  out += fmt::format("{:{}}bus: {}\n", "", indent, bus.name());
  out += fmt::format("{:{}}type {}\n", "", indent + 2, bus.type().name());
  for (Device* device : bus.devices()) describe_device(out, *device, bus, indent + 2);
}

}  // namespace

std::string describe_qtree(Bus& root) {
  std::string out;
  describe_bus(out, root, 0);
  return out;
}

std::string device_help(const qom::TypeRegistry& registry) {
  std::map<Category, std::vector<std::string>> lines;
  for (const qom::Type* type : registry.list(Device::kTypeName)) {
    if (!is_user_creatable(*type)) continue;
    std::string line = fmt::format("name \"{}\"", type->name());
    if (const std::string bus = bus_type_of(*type); !bus.empty()) line += ", bus " + bus;
    for (const auto& [alias, name] : registry.aliases()) {
      if (name == type->name()) line += fmt::format(", alias \"{}\"", alias);
    }
    if (!type->doc().empty()) line += fmt::format(", desc \"{}\"", type->doc());
    lines[category_of(*type)].push_back(std::move(line));
  }
  std::string out;
  for (const auto& [category, entries] : lines) {
    if (!out.empty()) out += '\n';
    out += fmt::format("{}:\n{}\n", category_title(category), fmt::join(entries, "\n"));
  }
  return out;
}

}  // namespace emu::hw
