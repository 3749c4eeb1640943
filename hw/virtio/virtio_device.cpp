// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_device.h"

#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {

using namespace virtio;

namespace {
constexpr u64 kRingFeatures = kFeatureNotifyOnEmpty | kFeatureAnyLayout | kFeatureIndirectDesc | kFeatureEventIdx |
                              kFeatureVersion1 | kFeatureAccessPlatform | kFeatureRingPacked | kFeatureInOrder;
}

Result<void> VirtioBus::attach(Device& device) {
  if (dynamic_cast<VirtioDevice*>(&device) == nullptr) {
    return error("{}: only virtio devices go on a virtio bus", device.type().name());
  }
  if (is_full()) return error("{}: the virtio bus has a device already", device.type().name());
  EMU_TRY(Bus::attach(device));
  device_ = &static_cast<VirtioDevice&>(device);
  return {};
}

void VirtioBus::detach(Device& device) {
  device_ = nullptr;
  Bus::detach(device);
}

VirtioDevice::VirtioDevice(DeviceId id, u32 config_bytes) : device_id_(id), config_bytes_(config_bytes) {}

VirtioDevice::~VirtioDevice() = default;

void VirtioDevice::describe(TypeInfo<VirtioDevice>& type) {
  type.plugs_into(VirtioBus::kTypeName);
  type.property("indirect_desc", &VirtioDevice::indirect_desc_, "offer indirect descriptors");
  type.property("event_idx", &VirtioDevice::event_idx_, "offer the event index");
  type.property("notify_on_empty", &VirtioDevice::notify_on_empty_, "offer interrupts for an empty ring (legacy)");
  type.property("any_layout", &VirtioDevice::any_layout_, "offer descriptors cut at any place (legacy)");
  type.property("iommu_platform", &VirtioDevice::iommu_platform_, "offer access through the platform's IOMMU");
  type.property("packed", &VirtioDevice::packed_, "offer packed rings");
  type.property("in_order", &VirtioDevice::in_order_, "offer to use buffers in the order they are made available");
  type.saved(1, &VirtioDevice::fields, &VirtioDevice::after_load);
}

// Life cycle. --------------------------------------------------------------------------------------------------------

Result<void> VirtioDevice::before_realize() {
  auto* slot = dynamic_cast<VirtioBus*>(bus());
  if (slot == nullptr) return error("{}: a virtio device needs a virtio bus", type().name());
  // They stay after unrealize(): a notification may still be on its way from another thread then.
  events_.clear();
  queues_.clear();
  queue_error_.reset();
  label_ = path();
  transport_ = &slot->transport();
  memory_space_ = &transport_->virtio_memory();
  return {};
}

Result<void> VirtioDevice::after_realize() {
  if (queue_error_) return error(std::move(*std::exchange(queue_error_, std::nullopt)).within(type().name()));
  return {};
}

void VirtioDevice::stop_queues() {
  for (const auto& events : events_) events->close();
}

void VirtioDevice::after_unrealize() {
  stop_queues();
  for (const auto& queue : queues_) queue->reset();
  status_ = 0;
}

void VirtioDevice::before_reset_enter() { reset_virtio(); }

VirtQueue& VirtioDevice::add_queue(u16 size, EventLoop* loop) {
  return add_queue(size, QueueEvents::create(
                             loop, [this](std::function<void()> work) { machine().run_on_main_loop(std::move(work)); },
                             [this, index = queue_count()] { run_queue(index); },
                             [this, index = queue_count()] {
                               queues_[index]->tick();
                               run_queue(index);
                             }));
}

VirtQueue& VirtioDevice::add_outside_queue(u16 size) { return add_queue(size, QueueEvents::create_outside()); }

VirtQueue& VirtioDevice::add_queue(u16 size, Result<std::shared_ptr<QueueEvents>> events) {
  const unsigned index = queue_count();
  EMU_CHECK(index < kMaxQueues && events_.size() == queues_.size());
  if (!events) {  // no descriptor to be had
    queue_error_ = std::move(events).error();
    events = QueueEvents::create(nullptr, [](const std::function<void()>&) {}, {});  // which needs none, and is not used
  }
  events_.push_back(std::move(*events));
  return *queues_.emplace_back(std::make_shared<VirtQueue>(*this, index, size));
}

void VirtioDevice::run_queue(unsigned index) {
  if (is_running() && queues_[index]->is_enabled()) handle_queue(index);
}

void VirtioDevice::reset_virtio() {
  if (is_realized() && (status_ & kDriverOk) != 0) serving_ends();
  status_before_reset_ = status_.exchange(0);
  broken_ = false;
  accepted_ = 0;
  for (const auto& queue : queues_) queue->reset();
  if (is_realized()) virtio_reset();
  if (transport_ != nullptr) transport_->lower_interrupts();
}

// Features. ----------------------------------------------------------------------------------------------------------

u64 VirtioDevice::offered_features() const {
  const u64 transport = transport_ != nullptr ? transport_->transport_features() : 0;
  u64 features = device_features() | transport;
  if (indirect_desc_) features |= kFeatureIndirectDesc;
  if (event_idx_) features |= kFeatureEventIdx;
  if (notify_on_empty_) features |= kFeatureNotifyOnEmpty;
  if (any_layout_) features |= kFeatureAnyLayout;
  if (transport & kFeatureVersion1) {
    if (iommu_platform_) features |= kFeatureAccessPlatform;
    if (packed_) features |= kFeatureRingPacked;
    if (in_order_) features |= kFeatureInOrder;
  }
  return limit_features(features);
}

void VirtioDevice::accept_word(u32 index, u32 bits) {
  if (status_ & (kFeaturesOk | kDriverOk)) {
    log::guest_error("{}: features written after {}", path(), status_ & kFeaturesOk ? "FEATURES_OK" : "DRIVER_OK");
    return;
  }
  if (index >= 2) {
    if (bits != 0) log::guest_error("{}: features {:#x} accepted in word {}, none are offered", path(), bits, index);
    return;
  }
  const unsigned low = 32 * index;
  accepted_ = deposit(accepted_, low + 31, low, bits);
}

const char* VirtioDevice::refuse_features(u64 accepted) const {
  if (accepted & ~offered_features()) return "some were not offered";
  if (!(accepted & kFeatureVersion1)) return "VERSION_1 is missing";
  return check_features(accepted);
}

RingFeatures VirtioDevice::ring_features() const {
  // A legacy driver may write bits that were not offered; they do not count.
  const u64 features = accepted_features() & offered_features();
  const bool modern = (features & kFeatureVersion1) != 0;
  return {.packed = modern && (features & kFeatureRingPacked) != 0,
          .event_idx = (features & kFeatureEventIdx) != 0,
          .indirect = (features & kFeatureIndirectDesc) != 0,
          .in_order = modern && (features & kFeatureInOrder) != 0,
          .notify_on_empty = !modern && (features & kFeatureNotifyOnEmpty) != 0};
}

// Status, 2.1. -------------------------------------------------------------------------------------------------------

bool VirtioDevice::has_strays() const {
  return std::any_of(queues_.begin(), queues_.end(), [](const auto& queue) { return queue->strays() > 0; });
}

u8 VirtioDevice::status() const {
  const u8 now = status_;
  return now == 0 && has_strays() ? status_before_reset_ : now;
}

void VirtioDevice::write_status(u8 value) {
  const u8 before = status_;
  EMU_TRACE("virtio_set_status", "{} status {:#x} -> {:#x}", path(), before, value);
  if (value == 0) return reset_virtio();
  if (before & ~value & u8(~kNeedsReset)) {
    log::guest_error("{}: status {:#x} written over {:#x}: bits are only ever added", path(), value, before);
  }
  // Only the device sets NEEDS_RESET, and only reset clears a bit.
  u8 added = u8(value & ~before & ~kNeedsReset);
  if (added & kFeaturesOk) {
    if (const char* why = refuse_features(accepted_)) {
      log::guest_error("{}: features {:#x} refused: {}", path(), u64(accepted_), why);
      added &= u8(~kFeaturesOk);
    }
  }
  const bool modern = has_feature(kFeatureVersion1);
  if ((added & kDriverOk) && modern && !((before | added) & kFeaturesOk)) {
    log::guest_error("{}: DRIVER_OK without FEATURES_OK", path());
    added &= u8(~kDriverOk);
  }
  if ((added & kDriverOk) && !modern) accepted_ = accepted_ & offered_features();
  if (added & kDriverOk) driver_ready();
  status_.fetch_or(added);
  if (!(added & kDriverOk)) return;
  if (is_running()) serving_starts();
  // What was made available before is to be seen without a further notification.
  for (unsigned i = 0; i < queue_count(); ++i) kick(i);
}

void VirtioDevice::ring_broken(const VirtQueue& queue, const std::string& why) {
  log::guest_error("{}: queue {}: {}", label_, queue.index(), why);
  become_broken();
}

void VirtioDevice::break_device(const std::string& why) {
  log::warn("{}: {}: the device stands still until its driver resets it", label_, why);
  become_broken();
}

void VirtioDevice::become_broken() {
  broken_ = true;
  if (!has_feature(kFeatureVersion1)) return;  // a legacy driver does not know the bit
  const u8 before = status_.fetch_or(kNeedsReset);
  if (!(before & kNeedsReset) && (before & kDriverOk)) config_changed();
}

// Configuration space, 2.5. ------------------------------------------------------------------------------------------

u64 VirtioDevice::read_config(u64 offset, unsigned size) {
  if (offset >= config_bytes_ || size > config_bytes_ - offset) {
    log::guest_error("{}: read of {} configuration bytes at {:#x}", path(), size, offset);
    return 0;
  }
  std::vector<u8> config(config_bytes_);
  fill_config(config);
  Le64 value;
  std::memcpy(&value, config.data() + offset, size);
  return value.get();
}

void VirtioDevice::write_config(u64 offset, u64 value, unsigned size) {
  if (offset >= config_bytes_ || size > config_bytes_ - offset) {
    log::guest_error("{}: write of {} configuration bytes at {:#x}", path(), size, offset);
    return;
  }
  std::vector<u8> config(config_bytes_);
  fill_config(config);
  const Le64 stored = value;
  std::memcpy(config.data() + offset, &stored, size);
  config_written(config, u32(offset), size);
}

void VirtioDevice::config_changed() {
  ++generation_;
  if (status_ & kDriverOk) transport_->config_interrupt();
}

// Queues. ------------------------------------------------------------------------------------------------------------

void VirtioDevice::enable_queue(u32 index) {
  VirtQueue* chosen = queue(index);
  if (chosen == nullptr) return;
  if (!(status_ & kFeaturesOk)) {
    log::guest_error("{}: queue {} enabled before FEATURES_OK", path(), index);
    return;
  }
  chosen->enable(ring_features());
  if (is_running()) kick(index);
}

void VirtioDevice::enable_legacy_queue(u32 index, u64 address, u32 alignment) {
  VirtQueue* chosen = queue(index);
  if (chosen == nullptr) return;
  if (address == 0) return reset_virtio();  // legacy drivers take all queues down at once
  VirtQueue::Setup& setup = chosen->setup();
  if (chosen->is_enabled()) {
    log::guest_error("{}: queue {} moved while in use", path(), index);
    return;
  }
  setup.descriptors = address;
  setup.driver_area = address + 16 * u64(setup.size);
  setup.device_area = align_up(setup.driver_area + 4 + 2 * u64(setup.size) + 2, alignment);
  chosen->enable(ring_features());
  if (is_running()) kick(index);
}

u64 VirtioDevice::legacy_address(u32 index) const {
  const VirtQueue* chosen = queue(index);
  return chosen != nullptr && chosen->is_enabled() ? chosen->setup().descriptors : 0;
}

void VirtioDevice::kick(u32 index) {
  if (index >= events_.size()) {
    log::guest_error("{}: notification for queue {}", label_, index);
    return;
  }
  events_[index]->kick();
}

const EventNotifier* VirtioDevice::kick_notifier(u32 index) const {
  return index < events_.size() ? events_[index]->notifier() : nullptr;
}

void VirtioDevice::queue_interrupt(VirtQueue& queue) { transport_->queue_interrupt(queue.vector()); }

// Saved state. -------------------------------------------------------------------------------------------------------

void VirtioDevice::fields(Archive& ar) {
  u32 queues = queue_count();
  ar("status", status_)("broken", broken_)("features", accepted_)("generation", generation_)("queues", queues);
  for (u32 i = 0; i < queue_count(); ++i) ar(fmt::format("queue{}", i), *queues_[i]);
}

Result<void> VirtioDevice::after_load() {
  const u64 accepted = accepted_features();
  // Until they are in force a driver may have written any.
  if ((status_ & (kFeaturesOk | kDriverOk)) && (accepted & ~(offered_features() | kRingFeatures))) {
    return error("{}: saved features {:#x} are not all offered here", path(), accepted);
  }
  for (const auto& queue : queues_) EMU_TRY(queue->after_load(ring_features()), path());
  if (is_running()) {
    serving_starts();
    for (unsigned i = 0; i < queue_count(); ++i) kick(i);
  }
  return {};
}

void register_virtio_core(TypeRegistry& registry) {
  registry.add_base<VirtioBus, Bus>();
  registry.add_abstract<VirtioDevice, Device>();
}

}  // namespace emu::hw
