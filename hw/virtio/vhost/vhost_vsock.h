// SPDX-License-Identifier: Apache-2.0
// Sockets between host and guest, served by the host's kernel. Virtio 1.2, 5.10.
#pragma once

#include <memory>
#include <string>

#include "hw/virtio/vhost/vhost_device.h"
#include "hw/virtio/vhost/vhost_kernel.h"

namespace emu::hw {

/// Queues: receive and transmit, the kernel's; events, of which there are none, since the device never moves to another
/// host.
class VhostVsock final : public VirtioDevice {
 public:
  static constexpr const char* kDeviceType = "vhost-vsock-device";

  VhostVsock() : VirtioDevice(virtio::DeviceId::Vsock, 8) {}
  static void describe(TypeInfo<VhostVsock>& type);
  /// Before realize(), for tests.
  void use_api(VhostApi& api) { api_ = &api; }
  Result<void> realize() override;
  void unrealize() override { close(); }

  u16 pci_class() const override { return 0x0780; }
  u64 device_features() const override { return kSeqPacket; }
  void fill_config(std::span<u8> config) const override;
  void interrupts_rerouted() override;

 private:
  static constexpr u64 kSeqPacket = bit64(1);  ///< 5.10.3

  Result<void> open();
  void close();
  u64 limit_features(u64 features) const override;
  void serving_starts() override { rings_->start(accepted_features() & backend_->features()); }
  void serving_ends() override {
    if (rings_ != nullptr) rings_->stop();
  }
  void handle_queue(unsigned) override {}

  VhostApi* api_ = &vhost_api();
  u64 guest_cid_ = 0;
  std::string vhost_fd_;
  bool seqpacket_ = true;
  std::unique_ptr<VhostKernelVsock> backend_;
  std::unique_ptr<VhostDevice> rings_;
};

}  // namespace emu::hw
