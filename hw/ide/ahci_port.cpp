// SPDX-License-Identifier: Apache-2.0
// Registers and resets of a port; commands are in ahci_command.cpp.
#include "hw/ide/ahci_port.h"

#include "util/log.h"

namespace emu::hw {

using namespace ahci;

namespace {

constexpr u32 kCmdWritable = 0xf700'0000 | kAtapi | kFre | kPod | kSud | kSt;
constexpr u32 kIeMask = 0xfdc0'00ff;
constexpr u32 kIsClearable = 0xfd80'00af;   // not PCS and PRCS, which SERR clears
constexpr u32 kLinkUp = 0x123;              // device there, 3 Gb/s, active
constexpr u32 kDetMask = 0xf, kDetInit = 1, kDetOff = 4;
constexpr u32 kSignatureAta = 0x0000'0101, kSignatureAtapi = 0xeb14'0101;

}  // namespace

AhciPort::AhciPort(IdeBus& bus, Hooks hooks) : bus_(bus), hooks_(std::move(hooks)) {
  bus_.set_serial(true);
  bus_.set_listener([this](unsigned) {  // the drive went, with its requests
    abandon();
    in_flight_ = 0;
    state_.ssts = 0;
    state_.tfd = 0x7f;
    state_.sig = ~0u;
  });
}

IdeDevice* AhciPort::drive() const {
  IdeDevice* device = bus_.at(0);
  return device != nullptr && device->is_realized() ? device : nullptr;
}

void AhciPort::reset() {
  abandon();
  state_ = {};
  if (drive() == nullptr) return;
  state_.cmd = kSud | kPod;
  finish_reset();
}

/// What is under way is not heard of again.
void AhciPort::abandon() {
  generation_++;
  started_ = queued_ = 0;
}

void AhciPort::raise(u32 bits) {
  state_.is |= bits;
  hooks_.interrupt();
}

// Registers. ---------------------------------------------------------------------------------------------------------

u32 AhciPort::read(unsigned offset) const {
  const State& s = state_;
  switch (offset) {
    case CLB:
      return u32(s.command_list);
    case CLBU:
      return u32(s.command_list >> 32);
    case FB:
      return u32(s.received_fis);
    case FBU:
      return u32(s.received_fis >> 32);
    case IS:
      return s.is;
    case IE:
      return s.ie;
    case CMD:
      return s.cmd;
    case TFD:
      return s.tfd;
    case SIG:
      return s.sig;
    case SSTS:
      return s.ssts;
    case SCTL:
      return s.sctl;
    case SERR:
      return s.serr;
    case SACT:
      return s.sact;
    case CI:
      return s.ci;
    default:
      return 0;
  }
}

void AhciPort::write(unsigned offset, u32 value) {
  State& s = state_;
  switch (offset) {
    case CLB:
      s.command_list = deposit(s.command_list, 31, 0, value & ~0x3ffu);
      break;
    case CLBU:
      s.command_list = deposit(s.command_list, 63, 32, value);
      break;
    case FB:
      s.received_fis = deposit(s.received_fis, 31, 0, value & ~0xffu);
      break;
    case FBU:
      s.received_fis = deposit(s.received_fis, 63, 32, value);
      break;
    case IS:
      s.is &= ~(value & kIsClearable);
      hooks_.interrupt();
      break;
    case IE:
      s.ie = value & kIeMask;
      hooks_.interrupt();
      break;
    case CMD:
      write_command(value);
      break;
    case SCTL:
      write_control(value);
      break;
    case SERR:
      s.serr &= ~value;
      if (!(s.serr & kDiagX)) s.is &= ~kPcs;
      if (!(s.serr & kDiagN)) s.is &= ~kPrcs;
      hooks_.interrupt();
      break;
    case SACT:
      if (s.cmd & kSt) s.sact |= value;
      break;
    case CI:
      if (!(s.cmd & kSt)) break;
      s.ci |= value;
      issue();
      break;
    default:
      break;
  }
}

void AhciPort::write_command(u32 value) {
  State& s = state_;
  const u32 before = s.cmd;
  s.cmd = (s.cmd & ~kCmdWritable) | (value & kCmdWritable & 0x0fff'ffff);  // ICC goes back to idle
  if ((value & kClo) && !(value & kSt)) s.tfd &= ~u32(ata::BSY | ata::DRQ);
  s.cmd = s.cmd & kFre ? s.cmd | kFr : s.cmd & ~kFr;
  if ((s.cmd & kFre) && s.signature_waits) send_signature();
  if (!(before & kSt) && (s.cmd & kSt)) {
    s.cmd |= kCr;
    s.halted = false;
  }
  if ((before & kSt) && !(s.cmd & kSt)) stop();
  issue();
}

/// ST was cleared, §10.3.2.
void AhciPort::stop() {
  state_.ci = state_.sact = 0;
  state_.halted = false;
  abandon();
  settle();
}

/// What had to wait for the end of what is under way.
void AhciPort::settle() {
  if (in_flight_ != 0) return;
  if (!(state_.cmd & kSt)) state_.cmd &= ~kCr;
  if (state_.resetting) finish_reset();
  hooks_.drained();
}

void AhciPort::write_control(u32 value) {
  const u32 before = state_.sctl & kDetMask, now = value & kDetMask;
  state_.sctl = value & 0xfff;
  if (drive() == nullptr) return;
  if (now == kDetInit || now == kDetOff) {
    abandon();
    state_.ci = state_.sact = 0;
    state_.ssts = now == kDetOff ? 4 : 0;
    set_task_file(ata::BSY, 0);
    state_.resetting = false;
  } else if (before == kDetInit || before == kDetOff) {  // COMRESET, §10.4.2
    state_.resetting = true;
    settle();
  }
}

void AhciPort::finish_reset() {
  state_.resetting = false;
  state_.soft_reset = false;
  state_.halted = false;
  IdeDevice* device = drive();
  if (device == nullptr) return;
  device->drive_reset(true);
  state_.ssts = kLinkUp;
  state_.serr |= kDiagX;
  state_.is |= kPcs;
  send_signature();
}

/// The device says what it is; kept until there is somewhere to receive it.
void AhciPort::send_signature() {
  IdeDevice* device = drive();
  if (device == nullptr) return;
  const bool atapi = device->is_atapi();
  const u8 status = atapi ? 0 : ata::DRDY | ata::DSC;
  state_.sig = atapi ? kSignatureAtapi : kSignatureAta;
  state_.signature_waits = !(state_.cmd & kFre);
  set_task_file(status, 1);
  if (!state_.signature_waits) post_register_fis(device->signature(), status, 1, false);
  hooks_.interrupt();
}

// Saving. ------------------------------------------------------------------------------------------------------------

void AhciPort::fields(qom::Archive& ar) {
  State& s = state_;
  ar("command_list", s.command_list)("received_fis", s.received_fis)("is", s.is)("ie", s.ie)("cmd", s.cmd);
  ar("tfd", s.tfd)("sig", s.sig)("ssts", s.ssts)("sctl", s.sctl)("serr", s.serr)("sact", s.sact)("ci", s.ci);
  ar("halted", s.halted)("soft_reset", s.soft_reset)("resetting", s.resetting);
  ar("signature_waits", s.signature_waits);
}

Result<void> AhciPort::after_load() {
  const State& s = state_;
  if ((s.command_list & 0x3ff) != 0 || (s.received_fis & 0xff) != 0) return error("AHCI: a list is not aligned");
  if (s.cmd & ~(kCmdWritable | kCr | kFr | 0x1f00)) return error("AHCI: reserved bits in CMD {:#x}", s.cmd);
  abandon();
  return {};
}

void AhciPort::resume() {
  settle();
  if (state_.halted || !(state_.cmd & kSt)) return;
  // Queued commands that the drive had accepted; their tables are still the driver's to keep.
  state_.ci |= state_.sact;
  state_.tfd &= ~u32(ata::BSY);
  issue();
}

}  // namespace emu::hw
