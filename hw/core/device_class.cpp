// SPDX-License-Identifier: Apache-2.0
// Facts of device types.
#include "hw/core/device_class.h"

namespace emu::hw {

std::string_view category_title(Category category) {
  switch (category) {
    case Category::Bridge: return "Controller/Bridge/Hub devices";
    case Category::Usb: return "USB devices";
    case Category::Storage: return "Storage devices";
    case Category::Network: return "Network devices";
    case Category::Input: return "Input devices";
    case Category::Display: return "Display devices";
    case Category::Sound: return "Sound devices";
    case Category::Misc: return "Misc devices";
    case Category::Cpu: return "CPU devices";
    case Category::Watchdog: return "Watchdog devices";
    case Category::None: break;
  }
  return "Uncategorized devices";
}

namespace {
/// The nearest ancestor's value of one fact.
template <typename V>
V inherited(const qom::Type& type, std::optional<V> DeviceClass::* fact, V otherwise) {
  for (const qom::Type* t = &type; t != nullptr; t = t->parent()) {
    const auto* known = t->extension<DeviceClass>();
    if (known != nullptr && known->*fact) return *(known->*fact);
  }
  return otherwise;
}
}  // namespace

Category category_of(const qom::Type& type) { return inherited(type, &DeviceClass::category, Category::None); }
bool is_user_creatable(const qom::Type& type) { return inherited(type, &DeviceClass::user_creatable, true); }
std::string bus_type_of(const qom::Type& type) { return inherited(type, &DeviceClass::bus_type, std::string()); }

}  // namespace emu::hw
