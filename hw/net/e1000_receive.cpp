// SPDX-License-Identifier: Apache-2.0
// Receiving, SDM §3.2: address filters, checksums, and the ring of buffers.
#include <algorithm>

#include "hw/net/e1000.h"
#include "util/endian.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {
namespace {

// RCTL, §13.4.22.
constexpr u32 kEnable = bit(1), kUnicastAll = bit(3), kMulticastAll = bit(4), kLong = bit(5), kBroadcast = bit(15),
              kVlanFilter = bit(18), kSizeExtension = bit(25), kStripCrc = bit(26);
constexpr u32 kCtrlVlanMode = bit(30);
constexpr u32 kIpOffload = bit(8), kTcpOffload = bit(9);  // RXCSUM
constexpr u32 kAddressValid = bit(31);
constexpr unsigned kFcsBytes = 4;
constexpr std::size_t kMostFrame = 1518, kVlanTag = 4, kMostLongFrame = 16384;

// Statistics, §13.7.
enum Statistic : unsigned { PRC64 = 0x405c, GPRC = 0x4074, BPRC = 0x4078, MPRC = 0x407c, GORCL = 0x4088, ROC = 0x40ac, TORL = 0x40c0, TPR = 0x40d0 };

struct Descriptor {  // §3.2.3
  Le64 address;
  Le16 length, checksum;
  u8 status, errors;
  Le16 special;
};
static_assert(sizeof(Descriptor) == 16);

u16 get16(std::span<const u8> bytes, std::size_t at) { return u16(bytes[at] << 8 | bytes[at + 1]); }

bool is_broadcast(std::span<const u8> frame) {
  return std::all_of(frame.begin(), frame.begin() + 6, [](u8 byte) { return byte == 0xff; });
}

}  // namespace

u32 E1000Core::receive_buffer_bytes() const {
  const unsigned size = state_.rctl >> 16 & 3;
  if ((state_.rctl & kSizeExtension) != 0 && size != 0) return u32(32768) >> size;
  return u32(2048) >> size;
}

bool E1000Core::passes_address(std::span<const u8> frame) const {
  for (unsigned i = 0; i < state_.ra.size(); i += 2) {
    if ((state_.ra[i + 1] & kAddressValid) == 0) continue;
    const u64 address = u64(state_.ra[i + 1] & 0xffff) << 32 | state_.ra[i];
    u64 destination = 0;
    for (unsigned byte = 0; byte < 6; byte++) destination |= u64(frame[byte]) << (8 * byte);
    if (address == destination) return true;
  }
  if ((frame[0] & 1) == 0) return (state_.rctl & kUnicastAll) != 0;
  if (is_broadcast(frame) && (state_.rctl & kBroadcast) != 0) return true;
  if ((state_.rctl & kMulticastAll) != 0) return true;
  // §13.5.1: 12 bits of the address's last two bytes pick a bit of the table.
  constexpr unsigned kShifts[] = {4, 3, 2, 0};
  const unsigned shift = kShifts[state_.rctl >> 12 & 3];
  const unsigned hash = ((unsigned(frame[5]) << 8 | frame[4]) >> shift) & 0xfff;
  return (state_.mta[hash >> 5] >> (hash & 31) & 1) != 0;
}

bool E1000Core::passes_filters(std::span<const u8> frame) {
  if (!passes_address(frame)) return false;
  const bool tagged = get16(frame, 12) == u16(state_.vet);
  if (tagged && (state_.rctl & kVlanFilter) != 0) {
    const unsigned vid = get16(frame, 14) & 0xfff;
    if ((state_.vfta[vid >> 5] >> (vid & 31) & 1) == 0) return false;
  }
  const std::size_t most = (state_.rctl & kLong) != 0 ? kMostLongFrame - kFcsBytes : kMostFrame - kFcsBytes + (tagged ? kVlanTag : 0);
  if (frame.size() > most) {
    count(ROC);
    return false;
  }
  return true;
}

void E1000Core::check_sums(std::span<const u8> frame, bool are_good, Received& received) const {
  const net::FrameLayout* layout = received.layout;
  if (layout == nullptr || (state_.rxcsum & (kIpOffload | kTcpOffload)) == 0) {
    received.status |= kIxsm;
    return;
  }
  if ((state_.rxcsum & kIpOffload) != 0 && !layout->is_v6) {
    received.status |= kIpcs;
    const auto header = frame.subspan(layout->network, layout->transport - layout->network);
    if (!are_good && net::checksum_fold(net::checksum_add(0, header)) != 0xffff) received.errors |= kIpe;
  }
  if ((state_.rxcsum & kTcpOffload) == 0 || layout->is_fragment) return;
  constexpr u8 kTcp = 6, kUdp = 17;
  if (layout->protocol != kTcp && layout->protocol != kUdp) return;
  const bool is_udp = layout->protocol == kUdp;
  if (is_udp && get16(frame, layout->transport + 6) == 0 && !layout->is_v6) return;  // sent without one
  const auto body = frame.subspan(layout->transport, layout->end - layout->transport);
  received.status |= is_udp ? u8(kTcpcs | kUdpcs) : kTcpcs;
  if (are_good) return;
  const u32 sum = net::checksum_add(net::pseudo_header_sum(frame, *layout, u32(body.size())), body);
  if (net::checksum_fold(sum) != 0xffff) received.errors |= kTcpe;
}

void E1000Core::write_back(u64 descriptor, u16 bytes, bool is_last, const Received& received) {
  Descriptor out{};  // the address stays what it is
  out.length = bytes;
  out.checksum = received.checksum;
  out.status = is_last ? u8(received.status | kRxDd | kRxEop) : kRxDd;
  out.errors = is_last ? received.errors : u8(0);
  out.special = received.vlan;
  // Status last: a driver that polls must find the rest in place.
  const u8 status = out.status;
  out.status = 0;
  constexpr std::size_t kBehindAddress = offsetof(Descriptor, length);
  store(descriptor + kBehindAddress, {reinterpret_cast<const u8*>(&out) + kBehindAddress, sizeof out - kBehindAddress});
  store(descriptor + offsetof(Descriptor, status), {&status, 1});
}

bool E1000Core::frame_arrived(std::span<const u8> frame, bool sums_are_good) {
  Ring& ring = state_.rx;
  if ((state_.rctl & kEnable) == 0 || !has_link() || !is_bus_master()) return true;  // nobody listens
  if (!passes_filters(frame)) return true;

  Received received;
  const auto layout = net::parse_frame(frame);
  received.layout = layout ? &*layout : nullptr;
  check_sums(frame, sums_are_good, received);
  std::span<const u8> stored = frame;
  const bool strips_tag = get16(frame, 12) == u16(state_.vet) && (state_.ctrl & kCtrlVlanMode) != 0;
  if (strips_tag || (state_.rctl & kStripCrc) == 0) {
    incoming_.assign(frame.begin(), frame.end());
    if (strips_tag) {
      received.vlan = get16(frame, 14);
      received.status |= kVp;
      incoming_.erase(incoming_.begin() + 12, incoming_.begin() + 16);
    }
    // The FCS is not computed, for nobody checks it again: it is there for its length.
    if ((state_.rctl & kStripCrc) == 0) incoming_.resize(incoming_.size() + kFcsBytes);
    stored = incoming_;
  }

  const u32 buffer_bytes = receive_buffer_bytes();
  const u32 needed = u32((stored.size() + buffer_bytes - 1) / buffer_bytes);
  if (!ring.is_sound() || ring.used() < needed) {
    EMU_TRACE("e1000_rx_full", "head {} tail {} needed {}", ring.head, ring.tail, needed);
    return false;  // nothing is lost, and so nothing is reported: whoever sends is stopped
  }
  for (std::size_t at = 0; at < stored.size();) {
    const u64 descriptor = ring.base() + u64(ring.head) * sizeof(Descriptor);
    const std::size_t here = std::min<std::size_t>(buffer_bytes, stored.size() - at);
    const auto buffer = dma().read<Le64>(descriptor);
    if (buffer && *buffer != 0) {
      store(*buffer, stored.subspan(at, here));
    } else if (!buffer) {
      log::guest_error("{}: the receive ring is not in memory at {:#x}", type().name(), descriptor);
    }
    at += here;
    write_back(descriptor, u16(here), at == stored.size(), received);
    ring.head = ring.head + 1 == ring.count() ? 0 : ring.head + 1;
  }
  const std::size_t on_wire = frame.size() + kFcsBytes;
  count(GPRC);
  count(TPR);
  if ((frame[0] & 1) != 0) count(is_broadcast(frame) ? BPRC : MPRC);
  count_bytes(GORCL, on_wire);
  count_bytes(TORL, on_wire);
  count_size(PRC64, on_wire);
  u32 causes = kRxt0;
  const unsigned threshold = state_.rctl >> 8 & 3;  // RDMTS: a half, a quarter, an eighth of the ring
  if (ring.used() <= ring.count() >> (threshold + 1)) causes |= kRxdmt0;
  cause(causes);
  return true;
}

void E1000Core::write_rctl(u32 value) {
  state_.rctl = value & 0x07ff'fffe;
  room_appeared();
}

void E1000Core::write_rdt(u32 value) {
  state_.rx.tail = value & 0xffff;
  if (state_.rx.count() != 0 && state_.rx.tail >= state_.rx.count()) {
    log::guest_error("{}: RDT {} is outside a ring of {}", type().name(), state_.rx.tail, state_.rx.count());
  }
  room_appeared();
}

}  // namespace emu::hw
