// SPDX-License-Identifier: Apache-2.0
#include "accel/kvm/device_writes.h"

#include <algorithm>

#include "softmmu/memory/memory.h"

namespace emu::accel {
namespace {

/// What stands in `before` and not in `after`, and the other way round.
template <typename T, typename Gone, typename Come>
void for_changes(const std::vector<T>& before, const std::vector<T>& after, Gone&& gone, Come&& come) {
  const auto missing = [](const std::vector<T>& in, const T& one) {
    return std::find(in.begin(), in.end(), one) == in.end();
  };
  for (const T& one : before) {
    if (missing(after, one)) gone(one);
  }
  for (const T& one : after) {
    if (missing(before, one)) come(one);
  }
}

}  // namespace

/// Of both address spaces, and of whoever is about to look at what was drawn.
class KvmDeviceWrites::Listener final : public mem::MemoryListener, public mem::RamListener {
 public:
  explicit Listener(KvmDeviceWrites& owner) : owner_(owner) {}
  void commit() override { owner_.update(); }
  void code_page_written(mem::RamPage, u32, u32) override {}
  void write_tracking_restarted(mem::RamPage, u64) override {}
  void dirty_wanted(mem::RamBlock&) override {
    // Without the lock it may not be taken here; a vCPU that comes out empties the ring soon.
    if (owner_.has_waiting() && owner_.memory_->memory().lock().held_by_me()) owner_.carry_out();
  }

 private:
  KvmDeviceWrites& owner_;
};

KvmDeviceWrites::KvmDeviceWrites(const KvmDevice& device, KvmFd& vm)
    : vm_(vm), has_doorbells_(device.extension(KVM_CAP_IOEVENTFD) != 0),
      has_any_length_(device.extension(KVM_CAP_IOEVENTFD_ANY_LENGTH) != 0),
      has_zones_(device.extension(KVM_CAP_COALESCED_MMIO) != 0),
      has_port_zones_(device.extension(KVM_CAP_COALESCED_PIO) != 0),
      ring_page_(u64(device.extension(KVM_CAP_COALESCED_MMIO))), listener_(std::make_unique<Listener>(*this)) {}

KvmDeviceWrites::~KvmDeviceWrites() { detach(); }

void KvmDeviceWrites::attach(mem::AddressSpace& memory, mem::AddressSpace* ports, u8* run_area, size_t run_bytes) {
  if (has_zones_ && (ring_page_ + 1) * mem::kPageSize <= run_bytes) {
    ring_ = reinterpret_cast<KvmWriteRing*>(run_area + ring_page_ * mem::kPageSize);
  }
  memory_ = &memory;
  ports_ = ports;
  memory.add_listener(*listener_);
  memory.memory().add_ram_listener(*listener_);
  if (ports != nullptr) ports->add_listener(*listener_);
}

void KvmDeviceWrites::detach() {
  if (memory_ != nullptr) {
    memory_->remove_listener(*listener_);
    memory_->memory().remove_ram_listener(*listener_);
  }
  if (ports_ != nullptr) ports_->remove_listener(*listener_);
  memory_ = ports_ = nullptr;
  ring_ = nullptr;
  update();
}

void KvmDeviceWrites::add_doorbell(mem::Region& region, const Doorbell& bell) {
  if (!has_doorbells_ || (bell.bytes == 0 && (!has_any_length_ || bell.value))) return;
  const int own = vm_.api().duplicate(bell.event_fd);
  if (own < 0) return;  // its writes come to the callback, as where there is no KVM
  bells_.push_back({region.weak_from_this(), bell, std::make_shared<KvmFd>(vm_.api(), own)});
  update();
}

void KvmDeviceWrites::coalesce(mem::Region& region) {
  zones_.push_back(region.weak_from_this());
  update();
}

void KvmDeviceWrites::find_places(const mem::AddressSpace& space, Bus bus, std::vector<PlacedBell>& bells,
                                  std::vector<PlacedZone>& zones) const {
  for (const mem::FlatRange& range : space.view().ranges()) {
    if (range.region->kind() != mem::Region::Kind::Mmio) continue;
    const u64 end = range.offset_in_region + (range.last - range.first) + 1;
    for (const Bell& one : bells_) {
      const u64 offset = one.bell.offset;
      if (one.region.lock() != range.region || offset < range.offset_in_region || offset >= end ||
          std::max(one.bell.bytes, 1u) > end - offset) {
        continue;
      }
      bells.push_back({bus, range.first + (offset - range.offset_in_region), one.bell, one.event});
    }
    if (ring_ == nullptr || (bus == Bus::Ports && !has_port_zones_)) continue;
    for (const auto& region : zones_) {
      if (region.lock() != range.region || end - range.offset_in_region > ~u32(0)) continue;
      zones.push_back({bus, range.first, u32(end - range.offset_in_region)});
    }
  }
}

/// What goes is taken back first: the kernel takes no two doorbells at one place.
void KvmDeviceWrites::update() {
  std::erase_if(bells_, [](const Bell& one) { return one.region.expired(); });
  std::erase_if(zones_, [](const auto& region) { return region.expired(); });
  std::vector<PlacedBell> bells;
  std::vector<PlacedZone> zones;
  if (memory_ != nullptr) find_places(*memory_, Bus::Memory, bells, zones);
  if (ports_ != nullptr) find_places(*ports_, Bus::Ports, bells, zones);
  const auto apply = [this](auto& before, auto& after) {
    if (before == after) return;
    std::remove_reference_t<decltype(after)> refused;
    for_changes(
        before, after, [this](const auto& one) { tell_kernel(one, false); },
        [&](const auto& one) {
          if (!tell_kernel(one, true)) refused.push_back(one);
        });
    // Those that it has no room for are tried again at the next change; until then their writes come to us.
    std::erase_if(after, [&](const auto& one) {
      return std::find(refused.begin(), refused.end(), one) != refused.end();
    });
    before = std::move(after);
  };
  apply(bells_in_kernel_, bells);
  apply(zones_in_kernel_, zones);
}

bool KvmDeviceWrites::tell_kernel(const PlacedBell& bell, bool there) const {
  kvm_ioeventfd request{};
  request.datamatch = bell.bell.value.value_or(0);
  request.addr = bell.address;
  request.len = bell.bell.bytes;
  request.fd = bell.event->fd();
  request.flags = (bell.bell.value ? u32(KVM_IOEVENTFD_FLAG_DATAMATCH) : 0u) |
                  (bell.bus == Bus::Ports ? u32(KVM_IOEVENTFD_FLAG_PIO) : 0u) |
                  (there ? 0u : u32(KVM_IOEVENTFD_FLAG_DEASSIGN));
  return vm_.call(KVM_IOEVENTFD, &request) >= 0;
}

bool KvmDeviceWrites::tell_kernel(const PlacedZone& zone, bool there) const {
  kvm_coalesced_mmio_zone request{};
  request.addr = zone.address;
  request.size = zone.bytes;
  request.pio = zone.bus == Bus::Ports;
  return vm_.call(there ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &request) >= 0;
}

bool KvmDeviceWrites::has_waiting() const {
  if (ring_ == nullptr) return false;
  return __atomic_load_n(&ring_->first, __ATOMIC_RELAXED) != __atomic_load_n(&ring_->last, __ATOMIC_ACQUIRE);
}

void KvmDeviceWrites::drain() {
  if (!has_waiting()) return;
  const mem::MachineLockScope lock(memory_->memory().lock());
  carry_out();
}

/// The kernel adds at `last`, under a lock of its own; whoever has the machine lock takes from `first`.
void KvmDeviceWrites::carry_out() {
  if (ring_ == nullptr || draining_) return;  // a device that is written to may ask for dirty pages
  draining_ = true;
  for (u32 at = ring_->first; has_waiting(); at = ring_->first) {
    if (at >= ring_->entries.size()) break;  // the kernel's word
    const kvm_coalesced_mmio entry = ring_->entries[at];
    mem::AddressSpace* const space = entry.pio != 0 ? ports_ : memory_;
    u64 value = 0;
    const bool sound = entry.len == 1 || entry.len == 2 || entry.len == 4 || entry.len == 8;
    if (sound) std::memcpy(&value, entry.data, entry.len);
    const mem::MemTxAttrs attrs{.requester = mem::MemTxAttrs::Requester::Cpu};
    if (sound && space != nullptr) static_cast<void>(space->store(entry.phys_addr, entry.len, value, attrs));
    __atomic_store_n(&ring_->first, u32((at + 1) % ring_->entries.size()), __ATOMIC_RELEASE);
  }
  draining_ = false;
}

}  // namespace emu::accel
