// SPDX-License-Identifier: Apache-2.0
// Registers, EEPROM, timer and interrupts. Frames are in rtl8139_frames.cpp.
#include "hw/net/rtl8139.h"

#include <algorithm>

#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u64 kWindowBytes = 256;
// CR, §5.
constexpr u8 kReset = 0x10, kReceive = 0x08, kTransmit = 0x04, kBufferEmpty = 0x01;
constexpr u16 kTimeout = 0x4000, kLinkChange = 0x0020;  // ISR
constexpr u32 kChipVersion = 0x7480'0000;               // TCR: the C+
constexpr u32 kChipMask = 0x7cc0'0000;
// CR9346: modes in bits 7 and 6, and the EEPROM's wires.
constexpr u8 kProgram = 0x80, kConfigWrite = 0xc0, kCs = 0x08, kSk = 0x04, kDi = 0x02, kDo = 0x01;
constexpr u16 kBmcrReset = 0x8000;

}  // namespace

Rtl8139::Rtl8139()
    : PciNic({.vendor = 0x10ec, .device = 0x8139, .revision = 0x20, .class_code = 0x0200}) {}

void Rtl8139::describe(TypeInfo<Rtl8139>& type) {
  type.doc("Realtek RTL8139C+");
  type.set_default("romfile", std::string("efi-rtl8139.rom"));
  type.region("io", kWindowBytes, &Rtl8139::read, &Rtl8139::write, {.valid = {1, 4}, .impl = {1, 4}});
  type.region("mmio", kWindowBytes, &Rtl8139::read, &Rtl8139::write, {.valid = {1, 4}, .impl = {1, 4}});
  type.saved(1, &Rtl8139::state_, &Rtl8139::fields, &Rtl8139::check_loaded);
}

Result<void> Rtl8139::realize() {
  default_rom("efi-rtl8139.rom");
  EMU_TRY(plug_in());
  timer_ = clock().make_timer([this] {
    cause(kTimeout);
    update_interrupt();
    set_timer();
  });
  fill_eeprom();
  use_interrupt_pin(1);
  add_bar(0, BarKind::Io, region("io"));
  add_bar(1, BarKind::Memory32, region("mmio"));
  return {};
}

void Rtl8139::unrealize() {
  timer_.cancel();
  unplug();
}

/// §7: the 93C46's words that the card and its drivers look at.
void Rtl8139::fill_eeprom() {
  eeprom_ = {};
  eeprom_[0] = 0x8129;  // says that it is programmed
  eeprom_[1] = identity().vendor;
  eeprom_[2] = identity().device;
  for (unsigned i = 0; i < 3; i++) eeprom_[7 + i] = u16(mac()[2 * i] | mac()[2 * i + 1] << 8);
}

void Rtl8139::reset_enter() {
  timer_.cancel();
  state_ = {};
  const net::MacAddress address = mac();
  std::copy(address.begin(), address.end(), state_.bytes.begin() + IDR0);
  state_.bytes[CONFIG0] = 0x10;
  state_.bytes[CONFIG1] = 0x0c;
  state_.bytes[CONFIG3] = 0x01;
  put16(BMCR, 0x1000);
  put16(ANAR, 0x05e1);
  put16(ANLPAR, 0x05e1);
  put16(ANER, 0x0001);
  state_.timer_base_ns = clock().now().count();
  soft_reset();
}

/// CR's reset bit: the rings and what belongs to them; the address and configuration stay.
void Rtl8139::soft_reset() {
  state_.bytes[CR] = kBufferEmpty;
  for (unsigned i = 0; i < 4; i++) put32(TSD0 + 4 * i, 0x2000);  // the card owns no buffer
  put16(ISR, 0);
  put16(IMR, 0);
  put32(TCR, kChipVersion);
  put32(RCR, 0);
  put16(CPCR, 0);
  put16(CAPR, u16(0xfff0));
  put16(CBR, 0);
  state_.tx_next = state_.cplus_tx = state_.cplus_rx = 0;
  state_.cplus_poll = false;
  outgoing_.clear();
  outgoing_bad_ = false;
  outgoing_first_.reset();
  drop_pending();
}

void Rtl8139::fields(Archive& ar, State& s) {
  ar("registers", s.bytes)("tx_next", s.tx_next)("cplus_tx", s.cplus_tx)("cplus_rx", s.cplus_rx);
  ar("cplus_poll", s.cplus_poll)("eeprom_in", s.eeprom_in)("eeprom_bits", s.eeprom_bits);
  ar("eeprom_out", s.eeprom_out)("eeprom_left", s.eeprom_left)("timer_base", s.timer_base_ns);
}

Result<void> Rtl8139::check_loaded() {
  if (state_.tx_next > 3) return error("rtl8139: there is no transmit buffer {}", state_.tx_next);
  if (state_.cplus_tx > 63 || state_.cplus_rx > 63) return error("rtl8139: a ring has 64 descriptors");
  if (state_.eeprom_left > 17) return error("rtl8139: {} bits are left of a word", state_.eeprom_left);
  outgoing_.clear();
  outgoing_bad_ = false;
  outgoing_first_.reset();
  drop_pending();
  set_timer();
  update_interrupt();
  kick_transmit();
  return {};
}

void Rtl8139::put16(unsigned at, u16 value) {
  state_.bytes[at] = u8(value);
  state_.bytes[at + 1] = u8(value >> 8);
}
void Rtl8139::put32(unsigned at, u32 value) {
  put16(at, u16(value));
  put16(at + 2, u16(value >> 16));
}

// Register accesses: of any width; a byte at a time, and then what the whole access meant. ----------------------------

u8 Rtl8139::read_byte(unsigned offset) const {
  switch (offset) {
    case CR: {
      const bool empty = ((get16(CAPR) + 16u) & 0xffff) == get16(CBR);
      return u8((state_.bytes[CR] & ~kBufferEmpty) | (empty ? kBufferEmpty : 0));
    }
    case CR9346: {
      const bool out = state_.eeprom_left == 0 || (state_.eeprom_out & 0x10000) != 0;
      return u8((state_.bytes[CR9346] & ~kDo) | (out ? kDo : 0));
    }
    case MSR:  // 100 Mb/s (a bit says 10), and whether the link failed
      return u8(0x90 | (has_link() ? 0 : 0x04));
    case BMSR:
      return u8(has_link() ? 0x2d : 0x09);
    case BMSR + 1:
      return 0x78;
    case TSAD:
    case TSAD + 1: {
      u16 all = 0;
      for (unsigned i = 0; i < 4; i++) {
        const u32 status = get32(TSD0 + 4 * i);
        all |= u16(((status >> 13 & 1) << i) | ((status >> 30 & 1) << (i + 4)) | ((status >> 14 & 1) << (i + 8)) |
                   ((status >> 15 & 1) << (i + 12)));
      }
      return u8(offset == TSAD ? all : all >> 8);
    }
    case TCTR:
    case TCTR + 1:
    case TCTR + 2:
    case TCTR + 3:
      return u8(ticks() >> (8 * (offset - TCTR)));
    default:
      return state_.bytes[offset];
  }
}

u64 Rtl8139::read(u64 offset, unsigned size) {
  u64 value = 0;
  for (unsigned i = 0; i < size && offset + i < kWindowBytes; i++) value |= u64(read_byte(unsigned(offset) + i)) << (8 * i);
  return value;
}

void Rtl8139::write(u64 offset, u64 value, unsigned size) {
  const auto first = unsigned(offset);
  for (unsigned i = 0; i < size && first + i < kWindowBytes; i++) write_byte(first + i, u8(value >> (8 * i)));
  written(first, size);
}

void Rtl8139::write_byte(unsigned offset, u8 value) {
  u8& byte = state_.bytes[offset];
  const bool unlocked = (state_.bytes[CR9346] & kConfigWrite) == kConfigWrite;
  switch (offset) {
    case CR:
      byte = u8(value & (kReset | kReceive | kTransmit));
      return;
    case ISR:
    case ISR + 1:
      byte &= u8(~value);
      return;
    case TCR + 2:
      byte = u8((byte & 0xc0) | (value & 0x3f));
      return;
    case TCR + 3:
      byte = u8((kChipVersion >> 24 & 0x7c) | (value & 0x03));
      return;
    case CBR:
    case CBR + 1:
    case ERSR:
    case MSR:
    case BMSR:
    case BMSR + 1:
    case TSAD:
    case TSAD + 1:
    case ANLPAR:
    case ANLPAR + 1:
      return;
    case IDR0:
    case IDR0 + 1:
    case IDR0 + 2:
    case IDR0 + 3:
    case IDR0 + 4:
    case IDR0 + 5:
    case CONFIG0:
    case CONFIG1:
    case CONFIG3:
    case CONFIG4:
      if (unlocked) byte = value;
      return;
    case CR9346:
      write_eeprom(value);
      return;
    default:
      byte = value;
  }
}

void Rtl8139::written(unsigned first, unsigned size) {
  const auto touches = [&](unsigned at, unsigned length) { return first < at + length && at < first + size; };
  if (touches(CR, 1) && (state_.bytes[CR] & kReset) != 0) soft_reset();
  if (touches(TCTR, 4)) {
    state_.timer_base_ns = clock().now().count();
    set_timer();
  }
  if (touches(TIMERINT, 4)) set_timer();
  if (touches(BMCR, 2)) put16(BMCR, get16(BMCR) & u16(~kBmcrReset));
  if (touches(MPC, 3)) put32(MPC, 0);
  // In C+ mode the same place holds the address of the ring.
  const bool buffers = !is_cplus_transmit() && touches(TSD0, 16);
  if (touches(TPPOLL, 1) && (state_.bytes[TPPOLL] & 0xc0) != 0) {
    state_.bytes[TPPOLL] = 0;
    state_.cplus_poll = true;
    kick_transmit();
  }
  if (touches(THPDS, 8) || touches(TNPDS, 8)) {
    if (is_cplus_transmit()) state_.cplus_tx = 0;
  }
  if (touches(RDSAR, 8)) state_.cplus_rx = 0;
  if (touches(RBSTART, 4)) {  // the ring begins anew
    put16(CBR, 0);
    put16(CAPR, u16(0xfff0));
  }
  if (buffers) kick_transmit();
  if (touches(CR, 1) || touches(CAPR, 2) || touches(RCR, 4) || touches(RDSAR, 8) || touches(CPCR, 2) || touches(ISR, 2)) {
    room_appeared();
  }
  if (touches(IMR, 4) || touches(CR, 1)) update_interrupt();
}

/// The 93C46: a start bit, two bits "read" (10), six of the address; then a zero bit and the word.
void Rtl8139::write_eeprom(u8 value) {
  const u8 old = state_.bytes[CR9346];
  state_.bytes[CR9346] = u8(value & ~kDo);
  if ((value & kConfigWrite) != kProgram || (value & kCs) == 0) {
    state_.eeprom_in = state_.eeprom_bits = state_.eeprom_out = state_.eeprom_left = 0;
    return;
  }
  if ((value & kSk) == 0 || (old & kSk) != 0) return;
  if (state_.eeprom_left != 0) {
    if (--state_.eeprom_left != 0) state_.eeprom_out = state_.eeprom_out << 1 & 0x1ffff;
    return;
  }
  constexpr u32 kCommandBits = 9;
  const u32 in = (value & kDi) != 0 ? 1 : 0;
  if (state_.eeprom_bits == 0 && in == 0) return;
  state_.eeprom_in = state_.eeprom_in << 1 | in;
  if (++state_.eeprom_bits < kCommandBits) return;
  const u32 opcode = state_.eeprom_in >> 6, address = state_.eeprom_in & 0x3f;
  state_.eeprom_in = state_.eeprom_bits = 0;
  if (opcode != 0b110) return log::unimplemented("rtl8139: EEPROM command {:#b}", opcode);
  state_.eeprom_out = eeprom_[address];
  state_.eeprom_left = 17;
}

// Timer: it counts at the PCI clock, 33 MHz, and interrupts when it passes TIMERINT. ----------------------------------

constexpr i64 kTickNs = 30;

/// Without signs: a loaded base may be any number.
u32 Rtl8139::ticks() const {
  return u32((u64(clock().now().count()) - u64(state_.timer_base_ns)) / u64(kTickNs));
}

void Rtl8139::set_timer() {
  timer_.cancel();
  const u32 at = get32(TIMERINT);
  if (at == 0) return;
  u64 left = u64(at) - ticks();
  if (i64(left) <= 0) left += u64(1) << 32;
  timer_.arm_after(ClockNs(i64(left) * kTickNs));
}

void Rtl8139::update_interrupt() { set_intx((get16(ISR) & get16(IMR)) != 0); }

void Rtl8139::link_moved() {
  cause(kLinkChange);
  update_interrupt();
}

void register_rtl8139(TypeRegistry& registry) { registry.add<Rtl8139>("rtl8139"); }

}  // namespace emu::hw
