// SPDX-License-Identifier: Apache-2.0
#include "softmmu/parts.h"

#include "block/disk_backend.h"
#include "hw/char/chardev_object.h"
#include "hw/core/device.h"
#include "net/register.h"
#include "softmmu/cpu_objects.h"
#include "softmmu/objects.h"

namespace emu::softmmu {

void register_all_types(qom::TypeRegistry& registry, const Parts& parts) {
  hw::register_core_types(registry);
  hw::register_chardev_object(registry);
  net::register_net_types(registry);
  parts.register_types(registry);
  register_objects(registry);
  block::register_backend_types(registry);
  register_cpu_types(registry, parts);
}

std::string machine_or_default(const Parts& parts, const std::string& typed) {
  for (const hw::MachineTypeInfo& known : parts.machine_types()) {
    if (typed.empty() ? known.is_default : typed == known.alias) return known.name;
  }
  return typed;
}

}  // namespace emu::softmmu
