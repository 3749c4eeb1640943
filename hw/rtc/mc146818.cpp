// SPDX-License-Identifier: Apache-2.0
#include "hw/rtc/mc146818.h"

#include <algorithm>
#include <ctime>

namespace emu::hw {
namespace {

constexpr i64 kSecond = 1'000'000'000;
/// Of loaded times: beyond what a guest can set, and no year that gmtime_r() would not take.
constexpr i64 kMostSeconds = i64(1) << 50;
constexpr i64 kUpdateNs = 1'984'000;  // datasheet, figure "Update cycle times": an update takes 1984 us at 32.768 kHz

bool is_time(u8 index) {
  return index <= Mc146818::YEAR && index != Mc146818::SECONDS_ALARM && index != Mc146818::MINUTES_ALARM &&
         index != Mc146818::HOURS_ALARM;
}

}  // namespace

void Mc146818::describe(TypeInfo<Mc146818>& type) {
  type.doc("Real-time clock and CMOS memory");
  type.not_user_creatable();
  type.property("clock", &Mc146818::clock_name_, "what the date follows: host, rt or vm");
  type.irq_out("irq", &Mc146818::irq_);
  type.region("rtc", 2, &Mc146818::read, &Mc146818::write, {.valid = {1, 1}, .impl = {1, 1}});
  type.saved(1, &Mc146818::state_, &Mc146818::fields, &Mc146818::after_load);
}

Result<void> Mc146818::realize() {
  if (clock_name_ == "vm")
    time_source_ = &clock();
  else if (clock_name_ == "rt")
    time_source_ = &machine().realtime_clock();
  else if (clock_name_ == "host")
    time_source_ = &machine().host_clock();
  else
    return error("rtc: clock '{}' is not known, use host, rt or vm", clock_name_);
  second_timer_ = time_source_->make_timer([this] { second_passed(); });
  periodic_timer_ = clock().make_timer([this] { periodic_fired(); });
  set_time(machine().host_clock().now().count() / kSecond);
  map_ports("rtc", 0x70);
  return {};
}

void Mc146818::set_time(i64 unix_seconds) {
  state_.offset_s = unix_seconds - now_ns() / kSecond;
  state_.alarm_checked_s = unix_seconds;
}

void Mc146818::guest_set_time() {
  set_time(load_time());
  machine().report_rtc_change(guest_seconds() - machine().host_clock().now().count() / kSecond, path());
}

void Mc146818::reset_enter() {
  // The datasheet's RESET clears interrupt enables and flags only; what firmware finds in CMOS is the board's.
  for (unsigned i = 0xe; i < 128; i++) {
    if (cmos_defaults_[i] != 0 || i == CENTURY) state_.cmos[i] = cmos_defaults_[i];
  }
  state_.cmos[A] = 0x26;
  state_.cmos[B] = k24Hours;
  state_.cmos[C] = 0;
  state_.cmos[D] = 0x80;
  state_.index = 0;
  periodic_timer_.cancel();
}

void Mc146818::reset_hold() {
  refresh_irq();
  rearm();
}

void Mc146818::fields(Archive& ar, State& s) {
  ar("index", s.index)("cmos", s.cmos)("offset_s", s.offset_s)("periodic_next_ns", s.periodic_next_ns);
  ar("alarm_checked_s", s.alarm_checked_s)("irq_enabled", s.irq_enabled);
}

Result<void> Mc146818::after_load() {
  if (state_.index > 127) return error("mc146818: index {:#x} out of range", state_.index);
  const auto is_far = [](i64 time, i64 most) { return time < -most || time > most; };
  if (is_far(state_.offset_s, kMostSeconds) || is_far(state_.alarm_checked_s, kMostSeconds) ||
      is_far(state_.periodic_next_ns, INT64_MAX / 2)) {
    return error("mc146818: time out of range");
  }
  refresh_irq();
  rearm();
  return {};
}

// Time of day. -------------------------------------------------------------------------------------------------------

u8 Mc146818::encode(unsigned v) const { return state_.cmos[B] & kBinary ? u8(v) : u8((v / 10 % 10) << 4 | v % 10); }
unsigned Mc146818::decode(u8 v) const { return state_.cmos[B] & kBinary ? v : unsigned(v >> 4) * 10 + (v & 15); }

u8 Mc146818::encode_hours(unsigned hour) const {
  if (state_.cmos[B] & k24Hours) return encode(hour);
  const unsigned twelve = hour % 12 == 0 ? 12 : hour % 12;
  return u8(encode(twelve) | (hour >= 12 ? 0x80 : 0));
}

void Mc146818::store_time(i64 unix_seconds) {
  const time_t t = time_t(unix_seconds);
  struct tm date;
  gmtime_r(&t, &date);
  auto& c = state_.cmos;
  c[SECONDS] = encode(unsigned(date.tm_sec));
  c[MINUTES] = encode(unsigned(date.tm_min));
  c[HOURS] = encode_hours(unsigned(date.tm_hour));
  c[DAY_OF_WEEK] = encode(unsigned(date.tm_wday) + 1);
  c[DAY_OF_MONTH] = encode(unsigned(date.tm_mday));
  c[MONTH] = encode(unsigned(date.tm_mon) + 1);
  c[YEAR] = encode(unsigned(date.tm_year) % 100);
  c[CENTURY] = encode(unsigned(date.tm_year + 1900) / 100);
}

i64 Mc146818::load_time() const {
  const auto& c = state_.cmos;
  struct tm date = {};
  date.tm_sec = int(decode(c[SECONDS]));
  date.tm_min = int(decode(c[MINUTES]));
  date.tm_hour = int(decode(c[HOURS] & (state_.cmos[B] & k24Hours ? 0xff : 0x7f)));
  if (!(state_.cmos[B] & k24Hours)) date.tm_hour = date.tm_hour % 12 + (c[HOURS] & 0x80 ? 12 : 0);
  date.tm_mday = int(decode(c[DAY_OF_MONTH]));
  date.tm_mon = int(decode(c[MONTH])) - 1;
  date.tm_year = int(decode(c[YEAR])) + int(decode(c[CENTURY])) * 100 - 1900;
  return i64(timegm(&date));
}

/// An alarm byte with its two top bits set matches anything ("don't care").
bool Mc146818::alarm_matches(i64 unix_seconds) const {
  const unsigned second = unsigned(unix_seconds % 60), minute = unsigned(unix_seconds / 60 % 60),
                 hour = unsigned(unix_seconds / 3600 % 24);
  const auto& c = state_.cmos;
  const auto matches = [](u8 alarm, u8 value) { return (alarm & 0xc0) == 0xc0 || alarm == value; };
  return matches(c[SECONDS_ALARM], encode(second)) && matches(c[MINUTES_ALARM], encode(minute)) &&
         matches(c[HOURS_ALARM], encode_hours(hour));
}

// Interrupts. --------------------------------------------------------------------------------------------------------

void Mc146818::flag(u8 bits) {
  state_.cmos[C] |= bits;
  refresh_irq();
}

void Mc146818::refresh_irq() {
  const u8 enabled = state_.cmos[B] & (kPie | kAie | kUie);
  const bool request = (state_.cmos[C] & enabled) != 0;
  state_.cmos[C] = u8((state_.cmos[C] & ~kIrqf) | (request ? kIrqf : 0));
  irq_.set(request && state_.irq_enabled);
}

void Mc146818::set_irq_enabled(bool enabled) {
  state_.irq_enabled = enabled;
  refresh_irq();
}

/// Rate select, datasheet table "Periodic interrupt rate": 0 is off, 1 and 2 are those of 8 and 9.
i64 Mc146818::periodic_ns() const {
  unsigned rate = state_.cmos[A] & 15;
  if (rate == 0) return 0;
  if (rate < 3) rate += 7;
  return (i64(1) << (rate - 1)) * kSecond / 32768;
}

void Mc146818::rearm() {
  // Update and alarm interrupts are worth a wake-up only if somebody asked for them.
  if ((state_.cmos[B] & (kUie | kAie)) && !(state_.cmos[B] & kSet)) {
    second_timer_.arm_at(ClockNs((now_ns() / kSecond + 1) * kSecond));
  } else {
    second_timer_.cancel();
  }
  const i64 period = periodic_ns();
  if ((state_.cmos[B] & kPie) && period != 0) {
    if (!periodic_timer_.is_armed()) {
      state_.periodic_next_ns = clock().now().count() + period;
      periodic_timer_.arm_at(ClockNs(state_.periodic_next_ns));
    }
  } else {
    periodic_timer_.cancel();
  }
}

void Mc146818::second_passed() {
  const i64 present = guest_seconds();
  u8 bits = kUf;
  // A host that slept may have skipped the alarm's second; look at no more than a day.
  for (i64 s = std::max(state_.alarm_checked_s + 1, present - 86400); s <= present; s++) {
    if (alarm_matches(s)) bits |= kAf;
  }
  state_.alarm_checked_s = present;
  flag(bits);
  if (bits & state_.cmos[B] & kAf) machine().request_wakeup(WakeupReason::Rtc);
  rearm();
}

void Mc146818::periodic_fired() {
  const i64 period = periodic_ns();
  if (period == 0) return;
  const i64 now = clock().now().count();
  // A loaded time may lie anywhere: no counting up to it.
  const i64 behind = std::clamp<i64>(now - state_.periodic_next_ns, 0, kSecond);
  state_.periodic_next_ns = now - behind % period + period;
  periodic_timer_.arm_at(ClockNs(state_.periodic_next_ns));
  flag(kPf);
}

// Registers. ---------------------------------------------------------------------------------------------------------

u64 Mc146818::read(u64 offset, unsigned) { return offset == 0 ? 0xff : read_register(state_.index); }

void Mc146818::write(u64 offset, u64 value, unsigned) {
  if (offset == 0)
    state_.index = u8(value & 127);
  else
    write_register(state_.index, u8(value));
}

u8 Mc146818::read_register(u8 index) {
  if ((is_time(index) || index == CENTURY) && !(state_.cmos[B] & kSet)) store_time(guest_seconds());
  if (index == A) {
    // The update is said to be in progress for its last two milliseconds of each second.
    const bool updating = !(state_.cmos[B] & kSet) && kSecond - now_ns() % kSecond <= kUpdateNs;
    return u8(state_.cmos[A] | (updating ? kUip : 0));
  }
  if (index == C) {
    u8 flags = state_.cmos[C];
    // Flags are set whether or not their interrupts are enabled; without a timer they follow from the time.
    if (!second_timer_.is_armed() && guest_seconds() > state_.alarm_checked_s) {
      flags |= kUf;
      state_.alarm_checked_s = guest_seconds();
    }
    state_.cmos[C] = 0;
    refresh_irq();
    return flags;
  }
  return state_.cmos[index];
}

void Mc146818::write_register(u8 index, u8 value) {
  switch (index) {
    case A:
      state_.cmos[A] = value & 0x7f;
      periodic_timer_.cancel();
      return rearm();
    case B:
      if ((value & kSet) && !(state_.cmos[B] & kSet)) store_time(guest_seconds());
      if (!(value & kSet) && (state_.cmos[B] & kSet)) guest_set_time();
      state_.cmos[B] = value;  // a changed BCD or 24-hour bit changes the spelling; the time keeps running
      refresh_irq();
      return rearm();
    case C:
    case D:
      return;  // read-only
    default:
      break;
  }
  if (is_time(index) || index == CENTURY) {
    if (!(state_.cmos[B] & kSet)) {
      // Written without SET: the counters take the value and go on.
      store_time(guest_seconds());
      state_.cmos[index] = value;
      return guest_set_time();
    }
  }
  state_.cmos[index] = value;
  if (index <= HOURS_ALARM) rearm();
}

void register_mc146818(TypeRegistry& registry) { registry.add<Mc146818>("mc146818rtc"); }

}  // namespace emu::hw
