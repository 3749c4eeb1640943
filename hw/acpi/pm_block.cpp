// SPDX-License-Identifier: Apache-2.0
#include "hw/acpi/pm_block.h"

#include "util/log.h"

namespace emu::hw {
namespace {
constexpr u64 kSecondNs = 1'000'000'000;
constexpr u32 kTimerMask = 0xff'ffff;  // 24 bits wide, as FADT says (no TMR_VAL_EXT)
}  // namespace

AcpiPmBlock::AcpiPmBlock(MachineServices& machine, IrqLine& sci, Options options)
    : machine_(machine), sci_(sci), options_(std::move(options)) {
  EMU_CHECK(options_.gpe_bytes <= kMaxGpeBytes);
  mem::Memory& memory = machine.memory();
  carry_timer_ = machine.clock().make_timer([this] { refresh(); });
  event_ = mem::Region::mmio(
      memory, "acpi-evt", 4, [this](u64 o, unsigned n) { return read_event(o, n); },
      [this](u64 o, u64 v, unsigned n) { write_event(o, v, n); }, {.valid = {1, 4}, .impl = {1, 2}});
  control_ = mem::Region::mmio(
      memory, "acpi-cnt", 2, [this](u64 o, unsigned) { return u64(state_.control >> (8 * o)); },
      [this](u64 o, u64 v, unsigned n) { write_control(o, v, n); }, {.valid = {1, 4}, .impl = {1, 2}});
  // Guests read it in loops, from every CPU.
  timer_region_ = mem::Region::mmio(memory, "acpi-tmr", 4, [this](u64, unsigned) { return ticks() & kTimerMask; }, {},
                                    {.valid = {1, 4}, .impl = {4, 4}, .locking = mem::Locking::None});
  gpe_ = mem::Region::mmio(
      memory, "acpi-gpe0", 2 * options_.gpe_bytes, [this](u64 o, unsigned) { return read_gpe(o); },
      [this](u64 o, u64 v, unsigned) { write_gpe(o, u8(v)); }, {.valid = {1, 4}, .impl = {1, 1}});
  machine.add_power_listener(*this);
  state_.next_carry = carry_after(ticks());
}

AcpiPmBlock::~AcpiPmBlock() {
  machine_.remove_power_listener(*this);
  for (const auto& region : {event_, control_, timer_region_, gpe_}) {
    region->remove_from_parent();
    region->revoke();
  }
}

void AcpiPmBlock::reset() {
  state_ = {};
  state_.next_carry = carry_after(ticks());
  refresh();
}

void AcpiPmBlock::fields(Archive& ar) {
  ar("pm1_status", state_.status)("pm1_enable", state_.enable)("pm1_control", state_.control);
  ar("timer_next_carry", state_.next_carry)("gpe_status", state_.gpe_status)("gpe_enable", state_.gpe_enable);
}

Result<void> AcpiPmBlock::after_load() {
  if ((state_.status & ~kStatusBits) || (state_.enable & ~kEnableBits) ||
      (state_.control & ~(kSciEnable | kBusMasterReload | kSleepType))) {
    return error("ACPI power management: reserved bits are set");
  }
  if (state_.next_carry > carry_after(ticks())) return error("ACPI power management: timer state is out of range");
  refresh();
  return {};
}

u64 AcpiPmBlock::ticks() const { return u64(u128(u64(machine_.clock().now().count())) * kTimerHz / kSecondNs); }

// Events. ------------------------------------------------------------------------------------------------------------

/// The timer sets its status bit whenever its highest bit changes, §4.8.3.3. Nobody counts: it follows from the time.
u16 AcpiPmBlock::read_status() {
  if (ticks() >= state_.next_carry) state_.status |= kTimer;
  return state_.status;
}

u64 AcpiPmBlock::read_event(u64 offset, unsigned) {
  const u32 both = u32(read_status()) | u32(state_.enable) << 16;
  return both >> (8 * offset);
}

void AcpiPmBlock::write_event(u64 offset, u64 value, unsigned size) {
  const u32 placed = u32(value) << (8 * offset), lanes = u32(low_mask(size * 8)) << (8 * offset);
  const u16 clears = u16(placed & lanes);
  read_status();
  state_.status &= u16(~(clears & kStatusBits));
  if (clears & kTimer) state_.next_carry = carry_after(ticks());
  const u16 enable = u16((placed & lanes) >> 16), enable_lanes = u16(lanes >> 16);
  state_.enable = u16(((state_.enable & ~enable_lanes) | enable) & kEnableBits);
  refresh();
}

void AcpiPmBlock::refresh() {
  const u16 active = u16(read_status() & state_.enable);
  bool gpe = false;
  for (unsigned i = 0; i < options_.gpe_bytes; i++) gpe |= (state_.gpe_status[i] & state_.gpe_enable[i]) != 0;
  sci_.set(is_acpi_mode() && (active != 0 || gpe));
  if ((state_.enable & kTimer) && !(state_.status & kTimer)) {
    // The first nanosecond at which the carry has happened.
    const u128 ns = (u128(state_.next_carry) * kSecondNs + kTimerHz - 1) / kTimerHz;
    carry_timer_.arm_at(ClockNs(i64(ns)));
  } else {
    carry_timer_.cancel();
  }
}

void AcpiPmBlock::raise_gpe(unsigned number) {
  if (number / 8 >= options_.gpe_bytes) return;
  state_.gpe_status[number / 8] |= u8(bit(number % 8));
  refresh();
}

void AcpiPmBlock::powerdown_requested() {
  state_.status |= kPowerButton;
  refresh();
  machine_.request_wakeup(WakeupReason::Other);  // if it sleeps
}

void AcpiPmBlock::woken_up(WakeupReason reason) {
  state_.status |= kWake;
  if (reason == WakeupReason::Rtc) state_.status |= kRtc;
  if (reason == WakeupReason::PmTimer) state_.status |= kTimer;
  refresh();
}

u64 AcpiPmBlock::read_gpe(u64 offset) {
  return offset < options_.gpe_bytes ? state_.gpe_status[offset] : state_.gpe_enable[offset - options_.gpe_bytes];
}

void AcpiPmBlock::write_gpe(u64 offset, u8 value) {
  if (offset < options_.gpe_bytes)
    state_.gpe_status[offset] &= u8(~value);
  else
    state_.gpe_enable[offset - options_.gpe_bytes] = value;
  refresh();
}

// Control. -----------------------------------------------------------------------------------------------------------

void AcpiPmBlock::set_acpi_mode(bool enabled) {
  state_.control = u16(enabled ? state_.control | kSciEnable : state_.control & ~kSciEnable);
  refresh();
}

void AcpiPmBlock::write_control(u64 offset, u64 value, unsigned size) {
  const u16 lanes = u16(low_mask(size * 8) << (8 * offset));
  const u16 written = u16((value << (8 * offset)) & lanes);
  constexpr u16 kKept = kSciEnable | kBusMasterReload | kSleepType;
  state_.control = u16((state_.control & ~(lanes & kKept)) | (written & kKept));
  refresh();
  if (written & kSleepEnable) go_to_sleep(unsigned(bits(state_.control, 12, 10)));
}

void AcpiPmBlock::go_to_sleep(unsigned type) {
  switch (options_.sleep(type)) {
    case Sleep::Suspend:
      return machine_.request_suspend();
    case Sleep::SoftOff:
      return machine_.request_shutdown(ShutdownCause::GuestShutdown);
    case Sleep::None:
      log::unimplemented("ACPI: sleep type {} is not offered", type);
  }
}

}  // namespace emu::hw
