// SPDX-License-Identifier: Apache-2.0
// A ring's base is what the vhost protocols have in common: of a split ring the index of the next available entry; of a
// packed one that index with its wrap counter in bits 0 to 15, and the next used one's in bits 16 to 31.
#include "hw/virtio/vhost/vhost_device.h"

#include "hw/core/device_writes.h"
#include "softmmu/memory/ram_window.h"
#include "util/log.h"

namespace emu::hw {

namespace {

constexpr u32 kWrap = 1u << 15;

u32 encode(const RingPosition& position) { return position.index | (position.wrap ? kWrap : 0); }
RingPosition decode(u32 base) { return {u16(base & (kWrap - 1)), (base & kWrap) != 0}; }

}  // namespace

// Life cycle. --------------------------------------------------------------------------------------------------------

VhostDevice::VhostDevice(VhostBackend& backend, Wiring wiring)
    : backend_(backend), wiring_(std::move(wiring)), rings_(wiring_.count),
      space_(wiring_.transport.virtio_memory()) {}

Result<std::unique_ptr<VhostDevice>> VhostDevice::create(VhostBackend& backend, Wiring wiring) {
  if (backend.maps_memory() && VhostMemory::of(wiring.machine.system_memory(), true).is_empty()) {
    return error(Error("the guest's memory is not shared, and another process cannot map it")
                     .with_hint("add -object memory-backend-memfd,id=mem,size=SIZE -machine memory-backend=mem, with "
                                "the SIZE of -m"));
  }
  EventLoop* const loop = wiring.machine.main_event_loop();
  if (loop == nullptr) return error("there is no main loop");
  std::unique_ptr<VhostDevice> made(new VhostDevice(backend, std::move(wiring)));
  for (unsigned i = 0; i < made->wiring_.count; ++i) {
    VirtQueueOwner& owner = made->wiring_.device;
    made->rings_[i].call = EMU_TRY(QueueEvents::create(
        loop, {}, [&owner, queue = &made->queue(i)] { owner.queue_interrupt(*queue); }));
  }
  made->space_.add_listener(*made);
  made->memory_ = VhostMemory::of(made->space_, backend.maps_memory());
  made->wiring_.machine.add_power_listener(*made);
  return made;
}

VhostDevice::~VhostDevice() {
  stop();
  wiring_.machine.remove_power_listener(*this);
  space_.remove_listener(*this);
  for (const Ring& ring : rings_) {
    if (ring.call != nullptr) ring.call->close();
  }
}

void VhostDevice::start(u64 features) {
  features_ = features;
  wanted_ = true;
  failed_ = false;
  update();
}

void VhostDevice::stop() {
  wanted_ = false;
  update();
}

void VhostDevice::lost() {
  if (!serving_) return;
  serving_ = false;
  for (unsigned i = 0; i < wiring_.count; ++i) take_place(i, std::nullopt);
  told_memory_ = {};
}

void VhostDevice::run_state_changed(bool running) {
  vm_running_ = running;
  update();
}

void VhostDevice::commit() {
  VhostMemory now = VhostMemory::of(space_, backend_.maps_memory());
  if (now == memory_) return;
  memory_ = std::move(now);
  if (serving_ && fits(memory_)) {
    if (auto told = backend_.set_memory(memory_); !told) return fail("its memory changed", told.error());
    told_memory_ = memory_;
    return;
  }
  update();
}

/// The guest may have taken the memory away (bus mastering off): then the back end waits, as it does when the machine
/// is stopped.
void VhostDevice::update() {
  const bool should = wanted_ && vm_running_ && !failed_ && !memory_.is_empty() && (!serving_ || fits(memory_));
  if (should == serving_) return;
  if (!should) return end_serving();
  if (auto begun = begin_serving(); !begun) fail("cannot start", begun.error());
}

void VhostDevice::fail(const std::string& what, const Error& why) {
  failed_ = true;
  end_serving();
  wiring_.failed(fmt::format("{}: {}: {}", backend_.name(), what, why.text()));
}

// Rings. -------------------------------------------------------------------------------------------------------------

std::optional<VhostBackend::Ring> VhostDevice::locate(unsigned ring, const VhostMemory& memory) const {
  const VirtQueue::Setup& setup = queue(ring).setup();
  const u64 size = setup.size;
  const auto descriptors = memory.user_address(setup.descriptors, 16 * size);
  const auto driver_area = memory.user_address(setup.driver_area, is_packed() ? 4 : 6 + 2 * size);
  const auto device_area = memory.user_address(setup.device_area, is_packed() ? 4 : 6 + 8 * size);
  if (!descriptors || !driver_area || !device_area) return std::nullopt;
  return VhostBackend::Ring{.index = ring, .size = setup.size, .descriptors = *descriptors,
                            .driver_area = *driver_area, .device_area = *device_area};
}

bool VhostDevice::fits(const VhostMemory& memory) const {
  for (unsigned i = 0; i < wiring_.count; ++i) {
    if (rings_[i].set && !locate(i, memory)) return false;
  }
  return true;
}

Result<void> VhostDevice::begin_serving() {
  serving_ = true;  // from here on end_serving() takes back what the back end has
  EMU_TRY(backend_.set_features(features_));
  told_memory_ = memory_;
  EMU_TRY(backend_.set_memory(memory_));
  for (unsigned i = 0; i < wiring_.count; ++i) EMU_TRY(set_ring(i), fmt::format("queue {}", wiring_.first + i));
  for (unsigned i = 0; i < wiring_.count; ++i) {
    if (rings_[i].set) EMU_TRY(backend_.enable_ring(i, rings_[i].enabled), fmt::format("queue {}", wiring_.first + i));
  }
  EMU_TRY(backend_.begin());
  reroute();
  // What became available before is to be seen, too.
  for (unsigned i = 0; i < wiring_.count; ++i) wiring_.device.kick(wiring_.first + i);
  return {};
}

Result<void> VhostDevice::set_ring(unsigned index) {
  const auto place = queue(index).place();
  if (!place) return {};  // the driver does not use it
  auto ring = locate(index, memory_);
  if (!ring) return error("its ring is not in memory that the back end can have");
  ring->base = is_packed() ? encode(place->avail) | encode(place->used) << 16 : place->avail.index;
  ring->kick_fd = wiring_.device.kick_notifier(wiring_.first + index)->fd();
  ring->call_fd = rings_[index].call->notifier()->fd();
  rings_[index].set = true;
  return backend_.set_ring(*ring);
}

void VhostDevice::end_serving() {
  if (!serving_) return;
  serving_ = false;
  std::optional<Error> trouble;
  if (auto ended = backend_.end(); !ended) trouble = std::move(ended).error();
  for (unsigned i = 0; i < wiring_.count; ++i) {
    if (!rings_[i].set) continue;
    auto base = backend_.stop_ring(i);
    take_place(i, base ? std::optional(*base) : std::nullopt);
    if (!base && !trouble) trouble = std::move(base).error();
  }
  told_memory_ = {};
  if (trouble && !std::exchange(failed_, true)) {
    wiring_.failed(fmt::format("{}: cannot stop: {}", backend_.name(), trouble->text()));
  }
}

/// Without a base, or with one that cannot be, the ring goes on behind what has been used.
void VhostDevice::take_place(unsigned index, std::optional<u32> base) {
  Ring& ring = rings_[index];
  ring.direct.reset();
  ring.message.reset();
  ring.call->listen(true);
  if (!std::exchange(ring.set, false)) return;
  const VirtQueue::Setup& setup = queue(index).setup();
  auto place = queue(index).place();
  if (!place) return;
  if (is_packed()) {
    if (base && decode(*base).index < setup.size && decode(*base >> 16).index < setup.size) {
      *place = {decode(*base), decode(*base >> 16)};
    }
  } else {
    Le16 used;
    constexpr u64 kUsedIndex = 2;  // struct virtq_used, virtio 1.2, 2.7.8
    if (mem::read_ram(space_, setup.device_area + kUsedIndex, {reinterpret_cast<u8*>(&used), sizeof used})) {
      place->used.index = used.get();
    }
    place->avail.index = base && u16(u16(*base) - place->used.index) <= setup.size ? u16(*base) : place->used.index;
  }
  queue(index).set_place(*place);
}

void VhostDevice::set_ring_enabled(unsigned index, bool on) {
  Ring& ring = rings_.at(index);
  if (std::exchange(ring.enabled, on) == on || !serving_ || !ring.set) return;
  if (auto done = backend_.enable_ring(index, on); !done) fail("cannot switch a queue", done.error());
}

// Interrupts. --------------------------------------------------------------------------------------------------------

void VhostDevice::reroute() {
  for (unsigned i = 0; i < wiring_.count; ++i) {
    if (serving_ && rings_[i].set) reroute(i);
  }
}

/// The kernel sends the message where there is one and it can; else our loop hears of the event.
void VhostDevice::reroute(unsigned index) {
  Ring& ring = rings_[index];
  const auto message = wiring_.transport.queue_message(queue(index).vector());
  if (message == ring.message) return;
  ring.message = message;
  if (message && ring.direct != nullptr && ring.direct->set_message(message->address, message->data)) return;
  ring.direct.reset();
  target::Acceleration* const found = message ? acceleration(wiring_.machine) : nullptr;
  if (found != nullptr) {
    auto made = found->chips().on_event_send(ring.call->notifier()->fd(), message->address, message->data);
    if (made) ring.direct = std::move(*made);
  }
  ring.call->listen(ring.direct == nullptr);
}

}  // namespace emu::hw
