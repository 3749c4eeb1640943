// SPDX-License-Identifier: Apache-2.0
// ACPI fixed hardware: PM1 event and control, power management timer, general-purpose events. ACPI 6.4 §4.8.
#pragma once

#include <array>
#include <functional>

#include "hw/core/device.h"

namespace emu::hw {

/// The registers that the power management functions of south bridges share; each maps the regions where its chip has
/// them. Machine lock, except reads of the timer.
class AcpiPmBlock final : public PowerListener {
 public:
  // PM1 status and enable, §4.8.3.1
  static constexpr u16 kTimer = bit(0), kBusMaster = bit(4), kGlobal = bit(5), kPowerButton = bit(8),
                       kSleepButton = bit(9), kRtc = bit(10), kWake = bit(15);
  static constexpr u16 kStatusBits = kTimer | kBusMaster | kGlobal | kPowerButton | kSleepButton | kRtc | kWake;
  static constexpr u16 kEnableBits = kTimer | kGlobal | kPowerButton | kSleepButton | kRtc;
  // PM1 control, §4.8.3.2.1
  static constexpr u16 kSciEnable = bit(0), kBusMasterReload = bit(1), kSleepType = 7u << 10, kSleepEnable = bit(13);

  static constexpr u64 kTimerHz = 3'579'545;
  static constexpr unsigned kMaxGpeBytes = 8;

  enum class Sleep { None, Suspend, SoftOff };
  struct Options {
    unsigned gpe_bytes = 2;  ///< of status, and again of enable
    std::function<Sleep(unsigned sleep_type)> sleep;
  };

  /// `sci` is set as the events are; it outlives the block.
  AcpiPmBlock(MachineServices& machine, IrqLine& sci, Options options);
  ~AcpiPmBlock() override;

  const mem::RegionRef& event_region() const { return event_; }         ///< 4 bytes
  const mem::RegionRef& control_region() const { return control_; }     ///< 2 bytes
  const mem::RegionRef& timer_region() const { return timer_region_; }  ///< 4 bytes
  const mem::RegionRef& gpe_region() const { return gpe_; }             ///< 2 * gpe_bytes

  void reset();
  /// ACPI mode on or off: what firmware does when the OS writes ACPI_ENABLE to the SMI command port.
  void set_acpi_mode(bool enabled);
  bool is_acpi_mode() const { return (state_.control & kSciEnable) != 0; }
  /// A general-purpose event happened.
  void raise_gpe(unsigned number);

  void powerdown_requested() override;
  void woken_up(WakeupReason reason) override;

  void fields(Archive& ar);
  Result<void> after_load();

 private:
  struct State {
    u16 status = 0, enable = 0, control = 0;
    u64 next_carry = 0;  ///< tick at which bit 23 of the timer changes next, seen from the last clearing of kTimer
    std::array<u8, kMaxGpeBytes> gpe_status{}, gpe_enable{};
  };

  u64 ticks() const;
  static constexpr u64 carry_after(u64 ticks) { return (ticks | 0x7f'ffff) + 1; }
  u16 read_status();
  u64 read_event(u64 offset, unsigned size);
  void write_event(u64 offset, u64 value, unsigned size);
  void write_control(u64 offset, u64 value, unsigned size);
  u64 read_gpe(u64 offset);
  void write_gpe(u64 offset, u8 value);
  void refresh();
  void go_to_sleep(unsigned type);

  MachineServices& machine_;
  IrqLine& sci_;
  const Options options_;
  State state_;
  Timer carry_timer_;
  mem::RegionRef event_, control_, timer_region_, gpe_;
};

}  // namespace emu::hw
