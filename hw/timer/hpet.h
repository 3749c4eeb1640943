// SPDX-License-Identifier: Apache-2.0
// High precision event timer. Sections (§): IA-PC HPET specification 1.0a.
//
//   MMIO "hpet"         1 KiB at 0xfed00000
//   IRQ out "irq"[24]   I/O APIC inputs; 0 and 8 also stand for the ISA lines in legacy replacement
#pragma once

#include <array>

#include "hw/core/sysbus.h"

namespace emu::hw {

class Hpet final : public SysBusDevice {
 public:
  static constexpr mem::GuestPhys kAddress = 0xfed0'0000;
  static constexpr unsigned kTimers = 3;
  static constexpr u64 kPeriodNs = 10;         ///< 100 MHz
  static constexpr u64 kRoutes = 0x00ff'0104;  ///< I/O APIC inputs a timer may choose (2, 8, 16..23)
  enum Reg : hwaddr { CAP = 0x00, CONFIG = 0x10, STATUS = 0x20, COUNTER = 0xf0, TIMER0 = 0x100 };
  // Timer N configuration, §2.3.8
  static constexpr u64 kTnLevel = bit64(1), kTnEnable = bit64(2), kTnPeriodic = bit64(3), kTnPeriodicCapable = bit64(4),
                       kTn64 = bit64(5), kTnSetValue = bit64(6), kTn32Mode = bit64(8), kTnRoute = 0x1full << 9;
  static constexpr u64 kTnWritable = kTnLevel | kTnEnable | kTnPeriodic | kTnSetValue | kTn32Mode | kTnRoute;
  static constexpr u64 kEnable = bit64(0), kLegacy = bit64(1);  // CONFIG

  static void describe(TypeInfo<Hpet>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override;
  /// Told when legacy replacement is switched, so that the board can silence PIT and RTC.
  void set_legacy_listener(std::function<void(bool)> listener) { legacy_listener_ = std::move(listener); }

 private:
  struct Comparator {
    u64 config = kTnPeriodicCapable | kTn64;
    u64 compare = ~u64(0);
    u64 period = 0;
  };
  struct State {
    u64 config = 0, status = 0;
    u64 counter = 0;  ///< value while stopped, or at start_ns
    i64 start_ns = 0;
    std::array<Comparator, kTimers> timers;
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u64 read64(u64 offset);
  void write_timer(unsigned n, unsigned reg, u64 value, u64 mask);
  void write_config(u64 value);
  u64 counter() const;
  u64 mask_of(const Comparator& c) const { return c.config & kTn32Mode ? 0xffff'ffff : ~u64(0); }
  void rearm(unsigned n);
  void fire(unsigned n);
  void set_line(unsigned n, bool level);
  unsigned route(unsigned n) const;

  State state_;
  std::array<IrqLine, 24> irqs_;
  std::array<Timer, kTimers> timers_;
  std::function<void(bool)> legacy_listener_;
};

void register_hpet(TypeRegistry& registry);

}  // namespace emu::hw
