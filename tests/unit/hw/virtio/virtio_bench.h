// SPDX-License-Identifier: Apache-2.0
// A virtio device on a transport of ours, and a driver that plays the guest through memory.
#pragma once

#include <chrono>
#include <cstring>
#include <deque>
#include <thread>

#include "hw/virtio/virtio_device.h"
#include "support/device_bench.h"

namespace emu::test {

/// Counts interrupts; offers what the test wants.
class TestTransport final : public hw::SysBusDevice, public hw::VirtioTransport {
 public:
  static void describe(hw::TypeInfo<TestTransport>& type) { type.doc("for tests"); }
  Result<void> realize() override {
    slot_ = &add_bus<hw::VirtioBus>("virtio-bus");
    slot_->set_transport(*this);
    return {};
  }
  hw::VirtioBus& slot() { return *slot_; }
  mem::AddressSpace& virtio_memory() override { return machine().system_memory(); }
  void queue_interrupt(u16 vector) override {
    ++queue_interrupts;
    last_vector = vector;
  }
  void config_interrupt() override { ++config_interrupts; }
  std::optional<hw::VirtioMessage> queue_message(u16) const override { return message; }
  u64 transport_features() const override { return features; }
  void lower_interrupts() override {}

  std::atomic<unsigned> queue_interrupts{0}, config_interrupts{0};
  std::atomic<u16> last_vector{0};
  u64 features = hw::virtio::kFeatureVersion1;
  std::optional<hw::VirtioMessage> message;  ///< what the interrupts are, where the test says

 private:
  hw::VirtioBus* slot_ = nullptr;
};

struct Buffer {
  u64 address;
  u32 length;
  bool writable = false;
};
struct Used {
  u32 id, length;
  bool operator==(const Used&) const = default;
};

/// The driver's side of one queue. Memory from `base`: descriptors, driver area, device area, indirect tables.
class DriverQueue {
 public:
  DriverQueue(mem::AddressSpace& space, u64 base, u16 size, bool packed)
      : space_(space), base_(base), size_(size), packed_(packed) {
    EXPECT_EQ(space_.fill(base, 0, kBytes), mem::MemTxResult::Ok);
    for (u16 i = 0; i < size; ++i) free_.push_back(i);
  }
  static constexpr u64 kBytes = 0x40000;
  u64 descriptors() const { return base_; }
  u64 driver_area() const { return base_ + 0x8000; }
  u64 device_area() const { return base_ + 0x10000; }
  u64 indirect_tables() const { return base_ + 0x18000; }

  template <typename T>
  auto get(u64 address) {
    return *space_.read<T>(address);
  }
  template <typename T>
  void put(u64 address, const std::type_identity_t<T>& value) {
    EXPECT_EQ(space_.write<T>(address, value), mem::MemTxResult::Ok);
  }
  void write_descriptor(u64 table, u32 index, u64 address, u32 length, u16 third, u16 fourth) {
    put<Le64>(table + 16 * index, address);
    put<Le32>(table + 16 * index + 8, length);
    put<Le16>(table + 16 * index + 12, third);
    put<Le16>(table + 16 * index + 14, fourth);
  }

  /// Offers a chain; gives the id under which it comes back.
  u16 add(const std::vector<Buffer>& chain, bool indirect = false) {
    return packed_ ? add_packed(chain, indirect) : add_split(chain, indirect);
  }
  /// What has been used since the last call.
  std::vector<Used> take_used() {
    std::vector<Used> found;
    while (auto used = packed_ ? next_packed() : next_split()) found.push_back(*used);
    return found;
  }
  /// Split: makes the head available, whatever it is.
  void offer_head(u16 head) {
    put<Le16>(driver_area() + 4 + 2 * (avail_ % size_), head);
    put<Le16>(driver_area() + 2, ++avail_);
  }
  u16 avail() const { return avail_; }
  bool wrap() const { return wrap_; }

 private:
  static u16 flags_of(const Buffer& b, bool next) {
    return u16((b.writable ? hw::virtio::kDescWrite : 0) | (next ? hw::virtio::kDescNext : 0));
  }
  u16 add_split(const std::vector<Buffer>& chain, bool indirect) {
    if (indirect) {
      const u16 head = take_free();
      const u64 table = indirect_tables() + 0x400 * head;
      for (u32 i = 0; i < chain.size(); ++i) {
        const bool next = i + 1 < chain.size();
        write_descriptor(table, i, chain[i].address, chain[i].length, flags_of(chain[i], next), u16(i + 1));
      }
      write_descriptor(base_, head, table, u32(16 * chain.size()), hw::virtio::kDescIndirect, 0);
      held_[head] = {head};
      offer_head(head);
      return head;
    }
    std::vector<u16> slots;
    for (size_t i = 0; i < chain.size(); ++i) slots.push_back(take_free());
    for (size_t i = 0; i < chain.size(); ++i) {
      const bool next = i + 1 < chain.size();
      write_descriptor(base_, slots[i], chain[i].address, chain[i].length, flags_of(chain[i], next),
                       next ? slots[i + 1] : u16(0));
    }
    held_[slots[0]] = slots;
    offer_head(slots[0]);
    return slots[0];
  }
  u16 add_packed(const std::vector<Buffer>& chain, bool indirect) {
    const u16 id = take_free();
    std::vector<Buffer> direct = chain;
    u16 extra = 0;
    if (indirect) {
      const u64 table = indirect_tables() + 0x400 * id;
      for (u32 i = 0; i < chain.size(); ++i) {
        write_descriptor(table, i, chain[i].address, chain[i].length, 0, flags_of(chain[i], false));
      }
      direct = {{table, u32(16 * chain.size())}};
      extra = hw::virtio::kDescIndirect;
    }
    const u16 head = avail_;
    u16 head_flags = 0;
    for (size_t i = 0; i < direct.size(); ++i) {
      const u16 ring = wrap_ ? hw::virtio::kDescAvail : hw::virtio::kDescUsed;
      const u16 flags = u16(flags_of(direct[i], i + 1 < direct.size()) | extra | ring);
      if (i == 0) head_flags = flags;
      write_descriptor(base_, avail_, direct[i].address, direct[i].length, id,
                       i == 0 ? get<Le16>(base_ + 16 * avail_ + 14) : flags);
      if (++avail_ == size_) {
        avail_ = 0;
        wrap_ = !wrap_;
      }
    }
    put<Le16>(base_ + 16 * head + 14, head_flags);
    held_[id] = std::vector<u16>(direct.size());
    return id;
  }
  std::optional<Used> next_split() {
    if (get<Le16>(device_area() + 2) == used_) return std::nullopt;
    const u64 entry = device_area() + 4 + 8 * (used_ % size_);
    ++used_;
    const Used used{get<Le32>(entry), get<Le32>(entry + 4)};
    for (u16 slot : held_[u16(used.id)]) free_.push_back(slot);
    return used;
  }
  std::optional<Used> next_packed() {
    const u16 flags = get<Le16>(base_ + 16 * used_ + 14);
    const bool available = (flags & hw::virtio::kDescAvail) != 0, is_used = (flags & hw::virtio::kDescUsed) != 0;
    if (available != used_wrap_ || is_used != used_wrap_) return std::nullopt;
    const Used used{get<Le16>(base_ + 16 * used_ + 12), get<Le32>(base_ + 16 * used_ + 8)};
    for (size_t i = 0; i < held_[u16(used.id)].size(); ++i) {
      if (++used_ == size_) {
        used_ = 0;
        used_wrap_ = !used_wrap_;
      }
    }
    free_.push_back(u16(used.id));
    return used;
  }
  u16 take_free() {
    EMU_CHECK(!free_.empty());
    const u16 slot = free_.front();
    free_.pop_front();
    return slot;
  }

  mem::AddressSpace& space_;
  const u64 base_;
  const u16 size_;
  const bool packed_;
  std::deque<u16> free_;
  std::map<u16, std::vector<u16>> held_;
  u16 avail_ = 0, used_ = 0;
  bool wrap_ = true, used_wrap_ = true;
};

/// What has been used of a queue that another thread serves, once that is something; empty when it stays nothing.
inline std::vector<Used> wait_for_used(DriverQueue& queue) {
  constexpr unsigned kMostTries = 20000;
  std::vector<Used> used;
  for (unsigned tries = 0; tries < kMostTries; ++tries) {
    used = queue.take_used();
    if (!used.empty()) break;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return used;
}

/// A bench's memory, and where its queues' rings begin: below them is room for buffers.
inline constexpr u64 kBenchRam = 16 << 20, kBenchRings = 8 << 20;
inline constexpr u8 kDriverReady = hw::virtio::kAcknowledge | hw::virtio::kDriver | hw::virtio::kFeaturesOk;

/// The driver's part of 3.1.1: negotiates all of `wanted` that is offered (and VERSION_1), and sets up all queues, of
/// `queue_size` entries where that is not 0.
inline std::vector<DriverQueue> play_driver(hw::VirtioDevice& device, mem::AddressSpace& memory, u64 wanted,
                                            u16 queue_size = 0) {
  device.write_status(0);
  device.write_status(hw::virtio::kAcknowledge);
  device.write_status(hw::virtio::kAcknowledge | hw::virtio::kDriver);
  const u64 features = device.offered_features() & (wanted | hw::virtio::kFeatureVersion1);
  device.accept_word(0, u32(features));
  device.accept_word(1, u32(features >> 32));
  device.write_status(kDriverReady);
  EXPECT_EQ(device.status(), kDriverReady);
  const bool packed = (features & hw::virtio::kFeatureRingPacked) != 0;
  std::vector<DriverQueue> queues;
  for (u32 i = 0; i < device.queue_count(); ++i) {
    auto& setup = device.queue(i)->setup();
    if (queue_size != 0) setup.size = queue_size;
    queues.emplace_back(memory, kBenchRings + i * DriverQueue::kBytes, setup.size, packed);
    setup.descriptors = queues[i].descriptors();
    setup.driver_area = queues[i].driver_area();
    setup.device_area = queues[i].device_area();
    device.queue(i)->set_vector(u16(i + 1));
    device.enable_queue(i);
  }
  device.write_status(kDriverReady | hw::virtio::kDriverOk);
  return queues;
}

/// `VirtioBench<VirtioRng> bench;` makes and realizes a device; start() plays the driver's part of 3.1.1.
template <typename T>
class VirtioBench {
 public:
  explicit VirtioBench(std::initializer_list<std::pair<std::string, qom::PropertyValue>> properties = {},
                       std::function<void(T&, BenchMachine&)> before = {},
                       std::function<void(qom::TypeRegistry&)> more_types = {}) {
    hw::register_core_types(registry_);
    hw::register_virtio_core(registry_);
    registry_.add<TestTransport>("test-transport");
    registry_.add<T>("bench-device");
    if (more_types) more_types(registry_);
    machine_ = std::make_unique<BenchMachine>(registry_);
    machine_->add_ram(0, kBenchRam);
    transport_ = &hw::place<TestTransport>(*machine_);
    EXPECT_TRUE(static_cast<hw::Device*>(transport_)->realize_on(&machine_->system_bus()).has_value());
    device_ = &hw::place<T>(*machine_);
    hw::Device& base = *device_;
    if (before) before(*device_, *machine_);
    for (const auto& [name, value] : properties) {
      auto set = base.set(name, value);
      EXPECT_TRUE(set.has_value()) << set.error().text();
    }
    auto realized = base.realize_on(&transport_->slot());
    EXPECT_TRUE(realized.has_value()) << realized.error().text();
    hw::reset_device(base);
  }

  T& device() { return *device_; }
  T* operator->() { return device_; }
  hw::VirtioDevice& virtio() { return *device_; }
  TestTransport& transport() { return *transport_; }
  BenchMachine& machine() { return *machine_; }
  mem::AddressSpace& memory() { return machine_->system_memory(); }

  /// See play_driver().
  void start(u64 wanted = ~u64(0), u16 queue_size = 0) {
    queues = play_driver(*device_, memory(), wanted, queue_size);
    machine_->run_main_loop();
  }
  /// Offers a chain, notifies, and lets the main loop run.
  u16 submit(u32 queue, const std::vector<Buffer>& chain) {
    const u16 id = queues.at(queue).add(chain);
    device_->kick(queue);
    machine_->run_main_loop();
    return id;
  }
  void write(u64 address, std::string_view bytes) {
    EXPECT_EQ(memory().write(address, {reinterpret_cast<const u8*>(bytes.data()), bytes.size()}),
              mem::MemTxResult::Ok);
  }
  std::string read(u64 address, size_t size) {
    std::string bytes(size, '\0');
    EXPECT_EQ(memory().read(address, {reinterpret_cast<u8*>(bytes.data()), size}), mem::MemTxResult::Ok);
    return bytes;
  }
  u64 config(u64 offset, unsigned size) { return virtio().read_config(offset, size); }
  bool needs_reset() { return (virtio().status() & hw::virtio::kNeedsReset) != 0; }

  std::vector<DriverQueue> queues;

 private:
  qom::TypeRegistry registry_;
  std::unique_ptr<BenchMachine> machine_;
  TestTransport* transport_ = nullptr;
  T* device_ = nullptr;
};

}  // namespace emu::test
