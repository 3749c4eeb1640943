// SPDX-License-Identifier: Apache-2.0
// A file system that another process serves (virtiofsd). Virtio 1.2, 5.11.
#pragma once

#include <optional>
#include <string>

#include "hw/virtio/vhost/vhost_user_device.h"

namespace emu::hw {

/// Queues: one for requests that must not wait (forget), then those for requests.
class VhostUserFs final : public VhostUserDevice {
 public:
  static constexpr const char* kDeviceType = "vhost-user-fs-device";
  static constexpr std::size_t kTagBytes = 36;

  VhostUserFs() : VhostUserDevice(virtio::DeviceId::FileSystem, kTagBytes + 4) {}
  static void describe(TypeInfo<VhostUserFs>& type);
  Result<void> realize() override;
  void unrealize() override { close_backend(); }

  u16 pci_class() const override { return 0x0180; }
  u64 device_features() const override { return 0; }
  void fill_config(std::span<u8> config) const override;

 private:
  Result<void> open();

  std::string tag_;
  u16 request_queues_ = 1, queue_size_ = 128;
  std::optional<i32> boot_index_;
};

}  // namespace emu::hw
