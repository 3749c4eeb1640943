// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_mmio.h"

#include <bit>

#include "util/log.h"

namespace emu::hw {

using namespace virtio;

namespace {

// 4.2.2; the last three of the first group are of the legacy interface, 4.2.4
enum Reg : u64 {
  MAGIC_VALUE = 0x000,
  VERSION = 0x004,
  DEVICE_ID = 0x008,
  VENDOR_ID = 0x00c,
  DEVICE_FEATURES = 0x010,
  DEVICE_FEATURES_SEL = 0x014,
  DRIVER_FEATURES = 0x020,
  DRIVER_FEATURES_SEL = 0x024,
  GUEST_PAGE_SIZE = 0x028,
  QUEUE_SEL = 0x030,
  QUEUE_NUM_MAX = 0x034,
  QUEUE_NUM = 0x038,
  QUEUE_ALIGN = 0x03c,
  QUEUE_PFN = 0x040,
  QUEUE_READY = 0x044,
  QUEUE_NOTIFY = 0x050,
  INTERRUPT_STATUS = 0x060,
  INTERRUPT_ACK = 0x064,
  STATUS = 0x070,
  QUEUE_DESC_LOW = 0x080,
  QUEUE_DESC_HIGH = 0x084,
  QUEUE_DRIVER_LOW = 0x090,
  QUEUE_DRIVER_HIGH = 0x094,
  QUEUE_DEVICE_LOW = 0x0a0,
  QUEUE_DEVICE_HIGH = 0x0a4,
  SHM_LEN_LOW = 0x0b0,
  SHM_BASE_HIGH = 0x0bc,
  CONFIG_GENERATION = 0x0fc,
  CONFIG = 0x100,
};

constexpr u32 kMagic = 0x74726976;     // "virt"
constexpr u32 kVendor = 0x554d4551;    // what QEMU's guests see
constexpr u32 kLegacyVersion = 1, kVersion = 2;

}  // namespace

void VirtioMmio::describe(TypeInfo<VirtioMmio>& type) {
  type.doc("Slot for a virtio device behind memory-mapped registers");
  type.category(Category::Misc);
  type.property("force-legacy", &VirtioMmio::force_legacy_, "the interface from before virtio 1");
  type.irq_out("irq", &VirtioMmio::irq_);
  type.region("virtio-mmio", kBytes, &VirtioMmio::read, &VirtioMmio::write, {.valid = {1, 8}, .impl = {1, 4}});
  type.region("virtio-mmio-notify", 4, &VirtioMmio::read_notify, &VirtioMmio::write_notify,
              {.valid = {4, 4}, .impl = {4, 4}, .locking = mem::Locking::None});
  type.saved(1, &VirtioMmio::fields, &VirtioMmio::after_load);
}

Result<void> VirtioMmio::realize() {
  slot_ = &add_bus<VirtioBus>("virtio-mmio-bus");
  slot_->set_transport(*this);
  return {};
}

void VirtioMmio::reset_hold() {
  state_ = {};
  lower_interrupts();
}

void VirtioMmio::map_at(mem::GuestPhys address) {
  map("virtio-mmio", address);
  map("virtio-mmio-notify", address + QUEUE_NOTIFY, /*priority=*/1);
}

void VirtioMmio::lower_interrupts() {
  const std::lock_guard hold(isr_mutex_);
  isr_ = 0;
  irq_.set(false);
}

void VirtioMmio::interrupt(u8 cause) {
  const std::lock_guard hold(isr_mutex_);
  isr_ |= cause;
  irq_.set(true);
}

void VirtioMmio::write_notify(u64, u64 value, unsigned) {
  if (VirtioDevice* found = device()) found->kick(u32(value));
}

u64 VirtioMmio::read(u64 offset, unsigned size) {
  VirtioDevice* found = device();
  if (offset >= CONFIG) return found != nullptr ? found->read_config(offset - CONFIG, size) : 0;
  if (size != 4) {
    log::guest_error("{}: read of {} bytes at {:#x}, registers take 4", path(), size, offset);
    return 0;
  }
  if (offset == MAGIC_VALUE) return kMagic;
  if (offset == VERSION) return force_legacy_ ? kLegacyVersion : kVersion;
  if (offset == VENDOR_ID) return kVendor;
  return found != nullptr ? read_register(offset, *found) : 0;  // DEVICE_ID 0: nobody is there
}

u32 VirtioMmio::read_register(u64 offset, VirtioDevice& device) {
  const VirtQueue* queue = device.queue(state_.queue_select);
  switch (offset) {
    case DEVICE_ID: return u32(device.device_id());
    case DEVICE_FEATURES: {
      const u64 features = device.offered_features();
      if (force_legacy_) return state_.device_feature_select == 0 ? u32(features) : 0;
      const u64 shown = features & ~(kFeatureNotifyOnEmpty | kFeatureAnyLayout);
      return state_.device_feature_select < 2 ? u32(shown >> (32 * state_.device_feature_select)) : 0;
    }
    case QUEUE_NUM_MAX: return queue != nullptr ? queue->max_size() : 0;
    case QUEUE_PFN: return force_legacy_ ? u32(device.legacy_address(state_.queue_select) / state_.page_size) : 0;
    case QUEUE_READY: return !force_legacy_ && queue != nullptr && queue->is_enabled();
    case INTERRUPT_STATUS: {
      const std::lock_guard hold(isr_mutex_);
      return isr_;
    }
    case STATUS: return device.status();
    case CONFIG_GENERATION: return force_legacy_ ? 0 : device.config_generation();
    default:
      if (offset >= SHM_LEN_LOW && offset <= SHM_BASE_HIGH) return ~0u;  // no such shared memory, 4.2.2
      log::guest_error("{}: read of register {:#x}", path(), offset);
      return 0;
  }
}

void VirtioMmio::write(u64 offset, u64 value, unsigned size) {
  VirtioDevice* found = device();
  if (found == nullptr) return;
  if (offset >= CONFIG) return found->write_config(offset - CONFIG, value, size);
  if (size != 4) {
    log::guest_error("{}: write of {} bytes at {:#x}, registers take 4", path(), size, offset);
    return;
  }
  write_register(offset, u32(value), *found);
}

void VirtioMmio::write_register(u64 offset, u32 value, VirtioDevice& device) {
  switch (offset) {
    case DEVICE_FEATURES_SEL: state_.device_feature_select = value; return;
    case DRIVER_FEATURES_SEL: state_.driver_feature_select = value; return;
    case DRIVER_FEATURES:
      // 4.2.4: legacy drivers have the low word only.
      if (!force_legacy_ || state_.driver_feature_select == 0) device.accept_word(state_.driver_feature_select, value);
      return;
    case QUEUE_SEL: state_.queue_select = value; return;
    case INTERRUPT_ACK: {
      const std::lock_guard hold(isr_mutex_);
      isr_ &= u8(~value);
      irq_.set(isr_ != 0);
      return;
    }
    case STATUS:
      device.write_status(u8(value));
      if (u8(value) == 0) state_ = {.page_size = state_.page_size};
      return;
    case GUEST_PAGE_SIZE:
      if (!force_legacy_) break;
      if (!std::has_single_bit(value)) {
        log::guest_error("{}: page size {:#x}", path(), value);
        return;
      }
      state_.page_size = value;
      return;
    default: return write_queue_register(offset, value, device);
  }
  log::guest_error("{}: write of {:#x} to register {:#x}", path(), value, offset);
}

void VirtioMmio::write_queue_register(u64 offset, u32 value, VirtioDevice& device) {
  VirtQueue* queue = device.queue(state_.queue_select);
  const bool legacy_register = offset == QUEUE_ALIGN || offset == QUEUE_PFN;
  const bool modern_register = offset == QUEUE_READY || offset >= QUEUE_DESC_LOW;
  const bool wrong_interface = force_legacy_ ? modern_register : legacy_register;
  const bool busy = queue != nullptr && queue->is_enabled() && offset != QUEUE_PFN;
  if (queue == nullptr || wrong_interface || busy) {
    log::guest_error("{}: write of {:#x} to register {:#x} with queue {} selected", path(), value, offset,
                     state_.queue_select);
    return;
  }
  VirtQueue::Setup& setup = queue->setup();
  const auto low = [&](u64& address) { address = deposit(address, 31, 0, value); };
  const auto high = [&](u64& address) { address = deposit(address, 63, 32, value); };
  switch (offset) {
    case QUEUE_NUM: setup.size = value <= kMaxQueueSize ? u16(value) : u16(0); return;  // 0 fails when it is enabled
    case QUEUE_READY:
      if (value == 1) device.enable_queue(state_.queue_select);
      return;
    case QUEUE_DESC_LOW: return low(setup.descriptors);
    case QUEUE_DESC_HIGH: return high(setup.descriptors);
    case QUEUE_DRIVER_LOW: return low(setup.driver_area);
    case QUEUE_DRIVER_HIGH: return high(setup.driver_area);
    case QUEUE_DEVICE_LOW: return low(setup.device_area);
    case QUEUE_DEVICE_HIGH: return high(setup.device_area);
    case QUEUE_ALIGN:
      if (std::has_single_bit(value)) {
        state_.queue_alignment = value;
      } else {
        log::guest_error("{}: queue alignment {:#x}", path(), value);
      }
      return;
    case QUEUE_PFN:
      return device.enable_legacy_queue(state_.queue_select, u64(value) * state_.page_size, state_.queue_alignment);
    default: log::guest_error("{}: write of {:#x} to register {:#x}", path(), value, offset);
  }
}

void VirtioMmio::fields(Archive& ar) {
  const std::lock_guard hold(isr_mutex_);
  bool level = irq_.is_high();
  ar("device_feature_select", state_.device_feature_select)("driver_feature_select", state_.driver_feature_select);
  ar("queue_select", state_.queue_select)("page_size", state_.page_size)("queue_align", state_.queue_alignment);
  ar("isr", isr_)("irq", level);
  if (!ar.is_loading()) return;
  if (!std::has_single_bit(state_.page_size)) state_.page_size = 4096;
  if (!std::has_single_bit(state_.queue_alignment)) state_.queue_alignment = 4096;
}

/// The line follows only now: whoever hears of it has its own state.
Result<void> VirtioMmio::after_load() {
  const std::lock_guard hold(isr_mutex_);
  irq_.set(isr_ != 0);
  return {};
}

void register_virtio_mmio(TypeRegistry& registry) { registry.add<VirtioMmio>("virtio-mmio"); }

}  // namespace emu::hw
