// SPDX-License-Identifier: Apache-2.0
// A disk that another process serves (qemu-storage-daemon, SPDK). Virtio 1.2, 5.2.
#pragma once

#include <array>
#include <optional>

#include "hw/virtio/vhost/vhost_user_device.h"

namespace emu::hw {

class VhostUserBlk final : public VhostUserDevice {
 public:
  static constexpr const char* kDeviceType = "vhost-user-blk";
  static constexpr u32 kConfigBytes = 60;

  VhostUserBlk() : VhostUserDevice(virtio::DeviceId::Block, kConfigBytes) {}
  static void describe(TypeInfo<VhostUserBlk>& type);
  Result<void> realize() override;
  void unrealize() override { close_backend(); }

  u16 pci_class() const override { return 0x0100; }
  u64 device_features() const override;
  void fill_config(std::span<u8> config) const override;
  void config_written(std::span<const u8> config, u32 offset, u32 size) override;

 private:
  Result<void> open();
  Result<void> read_config_space();
  void backend_config_changed() override;

  u16 num_queues_ = 0xffff;  ///< auto
  u16 queue_size_ = 128;
  bool config_wce_ = true;
  std::optional<i32> boot_index_;
  std::array<u8, kConfigBytes> config_{};  ///< as the back end gave it last
};

}  // namespace emu::hw
