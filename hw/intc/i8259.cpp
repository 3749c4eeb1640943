// SPDX-License-Identifier: Apache-2.0
#include "hw/intc/i8259.h"

#include <fmt/format.h>

#include "util/trace.h"

namespace emu::hw {
namespace {

constexpr u8 kIcw1 = 0x10, kIcw1Icw4 = 0x01, kIcw1Single = 0x02, kIcw1Level = 0x08;
constexpr u8 kIcw4AutoEoi = 0x02, kIcw4SpecialNested = 0x10;
constexpr u8 kOcw3 = 0x08;
constexpr unsigned kCascade = 2;
/// Inputs whose trigger mode may be set: not 0, 1, 2 on the master; not 8 and 13 on the slave (PIIX3 §2.5.3).
constexpr std::array<u8, 2> kElcrMask = {0xf8, 0xde};

/// Distance of the highest-priority bit of `mask` from the top of the rotation; 8 if empty.
unsigned rank(u8 mask, u8 lowest) {
  for (unsigned i = 0; i < 8; i++) {
    if (mask >> ((lowest + 1 + i) & 7) & 1) return i;
  }
  return 8;
}

}  // namespace

void I8259Pair::describe(TypeInfo<I8259Pair>& type) {
  type.doc("The two interrupt controllers of a PC (8259A)");
  type.not_user_creatable();
  type.irq_in("irq", 16, &I8259Pair::set_irq);
  type.irq_out("intr", &I8259Pair::intr_);
  const mem::MmioOptions options{.valid = {1, 1}, .impl = {1, 1}, .locking = mem::Locking::None};
  type.region("master", 2, &I8259Pair::read_master, &I8259Pair::write_master, options);
  type.region("slave", 2, &I8259Pair::read_slave, &I8259Pair::write_slave, options);
  type.region("elcr", 2, &I8259Pair::read_elcr, &I8259Pair::write_elcr, options);
  type.saved(1, &I8259Pair::state_, &I8259Pair::fields, &I8259Pair::after_load);
}

Result<void> I8259Pair::realize() {
  map_ports("master", 0x20);
  map_ports("slave", 0xa0);
  map_ports("elcr", 0x4d0);
  return {};
}

void I8259Pair::reset_enter() {
  std::lock_guard guard(mutex_);
  for (Chip& chip : state_.chips) {
    const u8 levels = chip.levels;
    chip = {};
    chip.levels = levels;
  }
}

void I8259Pair::reset_hold() {
  std::lock_guard guard(mutex_);
  update_locked();
}

void I8259Pair::fields(Archive& ar, State& s) {
  for (unsigned i = 0; i < 2; i++) {
    Chip& c = s.chips[i];
    const std::string p = i == kMaster ? "master_" : "slave_";
    ar(p + "irr", c.irr)(p + "imr", c.imr)(p + "isr", c.isr)(p + "levels", c.levels)(p + "elcr", c.elcr);
    ar(p + "lowest", c.lowest)(p + "vector_base", c.vector_base)(p + "icw_step", c.icw_step);
    ar(p + "icw4_needed", c.icw4_needed)(p + "single", c.single);
    ar(p + "all_level", c.all_level)(p + "auto_eoi", c.auto_eoi)(p + "rotate_on_auto_eoi", c.rotate_on_auto_eoi);
    ar(p + "special_mask", c.special_mask)(p + "fully_nested_special", c.fully_nested_special);
    ar(p + "read_isr", c.read_isr)(p + "poll", c.poll);
  }
}

Result<void> I8259Pair::after_load() {
  std::lock_guard guard(mutex_);
  for (const Chip& chip : state_.chips) {
    if (chip.lowest > 7 || chip.icw_step == 1 || chip.icw_step > 4) return error("i8259: state out of range");
  }
  update_locked();
  return {};
}

// Inputs. ------------------------------------------------------------------------------------------------------------

void I8259Pair::set_pin(Chip& chip, unsigned pin, bool level) {
  const u8 mask = u8(bit(pin));
  const bool level_triggered = chip.all_level || (chip.elcr & mask);
  if (level) {
    if (level_triggered || !(chip.levels & mask)) chip.irr |= mask;
    chip.levels |= mask;
  } else {
    // An edge request is remembered only while the input stays high (datasheet, "Interrupt request register").
    chip.irr &= u8(~mask);
    chip.levels &= u8(~mask);
  }
}

void I8259Pair::set_irq(unsigned number, bool level) {
  EMU_TRACE("pic_set_irq", "irq {} level {}", number, unsigned(level));
  if (number == kCascade) return;
  std::lock_guard guard(mutex_);
  set_pin(state_.chips[number >> 3], number & 7, level);
  update_locked();
}

int I8259Pair::pending(unsigned which) const {
  const Chip& chip = state_.chips[which];
  const u8 requests = u8(chip.irr & ~chip.imr);
  const unsigned request = rank(requests, chip.lowest);
  if (request == 8) return -1;
  u8 in_service = chip.isr;
  if (chip.special_mask) in_service &= u8(~chip.imr);
  // Special fully nested: another request of the slave may interrupt the slave's own.
  if (chip.fully_nested_special && which == kMaster) in_service &= u8(~bit(kCascade));
  return request < rank(in_service, chip.lowest) ? int((chip.lowest + 1 + request) & 7) : -1;
}

void I8259Pair::update_locked() {
  set_pin(state_.chips[kMaster], kCascade, pending(kSlave) >= 0);
  intr_.set(pending(kMaster) >= 0);
}

// Service. -----------------------------------------------------------------------------------------------------------

void I8259Pair::begin_service(Chip& chip, int pin) {
  const u8 mask = u8(bit(unsigned(pin)));
  if (chip.auto_eoi) {
    if (chip.rotate_on_auto_eoi) chip.lowest = u8(pin);
  } else {
    chip.isr |= mask;
  }
  if (!(chip.all_level || (chip.elcr & mask))) chip.irr &= u8(~mask);
}

u8 I8259Pair::acknowledge() {
  std::lock_guard guard(mutex_);
  const u8 vector = acknowledge_locked();
  update_locked();
  return vector;
}

u8 I8259Pair::acknowledge_locked() {
  Chip& master = state_.chips[kMaster];
  const int pin = pending(kMaster);
  if (pin < 0) return u8(master.vector_base + 7);  // spurious
  if (pin != int(kCascade)) {
    begin_service(master, pin);
    return u8(master.vector_base + pin);
  }
  Chip& slave = state_.chips[kSlave];
  const int slave_pin = pending(kSlave);
  begin_service(master, pin);
  if (slave_pin < 0) return u8(slave.vector_base + 7);
  begin_service(slave, slave_pin);
  return u8(slave.vector_base + slave_pin);
}

/// OCW2: bits 7:5 rotate, specific, end.
void I8259Pair::end_of_interrupt(Chip& chip, u8 command) {
  const bool rotate = command & 0x80, specific = command & 0x40, end = command & 0x20;
  if (!end) {
    if (specific && rotate) chip.lowest = command & 7;  // set priority
    else if (!specific) chip.rotate_on_auto_eoi = rotate;
    return;
  }
  unsigned pin = command & 7;
  if (!specific) {
    u8 in_service = chip.isr;
    if (chip.special_mask) in_service &= u8(~chip.imr);
    const unsigned highest = rank(in_service, chip.lowest);
    if (highest == 8) return;
    pin = (chip.lowest + 1 + highest) & 7;
  }
  chip.isr &= u8(~bit(pin));
  if (rotate) chip.lowest = u8(pin);
}

// Ports. -------------------------------------------------------------------------------------------------------------

u64 I8259Pair::read_port(unsigned which, u64 offset) {
  std::lock_guard guard(mutex_);
  Chip& chip = state_.chips[which];
  if (chip.poll) {
    // A poll is an acknowledge: bit 7 says whether there was a request, bits 2:0 which.
    chip.poll = false;
    const int pin = pending(which);
    if (pin >= 0) begin_service(chip, pin);
    update_locked();
    return pin < 0 ? 0x07 : u64(0x80 | pin);
  }
  if (offset == 1) return chip.imr;
  return chip.read_isr ? chip.isr : chip.irr;
}

void I8259Pair::write_icw1(Chip& chip, u8 value) {
  const u8 levels = chip.levels, elcr = chip.elcr;
  chip = {};
  chip.levels = levels;
  chip.elcr = elcr;
  chip.icw_step = 2;
  chip.icw4_needed = value & kIcw1Icw4;
  chip.single = value & kIcw1Single;
  chip.all_level = value & kIcw1Level;
  chip.irr = u8(levels & (chip.all_level ? 0xff : elcr));
}

void I8259Pair::write_port(unsigned which, u64 offset, u8 value) {
  std::lock_guard guard(mutex_);
  Chip& chip = state_.chips[which];
  if (offset == 0) {
    if (value & kIcw1) {
      write_icw1(chip, value);
    } else if (value & kOcw3) {
      if (value & 0x04) chip.poll = true;
      if (value & 0x02) chip.read_isr = value & 0x01;
      if (value & 0x40) chip.special_mask = value & 0x20;
    } else {
      end_of_interrupt(chip, value);
    }
  } else if (chip.icw_step == 0) {
    chip.imr = value;
  } else if (chip.icw_step == 2) {
    chip.vector_base = value & 0xf8;
    chip.icw_step = chip.single ? (chip.icw4_needed ? 4 : 0) : 3;
  } else if (chip.icw_step == 3) {
    chip.icw_step = chip.icw4_needed ? 4 : 0;
  } else {
    chip.fully_nested_special = value & kIcw4SpecialNested;
    chip.auto_eoi = value & kIcw4AutoEoi;
    chip.icw_step = 0;
  }
  update_locked();
}

u64 I8259Pair::read_elcr(u64 offset, unsigned) {
  std::lock_guard guard(mutex_);
  return state_.chips[offset].elcr;
}

void I8259Pair::write_elcr(u64 offset, u64 value, unsigned) {
  std::lock_guard guard(mutex_);
  Chip& chip = state_.chips[offset];
  chip.elcr = u8(value) & kElcrMask[offset];
  chip.irr = u8((chip.irr & ~chip.elcr) | (chip.levels & chip.elcr));
  update_locked();
}

std::string I8259Pair::dump() const {
  std::lock_guard guard(mutex_);
  std::string text;
  for (unsigned i = 0; i < 2; i++) {
    const Chip& c = state_.chips[i];
    text += fmt::format("pic{}: irr={:02x} imr={:02x} isr={:02x} hprio={} irq_base={:02x} ", i, c.irr, c.imr, c.isr,
                        (c.lowest + 1) & 7, c.vector_base);
    text += fmt::format("rr_sel={} elcr={:02x} fnm={}\n", int(c.read_isr), c.elcr, int(c.fully_nested_special));
  }
  return text;
}

void register_i8259(TypeRegistry& registry) { registry.add<I8259Pair>("isa-i8259"); }

}  // namespace emu::hw
