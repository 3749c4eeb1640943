// SPDX-License-Identifier: Apache-2.0
#include "hw/timer/i8254.h"

namespace emu::hw {
namespace {

constexpr i64 kSecond = 1'000'000'000;
/// Of loaded times: a century, in which sums do not overflow.
constexpr i64 kMostNs = i64(100) * 366 * 86400 * kSecond;

u64 to_ticks(i64 ns) { return ns <= 0 ? 0 : u64(u128(u64(ns)) * PitCounter::kHz / u64(kSecond)); }
/// The first nanosecond at which `ticks` have passed.
i64 to_ns(u64 ticks) { return i64((u128(ticks) * u64(kSecond) + PitCounter::kHz - 1) / PitCounter::kHz); }

}  // namespace

u64 PitCounter::ticks_at(i64 now_ns) const {
  const bool gated = mode == 0 || mode == 2 || mode == 3 || mode == 4;
  return gated && !gate ? frozen_ticks : to_ticks(now_ns - start_ns);
}

/// Datasheet, "Mode definitions".
bool PitCounter::output_at(i64 now_ns) const {
  if (!loaded) return mode != 0;
  const u64 ticks = ticks_at(now_ns);
  const u32 n = period();
  switch (mode) {
    case 0:
      return ticks >= n;
    case 1:
      return ticks >= n;
    case 2:
      return !gate || ticks % n != n - 1;
    case 3:
      return !gate || ticks % n < (n + 1) / 2;
    default:
      return ticks != n;  // 4 and 5: low for one tick
  }
}

u16 PitCounter::count_at(i64 now_ns) const {
  const u64 ticks = ticks_at(now_ns);
  const u32 n = period();
  u32 count;
  switch (mode) {
    case 2:
      count = n - u32(ticks % n);
      break;
    case 3:
      count = n - u32(ticks * 2 % n);
      break;  // the part counts by two
    default:
      count = u32(n - ticks) & 0xffff;
      break;
  }
  return bcd ? to_bcd(count % 10000) : u16(count);
}

i64 PitCounter::next_change_ns(i64 now_ns) const {
  if (!loaded || ((mode != 1 && mode != 5) && !gate)) return -1;
  const u64 ticks = ticks_at(now_ns);
  const u32 n = period();
  const u64 round = ticks - ticks % n;
  u64 at;
  switch (mode) {
    case 0:
    case 1:
      if (ticks >= n) return -1;
      at = n;
      break;
    case 2:
      at = ticks % n == n - 1 ? round + n : round + n - 1;
      break;
    case 3:
      at = ticks % n < (n + 1) / 2 ? round + (n + 1) / 2 : round + n;
      break;
    default:
      if (ticks > n) return -1;
      at = ticks < n ? n : n + 1;
      break;
  }
  return start_ns + to_ns(at);
}

void PitCounter::load(u16 value, i64 now_ns) {
  reload = value;
  // Modes 2 and 3 finish the present period first on the part; what guests see is the new rate, so start at once.
  // Deviation: as real chipsets do when the counter is first programmed.
  start_ns = now_ns;
  frozen_ticks = 0;
  null_count = false;
  loaded = mode != 1 && mode != 5;  // those wait for a gate edge
}

void PitCounter::set_gate(bool level, i64 now_ns) {
  if (level == gate) return;
  switch (mode) {
    case 0:
    case 4:
      if (level)
        start_ns = now_ns - to_ns(frozen_ticks);
      else
        frozen_ticks = ticks_at(now_ns);
      break;
    case 2:
    case 3:
      if (level)
        start_ns = now_ns;
      else
        frozen_ticks = 0;
      break;
    default:
      if (level) {
        start_ns = now_ns;
        loaded = true;
      }
      break;
  }
  gate = level;
}

void I8254::describe(TypeInfo<I8254>& type) {
  type.doc("Programmable interval timer (8254)");
  type.not_user_creatable();
  type.irq_out("irq", &I8254::irq_);
  const mem::MmioOptions bytes{.valid = {1, 1}, .impl = {1, 1}};
  type.region("pit", 4, &I8254::read, &I8254::write, bytes);
  type.region("nmisc", 1, &I8254::read_nmisc, &I8254::write_nmisc, bytes);
  type.saved(1, &I8254::state_, &I8254::fields, &I8254::after_load);
}

Result<void> I8254::realize() {
  timer_ = clock().make_timer([this] { change_due(); });
  map_ports("pit", 0x40);
  map_ports("nmisc", 0x61);
  return {};
}

void I8254::reset_enter() {
  state_ = {};
  state_.counters[2].gate = false;
}

void I8254::reset_hold() { refresh(now_ns()); }

void I8254::set_irq_enabled(bool enabled) {
  state_.irq_enabled = enabled;
  refresh(now_ns());
}

void I8254::fields(Archive& ar, State& s) {
  for (unsigned i = 0; i < 3; i++) {
    PitCounter& c = s.counters[i];
    const std::string p = "counter" + std::to_string(i) + "_";
    ar(p + "reload", c.reload)(p + "start_ns", c.start_ns)(p + "mode", c.mode)(p + "access", c.access)(p + "bcd",
                                                                                                       c.bcd);
    ar(p + "gate", c.gate)(p + "write_high_next", c.write_high_next)(p + "read_high_next", c.read_high_next);
    ar(p + "write_low", c.write_low)(p + "count_latched", c.count_latched)(p + "status_latched", c.status_latched);
    ar(p + "null_count", c.null_count)(p + "loaded", c.loaded)(p + "latched_count", c.latched_count);
    ar(p + "latched_status", c.latched_status)(p + "frozen_ticks", c.frozen_ticks);
  }
  ar("speaker_data", s.speaker_data)("refresh_toggle", s.refresh_toggle)("irq_enabled", s.irq_enabled);
}

Result<void> I8254::after_load() {
  for (const PitCounter& c : state_.counters) {
    if (c.mode > 5 || c.access == 0 || c.access > 3 || c.period() == 0)
      return error("i8254: counter state out of range");
    if (c.start_ns < -kMostNs || c.start_ns > kMostNs || c.frozen_ticks > to_ticks(kMostNs))
      return error("i8254: time out of range");
  }
  refresh(now_ns());
  return {};
}

/// The output line follows counter 0 as it stands at `now`; wakes again at its next change after that. A change that is
/// past by then is shown at once: it must not be lost because this thread lost its processor meanwhile.
void I8254::refresh(i64 now) {
  const PitCounter& counter = state_.counters[0];
  irq_.set(state_.irq_enabled && counter.output_at(now));  // silenced, it must not hold the shared line
  armed_for_ns_ = state_.irq_enabled ? counter.next_change_ns(now) : -1;
  if (armed_for_ns_ < 0)
    timer_.cancel();
  else
    timer_.arm_at(ClockNs(armed_for_ns_));
}

/// We are called late, and a pulse lasts one tick (mode 2): both of its edges are shown, else no interrupt would be
/// seen. What was missed beyond that is lost, as it is for a CPU that keeps interrupts off for long.
void I8254::change_due() {
  const PitCounter& counter = state_.counters[0];
  const i64 now = now_ns();
  i64 at = armed_for_ns_;
  for (unsigned edge = 0; edge < 2 && at >= 0 && at <= now; edge++) {
    irq_.set(state_.irq_enabled && counter.output_at(at));
    at = counter.next_change_ns(at);
  }
  refresh(now);
}

void I8254::write(u64 offset, u64 value, unsigned) {
  if (offset == 3) return write_control(u8(value));
  PitCounter& c = state_.counters[offset];
  if (c.access == 3 && !c.write_high_next) {
    c.write_low = u8(value);
    c.write_high_next = true;
    return;
  }
  const u16 count = c.access == 1 ? u16(value & 0xff) : c.access == 2 ? u16(value << 8) : u16(value << 8 | c.write_low);
  c.write_high_next = false;
  const i64 now = now_ns();
  c.load(count, now);
  if (offset == 0) refresh(now);
}

/// Control word: 7:6 counter, 5:4 access, 3:1 mode, 0 BCD.
void I8254::write_control(u8 value) {
  if (value >> 6 == 3) return read_back(value);
  PitCounter& c = state_.counters[value >> 6];
  const u8 access = value >> 4 & 3;
  if (access == 0) {  // counter latch command
    if (!c.count_latched) c.latched_count = c.count_at(now_ns());
    c.count_latched = true;
    return;
  }
  const bool gate = c.gate;
  c = {};
  c.gate = gate;
  c.access = access;
  c.mode = (value >> 1 & 7) > 5 ? (value >> 1 & 3) : (value >> 1 & 7);
  c.bcd = value & 1;
  if (value >> 6 == 0) refresh(now_ns());
}

/// Read-back command: bit 5 clear latches counts, bit 4 clear latches status, bits 3:1 choose counters.
void I8254::read_back(u8 value) {
  const i64 now = now_ns();
  for (unsigned i = 0; i < 3; i++) {
    if (!(value & (2u << i))) continue;
    PitCounter& c = state_.counters[i];
    if (!(value & 0x20) && !c.count_latched) {
      c.latched_count = c.count_at(now);
      c.count_latched = true;
    }
    if (!(value & 0x10) && !c.status_latched) {
      c.latched_status =
          u8((c.output_at(now) ? 0x80 : 0) | (c.null_count ? 0x40 : 0) | c.access << 4 | c.mode << 1 | (c.bcd ? 1 : 0));
      c.status_latched = true;
    }
  }
}

u64 I8254::read(u64 offset, unsigned) {
  if (offset == 3) return 0xff;  // the control word cannot be read
  PitCounter& c = state_.counters[offset];
  if (c.status_latched) {
    c.status_latched = false;
    return c.latched_status;
  }
  const u16 count = c.count_latched ? c.latched_count : c.count_at(now_ns());
  const bool high = c.access == 2 || (c.access == 3 && c.read_high_next);
  if (c.access == 3) c.read_high_next = !c.read_high_next;
  if (c.access != 3 || high) c.count_latched = false;
  return high ? count >> 8 : count & 0xff;
}

/// Port 0x61: 0 gate of counter 2, 1 speaker data, 4 refresh toggle, 5 output of counter 2.
u64 I8254::read_nmisc(u64, unsigned) {
  state_.refresh_toggle = !state_.refresh_toggle;
  const PitCounter& c = state_.counters[2];
  return (c.gate ? 1u : 0) | (state_.speaker_data ? 2u : 0) | (state_.refresh_toggle ? 0x10u : 0) |
         (c.output_at(now_ns()) ? 0x20u : 0);
}

void I8254::write_nmisc(u64, u64 value, unsigned) {
  state_.speaker_data = value & 2;
  state_.counters[2].set_gate(value & 1, now_ns());
}

void register_i8254(TypeRegistry& registry) { registry.add<I8254>("isa-pit"); }

}  // namespace emu::hw
