// SPDX-License-Identifier: Apache-2.0
// Base of all virtio devices: features, status, configuration space and queues, whatever the transport.
// Virtio 1.2, section 2.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "hw/virtio/queue_events.h"
#include "hw/virtio/virt_queue.h"
#include "hw/virtio/virtio_bus.h"
#include "util/event_loop.h"

namespace emu::hw {

/// A model adds its queues in realize(). The machine lock protects all but what says "any thread"; queue handlers run
/// on their queue's loop without it, or with it on the main loop for queues that have no loop.
class VirtioDevice : public Device, public VirtQueueOwner {
 public:
  static constexpr const char* kTypeName = "virtio-device";
  static void describe(TypeInfo<VirtioDevice>& type);
  ~VirtioDevice() override;

  // For transports. ------------------------------------------------------------------------------------------------
  virtio::DeviceId device_id() const { return device_id_; }
  /// PCI class code of a function that holds this device.
  virtual u16 pci_class() const = 0;
  /// MSI-X vectors of that function where the user says nothing. Once realized.
  virtual unsigned default_vectors() const { return queue_count() + 1; }

  u64 offered_features() const;
  /// The driver's choice; `index` 0 is bits 0 to 31.
  u32 accepted_word(u32 index) const { return index < 2 ? u32(accepted_features() >> (32 * index)) : 0; }
  void accept_word(u32 index, u32 bits);

  /// Reads as before a reset as long as requests from before it are under way, 2.4.
  u8 status() const;
  void write_status(u8 value);

  u32 config_bytes() const { return config_bytes_; }
  /// `size` is 1, 2, 4 or 8; what lies outside reads as zero and is ignored.
  u64 read_config(u64 offset, unsigned size);
  void write_config(u64 offset, u64 value, unsigned size);
  u32 config_generation() const { return generation_.load(); }

  unsigned queue_count() const { return unsigned(queues_.size()); }
  /// Null when there is no such queue.
  VirtQueue* queue(u32 index) const { return index < queues_.size() ? queues_[index].get() : nullptr; }
  void enable_queue(u32 index);
  /// Legacy interface, 2.7.2: the parts of the ring follow each other from `address`.
  void enable_legacy_queue(u32 index, u64 address, u32 alignment);
  /// What the legacy interface shows of a queue: the address of its descriptors; 0 while it is not in use.
  u64 legacy_address(u32 index) const;
  /// The driver says that there is something in the queue. Any thread.
  void kick(u32 index);
  /// The eventfd behind kick(), for queues with a loop; for ioeventfd.
  const EventNotifier* kick_notifier(u32 index) const;
  /// Of the transport: queue_message() may give something else now.
  virtual void interrupts_rerouted() {}
  /// What the driver does by writing 0 to the status.
  void reset_virtio();

  /// Any thread.
  u64 accepted_features() const { return accepted_.load(std::memory_order_relaxed); }
  bool has_feature(u64 bit) const { return (accepted_features() & bit) != 0; }
  bool is_broken() const { return broken_.load(); }

 protected:
  VirtioDevice(virtio::DeviceId id, u32 config_bytes);

  // What models override. ------------------------------------------------------------------------------------------
  /// Feature bits below 24 and from 50, and others that only this device has.
  virtual u64 device_features() const = 0;
  /// Gives a reason when the driver's choice cannot be: FEATURES_OK then stays clear.
  virtual const char* check_features(u64 accepted) const {
    static_cast<void>(accepted);
    return nullptr;
  }
  /// The configuration space as the driver reads it: config_bytes() zeroes to be filled.
  virtual void fill_config(std::span<u8> config) const = 0;
  /// The driver wrote [offset, offset + size); `config` is what the space would read with it.
  virtual void config_written(std::span<const u8> config, u32 offset, u32 size) {
    static_cast<void>(config);
    static_cast<void>(offset);
    static_cast<void>(size);
  }
  /// What can be offered after all, where that is not for the model alone to say.
  virtual u64 limit_features(u64 features) const { return features; }
  /// There may be something in this queue. Only between DRIVER_OK and reset.
  virtual void handle_queue(unsigned index) = 0;
  virtual void driver_ready() {}
  /// For queues that are served outside. DRIVER_OK has been set (or loaded), with queues enabled; and the queues are about
  /// to be reset, or the device to go.
  virtual void serving_starts() {}
  virtual void serving_ends() {}
  /// The device is as new, but requests that are under way end as they do; push() swallows them. No queue handler runs.
  virtual void virtio_reset() {}

  /// In realize(). `loop`: where handle_queue() is called; null for the main loop with the machine lock held.
  VirtQueue& add_queue(u16 size, EventLoop* loop = nullptr);
  /// A queue that somebody outside this program serves, who gets kick_notifier(): handle_queue() is not called for it.
  VirtQueue& add_outside_queue(u16 size);
  std::shared_ptr<VirtQueue> shared_queue(unsigned index) const { return queues_.at(index); }
  /// First in unrealize() of models whose queues have loops: no handler runs from here on.
  void stop_queues();
  /// Something that the driver cannot mend went wrong: the device stands still until it is reset. Machine lock.
  void break_device(const std::string& why);
  /// Calls handle_queue() from its loop. Any thread.
  void schedule(unsigned index) { kick(index); }
  /// The configuration space reads differently now. Any thread.
  void config_changed();
  bool is_running() const {
    return (status_.load(std::memory_order_acquire) & virtio::kDriverOk) != 0 && !is_broken();
  }
  VirtioTransport& transport() const { return *transport_; }
  mem::AddressSpace& dma() const override { return transport_->virtio_memory(); }
  void set_config_bytes(u32 bytes) { config_bytes_ = bytes; }

  Result<void> before_realize() override;
  Result<void> after_realize() override;
  void after_unrealize() override;
  void before_reset_enter() override;

  // VirtQueueOwner
  mem::AddressSpace& queue_memory() override { return *memory_space_; }
  void ring_broken(const VirtQueue& queue, const std::string& why) override;
  void queue_interrupt(VirtQueue& queue) override;
  void look_again(VirtQueue& queue) override { events_[queue.index()]->run_now(); }
  void wants_tick(VirtQueue& queue) override { events_[queue.index()]->call_in(std::chrono::milliseconds(1)); }

 private:
  void fields(Archive& ar);
  Result<void> after_load();
  RingFeatures ring_features() const;
  const char* refuse_features(u64 accepted) const;
  bool has_strays() const;
  void become_broken();
  void run_queue(unsigned index);
  VirtQueue& add_queue(u16 size, Result<std::shared_ptr<QueueEvents>> events);

  const virtio::DeviceId device_id_;
  u32 config_bytes_;
  bool indirect_desc_ = true, event_idx_ = true, packed_ = false, in_order_ = false, iommu_platform_ = false,
       notify_on_empty_ = true, any_layout_ = true;

  VirtioTransport* transport_ = nullptr;
  mem::AddressSpace* memory_space_ = nullptr;
  std::string label_;  ///< path, for messages from threads that do not have the machine lock
  std::atomic<u8> status_{0};
  std::atomic<bool> broken_{false};
  std::atomic<u64> accepted_{0};
  std::atomic<u32> generation_{0};
  u8 status_before_reset_ = 0;
  std::vector<std::shared_ptr<VirtQueue>> queues_;  ///< requests that outlive the device keep theirs
  std::vector<std::shared_ptr<QueueEvents>> events_;
  std::optional<Error> queue_error_;  ///< of add_queue(), for after_realize()
};

/// Registers "virtio-bus" and "virtio-device".
void register_virtio_core(TypeRegistry& registry);

}  // namespace emu::hw
