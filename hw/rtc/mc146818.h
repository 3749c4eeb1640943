// SPDX-License-Identifier: Apache-2.0
// Real-time clock and CMOS memory. Motorola MC146818 datasheet; century byte at 0x32 as ACPI's FADT announces it.
//
//   ports "rtc" 0x70 index (bit 7 is the board's NMI mask), 0x71 data
//   IRQ out "irq"  ISA 8
#pragma once

#include <array>

#include "hw/core/isa.h"

namespace emu::hw {

class Mc146818 final : public IsaDevice {
 public:
  enum Reg : u8 {
    SECONDS = 0,
    SECONDS_ALARM = 1,
    MINUTES = 2,
    MINUTES_ALARM = 3,
    HOURS = 4,
    HOURS_ALARM = 5,
    DAY_OF_WEEK = 6,
    DAY_OF_MONTH = 7,
    MONTH = 8,
    YEAR = 9,
    A = 0xa,
    B = 0xb,
    C = 0xc,
    D = 0xd,
    CENTURY = 0x32
  };
  static constexpr u8 kUip = 0x80;                                                                          // A
  static constexpr u8 kSet = 0x80, kPie = 0x40, kAie = 0x20, kUie = 0x10, kBinary = 0x04, k24Hours = 0x02;  // B
  static constexpr u8 kIrqf = 0x80, kPf = 0x40, kAf = 0x20, kUf = 0x10;                                     // C

  static void describe(TypeInfo<Mc146818>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override;

  /// Time of day at this moment, in seconds since 1970, as the guest shall see it (-rtc base=). Before the guest runs.
  void set_time(i64 unix_seconds);
  /// CMOS bytes that firmware reads (memory size, boot order...).
  void set_cmos(u8 index, u8 value) { cmos_defaults_[index & 127] = value; }
  /// Changes a byte now, as the guest could.
  void poke_cmos(u8 index, u8 value) { state_.cmos[index & 127] = value; }
  u8 cmos(u8 index) const { return state_.cmos[index & 127]; }
  /// HPET legacy replacement takes IRQ 8 away.
  void set_irq_enabled(bool enabled);

 private:
  struct State {
    u8 index = 0;
    std::array<u8, 128> cmos{};
    i64 offset_s = 0;  ///< guest's unix time = clock seconds + offset, while not SET
    i64 periodic_next_ns = 0;
    i64 alarm_checked_s = 0;  ///< last guest second for which the alarm and update flags were evaluated
    bool irq_enabled = true;
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u8 read_register(u8 index);
  void write_register(u8 index, u8 value);

  i64 now_ns() const { return time_source_->now().count(); }
  i64 guest_seconds() const { return now_ns() / 1'000'000'000 + state_.offset_s; }
  u8 encode(unsigned v) const;
  unsigned decode(u8 v) const;
  u8 encode_hours(unsigned hour) const;
  void store_time(i64 unix_seconds);
  void guest_set_time();
  i64 load_time() const;
  bool alarm_matches(i64 unix_seconds) const;
  i64 periodic_ns() const;
  void flag(u8 bits);
  void refresh_irq();
  void rearm();
  void second_passed();
  void periodic_fired();

  State state_;
  std::array<u8, 128> cmos_defaults_{};
  std::string clock_name_ = "host";
  Clock* time_source_ = nullptr;
  IrqLine irq_;
  Timer second_timer_, periodic_timer_;
};

void register_mc146818(TypeRegistry& registry);

}  // namespace emu::hw
