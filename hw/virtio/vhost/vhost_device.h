// SPDX-License-Identifier: Apache-2.0
// Keeps a back end in step with the virtqueues of a device that it serves: addresses, memory, where it stands.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "hw/virtio/queue_events.h"
#include "hw/virtio/vhost/vhost_backend.h"
#include "hw/virtio/virtio_device.h"
#include "target/acceleration.h"

namespace emu::hw {

/// The queues `first` to `first + count` of a device are the rings 0 to `count` of the back end. Their interrupts come
/// over eventfds, by our loop; where the transport can have the kernel send them, without it. The back end serves them
/// while the driver wants that, the machine runs, and there is memory. Machine lock.
class VhostDevice final : private mem::MemoryListener, private PowerListener {
 public:
  struct Wiring {
    VirtioDevice& device;
    VirtioTransport& transport;
    MachineServices& machine;
    unsigned first = 0, count = 0;
    std::function<void(const std::string&)> failed;  ///< the rings stand still, and are as they were
  };
  /// In the device's realize(), once its queues are there. Errors: no descriptors to be had; no shared memory.
  static Result<std::unique_ptr<VhostDevice>> create(VhostBackend& backend, Wiring wiring);
  ~VhostDevice() override;

  /// Between these two the driver wants the queues to be served, with these features.
  void start(u64 features);
  void stop();
  /// The back end is gone: nothing is said to it.
  void lost();
  bool is_serving() const { return serving_; }
  /// Of a queue pair that the driver does not use. Takes effect at once, and at each start.
  void set_ring_enabled(unsigned ring, bool on);
  /// Interrupts go other ways now: masks, messages.
  void reroute();

 private:
  struct Ring {
    std::shared_ptr<QueueEvents> call;
    std::unique_ptr<target::EventInterrupt> direct;  ///< the kernel sends `message`
    std::optional<VirtioMessage> message;
    bool enabled = true;
    bool set = false;  ///< the back end has it
  };

  VhostDevice(VhostBackend& backend, Wiring wiring);
  void commit() override;
  void run_state_changed(bool running) override;
  void update();
  void reroute(unsigned ring);
  Result<void> begin_serving();
  Result<void> set_ring(unsigned ring);
  /// What the queue's parts would be for the back end; nothing when they are not in `memory`.
  std::optional<VhostBackend::Ring> locate(unsigned ring, const VhostMemory& memory) const;
  bool fits(const VhostMemory& memory) const;
  void end_serving();
  void take_place(unsigned ring, std::optional<u32> base);
  void fail(const std::string& what, const Error& why);
  VirtQueue& queue(unsigned ring) const { return *wiring_.device.queue(wiring_.first + ring); }
  bool is_packed() const { return (features_ & virtio::kFeatureRingPacked) != 0; }

  VhostBackend& backend_;
  const Wiring wiring_;
  std::vector<Ring> rings_;
  mem::AddressSpace& space_;
  VhostMemory memory_;       ///< as the address space is
  VhostMemory told_memory_;  ///< as the back end knows it: kept until it knows another
  u64 features_ = 0;
  bool wanted_ = false, vm_running_ = true, serving_ = false, failed_ = false;
};

}  // namespace emu::hw
