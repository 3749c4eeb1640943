// SPDX-License-Identifier: Apache-2.0
// Devices that come and go while a guest runs: what a bus must have for device_add and device_del.
#pragma once

#include "util/result.h"

namespace emu::hw {

class Bus;
class Device;

/// Tells the guest of one bus (or several) about devices. Bus::set_hotplug(). Machine lock.
class HotplugHandler {
 public:
  virtual ~HotplugHandler() = default;
  /// The device is on the bus, realized and reset.
  virtual void device_plugged(Device& device) = 0;
  /// Asks the guest to let the device go. Once it has (perhaps never), queue_unplug() takes it out. An error is for the
  /// person who asked.
  virtual Result<void> request_unplug(Device& device) = 0;
  /// A device is gone.
  virtual void device_unplugged(Bus& bus) { static_cast<void>(bus); }
};

}  // namespace emu::hw
