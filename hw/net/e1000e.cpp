// SPDX-License-Identifier: Apache-2.0
#include "hw/net/e1000e.h"

#include "hw/net/e1000_registers.h"
#include "util/endian.h"
#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u64 kFlashBytes = 0x20000;
constexpr unsigned kMsixBar = 3;
// Causes with a vector of their own, §10.2.4.1.
constexpr u32 kRxq0 = bit(20), kTxq0 = bit(22), kOther = bit(24), kAsserted = bit(31);
constexpr u32 kReceiveCauses = bit(4) | bit(7), kTransmitCauses = bit(0) | bit(1);
constexpr u32 kAutoMaskOnRead = bit(27), kAutoMaskOnMessage = bit(24);  // CTRL_EXT: IAME, EIAME
constexpr u32 kExtended = bit(15);                                      // RFCTL
constexpr u32 kDescriptorType = 3u << 10;                               // RCTL

struct WriteBack {  // §7.1.5: the extended format
  Le32 mrq, hash, status, length_vlan;
};
static_assert(sizeof(WriteBack) == 16);

}  // namespace

E1000e::E1000e()
    : E1000Core({.vendor = 0x8086, .device = 0x10d3, .revision = 0, .class_code = 0x0200, .express = true},
                {.device_id = 0x10d3,
                 .phy_id2 = 0x0cb1,
                 .status = bit(19),
                 .eerd_of_82574 = true,
                 .causes = kCauses | bit(16) | bit(17) | bit(18) | 0x01f0'0000,
                 .eecd = bit(9)}) {}

void E1000e::describe(TypeInfo<E1000e>& type) {
  using C = E1000e;
  type.doc("Intel 82574L Gigabit Ethernet");
  type.set_default("romfile", std::string("efi-e1000e.rom"));
  describe_registers(type)
      .reg(ITR, "ITR", &State::itr, {.rw = 0xffff})
      .reg(0x0034, "KMRNCTRLSTA", {.read = &C::get<&Extra::kmrnctrlsta>, .write = &C::put<&Extra::kmrnctrlsta>})
      .reg(0x00dc, "EIAC", {.read = &C::get<&Extra::eiac>, .write = &C::put<&Extra::eiac>})
      .reg(0x00e0, "IAM", {.read = &C::get<&Extra::iam>, .write = &C::put<&Extra::iam>})
      .reg(0x00e4, "IVAR", {.read = &C::read_ivar, .write = &C::write_ivar})
      .regs(0x00e8, "EITR", 4, kVectors, {.read = &C::read_eitr, .write = &C::write_eitr})
      .reg(0x0f00, "EXTCNF_CTRL", {.read = &C::get<&Extra::extcnf_ctrl>, .write = &C::put<&Extra::extcnf_ctrl>})
      .reg(0x0f10, "POEMB", {.read = &C::get<&Extra::poemb>, .write = &C::put<&Extra::poemb>})
      .reg(0x1008, "PBS", {.read = &C::get<&Extra::pbs>, .write = &C::put<&Extra::pbs>})
      .reg(0x1010, "EEMNGCTL", {.read = &C::read_eemngctl})
      .reg(0x2170, "PSRCTL", {.read = &C::get<&Extra::psrctl>, .write = &C::put<&Extra::psrctl>})
      .reg(0x3840, "TARC0", {.read = &C::get<&Extra::tarc0>, .write = &C::put<&Extra::tarc0>})
      .reg(0x3940, "TARC1", {.read = &C::get<&Extra::tarc1>, .write = &C::put<&Extra::tarc1>})
      .reg(0x5008, "RFCTL", {.read = &C::get<&Extra::rfctl>, .write = &C::put<&Extra::rfctl>})
      .reg(0x5818, "MRQC", {.read = &C::get<&Extra::mrqc>, .write = &C::put<&Extra::mrqc>})
      .reg(0x5860, "MANC2H", {.read = &C::get<&Extra::manc2h>, .write = &C::put<&Extra::manc2h>})
      .reg(0x5b00, "GCR", {.read = &C::get<&Extra::gcr>, .write = &C::put<&Extra::gcr>})
      .reg(0x5b08, "FUNCTAG", {.read = &C::get<&Extra::functag>, .write = &C::put<&Extra::functag>})
      .reg(0x5b50, "SWSM", {.read = &C::get<&Extra::swsm>, .write = &C::put<&Extra::swsm>})
      .reg(0x5b58, "SWSM2", {.read = &C::get<&Extra::swsm2>, .write = &C::put<&Extra::swsm2>})
      .regs(0x5c00, "RETA", 4, 32, {.read = &C::read_reta, .write = &C::write_reta})
      .regs(0x5c80, "RSSRK", 4, 10, {.read = &C::read_rssrk, .write = &C::write_rssrk})
      .reg(0x5f40, "FCRTV", {.read = &C::get<&Extra::fcrtv>, .write = &C::put<&Extra::fcrtv>})
      .reg(0xb608, "TIMINCA", {.read = &C::get<&Extra::timinca>, .write = &C::put<&Extra::timinca>})
      .reg(0xb614, "TSYNCTXCTL", {.read = &C::get<&Extra::tsynctx>, .write = &C::put<&Extra::tsynctx>})
      .reg(0xb620, "TSYNCRXCTL", {.read = &C::get<&Extra::tsyncrx>, .write = &C::put<&Extra::tsyncrx>})
      .reg(0xb634, "RXCFGL", {.read = &C::get<&Extra::rxcfgl>, .write = &C::put<&Extra::rxcfgl>});
  type.region("flash", kFlashBytes, &E1000e::read_flash, &E1000e::write_flash);
  type.region("io", 32, &E1000e::read_io, &E1000e::write_io, {.valid = {1, 4}, .impl = {4, 4}});
  type.saved(1, &E1000e::all_fields, &E1000e::check_loaded);
}

Result<void> E1000e::realize() {
  default_rom("efi-e1000e.rom");
  EMU_TRY(E1000Core::realize());
  add_bar(1, BarKind::Memory32, region("flash"));
  add_bar(2, BarKind::Io, region("io"));
  add_msix(kVectors, kMsixBar);
  add_msi(1);
  add_express_endpoint();
  return {};
}

void E1000e::chip_reset() {
  extra_ = {};
  next_message_ = {};
}

void E1000e::all_fields(Archive& ar) {
  fields(ar, state_);
  Extra& e = extra_;
  ar("eiac", e.eiac)("iam", e.iam)("ivar", e.ivar)("extcnf_ctrl", e.extcnf_ctrl)("poemb", e.poemb)("pbs", e.pbs);
  ar("rfctl", e.rfctl)("mrqc", e.mrqc)("tarc0", e.tarc0)("tarc1", e.tarc1)("gcr", e.gcr)("functag", e.functag);
  ar("swsm", e.swsm)("swsm2", e.swsm2)("fcrtv", e.fcrtv)("manc2h", e.manc2h)("tsynctx", e.tsynctx);
  ar("tsyncrx", e.tsyncrx)("timinca", e.timinca)("rxcfgl", e.rxcfgl)("kmrnctrlsta", e.kmrnctrlsta);
  ar("psrctl", e.psrctl)("eitr", e.eitr)("reta", e.reta)("rssrk", e.rssrk)("sent", e.sent);
}

// Interrupts, §7.4. ---------------------------------------------------------------------------------------------------

void E1000e::cause(u32 bits) {
  if ((bits & kReceiveCauses) != 0) bits |= kRxq0;
  if ((bits & kTransmitCauses) != 0) bits |= kTxq0;
  if ((bits & ~(kReceiveCauses | kTransmitCauses | kRxq0 | kTxq0)) != 0) bits |= kOther;
  state_.icr |= bits;
}

void E1000e::write_ivar(u32 value) {
  extra_.ivar = value & 0x800f'ffff;
  update_interrupt();
}

/// One message for each cause that has a vector, §7.4.3: what EIAC names is cleared by it, and with EIAME what IAM
/// names is masked. True when all that is wanted was sent or need not be.
bool E1000e::send_messages() {
  extra_.sent &= state_.icr;
  const ClockNs now = clock().now();
  std::optional<ClockNs> later;
  for (unsigned index = 0; index < kVectors; index++) {
    const u32 one = kRxq0 << index;
    if ((state_.icr & state_.ims & one & ~extra_.sent) == 0) continue;
    const u32 entry = extra_.ivar >> (4 * index);
    const unsigned vector = entry & 7;
    if ((entry & 8) == 0 || vector >= kVectors) continue;
    if (now < next_message_[vector]) {
      later = later ? std::min(*later, next_message_[vector]) : next_message_[vector];
      continue;
    }
    next_message_[vector] = now + least_distance(extra_.eitr[vector]);
    extra_.sent |= one;
    state_.icr &= ~(one & extra_.eiac);
    extra_.sent &= state_.icr;
    if ((state_.ctrl_ext & kAutoMaskOnMessage) != 0) state_.ims &= ~(extra_.iam & one);
    notify_msix(vector);
  }
  if (later) throttle_.arm_at(*later);
  return !later;
}

void E1000e::update_interrupt() {
  if (uses_msix()) {
    send_messages();
    return;
  }
  const bool was = asserted_;
  E1000Core::update_interrupt();
  if (asserted_ && !was && uses_msi()) notify_msi(0);
}

u32 E1000e::read_icr() {
  const u32 value = state_.icr | ((state_.icr & state_.ims) != 0 ? kAsserted : 0);
  state_.icr = 0;
  extra_.sent = 0;
  if ((state_.ctrl_ext & kAutoMaskOnRead) != 0 && (value & kAsserted) != 0) state_.ims &= ~extra_.iam;
  update_interrupt();
  return value;
}

// Receiving. ----------------------------------------------------------------------------------------------------------

bool E1000e::frame_arrived(std::span<const u8> frame, bool sums_are_good) {
  if ((state_.rctl & kDescriptorType) != 0) {
    log::unimplemented("e1000e: descriptors that split packets (RCTL.DTYP {})", state_.rctl >> 10 & 3);
    return true;
  }
  return E1000Core::frame_arrived(frame, sums_are_good);
}

void E1000e::write_back(u64 descriptor, u16 bytes, bool is_last, const Received& received) {
  if ((extra_.rfctl & kExtended) == 0) return E1000Core::write_back(descriptor, bytes, is_last, received);
  WriteBack out;
  u32 status = kRxDd;
  if (is_last) status = u32(received.status) | kRxDd | kRxEop | u32(received.errors) << 24;
  out.length_vlan = u32(bytes) | u32(received.vlan) << 16;
  // The word with DD last: a driver that polls must find the rest in place.
  store(descriptor, {reinterpret_cast<const u8*>(&out), 8});
  store(descriptor + offsetof(WriteBack, length_vlan), {reinterpret_cast<const u8*>(&out.length_vlan), 4});
  out.status = status;
  store(descriptor + offsetof(WriteBack, status), {reinterpret_cast<const u8*>(&out.status), 4});
}

// I/O window, as in the 8254x. ----------------------------------------------------------------------------------------

const RegisterTable<E1000e, E1000Core::State>& E1000e::table() const {
  const auto* known = type().extension<DeviceClass>();
  return dynamic_cast<const RegisterTable<E1000e, State>&>(*known->regions.front().table);
}

u64 E1000e::read_io(u64 offset, unsigned) {
  if (offset == 0) return io_address_;
  return offset == 4 && io_address_ < 0x20000 ? table().read(*this, io_address_ & ~3u, 4) : 0;
}

void E1000e::write_io(u64 offset, u64 value, unsigned) {
  if (offset == 0) io_address_ = u32(value);
  if (offset == 4 && io_address_ < 0x20000) table().write(*this, io_address_ & ~3u, value, 4);
}

void register_e1000e(TypeRegistry& registry) { registry.add<E1000e>("e1000e"); }

}  // namespace emu::hw
