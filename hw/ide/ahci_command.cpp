// SPDX-License-Identifier: Apache-2.0
// How a port carries out its command list. AHCI 1.3.1 §4.2, §5.3; Serial ATA 2.6, 10.3 for FIS.
#include <algorithm>
#include <bit>

#include "hw/ide/ahci_port.h"
#include "util/log.h"

namespace emu::hw {

using namespace ahci;
using namespace ata;

namespace {

// Command header, §4.2.2
constexpr u32 kFisLengthMask = 0x1f, kHeaderAtapi = bit(5), kHeaderClearBusy = bit(10);
constexpr unsigned kHeaderBytes = 32, kTablePacket = 0x40, kTableEntries = 0x80;
constexpr u64 kByteCountOffset = 4;
// Received FIS structure, §4.2.1
constexpr unsigned kPioSetupAt = 0x20, kRegisterAt = 0x40, kSetDeviceBitsAt = 0x58;
constexpr u8 kRegisterToDevice = 0x27, kRegisterToHost = 0x34, kPioSetup = 0x5f, kSetDeviceBits = 0xa1;
constexpr u8 kIsCommand = 0x80, kInterrupt = 0x40, kToHost = 0x20;
constexpr unsigned kCdbBytes = 12;

struct Header {
  Le32 flags, bytes, table, table_high, reserved[4];
};
struct Entry {
  Le32 address, address_high, reserved, count;
};

AtaTaskFile task_file(std::span<const u8> fis) {
  const auto pair = [&](unsigned low, unsigned high) { return u16(fis[low] | fis[high] << 8); };
  return {.command = fis[2], .device = fis[7], .feature = pair(3, 11), .count = pair(12, 13), .lba_low = pair(4, 8),
          .lba_mid = pair(5, 9), .lba_high = pair(6, 10)};
}

void put_registers(std::span<u8> fis, const AtaTaskFile& r, u8 status, u8 error) {
  fis[2] = status;
  fis[3] = error;
  fis[4] = u8(r.lba_low);
  fis[5] = u8(r.lba_mid);
  fis[6] = u8(r.lba_high);
  fis[7] = r.device;
  fis[8] = u8(r.lba_low >> 8);
  fis[9] = u8(r.lba_mid >> 8);
  fis[10] = u8(r.lba_high >> 8);
  fis[12] = u8(r.count);
  fis[13] = u8(r.count >> 8);
}

u8 end_status(bool is_packet, u8 error) { return u8(DRDY | (is_packet ? 0 : DSC) | (error != 0 ? ERR : 0)); }

}  // namespace

// Beginning. ---------------------------------------------------------------------------------------------------------

/// Begins what can be begun: a command that is not queued waits until it is alone.
void AhciPort::issue() {
  while (!state_.halted && !state_.resetting && (state_.cmd & kSt) && drive() != nullptr) {
    const u32 waiting = state_.ci & ~started_;
    if (waiting == 0 || (started_ & ~queued_) != 0) return;
    const auto number = unsigned(std::countr_zero(waiting));
    const bool is_queued = state_.sact & bit(number);
    if (!is_queued && started_ != 0) return;
    state_.cmd = u32(deposit(state_.cmd, 12, 8, number));  // CCS
    started_ |= bit(number);
    start(number);
  }
}

bool AhciPort::fetch(unsigned number, Slot& slot) {
  mem::AddressSpace& dma = hooks_.dma();
  slot.header = state_.command_list + kHeaderBytes * number;
  const auto header = dma.read<Header>(slot.header);
  if (!header) return false;
  slot.flags = header->flags.get();
  slot.table_entries = slot.flags >> 16;
  slot.table = (u64(header->table_high.get()) << 32 | header->table.get()) & ~u64(0x7f);
  if (dma.read(slot.table, slot.fis) != mem::MemTxResult::Ok) return false;
  return dma.read(slot.table + kTablePacket, slot.packet) == mem::MemTxResult::Ok;
}

void AhciPort::start(unsigned number) {
  Slot slot;
  if (!fetch(number, slot)) return host_bus_error(number);
  if (slot.fis[0] != kRegisterToDevice || (slot.flags & kFisLengthMask) < 2) {
    log::guest_error("ahci: slot {} has a FIS of type {:#x}", number, slot.fis[0]);
    return host_bus_error(number);
  }
  if (!(slot.fis[1] & kIsCommand)) return control_fis(number, slot);
  IdeDevice* device = drive();
  auto request = std::make_shared<IdeRequest>();
  request->registers = task_file(slot.fis);
  if (request->registers.command == DEVICE_RESET && device->is_atapi()) {
    device->drive_reset(false);
    started_ &= ~bit(number);
    state_.ci &= ~bit(number);
    send_signature();
    return raise(kDhrs);
  }
  const bool diagnoses = request->registers.command == EXECUTE_DEVICE_DIAGNOSTIC;
  request->plan = diagnoses ? AtaPlan{} : device->plan(request->registers);
  const AtaPlan& plan = request->plan;
  if (!plan.queued) set_task_file(BSY, 0);
  if (plan.protocol == AtaProtocol::Packet && plan.error == 0) return start_packet(number, slot, std::move(request));

  u64 total = 0;
  if (plan.error == 0 && plan.bytes != 0) {
    if (!gather(slot, plan.bytes, is_in(plan.protocol), request->pins, total)) return host_bus_error(number);
    if (total < plan.bytes) {  // more data than the table has room for, §6.1.5
      request->pins.clear();
      request->plan.error = ABRT;
      state_.is |= kOfs;
    }
  }
  if (plan.queued) {
    // The drive takes it: the slot's bit goes, SACT's stays. A failed one is the drive's first answer, too.
    queued_ |= bit(number);
    state_.ci &= ~bit(number);
    set_task_file(DRDY | DSC, 0);
    return submit(number, std::move(request), [this, number](IdeRequest& r) { queued_done(number, r); });
  }
  submit(number, std::move(request), [this, number, slot, total](IdeRequest& r) {
    if (r.registers.command == EXECUTE_DEVICE_DIAGNOSTIC) {
      drive()->drive_reset(false);
      r.registers = drive()->signature();
    }
    command_done(number, slot, r, r.error == 0 ? total : 0);
  });
}

/// A FIS without a command carries the device control register: SRST on, then off, §10.4.1.
void AhciPort::control_fis(unsigned number, const Slot& slot) {
  started_ &= ~bit(number);
  state_.ci &= ~bit(number);
  const bool asserted = slot.fis[15] & kControlSrst;
  if (slot.flags & kHeaderClearBusy) state_.tfd &= ~u32(BSY);
  if (state_.soft_reset && !asserted) {
    drive()->drive_reset(false);
    state_.soft_reset = false;
    send_signature();
    raise(kDhrs);
    return;
  }
  state_.soft_reset = asserted;
}

void AhciPort::start_packet(unsigned number, const Slot& slot, std::shared_ptr<IdeRequest> request) {
  request->is_packet = true;
  if (!(slot.flags & kHeaderAtapi)) {
    request->is_packet = false;
    request->plan.error = ABRT;
    return submit(number, request, [this, number, slot](IdeRequest& r) { command_done(number, slot, r, 0); });
  }
  const auto failed = std::make_shared<bool>(false);
  const auto prepare = [this, slot, failed, generation = generation_](IdeRequest& r) {
    if (generation != generation_) return false;
    r.packet = drive()->unit()->prepare(std::span(slot.packet).first(kCdbBytes));
    const ScsiCommand& packet = r.packet;
    if (packet.refused || packet.direction == ScsiDirection::None) return true;
    u64 total = 0;
    *failed = !gather(slot, packet.bytes, packet.direction == ScsiDirection::In, r.pins, total);
    return !*failed;
  };
  submit(
      number, request,
      [this, number, slot, failed](IdeRequest& r) {
        if (*failed) return host_bus_error(number);
        r.registers.count = kReasonCommand | kReasonIn;
        command_done(number, slot, r, r.packet_result.bytes);
      },
      prepare);
}

/// Pins what the slot's table names, up to `wanted` bytes.
bool AhciPort::gather(const Slot& slot, u64 wanted, bool to_guest, std::vector<mem::PinnedSpan>& pins, u64& total) {
  mem::AddressSpace& dma = hooks_.dma();
  const auto direction = to_guest ? mem::Direction::ToGuest : mem::Direction::FromGuest;
  total = 0;
  for (u32 i = 0; i < slot.table_entries && total < wanted; i++) {
    const auto entry = dma.read<Entry>(slot.table + kTableEntries + sizeof(Entry) * i);
    if (!entry) return false;
    const u64 address = u64(entry->address_high.get()) << 32 | entry->address.get();
    const u64 bytes = std::min<u64>((entry->count.get() & 0x3f'ffff) + 1, wanted - total);
    auto spans = dma.map(address, bytes, direction);
    if (!spans) return false;
    for (auto& span : *spans) pins.push_back(std::move(span));
    total += bytes;
  }
  return true;
}

void AhciPort::submit(unsigned, std::shared_ptr<IdeRequest> request, std::function<void(IdeRequest&)> done,
                      std::function<bool(IdeRequest&)> prepare) {
  in_flight_++;
  drive()->submit(
      std::move(request),
      [this, generation = generation_, done = std::move(done)](IdeRequest& r) {
        if (in_flight_ != 0) in_flight_--;
        if (generation == generation_) {
          done(r);
          issue();
        }
        settle();
      },
      std::move(prepare));
}

// Ending. ------------------------------------------------------------------------------------------------------------

void AhciPort::command_done(unsigned number, const Slot& slot, IdeRequest& request, u64 moved) {
  started_ &= ~bit(number);
  const u8 status = end_status(request.is_packet, request.error);
  set_task_file(status, request.error);
  static_cast<void>(hooks_.dma().write<Le32>(slot.header + kByteCountOffset, u32(moved)));
  if (request.error != 0) {
    state_.halted = true;  // and the slot's bit stays, §6.2.2
    post_register_fis(request.registers, status, request.error, true);
    return raise(kTfes);
  }
  state_.ci &= ~bit(number);
  if (request.plan.protocol == AtaProtocol::PioIn) return post_pio_setup(request.registers, status, moved);
  post_register_fis(request.registers, status, 0, true);
}

void AhciPort::queued_done(unsigned number, IdeRequest& request) {
  started_ &= ~bit(number);
  queued_ &= ~bit(number);
  const u8 status = end_status(false, request.error);
  set_task_file(status, request.error);
  if (request.error != 0) {  // all others are aborted with it; log 10h says which it was
    state_.halted = true;
    generation_++;
    started_ = queued_ = 0;
    post_set_device_bits(status, request.error, 0);
    return raise(kTfes);
  }
  state_.sact &= ~bit(number);
  post_set_device_bits(status, 0, bit(number));
}

/// Something the command names cannot be reached, §6.2.1. The port does nothing more until it is restarted.
void AhciPort::host_bus_error(unsigned number) {
  log::guest_error("ahci: slot {} names memory that is not there", number);
  state_.halted = true;
  raise(kHbfs);
}

void AhciPort::post_register_fis(const AtaTaskFile& registers, u8 status, u8 error, bool interrupt) {
  std::array<u8, 20> fis{kRegisterToHost, u8(interrupt ? kInterrupt : 0)};
  put_registers(fis, registers, status, error);
  post_fis(kRegisterAt, fis);
  if (interrupt) raise(kDhrs);
}

void AhciPort::post_pio_setup(const AtaTaskFile& registers, u8 status, u64 bytes) {
  std::array<u8, 20> fis{kPioSetup, u8(kInterrupt | kToHost)};
  put_registers(fis, registers, u8(status | DRQ), 0);
  fis[15] = status;
  fis[16] = u8(bytes);
  fis[17] = u8(bytes >> 8);
  post_fis(kPioSetupAt, fis);
  raise(kPss);
}

void AhciPort::post_set_device_bits(u8 status, u8 error, u32 finished) {
  std::array<u8, 8> fis{kSetDeviceBits, kInterrupt, u8(status & 0x77), error};
  for (unsigned i = 0; i < 4; i++) fis[4 + i] = u8(finished >> (8 * i));
  post_fis(kSetDeviceBitsAt, fis);
  raise(kSdbs);
}

void AhciPort::post_fis(unsigned offset, std::span<const u8> fis) {
  if (!(state_.cmd & kFre)) return;
  if (hooks_.dma().write(state_.received_fis + offset, fis) != mem::MemTxResult::Ok) raise(kHbfs);
}

}  // namespace emu::hw
