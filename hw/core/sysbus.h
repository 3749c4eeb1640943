// SPDX-License-Identifier: Apache-2.0
// Devices that the board places at fixed addresses.
#pragma once

#include "hw/core/device.h"

namespace emu::hw {

/// "main-system-bus" of each machine.
class SystemBus final : public Bus {
 public:
  static constexpr const char* kTypeName = "System";
};

/// A device whose regions the board maps and whose lines the board wires. -device does not create it unless its
/// describe() says user_creatable().
class SysBusDevice : public Device {
 public:
  static constexpr const char* kTypeName = "sys-bus-device";
  static void describe(TypeInfo<SysBusDevice>& type);

  /// Maps a region into system memory or the I/O ports. After prepare().
  void map(std::string_view region, mem::GuestPhys address, int priority = 0);
  void map_ports(std::string_view region, u16 port, int priority = 0);
};

}  // namespace emu::hw
