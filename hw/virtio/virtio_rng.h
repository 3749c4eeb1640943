// SPDX-License-Identifier: Apache-2.0
// Entropy device: random numbers for the guest. Virtio 1.2, 5.4.
#pragma once

#include "hw/virtio/rng_backend.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

class VirtioRng final : public VirtioDevice {
 public:
  static constexpr const char* kDeviceType = "virtio-rng-device";

  VirtioRng() : VirtioDevice(virtio::DeviceId::Entropy, 0) {}
  static void describe(TypeInfo<VirtioRng>& type);
  Result<void> realize() override;
  void unrealize() override;

  u16 pci_class() const override { return 0x00ff; }
  u64 device_features() const override { return 0; }
  void fill_config(std::span<u8>) const override {}
  void handle_queue(unsigned index) override;
  void virtio_reset() override;

 private:
  void fields(Archive& ar);
  u32 fill(const VirtElement& element);
  void renew_quota();

  RngBackend* rng_ = nullptr;
  RngBuiltin builtin_;  ///< where the user names none
  u64 max_bytes_ = 0x7fff'ffff'ffff'ffff;
  u32 period_ms_ = 1 << 16;
  u64 quota_ = 0;  ///< bytes left in this period
  Timer period_timer_, retry_timer_;
};

}  // namespace emu::hw
