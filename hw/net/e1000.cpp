// SPDX-License-Identifier: Apache-2.0
// Registers, EEPROM, PHY and interrupts. Rings are in e1000_receive.cpp and e1000_transmit.cpp.
#include "hw/net/e1000.h"

#include <algorithm>

#include "hw/net/e1000_registers.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {
namespace {

// CTRL, §13.4.1.
constexpr u32 kCtrlFd = bit(0), kCtrlAsde = bit(5), kCtrlSlu = bit(6), kCtrlReset = bit(26), kCtrlPhyReset = bit(31);
// STATUS, §13.4.2.
constexpr u32 kStatusFd = bit(0), kStatusLinkUp = bit(1), kStatusGigabit = bit(7);
// EECD, §13.4.3.
constexpr u32 kSk = bit(0), kCs = bit(1), kDi = bit(2), kDo = bit(3), kRequest = bit(6), kGrant = bit(7),
              kPresent = bit(8);
// MDIC, §13.4.6.
constexpr u32 kMdicReady = bit(28), kMdicInterrupt = bit(29), kMdicError = bit(30);
constexpr u32 kOpWrite = 1, kOpRead = 2;
// PHY registers, §13.8 (and IEEE 802.3, clause 22).
enum Phy : unsigned { BMCR = 0, BMSR = 1, ID1 = 2, ID2 = 3, ANAR = 4, ANLPAR = 5, ANER = 6, GBCR = 9, GBSR = 10, EXTSR = 15, PSCR = 16, PSSR = 17 };
constexpr u16 kBmcrReset = 0x8000, kBmcrRestart = 0x0200;
constexpr u16 kBmsrLink = 0x0004, kBmsrDone = 0x0020;
constexpr u16 kPssrLink = 0x0400;
constexpr u32 kAddressValid = bit(31);  // RAH

constexpr u16 kEepromSum = 0xbaba;  // of all 64 words, §5.6

}  // namespace

void E1000Core::describe(TypeInfo<E1000Core>& type) {
  type.property("mitigation", &E1000Core::mitigation_, "whether interrupts keep the distance that the driver asks for")
      .settable_at_runtime();
}

Result<void> E1000Core::realize() {
  EMU_TRY(plug_in());
  throttle_ = clock().make_timer([this] { update_interrupt(); });
  fill_eeprom();
  use_interrupt_pin(1);
  add_bar(0, BarKind::Memory32, region("mmio"));
  return {};
}

void E1000Core::unrealize() {
  throttle_.cancel();
  unplug();
}

/// §5.6: address, ids, and a checksum that drivers verify.
void E1000Core::fill_eeprom() {
  eeprom_ = {};
  for (unsigned i = 0; i < 3; i++) eeprom_[i] = u16(mac()[2 * i] | mac()[2 * i + 1] << 8);
  eeprom_[0x03] = 0x0000;  // compatibility: a copper port, nothing special
  eeprom_[0x08] = 0x1000;  // the board's number
  eeprom_[0x0a] = 0x640a;  // initialization control 1: ids are loaded from here
  eeprom_[0x0b] = identity().subsystem;
  eeprom_[0x0c] = identity().subsystem_vendor;
  eeprom_[0x0d] = chip_.device_id;
  eeprom_[0x0e] = identity().vendor;
  eeprom_[0x0f] = 0x3040;  // initialization control 2
  u16 sum = 0;
  for (unsigned i = 0; i < 0x3f; i++) sum = u16(sum + eeprom_[i]);
  eeprom_[0x3f] = u16(kEepromSum - sum);
}

void E1000Core::reset_enter() {
  throttle_.cancel();
  asserted_ = false;
  next_interrupt_ = ClockNs(0);
  state_ = {};
  reset_registers();
  drop_pending();
}

void E1000Core::reset_hold() { update_interrupt(); }

void E1000Core::reset_registers() {
  const std::array<u16, 32> phy = state_.phy;
  state_ = {};
  state_.phy = phy;
  outgoing_.clear();
  outgoing_bad_ = false;
  outgoing_first_.reset();
  state_.ctrl = kCtrlFd | kCtrlSlu | kCtrlAsde;
  state_.pba = 0x0010'0030;
  state_.ledctl = 0x0706'0302;
  state_.rctl = 0;
  state_.vet = 0x8100;
  state_.tipg = 0x0060'2008;
  state_.ra[0] = u32(mac()[0]) | u32(mac()[1]) << 8 | u32(mac()[2]) << 16 | u32(mac()[3]) << 24;
  state_.ra[1] = u32(mac()[4]) | u32(mac()[5]) << 8 | kAddressValid;
  if (state_.phy[ID1] == 0) write_phy(BMCR, kBmcrReset);
  chip_reset();
}

void E1000Core::fields(Archive& ar, State& s) {
  ar("ctrl", s.ctrl)("eecd", s.eecd)("eerd", s.eerd)("ctrl_ext", s.ctrl_ext)("fla", s.fla)("mdic", s.mdic);
  ar("fcal", s.fcal)("fcah", s.fcah)("fct", s.fct)("vet", s.vet)("icr", s.icr)("itr", s.itr)("ims", s.ims);
  ar("rctl", s.rctl)("fcttv", s.fcttv)("txcw", s.txcw)("rxcw", s.rxcw)("tctl", s.tctl)("tipg", s.tipg)("ait", s.ait);
  ar("ledctl", s.ledctl)("pba", s.pba)("fcrtl", s.fcrtl)("fcrth", s.fcrth)("rdtr", s.rdtr)("rxdctl", s.rxdctl);
  ar("radv", s.radv)("rsrpd", s.rsrpd)("tidv", s.tidv)("txdctl", s.txdctl)("tadv", s.tadv)("tspmt", s.tspmt);
  ar("rxcsum", s.rxcsum)("wuc", s.wuc)("wufc", s.wufc)("wus", s.wus)("ipav", s.ipav)("manc", s.manc);
  ar("rdbal", s.rx.low)("rdbah", s.rx.high)("rdlen", s.rx.bytes)("rdh", s.rx.head)("rdt", s.rx.tail);
  ar("tdbal", s.tx.low)("tdbah", s.tx.high)("tdlen", s.tx.bytes)("tdh", s.tx.head)("tdt", s.tx.tail);
  ar("checksum_ip", s.checksum.ip)("checksum_tcp", s.checksum.tcp)("checksum_command", s.checksum.command);
  ar("checksum_segment", s.checksum.segment)("segmentation_ip", s.segmentation.ip);
  ar("segmentation_tcp", s.segmentation.tcp)("segmentation_command", s.segmentation.command);
  ar("segmentation_segment", s.segmentation.segment);
  ar("statistics", s.statistics)("mta", s.mta)("vfta", s.vfta)("ra", s.ra)("phy", s.phy);
  ar("eeprom_in", s.eeprom_in)("eeprom_bits", s.eeprom_bits)("eeprom_out", s.eeprom_out)("eeprom_left", s.eeprom_left);
}

/// Rings are checked at each use; only what has no meaning at all is refused here.
Result<void> E1000Core::check_loaded() {
  if (state_.eeprom_left > 17) return error("{}: {} bits are left of a word of the EEPROM", type().name(), state_.eeprom_left);
  if ((state_.rx.bytes | state_.tx.bytes) > 0xfff80) return error("{}: a ring is longer than there are", type().name());
  outgoing_.clear();
  outgoing_bad_ = false;
  outgoing_first_.reset();
  asserted_ = false;
  drop_pending();
  update_interrupt();
  kick_transmit();
  return {};
}

// Control and status. -------------------------------------------------------------------------------------------------

u32 E1000Core::read_status() const {
  // GIO Master Disable is obeyed at once: a driver waits for the bit that says so (82574, §10.2.2.2).
  constexpr u32 kMasterDisable = bit(2), kMasterEnabled = bit(19);
  const u32 chip = chip_.status & ~((state_.ctrl & kMasterDisable) != 0 ? kMasterEnabled : 0);
  return chip | kStatusFd | kStatusGigabit | (has_link() ? kStatusLinkUp : 0);
}

void E1000Core::write_ctrl(u32 value) {
  if ((value & kCtrlReset) != 0) {  // §14.8: all but the PHY
    throttle_.cancel();
    reset_registers();
    drop_pending();
    update_interrupt();
    return;
  }
  if ((value & kCtrlPhyReset) != 0) write_phy(BMCR, kBmcrReset);
  state_.ctrl = value & ~(kCtrlReset | kCtrlPhyReset);
}

// EEPROM. -------------------------------------------------------------------------------------------------------------

u32 E1000Core::read_eecd() const {
  u32 value = (state_.eecd & (kSk | kCs | kDi | kRequest)) | kPresent | chip_.eecd;
  if ((state_.eecd & kRequest) != 0) value |= kGrant;
  if ((state_.eeprom_out & 0x10000) != 0 || state_.eeprom_left == 0) value |= kDo;
  return value;
}

/// The Microwire protocol of a 64-word part: a start bit, two bits "read" (10), six of the address; then the word comes
/// out behind a zero bit, most significant bit first. Writing is not possible: the part is write-protected.
void E1000Core::write_eecd(u32 value) {
  const u32 old = state_.eecd;
  state_.eecd = value;
  if ((value & kCs) == 0) {
    state_.eeprom_in = state_.eeprom_bits = state_.eeprom_out = state_.eeprom_left = 0;
    return;
  }
  if ((value & kSk) == 0 || (old & kSk) != 0) return;  // a bit moves when the clock rises
  if (state_.eeprom_left != 0) {
    if (--state_.eeprom_left != 0) state_.eeprom_out = state_.eeprom_out << 1 & 0x1ffff;
    return;
  }
  constexpr u32 kCommandBits = 9;
  const u32 in = (value & kDi) != 0 ? 1 : 0;
  if (state_.eeprom_bits == 0 && in == 0) return;  // before the start bit
  state_.eeprom_in = state_.eeprom_in << 1 | in;
  if (++state_.eeprom_bits < kCommandBits) return;
  const u32 opcode = state_.eeprom_in >> 6, address = state_.eeprom_in & 0x3f;
  state_.eeprom_in = state_.eeprom_bits = 0;
  if (opcode != 0b110) return log::unimplemented("{}: EEPROM command {:#b}", type().name(), opcode);
  state_.eeprom_out = eeprom_[address];  // bit 16 is the zero in front
  state_.eeprom_left = 17;
}

void E1000Core::write_eerd(u32 value) {
  constexpr u32 kStart = bit(0);
  const u32 done = chip_.eerd_of_82574 ? bit(1) : bit(4);
  const u32 address = chip_.eerd_of_82574 ? value >> 2 & 0x3fff : value >> 8 & 0xff;
  state_.eerd = value & 0xffff;
  if ((value & kStart) == 0) return;
  const u16 word = address < eeprom_.size() ? eeprom_[address] : u16(0xffff);
  state_.eerd = (value & 0xfffe & ~done) | done | u32(word) << 16;
}

// PHY. ----------------------------------------------------------------------------------------------------------------

u16 E1000Core::read_phy(unsigned reg) const {
  const u16 value = state_.phy[reg];
  switch (reg) {
    case BMSR:
      return has_link() ? value : u16(value & ~(kBmsrLink | kBmsrDone));
    case PSSR:
      return has_link() ? value : u16(value & ~kPssrLink);
    default:
      return value;
  }
}

void E1000Core::write_phy(unsigned reg, u16 value) {
  switch (reg) {
    case BMCR:
      if ((value & kBmcrReset) != 0) {
        state_.phy = {};
        state_.phy[BMCR] = 0x1140;    // auto-negotiation, full duplex, 1000 Mb/s
        state_.phy[BMSR] = 0x796d;    // all of 10 and 100 Mb/s, extended status, done, link
        state_.phy[ID1] = 0x0141;
        state_.phy[ID2] = chip_.phy_id2;
        state_.phy[ANAR] = 0x0de1;
        state_.phy[ANLPAR] = 0x45e1;
        state_.phy[ANER] = 0x0001;
        state_.phy[GBCR] = 0x0e00;
        state_.phy[GBSR] = 0x3c00;
        state_.phy[EXTSR] = 0x3000;
        state_.phy[PSCR] = 0x0360;
        state_.phy[PSSR] = 0xac00;    // 1000 Mb/s, full duplex, resolved, link
        return;
      }
      if ((value & kBmcrRestart) != 0 && has_link()) cause(kLsc);
      state_.phy[BMCR] = value & 0x7dff;
      return;
    case BMSR:
    case ID1:
    case ID2:
    case ANLPAR:
    case ANER:
    case GBSR:
    case EXTSR:
    case PSSR:
      return;
    default:
      state_.phy[reg] = value;
  }
}

void E1000Core::write_mdic(u32 value) {
  const unsigned reg = value >> 16 & 31, phy = value >> 21 & 31, op = value >> 26 & 3;
  state_.mdic = value & ~(kMdicError | kMdicReady);
  if (phy != 1 || (op != kOpRead && op != kOpWrite)) {
    state_.mdic |= kMdicError | kMdicReady;
  } else if (op == kOpRead) {
    state_.mdic = (state_.mdic & ~0xffffu) | read_phy(reg) | kMdicReady;
  } else {
    write_phy(reg, u16(value));
    state_.mdic |= kMdicReady;
  }
  if ((value & kMdicInterrupt) != 0) cause(kMdac);
  update_interrupt();
}

bool E1000Core::is_looped_back() const {
  constexpr u16 kPhyLoopback = 0x4000;
  return (state_.rctl >> 6 & 3) == 3 || (state_.phy[BMCR] & kPhyLoopback) != 0;
}

void E1000Core::link_moved() {
  cause(kLsc);
  update_interrupt();
}

// Interrupts. ---------------------------------------------------------------------------------------------------------

/// §13.4.18: throttling registers count units of 256 ns. Without `mitigation` there is no such distance: it spares a
/// processor that has other work the interrupts of a wire that never rests, while here the guest would sleep, and whoever
/// sends to it wait, until it is over. Drivers mask the card while they poll it, which limits interrupts as well.
ClockNs E1000Core::least_distance(u32 throttle) const { return mitigation_ ? ClockNs(256) * (throttle & 0xffff) : ClockNs(0); }

void E1000Core::update_interrupt() {
  const bool wanted = (state_.icr & state_.ims) != 0;
  if (const ClockNs distance = least_distance(state_.itr); wanted && !asserted_ && distance.count() != 0) {
    const ClockNs now = clock().now();
    if (now < next_interrupt_) return throttle_.arm_at(next_interrupt_);
    next_interrupt_ = now + distance;
  }
  if (wanted != asserted_) EMU_TRACE("e1000_irq", "{} icr {:#x} ims {:#x}", wanted, state_.icr, state_.ims);
  asserted_ = wanted;
  set_intx(wanted);
}

void E1000Core::round_done() { update_interrupt(); }

u32 E1000Core::read_icr() {
  const u32 value = state_.icr;
  state_.icr = 0;
  update_interrupt();
  return value;
}
void E1000Core::write_icr(u32 value) {
  state_.icr &= ~value;
  update_interrupt();
}
void E1000Core::write_ics(u32 value) {
  cause(value & chip_.causes);
  update_interrupt();
}
void E1000Core::write_ims(u32 value) {
  state_.ims |= value & chip_.causes;
  update_interrupt();
}
void E1000Core::write_imc(u32 value) {
  state_.ims &= ~value;
  update_interrupt();
}

// Statistics, §13.7: cleared by reading; counters of 64 bits hold still at the top. -----------------------------------

void E1000Core::count(unsigned offset, u32 amount) {
  u32& counter = state_.statistics[(offset - STATISTICS) / 4];
  counter = counter + amount < counter ? ~u32(0) : counter + amount;
}

void E1000Core::count_bytes(unsigned offset, u64 amount) {
  u32& low = state_.statistics[(offset - STATISTICS) / 4];
  u32& high = state_.statistics[(offset - STATISTICS) / 4 + 1];
  const u64 sum = (u64(high) << 32 | low) + amount;
  low = u32(sum);
  high = u32(sum >> 32);
}

/// Counters of frames by size: 64, 65-127, 128-255, 256-511, 512-1023, 1024 and more, FCS counted.
void E1000Core::count_size(unsigned first_offset, std::size_t bytes) {
  unsigned index = 0;
  for (const std::size_t limit : {65u, 128u, 256u, 512u, 1024u}) index += bytes >= limit ? 1 : 0;
  count(first_offset + 4 * index);
}

u32 E1000Core::read_statistic(unsigned index) { return std::exchange(state_.statistics[index], 0); }

// The 82540EM. --------------------------------------------------------------------------------------------------------

E1000::E1000()
    : E1000Core({.vendor = 0x8086, .device = 0x100e, .revision = 3, .class_code = 0x0200},
                {.device_id = 0x100e, .phy_id2 = 0x0c20, .status = 0}) {}

void E1000::describe(TypeInfo<E1000>& type) {
  type.doc("Intel Gigabit Ethernet (82540EM)");
  type.set_default("romfile", std::string("efi-e1000.rom"));
  describe_registers(type).reg(ITR, "ITR", &State::itr, {.rw = 0xffff});
  type.region("io", 64, &E1000::read_io, &E1000::write_io, {.valid = {1, 4}, .impl = {4, 4}});
  type.saved(1, &E1000::state_, &E1000::fields, &E1000::check_loaded);
}

Result<void> E1000::realize() {
  default_rom("efi-e1000.rom");
  EMU_TRY(E1000Core::realize());
  add_bar(1, BarKind::Io, region("io"));
  return {};
}

/// §13.3: IOADDR and IODATA, a window for those who have no memory mapping.
const RegisterTable<E1000, E1000Core::State>& E1000::table() const {
  const auto* known = type().extension<DeviceClass>();
  return dynamic_cast<const RegisterTable<E1000, State>&>(*known->regions.front().table);
}

u64 E1000::read_io(u64 offset, unsigned) {
  if (offset == 0) return io_address_;
  return offset == 4 && io_address_ < 0x20000 ? table().read(*this, io_address_ & ~3u, 4) : 0;
}

void E1000::write_io(u64 offset, u64 value, unsigned) {
  if (offset == 0) io_address_ = u32(value);
  if (offset == 4 && io_address_ < 0x20000) table().write(*this, io_address_ & ~3u, value, 4);
}

void register_e1000(TypeRegistry& registry) {
  registry.add_abstract<E1000Core, PciNic>();
  registry.add<E1000>("e1000");
  registry.add_alias("e1000-82540em", "e1000");
}

}  // namespace emu::hw
