// SPDX-License-Identifier: Apache-2.0
// Programmable interval timer, Intel 8254 datasheet (231164), with the PC's port 0x61 (PIIX3 datasheet §2.5.4 NMISC).
//
//   ports "pit" 0x40..0x43, "nmisc" 0x61
//   IRQ out "irq"   output of counter 0
#pragma once

#include <array>

#include "hw/core/isa.h"

namespace emu::hw {

/// One counter as a function of time: no ticking, everything follows from when the count began. Times in ns of the
/// virtual clock.
struct PitCounter {
  static constexpr u64 kHz = 1'193'182;

  u16 reload = 0;  ///< 0 stands for 65536 (10000 in BCD)
  i64 start_ns = 0;
  u8 mode = 3;    ///< 0..5
  u8 access = 3;  ///< 1 low byte, 2 high byte, 3 low then high
  bool bcd = false, gate = true;
  bool write_high_next = false, read_high_next = false;
  u8 write_low = 0;
  bool count_latched = false, status_latched = false, null_count = true, loaded = false;
  u16 latched_count = 0;
  u8 latched_status = 0;
  u64 frozen_ticks = 0;  ///< ticks counted when the gate went low (modes 0, 2, 3, 4)

  u32 period() const { return reload == 0 ? (bcd ? 10000 : 65536) : bcd ? from_bcd(reload) : reload; }
  u64 ticks_at(i64 now_ns) const;
  bool output_at(i64 now_ns) const;
  u16 count_at(i64 now_ns) const;
  /// When the output next changes; -1: never.
  i64 next_change_ns(i64 now_ns) const;
  void load(u16 value, i64 now_ns);
  void set_gate(bool level, i64 now_ns);

  static u16 from_bcd(u16 v) { return u16((v >> 12) * 1000 + (v >> 8 & 15) * 100 + (v >> 4 & 15) * 10 + (v & 15)); }
  static u16 to_bcd(u32 v) { return u16((v / 1000 % 10) << 12 | (v / 100 % 10) << 8 | (v / 10 % 10) << 4 | v % 10); }
};

class I8254 final : public IsaDevice {
 public:
  static void describe(TypeInfo<I8254>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override;
  /// HPET legacy replacement takes IRQ 0 away from counter 0 (IA-PC HPET specification 1.0a, §2.4.6).
  void set_irq_enabled(bool enabled);

 private:
  struct State {
    std::array<PitCounter, 3> counters;
    bool speaker_data = false, refresh_toggle = false, irq_enabled = true;
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u64 read_nmisc(u64 offset, unsigned size);
  void write_nmisc(u64 offset, u64 value, unsigned size);
  void write_control(u8 value);
  void read_back(u8 value);
  void refresh(i64 now);
  void change_due();
  i64 now_ns() const { return clock().now().count(); }

  State state_;
  IrqLine irq_;
  Timer timer_;
  i64 armed_for_ns_ = -1;  ///< the change of counter 0's output that timer_ waits for
};

void register_i8254(TypeRegistry& registry);

}  // namespace emu::hw
