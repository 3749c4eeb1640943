// SPDX-License-Identifier: Apache-2.0
#include "hw/intc/ioapic.h"

#include <fmt/format.h>

#include <utility>

#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {
namespace {

// A processor on real hardware gets on a little from the end of an interrupt to the next message. Here that one would be
// taken at once, and a driver that leaves the level to something it has interrupted (Linux's 8139cp, when its poll races
// with its interrupt) would never get there. So a level that does not go away is given a rest from time to time: longer
// than such work takes, shorter than what anybody notices.
constexpr u16 kMostInARow = 100;
constexpr ClockNs kPause = std::chrono::microseconds(100);

}  // namespace

void IoApic::describe(TypeInfo<IoApic>& type) {
  type.doc("I/O interrupt controller (82093AA)");
  type.not_user_creatable();
  type.irq_in("irq", kPins, &IoApic::set_pin);
  type.region("ioapic", 0x1000, &IoApic::read, &IoApic::write,
              {.valid = {1, 8}, .impl = {4, 4}, .locking = mem::Locking::None});
  type.saved(1, &IoApic::state_, &IoApic::fields, &IoApic::after_load);
}

void IoApic::wire(ApicBus& bus) {
  bus_ = &bus;
  bus.add(*this);
}

Result<void> IoApic::realize() {
  pause_ = clock().make_timer([this] { pause_over(); });
  return {};
}

void IoApic::unrealize() { pause_.cancel(); }

void IoApic::reset_enter() {
  pause_.cancel();
  std::lock_guard guard(mutex_);
  paused_ = 0;
  in_a_row_ = {};
  const u32 levels = state_.levels;  // the pins follow their devices
  state_ = {};
  state_.levels = levels;
  state_.redirection.fill(kMasked);
}

void IoApic::fields(Archive& ar, State& s) {
  ar("select", s.select)("id", s.id)("levels", s.levels)("redirection", s.redirection);
}

Result<void> IoApic::after_load() {
  std::lock_guard guard(mutex_);
  for (unsigned pin = 0; pin < kPins; pin++) {
    if (state_.redirection[pin] & ~(kWritable | kRemoteIrr | kSendPending)) {
      return error("ioapic: reserved bits in entry {}: {:#x}", pin, state_.redirection[pin]);
    }
  }
  // It was saved in a pause.
  paused_ = 0;
  in_a_row_ = {};
  for (unsigned pin = 0; pin < kPins; pin++) {
    if (is_waiting_locked(pin)) paused_ |= bit(pin);
  }
  if (paused_ != 0) pause_.arm_after(kPause);
  return {};
}

u64 IoApic::read(u64 offset, unsigned) {
  std::lock_guard guard(mutex_);
  switch (offset) {
    case IOREGSEL: return state_.select;
    case IOWIN: return read_window_locked();
    default: return 0;
  }
}

void IoApic::write(u64 offset, u64 value, unsigned) {
  if (offset == EOI) return end_of_interrupt(u8(value));
  std::lock_guard guard(mutex_);
  if (offset == IOREGSEL) state_.select = u8(value);
  else if (offset == IOWIN) write_window_locked(u32(value));
}

u32 IoApic::read_window_locked() const {
  switch (state_.select) {
    case IOAPICID: return u32(state_.id) << 24;
    case IOAPICVER: return (kPins - 1) << 16 | 0x20;
    case IOAPICARB: return u32(state_.id) << 24;
    default: break;
  }
  const unsigned word = state_.select - IOREDTBL;
  if (state_.select < IOREDTBL || word >= kPins * 2) return 0;
  return u32(state_.redirection[word / 2] >> (word % 2 * 32));
}

void IoApic::write_window_locked(u32 value) {
  if (state_.select == IOAPICID) {
    state_.id = u8(value >> 24 & 0xf);
    return;
  }
  const unsigned word = state_.select - IOREDTBL;
  if (state_.select < IOREDTBL || word >= kPins * 2) return;
  const unsigned pin = word / 2;
  u64& entry = state_.redirection[pin];
  const u64 old = entry;
  const u64 merged = word % 2 ? (old & 0xffff'ffff) | u64(value) << 32 : (old & ~u64(0xffff'ffff)) | value;
  entry = (merged & kWritable) | (old & ~kWritable);
  if (!(entry & kLevel)) entry &= ~kRemoteIrr;
  publish_routes_locked();
  // A level that is still there is sent when its pin is unmasked.
  paused_ &= ~bit(pin);
  if (is_waiting_locked(pin)) send_locked(pin);
}

void IoApic::set_pin(unsigned pin, bool level) {
  EMU_TRACE("ioapic_set_irq", "pin {} level {}", pin, unsigned(level));
  std::lock_guard guard(mutex_);
  const bool was = state_.levels & bit(pin);
  state_.levels = level ? state_.levels | bit(pin) : state_.levels & ~bit(pin);
  if (!level) {
    in_a_row_[pin] = 0;
    paused_ &= ~bit(pin);
  }
  const u64 entry = state_.redirection[pin];
  if (!level || (entry & kMasked)) return;
  if ((entry & kLevel) ? !(entry & kRemoteIrr) && !(paused_ & bit(pin)) : !was) send_locked(pin);
}

bool IoApic::is_waiting_locked(unsigned pin) const {
  const u64 entry = state_.redirection[pin];
  return (state_.levels & bit(pin)) && (entry & kLevel) && !(entry & (kMasked | kRemoteIrr));
}

/// The level is still there at the end of its interrupt.
void IoApic::send_again_locked(unsigned pin) {
  if (++in_a_row_[pin] < kMostInARow) return send_locked(pin);
  EMU_TRACE("ioapic_pause", "pin {}", pin);
  in_a_row_[pin] = 0;
  paused_ |= bit(pin);
  pause_.arm_after(kPause);
}

void IoApic::pause_over() {
  std::lock_guard guard(mutex_);
  const u32 paused = std::exchange(paused_, 0);
  for (unsigned pin = 0; pin < kPins; pin++) {
    if ((paused & bit(pin)) && is_waiting_locked(pin)) send_locked(pin);
  }
}

ApicMessage IoApic::message_of(u64 entry) {
  ApicMessage message;
  message.destination = u32(entry >> 56);
  message.logical = entry & kLogical;
  message.mode = DeliveryMode(entry >> 8 & 7);
  message.vector = u8(entry);
  message.level_triggered = entry & kLevel;
  return message;
}

/// Whoever has the local APICs must know for which vectors the end of interrupt is to be told.
void IoApic::publish_routes_locked() const {
  if (bus_ == nullptr || bus_->chips() == nullptr) return;
  std::array<target::InterruptChips::Route, kPins> routes{};
  for (unsigned pin = 0; pin < kPins; pin++) {
    const u64 entry = state_.redirection[pin];
    const bool may_end = (entry & kLevel) && (!(entry & kMasked) || (entry & kRemoteIrr));
    if (may_end) routes[pin] = ApicBus::as_msi(message_of(entry));
  }
  bus_->chips()->set_ioapic_routes(routes);
}

void IoApic::send_locked(unsigned pin) {
  u64& entry = state_.redirection[pin];
  const ApicMessage message = message_of(entry);
  if (message.level_triggered) entry |= kRemoteIrr;
  if (bus_ != nullptr) bus_->deliver(message);
}

void IoApic::end_of_interrupt(u8 vector) {
  std::lock_guard guard(mutex_);
  for (unsigned pin = 0; pin < kPins; pin++) {
    u64& entry = state_.redirection[pin];
    if (u8(entry) != vector || !(entry & kLevel) || !(entry & kRemoteIrr)) continue;
    entry &= ~kRemoteIrr;
    if (is_waiting_locked(pin)) send_again_locked(pin);
  }
}

std::string IoApic::dump() const {
  std::lock_guard guard(mutex_);
  std::string text = fmt::format("ioapic: ver=0x20 id=0x{:02x} sel=0x{:02x}\n", state_.id, state_.select);
  for (unsigned pin = 0; pin < kPins; pin++) {
    const u64 e = state_.redirection[pin];
    text += fmt::format("  pin {:<2} 0x{:016x} dest={:x} vec={:<3} {} {} {}{}{}\n", pin, e, e >> 56, u8(e),
                        e & kLevel ? "level" : "edge", e & kActiveLow ? "active-lo" : "active-hi",
                        e & kLogical ? "logical" : "physical", e & kMasked ? " masked" : "",
                        e & kRemoteIrr ? " remote-irr" : "");
  }
  return text + fmt::format("  levels 0x{:06x}\n", state_.levels);
}

void register_ioapic(TypeRegistry& registry) { registry.add<IoApic>("ioapic"); }

}  // namespace emu::hw
