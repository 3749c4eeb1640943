// SPDX-License-Identifier: Apache-2.0
// Shared folder: the messages of 9P2000.L over one queue. Virtio 1.2, 5.x names the device (9); its layout is that of
// Linux, include/uapi/linux/virtio_9p.h.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "hw/9p/fsdev.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

class P9Session;
class P9Gate;

/// Requests are taken on the thread of the folder and carried out on its others, several at once; none of them takes
/// the machine lock. Saved state has no fids: after loading one the guest mounts anew.
class Virtio9p final : public VirtioDevice {
 public:
  static constexpr const char* kDeviceType = "virtio-9p-device";

  Virtio9p();
  ~Virtio9p() override;
  static void describe(TypeInfo<Virtio9p>& type);
  Result<void> realize() override;
  void unrealize() override;

  u16 pci_class() const override { return 0x0002; }
  u64 device_features() const override { return bit64(0); }  // there is a mount tag
  void fill_config(std::span<u8> config) const override;
  void handle_queue(unsigned index) override;
  void virtio_reset() override;

 private:
  std::shared_ptr<P9Session> session();

  std::string mount_tag_;
  Fsdev* fsdev_ = nullptr;
  std::shared_ptr<P9Gate> gate_;
  std::mutex session_mutex_;
  std::shared_ptr<P9Session> session_;  ///< of the driver since the last reset
};

}  // namespace emu::hw
