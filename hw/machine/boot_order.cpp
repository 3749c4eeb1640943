// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/boot_order.h"

#include <algorithm>

#include "hw/ide/ide_device.h"
#include "hw/pci/pci_bus.h"
#include "hw/scsi/scsi_bus.h"

namespace emu::hw {
namespace {

constexpr u16 kClassScsi = 0x0100, kClassIde = 0x0101, kClassEthernet = 0x0200;

/// The last number in "ide.3".
unsigned index_of(const Bus& bus) {
  const std::string& name = bus.name();
  unsigned index = 0, scale = 1;
  for (auto digit = name.rbegin(); digit != name.rend() && *digit >= '0' && *digit <= '9'; ++digit, scale *= 10) {
    index += unsigned(*digit - '0') * scale;
  }
  return index;
}

std::string pci_node(const PciDevice& device) {
  const PciIdentity& identity = device.identity();
  std::string name;
  if (identity.class_code == kClassScsi) {
    name = "scsi";
  } else if (identity.class_code == kClassIde) {
    name = "ide";
  } else if (identity.class_code == kClassEthernet) {
    name = "ethernet";
  } else if (identity.class_code == 0x0604) {
    name = "pci-bridge";
  } else {
    name = fmt::format("pci{:x},{:x}", identity.vendor, identity.device);
  }
  name = fmt::format("/{}@{:x}", name, device.slot());
  if (device.function() != 0) name += fmt::format(",{:x}", device.function());
  return name;
}

/// Path of a device that others are reached through; empty when it is on no bus that firmware knows.
std::string controller_path(const Device& device) {
  if (device.bus() == nullptr) return {};
  const auto* pci = dynamic_cast<const PciDevice*>(&device);
  const Device* parent = device.bus()->owner();
  if (pci == nullptr) return parent != nullptr ? controller_path(*parent) : std::string();  // virtio below its PCI side
  if (dynamic_cast<const PciDevice*>(parent) == nullptr) return "/pci@i0cf8" + pci_node(*pci);
  const std::string above = controller_path(*parent);
  return above.empty() ? above : above + pci_node(*pci);
}

}  // namespace

std::string firmware_path(const Device& device) {
  if (device.bus() == nullptr) return {};
  const Device* controller = device.bus()->owner();
  if (const auto* drive = dynamic_cast<const IdeDevice*>(&device)) {
    const std::string above = controller_path(*controller);
    if (above.empty()) return {};
    return fmt::format("{}/drive@{:x}/disk@{:x}", above, index_of(*drive->bus()), drive->unit_number());
  }
  if (const auto* unit = dynamic_cast<const ScsiDevice*>(&device)) {
    const std::string above = controller_path(*controller);
    if (above.empty()) return {};
    const ScsiAddress& address = unit->address();
    return fmt::format("{}/channel@{:x}/disk@{:x},{:x}", above, address.channel, address.target, address.lun);
  }
  const std::string path = controller_path(device);
  const Device* function = &device;
  while (function != nullptr && dynamic_cast<const PciDevice*>(function) == nullptr) {
    function = function->bus() != nullptr ? function->bus()->owner() : nullptr;
  }
  if (path.empty() || function == nullptr) return path;
  switch (static_cast<const PciDevice*>(function)->identity().class_code) {
    case kClassScsi:
      return path + "/disk@0,0";  // a disk that is its own controller: virtio-blk
    case kClassEthernet:
      return path + "/ethernet-phy@0";
    default:
      return path;
  }
}

std::vector<std::string> boot_order(qom::Object& root) {
  std::vector<std::pair<i64, std::string>> found;
  root.visit([&](qom::Object& object) {
    auto* device = dynamic_cast<Device*>(&object);
    if (device == nullptr || !device->is_realized()) return;
    const qom::Object& base = *device;
    if (base.type().find_property("bootindex") == nullptr) return;
    const auto value = base.get("bootindex");
    if (!value) return;
    i64 index = -1;
    if (const auto* number = value->get_if<i64>()) index = *number;
    if (const auto* number = value->get_if<u64>()) index = i64(*number);
    if (index < 0) return;
    if (std::string path = firmware_path(*device); !path.empty()) found.emplace_back(index, std::move(path));
  });
  std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<std::string> paths;
  for (auto& [index, path] : found) paths.push_back(std::move(path));
  return paths;
}

}  // namespace emu::hw
