// SPDX-License-Identifier: Apache-2.0
// Writes to devices that the kernel takes without leaving KVM_RUN: doorbells (KVM_IOEVENTFD) and writes that wait in a
// ring (KVM_REGISTER_COALESCED_MMIO).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "accel/kvm/kvm_api.h"
#include "softmmu/memory/address_space.h"
#include "target/acceleration.h"

namespace emu::accel {

/// Keeps the kernel in step with where marked regions lie in the vCPUs' memory and ports. Machine lock, but for what
/// says otherwise.
class KvmDeviceWrites final : public target::DeviceWrites {
 public:
  KvmDeviceWrites(const KvmDevice& device, KvmFd& vm);
  ~KvmDeviceWrites() override;

  /// Once, before the first run. `ports` may be null. `run_area` is the first vCPU's, where the ring is.
  void attach(mem::AddressSpace& memory, mem::AddressSpace* ports, u8* run_area, size_t run_bytes);
  /// No more, before the address spaces go.
  void detach();

  // target::DeviceWrites
  void add_doorbell(mem::Region& region, const Doorbell& bell) override;
  void coalesce(mem::Region& region) override;

  /// Whether writes wait in the ring. Any thread.
  bool has_waiting() const;
  /// Carries out what waits, if anything does; takes the machine lock for that.
  void drain();

  size_t doorbells() const { return bells_in_kernel_.size(); }
  size_t coalesced() const { return zones_in_kernel_.size(); }

 private:
  /// Which vCPU's address space.
  enum class Bus : u8 { Memory, Ports };
  class Listener;
  struct Bell {
    std::weak_ptr<mem::Region> region;
    Doorbell bell;
    std::shared_ptr<const KvmFd> event;  ///< a descriptor of our own: the kernel wants it once more at the end
  };
  struct PlacedBell {
    Bus bus;
    u64 address;
    Doorbell bell;
    std::shared_ptr<const KvmFd> event;
    bool operator==(const PlacedBell&) const = default;
  };
  struct PlacedZone {
    Bus bus;
    u64 address;
    u32 bytes;
    bool operator==(const PlacedZone&) const = default;
  };

  void update();
  void carry_out();
  void find_places(const mem::AddressSpace& space, Bus bus, std::vector<PlacedBell>& bells,
                   std::vector<PlacedZone>& zones) const;
  bool tell_kernel(const PlacedBell& bell, bool there) const;
  bool tell_kernel(const PlacedZone& zone, bool there) const;

  KvmFd& vm_;
  const bool has_doorbells_, has_any_length_, has_zones_, has_port_zones_;
  const u64 ring_page_;  ///< in a vCPU's area
  KvmWriteRing* ring_ = nullptr;
  mem::AddressSpace* memory_ = nullptr;
  mem::AddressSpace* ports_ = nullptr;
  std::unique_ptr<Listener> listener_;
  std::vector<Bell> bells_;
  std::vector<std::weak_ptr<mem::Region>> zones_;
  std::vector<PlacedBell> bells_in_kernel_;
  std::vector<PlacedZone> zones_in_kernel_;
  bool draining_ = false;
};

}  // namespace emu::accel
