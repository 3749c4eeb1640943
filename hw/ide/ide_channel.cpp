// SPDX-License-Identifier: Apache-2.0
// Registers of a channel, commands and resets; transfers are in ide_transfer.cpp.
#include "hw/ide/ide_channel.h"

#include "util/log.h"

namespace emu::hw {

using namespace ata;

namespace {

enum Register : unsigned { DATA, FEATURE, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, COMMAND };

void push(u16& fifo, u8 value) { fifo = u16(fifo << 8 | value); }

}  // namespace

IdeChannel::IdeChannel(IdeBus& bus, IrqLine& irq, std::function<mem::AddressSpace&()> dma)
    : bus_(bus), irq_(irq), dma_(std::move(dma)) {
  bus_.set_listener([this](unsigned unit) {  // a drive went, with its requests
    if (state_.phase != Phase::Idle && state_.active == unit) abandon();
    in_flight_ = 0;
    state_.units[unit] = {};
  });
}

IdeDevice* IdeChannel::drive(unsigned unit) const {
  IdeDevice* device = bus_.at(unit);
  return device != nullptr && device->is_realized() ? device : nullptr;
}

void IdeChannel::reset() {
  generation_++;
  state_ = {};
  for (unsigned unit = 0; unit < IdeBus::kUnits; unit++) {
    if (drive(unit) != nullptr) show_signature(unit);
  }
}

void IdeChannel::set_irq(bool level) {
  state_.irq = level;
  if (level) state_.status |= 0x04;
  show_irq();
}

// Registers. ---------------------------------------------------------------------------------------------------------

u64 IdeChannel::read_command_block(u64 offset, unsigned size) {
  if (offset == DATA) return read_data(size);
  u64 value = 0;
  for (unsigned i = 0; i < size; i++) value |= u64(offset + i < 8 ? read_register(offset + i) : 0xff) << (8 * i);
  return value;
}

void IdeChannel::write_command_block(u64 offset, u64 value, unsigned size) {
  if (offset == DATA) return write_data(value, size);
  for (unsigned i = 0; i < size && offset + i < 8; i++) write_register(offset + i, u8(value >> (8 * i)));
}

/// A drive that is not there reads as zero, so that nobody waits for it.
u8 IdeChannel::shown_status(unsigned unit) const { return drive(unit) == nullptr ? 0 : state_.units[unit].status; }

u8 IdeChannel::read_register(u64 offset) {
  if (drive(state_.selected) == nullptr) return 0;
  const Unit& unit = state_.units[state_.selected];
  const AtaTaskFile& r = unit.registers;
  const unsigned shift = state_.control & kControlHob ? 8 : 0;
  switch (offset) {
    case FEATURE:
      return unit.error;
    case COUNT:
      return u8(r.count >> shift);
    case LBA_LOW:
      return u8(r.lba_low >> shift);
    case LBA_MID:
      return u8(r.lba_mid >> shift);
    case LBA_HIGH:
      return u8(r.lba_high >> shift);
    case DEVICE:
      return u8(r.device | 0xa0);
    default:
      set_irq(false);
      return unit.status;
  }
}

void IdeChannel::write_register(u64 offset, u8 value) {
  state_.control &= u8(~kControlHob);
  if (offset == COMMAND) return start_command(value);
  if (shown_status(state_.selected) & (BSY | DRQ)) return;  // heard by nobody, ATA/ATAPI-7 5.2
  if (offset == DEVICE) state_.selected = value & kDevice1 ? 1 : 0;
  for (Unit& unit : state_.units) {
    AtaTaskFile& r = unit.registers;
    switch (offset) {
      case FEATURE:
        push(r.feature, value);
        break;
      case COUNT:
        push(r.count, value);
        break;
      case LBA_LOW:
        push(r.lba_low, value);
        break;
      case LBA_MID:
        push(r.lba_mid, value);
        break;
      case LBA_HIGH:
        push(r.lba_high, value);
        break;
      default:
        r.device = value;
        break;
    }
  }
}

u64 IdeChannel::read_control_block(u64, unsigned) { return shown_status(state_.selected); }

void IdeChannel::write_control_block(u64, u64 value, unsigned) {
  const u8 before = state_.control;
  state_.control = u8(value) & (kControlNien | kControlSrst | kControlHob);
  if (!(before & kControlSrst) && (value & kControlSrst)) begin_reset();
  if ((before & kControlSrst) && !(value & kControlSrst) && in_flight_ == 0) finish_reset(false);
  show_irq();
}

// Resets. ------------------------------------------------------------------------------------------------------------

/// Whatever is under way is not heard of again.
void IdeChannel::abandon() {
  generation_++;
  state_.phase = Phase::Idle;
  state_.buffer.clear();
  state_.position = state_.block_end = 0;
  state_.status &= u8(~0x01);
}

void IdeChannel::begin_reset() {
  abandon();
  state_.resetting = true;
  reset_raises_irq_ = false;
  set_irq(false);
  for (unsigned unit = 0; unit < IdeBus::kUnits; unit++) {
    if (drive(unit) != nullptr) state_.units[unit].status = BSY;
  }
}

void IdeChannel::finish_reset(bool raise_irq) {
  state_.resetting = false;
  state_.selected = 0;
  for (unsigned unit = 0; unit < IdeBus::kUnits; unit++) {
    if (IdeDevice* device = drive(unit)) {
      device->drive_reset(false);
      show_signature(unit);
    }
  }
  if (raise_irq) set_irq(true);
}

void IdeChannel::show_signature(unsigned number) {
  Unit& unit = state_.units[number];
  const IdeDevice* device = drive(number);
  unit.registers = device->signature();
  unit.error = 0x01;  // diagnostics passed
  unit.status = device->is_atapi() ? 0 : DRDY | DSC;
}

// Commands. ----------------------------------------------------------------------------------------------------------

void IdeChannel::start_command(u8 command) {
  if (state_.resetting) return;
  IdeDevice* device = drive(state_.selected);
  if (command == EXECUTE_DEVICE_DIAGNOSTIC) {
    begin_reset();
    reset_raises_irq_ = true;
    if (in_flight_ == 0) finish_reset(true);
    return;
  }
  if (device == nullptr) return;
  Unit& unit = state_.units[state_.selected];
  if (command == DEVICE_RESET && device->is_atapi()) {
    if (state_.phase != Phase::Idle && state_.active == state_.selected) abandon();
    set_irq(false);
    device->drive_reset(false);
    const u8 select = unit.registers.device & kDevice1;
    show_signature(state_.selected);
    unit.registers.device = select;
    return;
  }
  if (state_.phase != Phase::Idle) {
    log::guest_error("ide: command {:#04x} while another one is under way", command);
    return;
  }
  set_irq(false);
  generation_++;
  state_.active = state_.selected;
  state_.done = 0;
  state_.buffer.clear();
  unit.registers.command = command;
  unit.error = 0;
  state_.plan = device->plan(unit.registers);
  state_.is_packet = state_.plan.protocol == AtaProtocol::Packet;
  state_.uses_dma = is_dma(state_.plan.protocol);
  if (state_.plan.error != 0) {
    if (device->is_atapi() && (command == IDENTIFY_DEVICE || command == READ_SECTORS)) {
      const u8 select = unit.registers.device;
      unit.registers = device->signature();
      unit.registers.device = select;
    }
    return finish(state_.plan.error);
  }
  start_transfer();
}

/// The end of the command under way.
void IdeChannel::finish(u8 error, bool raise_irq) {
  Unit& unit = active();
  unit.error = error;
  unit.status = u8(DRDY | (state_.is_packet ? 0 : DSC) | (error != 0 ? ERR : 0));
  if (state_.is_packet) unit.registers.count = kReasonCommand | kReasonIn;
  state_.phase = Phase::Idle;
  state_.buffer.clear();
  state_.position = state_.block_end = 0;
  if (raise_irq) set_irq(true);
}

// Saving. ------------------------------------------------------------------------------------------------------------

void IdeChannel::Unit::fields(qom::Archive& ar) { ar("registers", registers)("status", status)("error", error); }

void IdeChannel::fields(qom::Archive& ar) {
  State& s = state_;
  ar("units", s.units)("control", s.control)("selected", s.selected)("irq", s.irq)("resetting", s.resetting);
  ar("phase", s.phase)("active", s.active)("is_packet", s.is_packet)("uses_dma", s.uses_dma);
  ar("protocol", s.plan.protocol)("bytes", s.plan.bytes)("drq_bytes", s.plan.drq_bytes)("lba", s.plan.lba);
  ar("forces_unit_access", s.plan.forces_unit_access);
  ar("cdb", s.packet.cdb)("done", s.done);
  ar.bounded("buffer", s.buffer, 64 * 1024);
  ar("position", s.position)("block_end", s.block_end)("packet_limit", s.packet_limit);
  ar("bm_command", s.command)("bm_status", s.status)("bm_table", s.table);
}

Result<void> IdeChannel::after_load() {
  State& s = state_;
  if (s.phase != Phase::Cdb && s.phase != Phase::DataIn && s.phase != Phase::DataOut) {
    s.buffer.clear();
    s.position = s.block_end = 0;
  }
  if (s.selected > 1 || s.active > 1 || s.phase > Phase::Busy || s.plan.protocol > AtaProtocol::Packet ||
      s.position > s.block_end || s.block_end > s.buffer.size() || s.plan.drq_bytes == 0 ||
      s.plan.drq_bytes > 64 * 1024 || s.done > s.plan.bytes + s.buffer.size() + (u64(1) << 40)) {
    return error("ide: the command under way is out of range");
  }
  generation_++;
  if (s.phase != Phase::Idle) resume_after_load();
  show_irq();
  return {};
}

/// The guest writes the rest of the CDB, if that is what the drive takes and as long as it is.
void IdeChannel::resume_packet(const IdeDevice& device) {
  const bool fits = state_.buffer.size() == kCdbBytes && state_.block_end == kCdbBytes;
  if (!fits || !state_.is_packet || !device.is_atapi()) finish(ABRT);
}

/// A command that was with its drive when the state was saved is begun again, which reads or writes the same once more.
void IdeChannel::resume_after_load() {
  IdeDevice* device = drive(state_.active);
  if (device == nullptr) return abandon();
  if (state_.phase == Phase::Cdb) return resume_packet(*device);
  if (state_.phase == Phase::DataIn || state_.phase == Phase::DataOut) {
    // A PACKET in the middle of its data: the guest's driver tries again.
    if (state_.is_packet) return finish(ABRT);
    // Sectors are still the drive's to check: saved state may name any.
    const AtaPlan now = device->plan(active().registers);
    if (now.error != 0 || now.protocol != state_.plan.protocol || now.bytes != state_.plan.bytes ||
        state_.buffer.size() > now.bytes || state_.done > now.bytes - state_.buffer.size()) {
      return finish(ABRT);
    }
    state_.plan = now;
    return;
  }
  state_.done = 0;
  state_.command &= u8(~0x01);
  finish(ABRT);
}

}  // namespace emu::hw
