// SPDX-License-Identifier: Apache-2.0
// Frames in C mode (§4: four transmit buffers, a receive ring of bytes) and in C+ mode (descriptors).
#include <algorithm>

#include "hw/net/rtl8139.h"
#include "util/endian.h"
#include "util/log.h"

namespace emu::hw {
namespace {

constexpr u8 kReceive = 0x08, kTransmit = 0x04;  // CR
// ISR.
constexpr u16 kRok = 0x0001, kTok = 0x0004, kRxOverflow = 0x0010, kRdu = 0x0010, kTdu = 0x0080;
// TSD: the card owns the buffer while OWN is 0.
constexpr u32 kTsdSize = 0x1fff, kTsdOwn = bit(13), kTsdOk = bit(15);
// RCR: which frames are taken.
constexpr u32 kAcceptAll = bit(0), kAcceptOurs = bit(1), kAcceptMulticast = bit(2), kAcceptBroadcast = bit(3), kWrap = bit(7);
// Status in front of a frame in the ring, and in a descriptor's upper bits.
constexpr u16 kStatusOk = 0x0001, kStatusBroadcast = 0x2000, kStatusOurs = 0x4000, kStatusMulticast = 0x8000;
constexpr unsigned kFcsBytes = 4, kRingHeader = 4;
constexpr u32 kDescriptors = 64;
// CPCR.
constexpr u16 kReceiveChecksum = 0x0020, kReceiveVlan = 0x0040;

struct Descriptor {  // C+ mode
  Le32 status, vlan;
  Le64 address;
};
static_assert(sizeof(Descriptor) == 16);
// Descriptors' first word.
constexpr u32 kOwn = bit(31), kEnd = bit(30), kFirst = bit(29), kLast = bit(28), kLargeSend = bit(27), kIpSum = bit(18),
              kUdpSum = bit(17), kTcpSum = bit(16);
constexpr u32 kTagPresent = bit(17), kTagAvailable = bit(16);  // second word: sending, received

/// The Ethernet CRC's upper six bits, by which the multicast table is read.
unsigned hash_of(std::span<const u8> address) {
  u32 crc = ~u32(0);
  for (u8 byte : address) {
    for (unsigned i = 0; i < 8; i++, byte >>= 1) {
      const bool carry = ((crc >> 31) ^ byte) & 1;
      crc = crc << 1 ^ (carry ? 0x04c1'1db7u : 0);
    }
  }
  return crc >> 26;
}

void be16(std::span<u8> bytes, std::size_t at, u16 value) {
  bytes[at] = u8(value >> 8);
  bytes[at + 1] = u8(value);
}

}  // namespace

bool Rtl8139::passes_filters(std::span<const u8> frame, u16& status) const {
  const u32 accept = get32(RCR);
  const bool broadcast = std::all_of(frame.begin(), frame.begin() + 6, [](u8 byte) { return byte == 0xff; });
  if (broadcast) {
    status |= kStatusBroadcast;
    return (accept & (kAcceptBroadcast | kAcceptAll)) != 0;
  }
  if ((frame[0] & 1) != 0) {
    status |= kStatusMulticast;
    if ((accept & kAcceptAll) != 0) return true;
    if ((accept & kAcceptMulticast) == 0) return false;
    const unsigned hash = hash_of(frame.first(6));
    return (state_.bytes[MAR0 + (hash >> 3)] >> (hash & 7) & 1) != 0;
  }
  const bool ours = std::equal(frame.begin(), frame.begin() + 6, state_.bytes.begin() + IDR0);
  if (ours) status |= kStatusOurs;
  return (accept & kAcceptAll) != 0 || (ours && (accept & kAcceptOurs) != 0);
}

bool Rtl8139::frame_arrived(std::span<const u8> frame, bool) {
  if ((state_.bytes[CR] & kReceive) == 0 || !has_link() || !is_bus_master()) return true;
  constexpr std::size_t kMost = 16384 - kRingHeader - kFcsBytes;
  u16 status = kStatusOk;
  if (frame.size() > kMost || !passes_filters(frame, status)) return true;
  return is_cplus_receive() ? receive_into_descriptor(frame, status) : receive_into_ring(frame, status);
}

/// Writes into the ring of 8 to 64 KiB; with WRAP a frame goes on behind the ring's end.
void Rtl8139::to_ring(u32 offset, std::span<const u8> bytes) {
  const u32 ring = u32(8192) << (get32(RCR) >> 11 & 3);
  const u64 base = get32(RBSTART);
  const bool runs_on = (get32(RCR) & kWrap) != 0 && ring < 65536;
  const std::size_t here = runs_on ? bytes.size() : std::min<std::size_t>(bytes.size(), ring - offset);
  store(base + offset, bytes.first(here));
  if (here < bytes.size()) store(base, bytes.subspan(here));
}

bool Rtl8139::receive_into_ring(std::span<const u8> frame, u16 status) {
  const u32 ring = u32(8192) << (get32(RCR) >> 11 & 3);
  const u32 head = get16(CBR) % ring;
  const u32 tail = (get16(CAPR) + 16u) % ring;
  const u32 used = (head + ring - tail) % ring;
  const auto bytes = u32(frame.size()) + kFcsBytes;
  const u32 needed = (kRingHeader + bytes + 3) & ~3u;
  if (used + needed >= ring) {  // the driver has to read first; nothing is lost meanwhile
    if (used != 0) return false;
    cause(kRxOverflow);
    return true;
  }
  std::vector<u8> stored{u8(status), u8(status >> 8), u8(bytes), u8(bytes >> 8)};
  stored.insert(stored.end(), frame.begin(), frame.end());
  stored.resize(needed);
  to_ring(head, stored);
  put16(CBR, u16((head + needed) % ring));
  cause(kRok);
  return true;
}

bool Rtl8139::receive_into_descriptor(std::span<const u8> frame, u16 status) {
  const u64 address = (get64(RDSAR) & ~u64(0xff)) + u64(state_.cplus_rx) * sizeof(Descriptor);
  const auto descriptor = dma().read<Descriptor>(address);
  if (!descriptor) {
    log::guest_error("rtl8139: the receive ring is not in memory at {:#x}", address);
    return true;
  }
  const u32 word = descriptor->status.get();
  if ((word & kOwn) == 0) {
    cause(kRdu);
    return false;
  }
  std::vector<u8> stored(frame.begin(), frame.end());
  u32 vlan = 0;
  if ((get16(CPCR) & kReceiveVlan) != 0 && frame[12] == 0x81 && frame[13] == 0x00) {
    vlan = kTagAvailable | u32(frame[14]) | u32(frame[15]) << 8;
    stored.erase(stored.begin() + 12, stored.begin() + 16);
  }
  stored.resize(stored.size() + kFcsBytes);
  const u32 room = word & 0x1fff;
  u32 result = (word & kEnd) | kFirst | kLast | u32(std::min<std::size_t>(stored.size(), 0x1fff));
  if ((status & kStatusBroadcast) != 0) result |= bit(25);
  if ((status & kStatusOurs) != 0) result |= bit(26);
  if ((status & kStatusMulticast) != 0) result |= bit(27);
  if (stored.size() > room) {
    result |= bit(21) | bit(20);  // longer than the buffer
    stored.resize(room);
  }
  if (const auto layout = net::parse_frame(frame); layout && !layout->is_v6 && (get16(CPCR) & kReceiveChecksum) != 0) {
    const auto header = frame.subspan(layout->network, layout->transport - layout->network);
    const bool tcp = layout->protocol == 6, udp = layout->protocol == 17;
    const auto body = frame.subspan(layout->transport, layout->end - layout->transport);
    const u32 sum = net::checksum_add(net::pseudo_header_sum(frame, *layout, u32(body.size())), body);
    // A fragment need not have the header that would say so.
    const bool without = udp && !layout->is_fragment && frame[layout->transport + 6] == 0 &&
                         frame[layout->transport + 7] == 0;
    const bool wrong = net::checksum_fold(sum) != 0xffff && !without;
    result |= tcp ? 1u << 16 : udp ? 2u << 16 : 3u << 16;
    if (net::checksum_fold(net::checksum_add(0, header)) != 0xffff) result |= bit(15);
    if (udp && !layout->is_fragment && wrong) result |= bit(14);
    if (tcp && !layout->is_fragment && wrong) result |= bit(13);
  }
  store(descriptor->address.get(), stored);
  const Le32 second(vlan), first(result);
  store(address + 4, {reinterpret_cast<const u8*>(&second), 4});
  store(address, {reinterpret_cast<const u8*>(&first), 4});
  state_.cplus_rx = (word & kEnd) != 0 || state_.cplus_rx + 1 == kDescriptors ? 0 : state_.cplus_rx + 1;
  cause(kRok);
  return true;
}

// Sending. ------------------------------------------------------------------------------------------------------------

bool Rtl8139::has_more_work() const {
  if ((state_.bytes[CR] & kTransmit) == 0 || !is_bus_master()) return false;
  if (is_cplus_transmit()) return state_.cplus_poll;
  return (get32(TSD0 + 4 * state_.tx_next) & kTsdOwn) == 0;
}

std::optional<PciNic::OutFrame> Rtl8139::next_frame() {
  if ((state_.bytes[CR] & kTransmit) == 0 || !is_bus_master()) return std::nullopt;
  auto frame = is_cplus_transmit() ? next_descriptor() : next_buffer();
  if (frame) frame->to_ourselves = is_looped_back();
  return frame;
}

std::optional<PciNic::OutFrame> Rtl8139::next_buffer() {
  const unsigned at = TSD0 + 4 * state_.tx_next;
  const u32 status = get32(at);
  if ((status & kTsdOwn) != 0) return std::nullopt;
  const u64 address = get32(TSAD0 + 4 * state_.tx_next);
  OutFrame frame;
  frame.bytes.resize(status & kTsdSize);
  if (dma().read(address, frame.bytes) != mem::MemTxResult::Ok) {
    log::guest_error("rtl8139: a frame's bytes are not in memory at {:#x}", address);
    std::fill(frame.bytes.begin(), frame.bytes.end(), u8(0));
  }
  put32(at, status | kTsdOwn | kTsdOk);
  state_.tx_next = (state_.tx_next + 1) % 4;
  cause(kTok);
  return frame;
}

/// Checksums and segmentation that the first descriptor of a frame asks for.
void Rtl8139::apply_offloads(OutFrame& frame, u32 first) const {
  const auto layout = net::parse_frame(frame.bytes);
  if (!layout || layout->is_v6 || layout->is_fragment) return;
  const bool large = (first & kLargeSend) != 0;
  const unsigned segment_bytes = first >> 16 & 0x7ff;
  const bool is_tcp = layout->protocol == 6;
  if (large && (!is_tcp || segment_bytes == 0)) return log::guest_error("rtl8139: a large send that is not TCP");
  if (large || (first & kIpSum) != 0) {
    if (large) be16(frame.bytes, layout->network + 2, u16(std::min<std::size_t>(frame.bytes.size() - layout->network, 0xffff)));
    be16(frame.bytes, layout->network + 10, 0);
    const auto header = std::span<const u8>(frame.bytes).subspan(layout->network, layout->transport - layout->network);
    be16(frame.bytes, layout->network + 10, u16(~net::checksum_fold(net::checksum_add(0, header))));
  }
  const bool sum = large || (is_tcp ? (first & kTcpSum) != 0 : layout->protocol == 17 && (first & kUdpSum) != 0);
  if (!sum) return;
  net::FrameLayout whole = *layout;
  if (large) whole.end = unsigned(frame.bytes.size());
  const u32 body = whole.end - whole.transport;
  const u16 offset = is_tcp ? 16 : 6;
  be16(frame.bytes, layout->transport + offset, net::checksum_fold(net::pseudo_header_sum(frame.bytes, whole, body)));
  frame.bytes.resize(whole.end);  // padding does not belong to the sum
  frame.offload = {.flags = 1, .csum_start = u16(layout->transport), .csum_offset = offset};
  if (large) {
    frame.offload.gso_type = 1;
    frame.offload.header_bytes = u16(layout->payload);
    frame.offload.segment_bytes = u16(segment_bytes);
  }
}

std::optional<PciNic::OutFrame> Rtl8139::next_descriptor() {
  if (!state_.cplus_poll) return std::nullopt;
  for (unsigned looked_at = 0; looked_at < kDescriptors; looked_at++) {
    const u64 address = (get64(TNPDS) & ~u64(0xff)) + u64(state_.cplus_tx) * sizeof(Descriptor);
    const auto descriptor = dma().read<Descriptor>(address);
    if (!descriptor || (descriptor->status.get() & kOwn) == 0) {
      if (!descriptor) log::guest_error("rtl8139: the transmit ring is not in memory at {:#x}", address);
      state_.cplus_poll = false;
      cause(kTdu);
      return std::nullopt;
    }
    const u32 word = descriptor->status.get();
    const u32 bytes = word & 0xffff;
    if ((word & kFirst) != 0) {
      outgoing_.clear();
      outgoing_bad_ = false;
      outgoing_first_ = word;
      outgoing_vlan_ = descriptor->vlan.get();
    }
    const std::size_t old = outgoing_.size();
    if (old + bytes > net::kMostPacketBytes || !outgoing_first_) outgoing_bad_ = true;
    if (!outgoing_bad_) {
      outgoing_.resize(old + bytes);
      outgoing_bad_ = dma().read(descriptor->address.get(), std::span(outgoing_).subspan(old)) != mem::MemTxResult::Ok;
    }
    const Le32 done(word & ~kOwn & ~u32(0x0bf0'0000));
    store(address, {reinterpret_cast<const u8*>(&done), 4});
    state_.cplus_tx = (word & kEnd) != 0 || state_.cplus_tx + 1 == kDescriptors ? 0 : state_.cplus_tx + 1;
    if ((word & kLast) == 0) continue;
    cause(kTok);
    const std::optional<u32> first = std::exchange(outgoing_first_, std::nullopt);
    if (outgoing_bad_ || !first || outgoing_.size() < 14) {
      log::guest_error("rtl8139: a frame of {} bytes cannot be sent", outgoing_.size());
      continue;
    }
    OutFrame frame{.bytes = std::exchange(outgoing_, {})};
    if ((outgoing_vlan_ & kTagPresent) != 0) {
      const u8 tag[] = {0x81, 0x00, u8(outgoing_vlan_), u8(outgoing_vlan_ >> 8)};
      frame.bytes.insert(frame.bytes.begin() + 12, std::begin(tag), std::end(tag));
    }
    apply_offloads(frame, *first);
    return frame;
  }
  return std::nullopt;
}

}  // namespace emu::hw
