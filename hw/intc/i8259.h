// SPDX-License-Identifier: Apache-2.0
// The two cascaded 8259A interrupt controllers of a PC. Intel 8259A datasheet (231468); edge/level control registers of
// the PIIX3 datasheet (290550).
//
//   ports "master" 0x20..0x21, "slave" 0xa0..0xa1, "elcr" 0x4d0..0x4d1
//   IRQ in "irq"[16]   ISA interrupts; 2 is the cascade and ignored
//   IRQ out "intr"     to the CPU, or LINT0 of the local APIC
#pragma once

#include <array>
#include <mutex>

#include "hw/core/isa.h"
#include "hw/intc/local_apic.h"

namespace emu::hw {

/// Pins and registers are used from any thread; `mutex_` guards the state. Lock order: device → PIC → LAPIC.
class I8259Pair final : public IsaDevice, public ExternalVectorSource {
 public:
  static void describe(TypeInfo<I8259Pair>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override;
  /// The INTA sequence: the vector of the highest request, which becomes in service; the spurious one if none.
  u8 acknowledge() override;
  std::string dump() const;

 private:
  /// One 8259A. Bit n of each mask is IR n.
  struct Chip {
    u8 irr = 0, imr = 0, isr = 0;
    u8 levels = 0;          ///< pins now
    u8 elcr = 0;            ///< 1: level-triggered
    u8 lowest = 7;          ///< input of lowest priority (rotation)
    u8 vector_base = 0;     ///< ICW2
    u8 icw_step = 0;        ///< 0: operational, else the ICW expected next (2..4)
    bool icw4_needed = false, single = false, all_level = false;
    bool auto_eoi = false, rotate_on_auto_eoi = false, special_mask = false, fully_nested_special = false;
    bool read_isr = false, poll = false;
  };
  struct State {
    std::array<Chip, 2> chips;
  };
  enum : unsigned { kMaster = 0, kSlave = 1 };

  static void fields(Archive& ar, State& s);
  Result<void> after_load();

  void set_irq(unsigned number, bool level);
  static void set_pin(Chip& chip, unsigned pin, bool level);
  /// The request to serve, by priority against what is in service; -1 if none.
  int pending(unsigned chip) const;
  void begin_service(Chip& chip, int pin);
  void end_of_interrupt(Chip& chip, u8 command);
  u8 acknowledge_locked();
  void update_locked();

  u64 read_port(unsigned which, u64 offset);
  void write_port(unsigned which, u64 offset, u8 value);
  void write_icw1(Chip& chip, u8 value);
  u64 read_master(u64 offset, unsigned) { return read_port(kMaster, offset); }
  u64 read_slave(u64 offset, unsigned) { return read_port(kSlave, offset); }
  void write_master(u64 offset, u64 value, unsigned) { write_port(kMaster, offset, u8(value)); }
  void write_slave(u64 offset, u64 value, unsigned) { write_port(kSlave, offset, u8(value)); }
  u64 read_elcr(u64 offset, unsigned);
  void write_elcr(u64 offset, u64 value, unsigned);

  mutable std::mutex mutex_;
  State state_;
  IrqLine intr_;
};

void register_i8259(TypeRegistry& registry);

}  // namespace emu::hw
