// SPDX-License-Identifier: Apache-2.0
// I/O APIC, Intel 82093AA datasheet (290566-001) with the EOI register of version 0x20.
//
//   MMIO "ioapic"      4 KiB at 0xfec00000: IOREGSEL 0x00, IOWIN 0x10, EOI 0x40
//   IRQ in "irq"[24]   pin levels
#pragma once

#include <array>
#include <mutex>

#include "hw/core/sysbus.h"
#include "hw/intc/apic_bus.h"

namespace emu::hw {

/// Pins and registers are used from any thread; `mutex_` guards the state. Lock order: IOAPIC → LAPIC.
class IoApic final : public SysBusDevice, public EoiListener {
 public:
  static constexpr unsigned kPins = 24;
  static constexpr mem::GuestPhys kAddress = 0xfec0'0000;
  enum Reg : hwaddr { IOREGSEL = 0x00, IOWIN = 0x10, EOI = 0x40 };
  enum Index : u8 { IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10 };
  // IOREDTBL bits, datasheet section 3.2.4
  static constexpr u64 kLogical = bit64(11), kSendPending = bit64(12), kActiveLow = bit64(13),
                       kRemoteIrr = bit64(14), kLevel = bit64(15), kMasked = bit64(16);
  static constexpr u64 kWritable = 0xff00'0000'0001'afff;

  static void describe(TypeInfo<IoApic>& type);
  void wire(ApicBus& bus);
  Result<void> realize() override;
  void unrealize() override;
  void reset_enter() override;
  void end_of_interrupt(u8 vector) override;
  std::string dump() const;

 private:
  struct State {
    u8 select = 0;
    u8 id = 0;
    u32 levels = 0;  ///< pins that are asserted now
    std::array<u64, kPins> redirection{};
  };
  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u32 read_window_locked() const;
  void write_window_locked(u32 value);
  void set_pin(unsigned pin, bool level);
  void send_locked(unsigned pin);
  void send_again_locked(unsigned pin);
  void pause_over();
  /// Whether a level interrupt waits in the pin: nothing but a pause keeps it from being sent.
  bool is_waiting_locked(unsigned pin) const;
  static ApicMessage message_of(u64 entry);
  void publish_routes_locked() const;

  ApicBus* bus_ = nullptr;
  mutable std::mutex mutex_;
  State state_;
  std::array<u16, kPins> in_a_row_{};  ///< times that the end of an interrupt found the level still there
  u32 paused_ = 0;                     ///< pins that are sent again when the pause is over
  Timer pause_;
};

void register_ioapic(TypeRegistry& registry);

}  // namespace emu::hw
