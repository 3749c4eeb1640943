// SPDX-License-Identifier: Apache-2.0
// Between a virtio device and how the guest reaches it: the transport's side of the interface.
#pragma once

#include <atomic>
#include <optional>

#include "hw/core/device.h"

namespace emu::hw {

class VirtioDevice;

/// An interrupt that is a write.
struct VirtioMessage {
  u64 address = 0;
  u32 data = 0;
  bool operator==(const VirtioMessage&) const = default;
};

/// PCI or MMIO. Any thread, except where said.
class VirtioTransport {
 public:
  virtual ~VirtioTransport() = default;
  /// Where rings and buffers are. Machine lock; stays the same while the device is realized.
  virtual mem::AddressSpace& virtio_memory() = 0;
  virtual void queue_interrupt(u16 vector) = 0;
  /// The message that queue_interrupt() sends, if just now it does nothing but that. Machine lock.
  virtual std::optional<VirtioMessage> queue_message(u16 vector) const {
    static_cast<void>(vector);
    return std::nullopt;
  }
  virtual void config_interrupt() = 0;
  /// Feature bits that the transport offers for the device (VERSION_1).
  virtual u64 transport_features() const = 0;
  /// The device changed what its reset or load leaves behind; lines follow. Machine lock.
  virtual void lower_interrupts() = 0;
};

/// The one slot of a transport.
class VirtioBus final : public Bus {
 public:
  static constexpr const char* kTypeName = "virtio-bus";

  void set_transport(VirtioTransport& transport) { transport_ = &transport; }
  VirtioTransport& transport() const {
    EMU_CHECK(transport_ != nullptr);
    return *transport_;
  }
  bool is_full() const override { return !devices().empty(); }
  Result<void> attach(Device& device) override;
  void detach(Device& device) override;
  /// Any thread; the device stays for a grace period after it has left.
  VirtioDevice* device() const { return device_.load(std::memory_order_acquire); }

 private:
  std::atomic<VirtioDevice*> device_{nullptr};
  VirtioTransport* transport_ = nullptr;
};

}  // namespace emu::hw
