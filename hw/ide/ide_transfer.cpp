// SPDX-License-Identifier: Apache-2.0
// How a channel moves data: PIO in DRQ blocks, PACKET, bus master DMA.
#include <algorithm>

#include "hw/ide/ide_channel.h"
#include "util/log.h"

namespace emu::hw {

using namespace ata;

namespace {

constexpr u64 kPacketPart = 64 * 1024;
// Bus master registers
constexpr u8 kStart = 0x01, kToMemory = 0x08;                              // command
constexpr u8 kActive = 0x01, kError = 0x02, kInterrupt = 0x04, kCapable = 0x60;  // status
constexpr u32 kLastEntry = 0x8000'0000;
constexpr unsigned kTableEntries = 64 * 1024 / 8;  // a table does not cross 64 KiB

}  // namespace

std::shared_ptr<IdeRequest> IdeChannel::make_request() {
  auto request = std::make_shared<IdeRequest>();
  request->registers = active().registers;
  request->plan = state_.plan;
  request->is_packet = state_.is_packet;
  request->packet = state_.packet;
  request->offset = state_.done;
  return request;
}

void IdeChannel::submit(std::shared_ptr<IdeRequest> request, std::function<void(IdeRequest&)> done,
                        std::function<bool(IdeRequest&)> prepare) {
  state_.phase = Phase::Busy;
  active().status = BSY;
  in_flight_++;
  drive(state_.active)->submit(
      std::move(request),
      [this, generation = generation_, done = std::move(done)](IdeRequest& r) {
        if (in_flight_ != 0) in_flight_--;
        if (generation == generation_) return done(r);
        if (in_flight_ == 0 && state_.resetting && !(state_.control & kControlSrst)) finish_reset(reset_raises_irq_);
      },
      std::move(prepare));
}

void IdeChannel::start_transfer() {
  switch (state_.plan.protocol) {
    case AtaProtocol::NonData:
      return submit(make_request(), [this](IdeRequest& r) {
        active().registers = r.registers;
        finish(r.error);
      });
    case AtaProtocol::PioIn:
      return read_part();
    case AtaProtocol::PioOut:
      state_.buffer.assign(std::min<u64>(state_.plan.drq_bytes, state_.plan.bytes), 0);
      state_.position = 0;
      state_.phase = Phase::DataOut;
      return offer_block(false);  // the first block is asked for without an interrupt
    case AtaProtocol::DmaIn:
    case AtaProtocol::DmaOut:
      state_.phase = Phase::WaitDma;
      active().status = BSY;
      if (state_.command & kStart) begin_dma();
      return;
    case AtaProtocol::Packet:
      state_.uses_dma = active().registers.feature & 1;
      state_.buffer.assign(kCdbBytes, 0);
      state_.position = 0;
      state_.block_end = kCdbBytes;
      state_.phase = Phase::Cdb;
      active().registers.count = kReasonCommand;
      active().status = DRDY | DRQ;
      return;
  }
}

// PIO. ---------------------------------------------------------------------------------------------------------------

/// The next part of the data comes from the drive into the buffer.
void IdeChannel::read_part() {
  auto request = make_request();
  const u64 left = (state_.is_packet ? state_.packet.bytes : state_.plan.bytes) - state_.done;
  const u64 part = !state_.is_packet             ? state_.plan.drq_bytes
                   : state_.packet.is_splittable ? kPacketPart
                                                 : left;
  request->buffer.resize(std::min(part, left));
  submit(request, [this](IdeRequest& r) {
    if (r.error != 0) return finish(r.error);
    state_.buffer = std::move(r.buffer);
    if (state_.is_packet) state_.buffer.resize(std::min<u64>(r.packet_result.bytes, state_.buffer.size()));
    state_.position = 0;
    if (state_.buffer.empty()) return finish(0);
    state_.phase = Phase::DataIn;
    offer_block(true);
  });
}

/// The guest may move the next DRQ block.
void IdeChannel::offer_block(bool raise_irq) {
  const u32 left = u32(state_.buffer.size()) - state_.position;
  u32 block = left;
  if (state_.is_packet) {
    const u32 limit = byte_count_limit();
    block = std::min(left, limit);
    AtaTaskFile& r = active().registers;
    r.lba_mid = u16(block & 0xff);
    r.lba_high = u16(block >> 8);
    r.count = state_.phase == Phase::DataIn ? kReasonIn : 0;
    raise_irq = true;
  }
  state_.block_end = state_.position + block;
  active().status = u8(DRDY | DRQ | (state_.is_packet ? 0 : DSC));
  if (raise_irq) set_irq(true);
}

/// The byte count registers of PACKET; an odd limit counts for less unless all fits into it, ATA/ATAPI-7 6.24.4.
u32 IdeChannel::byte_count_limit() {
  const u32 left = u32(state_.buffer.size()) - state_.position;
  u32 limit = state_.packet_limit;
  if (limit == 0 || limit == 0xffff) limit = 0xfffe;
  return limit >= left ? left : std::max(limit & ~1u, 2u);
}

u64 IdeChannel::read_data(unsigned size) {
  u64 value = 0;
  if (state_.phase != Phase::DataIn || state_.selected != state_.active) return 0;
  const u32 n = std::min<u32>(size, state_.block_end - state_.position);
  for (u32 i = 0; i < n; i++) value |= u64(state_.buffer[state_.position + i]) << (8 * i);
  state_.position += n;
  if (state_.position == state_.block_end) data_block_done();
  return value;
}

void IdeChannel::write_data(u64 value, unsigned size) {
  if ((state_.phase != Phase::DataOut && state_.phase != Phase::Cdb) || state_.selected != state_.active) return;
  const u32 n = std::min<u32>(size, state_.block_end - state_.position);
  for (u32 i = 0; i < n; i++) state_.buffer[state_.position + i] = u8(value >> (8 * i));
  state_.position += n;
  if (state_.position == state_.block_end) data_block_done();
}

void IdeChannel::data_block_done() {
  if (state_.phase == Phase::Cdb) return start_packet();
  if (state_.position < state_.buffer.size()) return offer_block(true);
  if (state_.phase == Phase::DataOut) return write_part();
  state_.done += state_.buffer.size();
  const u64 total = !state_.is_packet             ? state_.plan.bytes
                    : state_.packet.is_splittable ? state_.packet.bytes
                                                  : state_.done;
  if (state_.done < total) return read_part();
  finish(0, /*raise_irq=*/state_.is_packet);
}

void IdeChannel::write_part() {
  auto request = make_request();
  request->buffer = std::move(state_.buffer);
  state_.buffer.clear();
  submit(request, [this](IdeRequest& r) {
    if (r.error != 0) return finish(r.error);
    state_.done += r.buffer.size();
    if (state_.is_packet || state_.done >= state_.plan.bytes) return finish(0);
    state_.buffer.assign(std::min<u64>(state_.plan.drq_bytes, state_.plan.bytes - state_.done), 0);
    state_.position = 0;
    state_.phase = Phase::DataOut;
    offer_block(true);
  });
}

// PACKET. ------------------------------------------------------------------------------------------------------------

void IdeChannel::start_packet() {
  std::copy(state_.buffer.begin(), state_.buffer.end(), state_.packet.cdb.begin());
  const AtaTaskFile& r = active().registers;
  state_.packet_limit = u16((r.lba_mid & 0xff) | (r.lba_high & 0xff) << 8);
  state_.buffer.clear();
  IdeDevice* device = drive(state_.active);
  auto request = make_request();
  const auto prepare = [device, cdb = state_.packet.cdb](IdeRequest& checked) {
    checked.packet = device->unit()->prepare(std::span(cdb.data(), kCdbBytes));
    return checked.packet.refused || checked.packet.direction == ScsiDirection::None;
  };
  submit(
      request,
      [this](IdeRequest& checked) {
        state_.packet = checked.packet;
        if (checked.packet.refused || checked.packet.direction == ScsiDirection::None) return finish(checked.error);
        packet_checked();
      },
      prepare);
}

void IdeChannel::packet_checked() {
  if (state_.uses_dma) {
    state_.phase = Phase::WaitDma;
    if (state_.command & kStart) begin_dma();
    return;
  }
  if (state_.packet.direction == ScsiDirection::In) return read_part();
  state_.buffer.assign(std::min<u64>(state_.packet.bytes, kPacketPart), 0);
  state_.position = 0;
  state_.phase = Phase::DataOut;
  offer_block(true);
}

// Bus master. --------------------------------------------------------------------------------------------------------

u8 IdeChannel::read_bus_master(u64 offset) {
  if (offset == 0) return state_.command;
  return offset == 2 ? state_.status : 0;
}

void IdeChannel::write_bus_master(u64 offset, u8 value) {
  if (offset == 2) {
    state_.status = u8((state_.status & ~(value & (kError | kInterrupt)) & ~kCapable) | (value & kCapable));
    return;
  }
  if (offset != 0) return;
  const bool started = !(state_.command & kStart) && (value & kStart);
  state_.command = value & (kStart | kToMemory);
  if (!(value & kStart)) state_.status &= u8(~kActive);
  if (!started) return;
  state_.status |= kActive;
  if (state_.phase == Phase::WaitDma) begin_dma();
}

/// Pins the memory that the table of descriptors names, up to `wanted` bytes.
bool IdeChannel::gather(u64 wanted, std::vector<mem::PinnedSpan>& pins, u64& total, bool& to_the_end) {
  const auto direction = state_.command & kToMemory ? mem::Direction::ToGuest : mem::Direction::FromGuest;
  total = 0;
  to_the_end = false;
  for (unsigned i = 0; i < kTableEntries; i++) {
    struct Entry {
      Le32 address, count;
    };
    const auto entry = dma_().read<Entry>(mem::GuestPhys(state_.table) + 8 * i);
    if (!entry) return false;
    const u32 count = entry->count.get();
    const u64 bytes = (count & 0xfffe) == 0 ? 0x10000 : count & 0xfffe;
    const u64 used = std::min(bytes, wanted - total);
    auto spans = dma_().map(entry->address.get() & ~1u, used, direction);
    if (!spans) return false;
    for (auto& span : *spans) pins.push_back(std::move(span));
    total += used;
    if (count & kLastEntry) {
      to_the_end = used == bytes;
      return true;
    }
    if (total == wanted) return true;
  }
  return true;
}

void IdeChannel::begin_dma() {
  const bool to_memory = state_.is_packet ? state_.packet.direction == ScsiDirection::In : is_in(state_.plan.protocol);
  const u64 wanted = state_.is_packet ? state_.packet.bytes : state_.plan.bytes;
  auto request = make_request();
  u64 total = 0;
  bool to_the_end = false;
  if (to_memory != ((state_.command & kToMemory) != 0) || !gather(wanted, request->pins, total, to_the_end)) {
    log::guest_error("ide: bus master descriptors at {:#x} are unusable", state_.table);
    state_.status = u8((state_.status & ~kActive) | kError);
    return finish(ABRT);
  }
  const bool is_short = total < wanted && (!state_.is_packet || state_.packet.is_splittable);
  submit(request, [this, to_the_end, is_short](IdeRequest& r) { dma_done(r, !to_the_end, is_short); });
}

void IdeChannel::dma_done(IdeRequest& request, bool stays_active, bool is_short) {
  if (is_short) log::guest_error("ide: bus master descriptors are for less than the command moves");
  if (!stays_active || is_short) state_.status &= u8(~kActive);
  finish(request.error != 0 ? request.error : is_short ? ABRT : 0);
}

}  // namespace emu::hw
