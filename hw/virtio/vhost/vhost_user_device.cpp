// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_user_device.h"

#include <bit>

#include "hw/core/device_writes.h"

namespace emu::hw {

using namespace virtio;

Result<void> check_vhost_allowed(MachineServices& machine, const std::string& who) {
  if (acceleration(machine) != nullptr) return {};
  return error(Error(fmt::format("{}: another process would write to the guest's pages, and those of translated guests "
                                 "must stay checked", who))
                   .with_hint("use -accel kvm"));
}

void VhostUserDevice::describe(TypeInfo<VhostUserDevice>& type) {
  type.link("chardev", &VhostUserDevice::chardev_, "/chardevs",
            "the unix socket to the program that serves the device");
}

std::string VhostUserDevice::device_name() const {
  const auto* function = dynamic_cast<const Device*>(parent());
  return (function != nullptr ? function->type() : type()).name();
}

Result<void> VhostUserDevice::check_queue_size(u16 size) const {
  if (size > 2 && size <= kMaxQueueSize && std::has_single_bit(size)) return {};
  return error("{}: queue-size={} is no power of two from 4 to {}", device_name(), size, kMaxQueueSize);
}

Result<void> VhostUserDevice::open_backend(u64 needed) {
  EMU_TRY(check_vhost_allowed(machine(), device_name()));
  if (chardev_ == nullptr) {
    return error(Error(fmt::format("{}: 'chardev' is missing", device_name()))
                     .with_hint("-chardev socket,id=c,path=PATH -device " + device_name() + ",chardev=c"));
  }
  VhostUser::Events events;
  events.lost = [this] {
    if (rings_ == nullptr) return;
    rings_->lost();
    if (is_running()) break_device(backend_->name() + ": the back end is gone");
  };
  events.back = [this] { backend_config_changed(); };
  events.config_changed = [this] { backend_config_changed(); };
  backend_ = EMU_TRY(VhostUser::open(*chardev_, machine(), needed, std::move(events)), device_name());
  if ((backend_->features() & kFeatureVersion1) == 0) {
    return error("{}: {}: the back end does not know virtio 1", device_name(), backend_->name());
  }
  return {};
}

Result<void> VhostUserDevice::serve_queues() {
  rings_ = EMU_TRY(VhostDevice::create(*backend_, {.device = *this,
                                                   .transport = transport(),
                                                   .machine = machine(),
                                                   .count = queue_count(),
                                                   .failed = [this](const std::string& why) { break_device(why); }}),
                   device_name());
  return {};
}

void VhostUserDevice::close_backend() {
  rings_.reset();
  backend_.reset();
}

u64 VhostUserDevice::limit_features(u64 features) const {
  return backend_ != nullptr ? features & backend_->features() & ~kFeatureAccessPlatform : features;
}

void VhostUserDevice::serving_starts() { rings_->start(accepted_features()); }

void VhostUserDevice::serving_ends() {
  if (rings_ != nullptr) rings_->stop();
}

void VhostUserDevice::interrupts_rerouted() {
  if (rings_ != nullptr) rings_->reroute();
}

}  // namespace emu::hw
