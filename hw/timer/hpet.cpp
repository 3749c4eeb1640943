// SPDX-License-Identifier: Apache-2.0
#include "hw/timer/hpet.h"

#include "util/log.h"

namespace emu::hw {

void Hpet::describe(TypeInfo<Hpet>& type) {
  type.doc("High precision event timer");
  type.not_user_creatable();
  type.irq_out("irq", &Hpet::irqs_);
  type.region("hpet", 0x400, &Hpet::read, &Hpet::write, {.valid = {4, 8}, .impl = {4, 8}});
  type.saved(1, &Hpet::state_, &Hpet::fields, &Hpet::after_load);
}

Result<void> Hpet::realize() {
  for (unsigned n = 0; n < kTimers; n++) timers_[n] = clock().make_timer([this, n] { fire(n); });
  map("hpet", kAddress);
  return {};
}

void Hpet::reset_enter() {
  state_ = {};
  for (Timer& timer : timers_) timer.cancel();
}

void Hpet::reset_hold() {
  for (IrqLine& line : irqs_) line.set(false);
  if (legacy_listener_) legacy_listener_(false);
}

void Hpet::fields(Archive& ar, State& s) {
  ar("config", s.config)("status", s.status)("counter", s.counter)("start_ns", s.start_ns);
  for (unsigned n = 0; n < kTimers; n++) {
    const std::string p = "timer" + std::to_string(n) + "_";
    ar(p + "config", s.timers[n].config)(p + "compare", s.timers[n].compare)(p + "period", s.timers[n].period);
  }
}

Result<void> Hpet::after_load() {
  if (state_.config & ~(kEnable | kLegacy)) return error("hpet: reserved bits in config {:#x}", state_.config);
  for (unsigned n = 0; n < kTimers; n++) rearm(n);
  return {};
}

u64 Hpet::counter() const {
  if (!(state_.config & kEnable)) return state_.counter;
  return state_.counter + (u64(clock().now().count()) - u64(state_.start_ns)) / kPeriodNs;
}

/// Legacy replacement (§2.4.6) sends timer 0 to ISA 0 (I/O APIC 2) and timer 1 to ISA 8.
unsigned Hpet::route(unsigned n) const {
  if ((state_.config & kLegacy) && n < 2) return n == 0 ? 0 : 8;
  return unsigned(bits(state_.timers[n].config, 13, 9));
}

void Hpet::set_line(unsigned n, bool level) {
  const unsigned pin = route(n);
  if (pin < irqs_.size()) irqs_[pin].set(level);
}

void Hpet::rearm(unsigned n) {
  const Comparator& c = state_.timers[n];
  if (!(state_.config & kEnable) || !(c.config & kTnEnable)) return timers_[n].cancel();
  const u64 distance = (c.compare - counter()) & mask_of(c);
  // Too far for our clock (centuries): a comparator that was just passed waits for the counter to wrap, as on the part.
  if (distance > u64(INT64_MAX) / kPeriodNs) return timers_[n].cancel();
  // When the counter gets there, whenever this is asked: a state that is loaded fires at the same time.
  const u64 ticks = (u64(clock().now().count()) - u64(state_.start_ns)) / kPeriodNs;
  const ClockNs last_tick(i64(u64(state_.start_ns) + ticks * kPeriodNs));
  timers_[n].arm_at(saturating_add(last_tick, ClockNs(i64(distance * kPeriodNs))));
}

void Hpet::fire(unsigned n) {
  Comparator& c = state_.timers[n];
  if (!(state_.config & kEnable) || !(c.config & kTnEnable)) return;
  if (c.config & kTnLevel) {
    state_.status |= bit64(n);
    set_line(n, true);
  } else {
    set_line(n, true);
    set_line(n, false);
  }
  if ((c.config & kTnPeriodic) && c.period != 0) {
    const u64 mask = mask_of(c);
    c.compare = (c.compare + c.period) & mask;
    // Skip what was missed, so that a slow host does not see an interrupt storm.
    const u64 behind = (counter() - c.compare) & mask;
    if (behind < mask / 2) c.compare = (c.compare + (behind / c.period + 1) * c.period) & mask;
    rearm(n);
  }
}

u64 Hpet::read64(u64 offset) {
  switch (offset) {
    // §2.3.4: period in fs, vendor 8086, legacy capable, 64-bit counter, number of timers - 1, revision 1
    case CAP:
      return u64(kPeriodNs * 1'000'000) << 32 | 0x8086'0000 | bit64(15) | bit64(13) | (kTimers - 1) << 8 | 1;
    case CONFIG:
      return state_.config;
    case STATUS:
      return state_.status;
    case COUNTER:
      return counter();
    default:
      break;
  }
  if (offset < TIMER0 || offset >= TIMER0 + kTimers * 0x20) return 0;
  const Comparator& c = state_.timers[(offset - TIMER0) / 0x20];
  switch (offset & 0x18) {
    case 0x00:
      return c.config | kRoutes << 32;
    case 0x08:
      return c.compare & mask_of(c);
    default:
      return 0;
  }
}

u64 Hpet::read(u64 offset, unsigned size) {
  const u64 value = read64(offset & ~u64(7));
  return size == 8 ? value : u32(value >> (offset & 4) * 8);
}

void Hpet::write(u64 offset, u64 value, unsigned size) {
  const u64 reg = offset & ~u64(7);
  const u64 mask = size == 8 ? ~u64(0) : u64(0xffff'ffff) << (offset & 4) * 8;
  const u64 placed = size == 8 ? value : value << (offset & 4) * 8;
  switch (reg) {
    case CONFIG:
      return write_config((state_.config & ~mask) | (placed & mask));
    case STATUS:
      for (unsigned n = 0; n < kTimers; n++) {
        if ((placed & mask & bit64(n)) && (state_.status & bit64(n))) {
          state_.status &= ~bit64(n);
          set_line(n, false);
        }
      }
      return;
    case COUNTER:
      if (state_.config & kEnable) return log::guest_error("hpet: the counter may be written only while stopped");
      state_.counter = (state_.counter & ~mask) | (placed & mask);
      return;
    default:
      break;
  }
  if (reg >= TIMER0 && reg < TIMER0 + kTimers * 0x20) {
    write_timer(unsigned(reg - TIMER0) / 0x20, unsigned(reg & 0x18), placed, mask);
  }
}

void Hpet::write_config(u64 value) {
  const u64 old = state_.config;
  value &= kEnable | kLegacy;
  const u64 present = counter();
  if ((old ^ value) & kLegacy) {
    for (unsigned n = 0; n < kTimers; n++) set_line(n, false);
  }
  state_.counter = present;
  state_.start_ns = clock().now().count();
  state_.config = value;
  if (((old ^ value) & kLegacy) && legacy_listener_) legacy_listener_(value & kLegacy);
  for (unsigned n = 0; n < kTimers; n++) rearm(n);
}

void Hpet::write_timer(unsigned n, unsigned reg, u64 value, u64 mask) {
  Comparator& c = state_.timers[n];
  if (reg == 0x00) {
    // A line that is held goes where the new route leads; only an enabled level-triggered timer holds one.
    const bool held = (state_.status & bit64(n)) != 0;
    if (held) set_line(n, false);
    c.config = (c.config & ~(mask & kTnWritable)) | (value & mask & kTnWritable);
    if (held && (c.config & kTnEnable) && (c.config & kTnLevel)) set_line(n, true);
  } else if (reg == 0x08) {
    const u64 width = mask_of(c);
    // §2.3.9.2.2: in periodic mode a write sets the period; the comparator itself only after TN_VAL_SET_CNF.
    if (!(c.config & kTnPeriodic) || (c.config & kTnSetValue))
      c.compare = ((c.compare & ~mask) | (value & mask)) & width;
    if (c.config & kTnPeriodic) c.period = ((c.period & ~mask) | (value & mask)) & width;
    c.config &= ~kTnSetValue;
  } else {
    return;  // FSB routing is not offered
  }
  rearm(n);
}

void register_hpet(TypeRegistry& registry) { registry.add<Hpet>("hpet"); }

}  // namespace emu::hw
