// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_pci.h"

#include <unistd.h>

#include <bit>

#include "hw/core/device_writes.h"
#include "hw/pci/pci_bus.h"
#include "util/log.h"

namespace emu::hw {

using namespace virtio;

namespace {

// PCI ids, 4.1.2
constexpr u16 kVendor = 0x1af4, kModernIds = 0x1040, kSubsystem = 0x1100;
constexpr u8 kVendorCapability = 0x09;

/// The device id of a transitional function, 4.1.2.1; 0 for a device that has none.
u16 transitional_id(DeviceId id) {
  switch (id) {
    case DeviceId::Net: return 0x1000;
    case DeviceId::Block: return 0x1001;
    case DeviceId::Balloon: return 0x1002;
    case DeviceId::Console: return 0x1003;
    case DeviceId::Scsi: return 0x1004;
    case DeviceId::Entropy: return 0x1005;
    case DeviceId::Plan9: return 0x1009;
    case DeviceId::Vsock:
    case DeviceId::FileSystem: return 0;
  }
  return 0;
}

// cfg_type, 4.1.4
enum CapabilityKind : u8 { kCommon = 1, kNotify = 2, kIsr = 3, kDevice = 4, kPciConfig = 5 };
// struct virtio_pci_cap, 4.1.4
enum CapabilityOffset : unsigned { kBarField = 4, kOffsetField = 8, kLengthField = 12, kExtraField = 16 };
constexpr unsigned kCapabilityBytes = 16, kLongCapabilityBytes = 20;

// Windows of BAR4.
constexpr u32 kCommonWindow = 0x0000, kIsrWindow = 0x1000, kDeviceWindow = 0x2000, kNotifyWindow = 0x3000,
              kWindowBytes = 0x1000, kModernBarBytes = 0x4000, kNotifyMultiplier = 4;
enum Bar : u8 { kLegacyBar = 0, kMsixBar = 1, kPioNotifyBar = 2, kModernBar = 4 };

// struct virtio_pci_common_cfg, 4.1.4.3
enum Common : u64 {
  DEVICE_FEATURE_SELECT = 0,
  DEVICE_FEATURE = 4,
  DRIVER_FEATURE_SELECT = 8,
  DRIVER_FEATURE = 12,
  CONFIG_MSIX_VECTOR = 16,
  NUM_QUEUES = 18,
  DEVICE_STATUS = 20,
  CONFIG_GENERATION = 21,
  QUEUE_SELECT = 22,
  QUEUE_SIZE = 24,
  QUEUE_MSIX_VECTOR = 26,
  QUEUE_ENABLE = 28,
  QUEUE_NOTIFY_OFF = 30,
  QUEUE_DESC = 32,
  QUEUE_DRIVER = 40,
  QUEUE_DEVICE = 48,
};

// Legacy registers, 4.1.4.10
enum Legacy : u64 {
  LEGACY_DEVICE_FEATURES = 0,
  LEGACY_DRIVER_FEATURES = 4,
  LEGACY_QUEUE_ADDRESS = 8,
  LEGACY_QUEUE_SIZE = 12,
  LEGACY_QUEUE_SELECT = 14,
  LEGACY_QUEUE_NOTIFY = 16,
  LEGACY_STATUS = 18,
  LEGACY_ISR = 19,
  LEGACY_CONFIG_VECTOR = 20,
  LEGACY_QUEUE_VECTOR = 22,
};
constexpr unsigned kLegacyPageShift = 12;
constexpr u32 kLegacyAlignment = 4096;

}  // namespace

VirtioPci::VirtioPci(const char* backend_type, VirtioPciVariant variant)
    : PciDevice({.vendor = kVendor, .express = true}), backend_type_(backend_type), variant_(variant) {}

void VirtioPci::describe(TypeInfo<VirtioPci>& type) {
  type.property("disable-legacy", &VirtioPci::disable_legacy_, "no legacy interface; auto: only where there is no I/O");
  type.property("disable-modern", &VirtioPci::modern_off_, "no virtio 1 interface");
  type.property("vectors", &VirtioPci::vectors_, "MSI-X vectors; 0: the interrupt pin only");
  type.property("modern-pio-notify", &VirtioPci::modern_pio_notify_, "notify through an I/O port");
  type.property("ioeventfd", &VirtioPci::ioeventfd_, "notifications that need not stop the vCPU, with -accel kvm");
  type.property("page-per-vq", &VirtioPci::page_per_vq_, "off only");
  type.saved(1, &VirtioPci::fields, &VirtioPci::after_load);
}

// Life cycle. --------------------------------------------------------------------------------------------------------

Result<void> VirtioPci::make_backend() {
  if (backend_ != nullptr) return {};
  if (tree() == nullptr) return error("is a property of the device inside, which this one does not have yet");
  auto object = EMU_TRY(tree()->create(backend_type_));
  auto* device = dynamic_cast<VirtioDevice*>(object.get());
  EMU_CHECK(device != nullptr);
  EMU_TRY(add_child("virtio-backend", std::move(object)));
  backend_ = device;
  return {};
}

Result<void> VirtioPci::settle_variant() {
  const auto* pcie = dynamic_cast<const PcieBus*>(bus());
  behind_port_ = pcie != nullptr && dynamic_cast<const PciDevice*>(pcie->owner()) != nullptr;
  switch (variant_) {
    case VirtioPciVariant::Generic: break;
    case VirtioPciVariant::Transitional:
      if (disable_legacy_ == qom::OnOffAuto::On || modern_off_) {
        return error("{}: a transitional device has both interfaces; see disable-legacy and disable-modern",
                     type().name());
      }
      legacy_ = qom::OnOffAuto::Off;
      return {};
    case VirtioPciVariant::NonTransitional:
      if (disable_legacy_ == qom::OnOffAuto::Off || modern_off_) {
        return error("{}: a non-transitional device is modern only; see disable-legacy and disable-modern",
                     type().name());
      }
      legacy_ = qom::OnOffAuto::On;
      return {};
  }
  legacy_ = disable_legacy_;
  if (legacy_ == qom::OnOffAuto::Auto) {
    // Behind a PCI Express port there may be no I/O space to be had; younger devices have no legacy interface.
    const bool modern_only = behind_port_ || transitional_id(backend_->device_id()) == 0;
    legacy_ = modern_only ? qom::OnOffAuto::On : qom::OnOffAuto::Off;
  }
  if (modern_off_ && legacy_ == qom::OnOffAuto::On) {
    return error("{}: device cannot work as neither modern nor legacy mode is enabled", type().name());
  }
  return {};
}

Result<void> VirtioPci::realize() {
  if (page_per_vq_) return error("{}: page-per-vq=on is not supported", type().name());
  EMU_TRY(make_backend());
  EMU_TRY(settle_variant());
  drop_missing_rom();
  static_cast<void>(dma());
  slot_ = &add_bus<VirtioBus>("virtio-bus");
  slot_->set_transport(*this);
  Device& inner = *backend_;
  if (!inner.is_prepared()) inner.prepare(machine());
  EMU_TRY(inner.realize_on(slot_));
  if (auto done = add_regions(); !done) {
    inner.unrealize_all();
    return done;
  }
  return {};
}

void VirtioPci::drop_missing_rom() {
  const std::string usual = type().default_value(*type().find_property("romfile")).text();
  const auto chosen = get("romfile");
  if (usual.empty() || !chosen || chosen->text() != usual) return;
  if (::access(machine().find_data_file(usual).c_str(), R_OK) != 0) static_cast<void>(set("romfile", std::string()));
}

Result<void> VirtioPci::add_regions() {
  if (has_legacy() && transitional_id(backend_->device_id()) == 0) {
    return error("{}: there is no legacy interface to this device", type().name());
  }
  vectors_in_use_ = vectors_.value_or(backend_->default_vectors());
  if (vectors_in_use_ > 2048) return error("{}: vectors={} is above 2048", type().name(), vectors_in_use_);
  write_identity();
  use_interrupt_pin(1);
  if (behind_port_) add_express_endpoint();
  if (vectors_in_use_ != 0) add_msix(vectors_in_use_, kMsixBar);
  if (has_modern()) add_modern_bar();
  if (has_legacy()) add_legacy_bar();
  return {};
}

void VirtioPci::unrealize() {
  slot_ = nullptr;
  lower_interrupts();
}

void VirtioPci::reset_hold() {
  state_ = {};
  config_vector_ = kNoVector;
  lower_interrupts();
}

void VirtioPci::lower_interrupts() {
  const std::lock_guard hold(isr_mutex_);
  isr_ = 0;
  set_intx(false);
}

void VirtioPci::write_identity() {
  const u16 id = u16(backend_->device_id());
  config().set16(pci::CLASS_DEVICE, backend_->pci_class());
  config().set16(pci::SUBSYSTEM_VENDOR_ID, kVendor);
  if (has_legacy()) {
    config().set16(pci::DEVICE_ID, transitional_id(backend_->device_id()));
    config().set16(pci::SUBSYSTEM_ID, id);
    config().set8(pci::REVISION_ID, 0);
  } else {
    config().set16(pci::DEVICE_ID, u16(kModernIds + id));
    config().set16(pci::SUBSYSTEM_ID, kSubsystem);
    config().set8(pci::REVISION_ID, 1);
  }
}

// Where things are, 4.1.4. -------------------------------------------------------------------------------------------

unsigned VirtioPci::add_vendor_capability(u8 kind, unsigned bytes, u8 bar, u32 offset, u32 length) {
  const unsigned at = config().add_capability(kVendorCapability, bytes);
  config().set8(at + 2, u8(bytes));
  config().set8(at + 3, kind);
  config().set8(at + kBarField, bar);
  config().set32(at + kOffsetField, offset);
  config().set32(at + kLengthField, length);
  return at;
}

void VirtioPci::add_modern_bar() {
  auto bar = add_region(mem::Region::container(memory(), type().name() + "-modern", kModernBarBytes));
  const auto window = [&](const char* name, u32 offset, u32 bytes, mem::MmioFunctions::Read read,
                          mem::MmioFunctions::Write write, mem::Locking locking = mem::Locking::Machine) {
    auto made = add_region(mem::Region::mmio(memory(), name, bytes, std::move(read), std::move(write),
                                             {.valid = {1, 4}, .impl = {1, 4}, .locking = locking}));
    bar->add(offset, made);
    return made;
  };
  window("virtio-pci-common", kCommonWindow, kWindowBytes, [this](u64 o, unsigned n) { return read_common(o, n); },
         [this](u64 o, u64 v, unsigned n) { write_common(o, v, n); });
  window("virtio-pci-isr", kIsrWindow, kWindowBytes, [this](u64 o, unsigned n) { return read_isr(o, n); },
         [](u64, u64, unsigned) {});
  window("virtio-pci-device", kDeviceWindow, kWindowBytes, [this](u64 o, unsigned n) { return read_device(o, n); },
         [this](u64 o, u64 v, unsigned n) { write_device(o, v, n); });
  const auto bells = window("virtio-pci-notify", kNotifyWindow, kWindowBytes, [](u64, unsigned) { return u64(0); },
                            [this](u64 o, u64 v, unsigned n) { write_notify(o, v, n); }, mem::Locking::None);
  add_doorbells(*bells, {}, /*by_value=*/false);
  add_bar(kModernBar, BarKind::PrefetchableMemory64, std::move(bar));

  add_vendor_capability(kCommon, kCapabilityBytes, kModernBar, kCommonWindow, kWindowBytes);
  add_vendor_capability(kIsr, kCapabilityBytes, kModernBar, kIsrWindow, kWindowBytes);
  add_vendor_capability(kDevice, kCapabilityBytes, kModernBar, kDeviceWindow, kWindowBytes);
  if (modern_pio_notify_) {
    constexpr u32 kPioBytes = 4;
    auto port = add_region(mem::Region::mmio(
        memory(), "virtio-pci-notify-pio", kPioBytes, [](u64, unsigned) { return u64(0); },
        [this](u64, u64 value, unsigned) { backend_->kick(u32(value)); },
        {.valid = {1, 4}, .impl = {1, 4}, .locking = mem::Locking::None}));
    add_doorbells(*port, {.bytes = 2}, /*by_value=*/true);
    add_bar(kPioNotifyBar, BarKind::Io, std::move(port));
    const unsigned at = add_vendor_capability(kNotify, kLongCapabilityBytes, kPioNotifyBar, 0, kPioBytes);
    config().set32(at + kExtraField, 0);  // one place for all queues: the value says which
  }
  const unsigned notify =
      add_vendor_capability(kNotify, kLongCapabilityBytes, kModernBar, kNotifyWindow, kWindowBytes);
  config().set32(notify + kExtraField, kNotifyMultiplier);
  window_capability_ = add_vendor_capability(kPciConfig, kLongCapabilityBytes, 0, 0, 0);
  config().allow8(window_capability_ + kBarField, 0xff);
  config().allow32(window_capability_ + kOffsetField, ~0u);
  config().allow32(window_capability_ + kLengthField, ~0u);
  config().allow32(window_capability_ + kExtraField, ~0u);
}

void VirtioPci::add_legacy_bar() {
  constexpr u64 kHeaderBytes = 24;  // with MSI-X; without, the last four bytes are the device's
  const u64 bytes = std::bit_ceil(kHeaderBytes + backend_->config_bytes());
  auto bar = add_region(mem::Region::container(memory(), type().name() + "-legacy", bytes));
  const auto part = [&](const char* name, u64 offset, u64 end, mem::Locking locking) {
    auto made = add_region(mem::Region::mmio(
        memory(), name, end - offset, [this, offset](u64 o, unsigned n) { return read_legacy(offset + o, n); },
        [this, offset](u64 o, u64 v, unsigned n) { write_legacy(offset + o, v, n); },
        {.valid = {1, 4}, .impl = {1, 4}, .unaligned = true, .locking = locking}));
    bar->add(offset, made);
    return made;
  };
  part("virtio-pci-legacy", 0, LEGACY_QUEUE_NOTIFY, mem::Locking::Machine);
  const auto bell = part("virtio-pci-legacy-notify", LEGACY_QUEUE_NOTIFY, LEGACY_STATUS, mem::Locking::None);
  add_doorbells(*bell, {.bytes = 2}, /*by_value=*/true);
  part("virtio-pci-legacy-config", LEGACY_STATUS, bytes, mem::Locking::Machine);
  add_bar(kLegacyBar, BarKind::Io, std::move(bar));
}

/// One for each queue that has a loop of its own; the others come to the callback. Which queue is meant the value says, or
/// the place.
void VirtioPci::add_doorbells(mem::Region& region, target::DeviceWrites::Doorbell first, bool by_value) {
  target::DeviceWrites* const writes = ioeventfd_ ? device_writes(machine()) : nullptr;
  for (u32 i = 0; writes != nullptr && i < backend_->queue_count(); ++i) {
    const EventNotifier* const notifier = backend_->kick_notifier(i);
    if (notifier == nullptr) continue;
    target::DeviceWrites::Doorbell bell = first;
    bell.event_fd = notifier->fd();
    if (by_value) {
      bell.value = i;
    } else {
      bell.offset = i * kNotifyMultiplier;
    }
    writes->add_doorbell(region, bell);
  }
}

// Interrupts, 4.1.4.5 and 4.1.5. -------------------------------------------------------------------------------------

void VirtioPci::interrupt(u16 vector, u8 cause) {
  if (uses_msix()) {
    if (vector != kNoVector) notify_msix(vector);
    return;
  }
  const std::lock_guard hold(isr_mutex_);
  isr_ |= cause;
  set_intx(true);
}

std::optional<VirtioMessage> VirtioPci::queue_message(u16 vector) const {
  const auto message = vector == kNoVector ? std::nullopt : msix_message(vector);
  if (!message) return std::nullopt;
  return VirtioMessage{message->address, message->data};
}

void VirtioPci::message_vectors_changed() {
  if (backend_ != nullptr && backend_->is_realized()) backend_->interrupts_rerouted();
}

u64 VirtioPci::read_isr(u64 offset, unsigned) {
  if (offset != 0) return 0;
  const std::lock_guard hold(isr_mutex_);
  set_intx(false);
  return std::exchange(isr_, u8(0));
}

// Common configuration, 4.1.4.3. -------------------------------------------------------------------------------------

u64 VirtioPci::read_common_field(u64 offset) {
  const VirtQueue* queue = selected();
  switch (offset) {
    case DEVICE_FEATURE_SELECT: return state_.device_feature_select;
    case DEVICE_FEATURE: {
      const u64 features = backend_->offered_features() & ~(kFeatureNotifyOnEmpty | kFeatureAnyLayout);
      return state_.device_feature_select < 2 ? u32(features >> (32 * state_.device_feature_select)) : 0;
    }
    case DRIVER_FEATURE_SELECT: return state_.driver_feature_select;
    case DRIVER_FEATURE: return backend_->accepted_word(state_.driver_feature_select);
    case CONFIG_MSIX_VECTOR: return config_vector_;
    case NUM_QUEUES: return backend_->queue_count();
    case DEVICE_STATUS: return backend_->status();
    case CONFIG_GENERATION: return backend_->config_generation() & 0xff;
    case QUEUE_SELECT: return state_.queue_select;
    case QUEUE_SIZE: return queue != nullptr ? queue->setup().size : 0;
    case QUEUE_MSIX_VECTOR: return queue != nullptr ? queue->vector() : kNoVector;
    case QUEUE_ENABLE: return queue != nullptr && queue->is_enabled();
    case QUEUE_NOTIFY_OFF: return state_.queue_select;
    case QUEUE_DESC: return queue != nullptr ? u32(queue->setup().descriptors) : 0;
    case QUEUE_DESC + 4: return queue != nullptr ? queue->setup().descriptors >> 32 : 0;
    case QUEUE_DRIVER: return queue != nullptr ? u32(queue->setup().driver_area) : 0;
    case QUEUE_DRIVER + 4: return queue != nullptr ? queue->setup().driver_area >> 32 : 0;
    case QUEUE_DEVICE: return queue != nullptr ? u32(queue->setup().device_area) : 0;
    case QUEUE_DEVICE + 4: return queue != nullptr ? queue->setup().device_area >> 32 : 0;
    default: return 0;
  }
}

u64 VirtioPci::read_common(u64 offset, unsigned size) { return read_common_field(offset) & low_mask(8 * size); }

void VirtioPci::write_common(u64 offset, u64 value, unsigned size) {
  VirtQueue* queue = selected();
  const auto set_address = [&](u64& address, bool high) {
    address = high ? deposit(address, 63, 32, value) : deposit(address, 31, 0, value);
  };
  switch (offset) {
    case DEVICE_FEATURE_SELECT: state_.device_feature_select = u32(value); return;
    case DRIVER_FEATURE_SELECT: state_.driver_feature_select = u32(value); return;
    case DRIVER_FEATURE: backend_->accept_word(state_.driver_feature_select, u32(value)); return;
    case CONFIG_MSIX_VECTOR: config_vector_ = checked_vector(value); return;
    case DEVICE_STATUS:
      backend_->write_status(u8(value));
      if (u8(value) == 0) state_ = {}, config_vector_ = kNoVector;
      return;
    case QUEUE_SELECT: state_.queue_select = u16(value); return;
    default: break;
  }
  if (queue == nullptr || (queue->is_enabled() && offset != QUEUE_MSIX_VECTOR)) {
    log::guest_error("{}: write of {:#x}, {} bytes, to {:#x} of the common configuration with queue {} selected",
                     path(), value, size, offset, state_.queue_select);
    return;
  }
  VirtQueue::Setup& setup = queue->setup();
  switch (offset) {
    case QUEUE_SIZE: setup.size = u16(value); return;
    case QUEUE_MSIX_VECTOR: queue->set_vector(checked_vector(value)); return;
    case QUEUE_ENABLE:
      if (value == 1) backend_->enable_queue(state_.queue_select);
      return;
    case QUEUE_DESC:
    case QUEUE_DESC + 4: return set_address(setup.descriptors, offset != QUEUE_DESC);
    case QUEUE_DRIVER:
    case QUEUE_DRIVER + 4: return set_address(setup.driver_area, offset != QUEUE_DRIVER);
    case QUEUE_DEVICE:
    case QUEUE_DEVICE + 4: return set_address(setup.device_area, offset != QUEUE_DEVICE);
    default: log::guest_error("{}: write to {:#x} of the common configuration", path(), offset);
  }
}

u64 VirtioPci::read_device(u64 offset, unsigned size) { return backend_->read_config(offset, size); }
void VirtioPci::write_device(u64 offset, u64 value, unsigned size) { backend_->write_config(offset, value, size); }
void VirtioPci::write_notify(u64 offset, u64, unsigned) { backend_->kick(u32(offset / kNotifyMultiplier)); }

// The window in configuration space, 4.1.4.9. ------------------------------------------------------------------------

u64 VirtioPci::read_window(u64 offset, unsigned size) {
  const u64 in_window = offset % kWindowBytes;
  if (in_window + size > kWindowBytes) return 0;
  switch (offset - in_window) {
    case kCommonWindow: return read_common(in_window, size);
    case kIsrWindow: return read_isr(in_window, size);
    case kDeviceWindow: return read_device(in_window, size);
    default: return 0;
  }
}

void VirtioPci::write_window(u64 offset, u64 value, unsigned size) {
  const u64 in_window = offset % kWindowBytes;
  if (in_window + size > kWindowBytes) return;
  switch (offset - in_window) {
    case kCommonWindow: return write_common(in_window, value, size);
    case kDeviceWindow: return write_device(in_window, value, size);
    case kNotifyWindow: return write_notify(in_window, value, size);
    default: return;
  }
}

u32 VirtioPci::read_config(unsigned offset, unsigned size) {
  const unsigned data = window_capability_ + kExtraField;
  if (window_capability_ != 0 && offset < data + 4 && data < offset + size) {
    const u32 length = config().get32(window_capability_ + kLengthField);
    const u32 at = config().get32(window_capability_ + kOffsetField);
    if (config().get8(window_capability_ + kBarField) == kModernBar && std::has_single_bit(length) && length <= 4 &&
        at < kModernBarBytes) {
      config().set32(data, u32(read_window(at, length)));
    }
  }
  return PciDevice::read_config(offset, size);
}

void VirtioPci::config_written(unsigned offset, unsigned size) {
  const unsigned data = window_capability_ + kExtraField;
  if (window_capability_ == 0 || size > 4 || offset >= data + 4 || data >= offset + size) return;
  const u32 length = config().get32(window_capability_ + kLengthField);
  const u32 at = config().get32(window_capability_ + kOffsetField);
  if (config().get8(window_capability_ + kBarField) != kModernBar || !std::has_single_bit(length) || length > 4 ||
      at >= kModernBarBytes) {
    return;
  }
  write_window(at, config().get32(data) & low_mask(8 * length), length);
}

// Legacy registers, 4.1.4.10. ----------------------------------------------------------------------------------------

u64 VirtioPci::read_legacy(u64 offset, unsigned size) {
  if (offset >= legacy_header_bytes()) return backend_->read_config(offset - legacy_header_bytes(), size);
  const VirtQueue* queue = selected();
  const auto value = [&]() -> u64 {
    switch (offset) {
      case LEGACY_DEVICE_FEATURES: return u32(backend_->offered_features());
      case LEGACY_DRIVER_FEATURES: return backend_->accepted_word(0);
      case LEGACY_QUEUE_ADDRESS: return backend_->legacy_address(state_.queue_select) >> kLegacyPageShift;
      case LEGACY_QUEUE_SIZE: return queue != nullptr ? queue->max_size() : 0;
      case LEGACY_QUEUE_SELECT: return state_.queue_select;
      case LEGACY_STATUS: return backend_->status();
      case LEGACY_ISR: return read_isr(0, 1);
      case LEGACY_CONFIG_VECTOR: return config_vector_;
      case LEGACY_QUEUE_VECTOR: return queue != nullptr ? queue->vector() : kNoVector;
      default: return 0;
    }
  };
  return value() & low_mask(8 * size);
}

void VirtioPci::write_legacy(u64 offset, u64 value, unsigned size) {
  if (offset == LEGACY_QUEUE_NOTIFY) return backend_->kick(u32(value & 0xffff));  // no lock: nothing else is touched
  if (offset >= legacy_header_bytes()) return backend_->write_config(offset - legacy_header_bytes(), value, size);
  switch (offset) {
    case LEGACY_DRIVER_FEATURES: return backend_->accept_word(0, u32(value));
    case LEGACY_QUEUE_ADDRESS:
      return backend_->enable_legacy_queue(state_.queue_select, u64(u32(value)) << kLegacyPageShift, kLegacyAlignment);
    case LEGACY_QUEUE_SELECT: state_.queue_select = u16(value); return;
    case LEGACY_STATUS:
      backend_->write_status(u8(value));
      if (u8(value) == 0) state_ = {}, config_vector_ = kNoVector;
      return;
    case LEGACY_CONFIG_VECTOR: config_vector_ = checked_vector(value); return;
    case LEGACY_QUEUE_VECTOR:
      if (VirtQueue* queue = selected()) queue->set_vector(checked_vector(value));
      return;
    default: log::guest_error("{}: write of {:#x} to legacy register {:#x}", path(), value, offset);
  }
}

// Saved state. -------------------------------------------------------------------------------------------------------

void VirtioPci::fields(Archive& ar) {
  const std::lock_guard hold(isr_mutex_);
  ar("device_feature_select", state_.device_feature_select)("driver_feature_select", state_.driver_feature_select);
  ar("queue_select", state_.queue_select)("config_vector", config_vector_)("isr", isr_);
}

Result<void> VirtioPci::after_load() {
  const std::lock_guard hold(isr_mutex_);
  if (config_vector_ != kNoVector && config_vector_ >= vectors_in_use_) {
    return error("{}: saved vector {} of {}", path(), u16(config_vector_), vectors_in_use_);
  }
  return {};
}

void register_virtio_pci_base(TypeRegistry& registry) { registry.add_abstract<VirtioPci, PciDevice>(); }

}  // namespace emu::hw
