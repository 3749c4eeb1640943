// SPDX-License-Identifier: Apache-2.0
// RFC 791, 793, 768, 1071, 8200; virtio 1.2 "Packet Transmission" for what the offload fields mean.
#include "net/offload.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "util/log.h"

namespace emu::net {
namespace {

constexpr unsigned kEthernetHeader = 14, kVlanTag = 4;
constexpr u16 kTypeV4 = 0x0800, kTypeV6 = 0x86dd, kTypeVlan = 0x8100, kTypeQinq = 0x88a8;
constexpr u8 kTcp = 6, kUdp = 17;
constexpr u8 kFin = 0x01, kPsh = 0x08, kCwr = 0x80;
constexpr u8 kGsoTcp4 = 1, kGsoTcp6 = 4, kGsoUdpL4 = 5, kGsoMask = 0x7f;

u16 get16(std::span<const u8> bytes, std::size_t at) { return u16(bytes[at] << 8 | bytes[at + 1]); }
u32 get32(std::span<const u8> bytes, std::size_t at) { return u32(get16(bytes, at)) << 16 | get16(bytes, at + 2); }
void put16(std::span<u8> bytes, std::size_t at, u16 value) {
  bytes[at] = u8(value >> 8);
  bytes[at + 1] = u8(value);
}
void put32(std::span<u8> bytes, std::size_t at, u32 value) {
  put16(bytes, at, u16(value >> 16));
  put16(bytes, at + 2, u16(value));
}

bool parse_v4(std::span<const u8> frame, FrameLayout& layout) {
  const unsigned at = layout.network;
  if (frame.size() < at + 20 || frame[at] >> 4 != 4) return false;
  const unsigned header = (frame[at] & 15u) * 4;
  const unsigned total = get16(frame, at + 2);
  if (header < 20 || frame.size() < at + header) return false;
  layout.protocol = frame[at + 9];
  layout.transport = at + header;
  layout.is_fragment = (get16(frame, at + 6) & 0x3fff) != 0;
  // A segmentation offload's total length may be wrong (it does not fit 16 bits); then the frame's end counts.
  layout.end = total >= header && at + total <= frame.size() ? at + total : unsigned(frame.size());
  return true;
}

/// Extension headers before the transport: those with a length in units of 8 bytes, and fragments.
bool parse_v6(std::span<const u8> frame, FrameLayout& layout) {
  const unsigned at = layout.network;
  if (frame.size() < at + 40 || frame[at] >> 4 != 6) return false;
  const unsigned length = get16(frame, at + 4);
  layout.is_v6 = true;
  layout.end = length != 0 && at + 40 + length <= frame.size() ? at + 40 + length : unsigned(frame.size());
  unsigned next = at + 40;
  u8 protocol = frame[at + 6];
  for (unsigned count = 0; count < 8; count++) {
    const bool sized = protocol == 0 || protocol == 43 || protocol == 60;
    const bool fragment = protocol == 44;
    if (!sized && !fragment) break;
    if (frame.size() < next + 8) return false;
    if (fragment) layout.is_fragment = true;
    protocol = frame[next];
    next += fragment ? 8u : 8u + frame[next + 1] * 8u;
  }
  if (next > layout.end) return false;
  layout.protocol = protocol;
  layout.transport = next;
  return true;
}

}  // namespace

u32 checksum_add(u32 sum, std::span<const u8> bytes) {
  // The sum's bytes are swapped as the words' are (RFC 1071, 2.B): words are added as the host reads them.
  const u8* at = bytes.data();
  std::size_t left = bytes.size();
  u64 low = 0, high = 0;
  for (; left >= 16; at += 16, left -= 16) {
    u64 words[2];
    std::memcpy(words, at, sizeof words);
    low += (words[0] & 0xffff'ffffu) + (words[1] & 0xffff'ffffu);
    high += (words[0] >> 32) + (words[1] >> 32);
  }
  u64 wide = (low & 0xffff'ffffu) + (low >> 32) + (high & 0xffff'ffffu) + (high >> 32);
  for (; left > 1; at += 2, left -= 2) {
    u16 word;
    std::memcpy(&word, at, sizeof word);
    wide += word;
  }
  if (left != 0) {
    const u8 padded[2] = {*at, 0};
    u16 word;
    std::memcpy(&word, padded, sizeof word);
    wide += word;
  }
  while (wide >> 16 != 0) wide = (wide & 0xffffu) + (wide >> 16);
  if constexpr (std::endian::native == std::endian::little) wide = (wide & 0xff) << 8 | wide >> 8;
  wide += sum;
  return u32((wide & 0xffff'ffffu) + (wide >> 32));
}

u16 checksum_fold(u32 sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return u16(sum);
}

bool is_taken(const PacketOffload& offload, const OffloadSet& takes) {
  if ((offload.flags & 1) != 0 && !takes.checksum) return false;
  if ((offload.gso_type & ~kGsoMask) != 0 && !takes.ecn) return false;
  switch (offload.gso_type & kGsoMask) {
    case 0:
      return true;
    case kGsoTcp4:
      return takes.tso4;
    case kGsoTcp6:
      return takes.tso6;
    case 3:
      return takes.ufo;
    case kGsoUdpL4:
      return takes.uso;
    default:
      return false;
  }
}

bool fill_checksum(std::span<u8> frame, unsigned start, unsigned offset) {
  const std::size_t at = std::size_t(start) + offset;
  if (start >= frame.size() || at + 2 > frame.size()) return false;
  u16 sum = u16(~checksum_fold(checksum_add(0, frame.subspan(start))));
  // A UDP sum of zero would say "none" (RFC 768); for TCP both zeros mean the same.
  if (sum == 0) sum = 0xffff;
  put16(frame, at, sum);
  return true;
}

std::optional<FrameLayout> parse_frame(std::span<const u8> frame) {
  FrameLayout layout;
  if (frame.size() < kEthernetHeader) return std::nullopt;
  unsigned at = kEthernetHeader;
  u16 type = get16(frame, 12);
  for (unsigned tags = 0; tags < 2 && (type == kTypeVlan || type == kTypeQinq); tags++) {
    if (frame.size() < at + kVlanTag) return std::nullopt;
    type = get16(frame, at + 2);
    at += kVlanTag;
  }
  layout.network = at;
  if (type == kTypeV4 ? !parse_v4(frame, layout) : type != kTypeV6 || !parse_v6(frame, layout)) return std::nullopt;
  layout.payload = layout.transport;
  if (layout.is_fragment) return layout;
  if (layout.protocol == kTcp) {
    if (frame.size() < layout.transport + 20) return std::nullopt;
    const unsigned header = (frame[layout.transport + 12] >> 4) * 4u;
    if (header < 20 || frame.size() < layout.transport + header) return std::nullopt;
    layout.payload = layout.transport + header;
  } else if (layout.protocol == kUdp) {
    if (frame.size() < layout.transport + 8) return std::nullopt;
    layout.payload = layout.transport + 8;
  }
  // Padding of short frames may hold what a length in the packet excludes.
  if (layout.end < layout.payload) return std::nullopt;
  return layout;
}

u32 pseudo_header_sum(std::span<const u8> frame, const FrameLayout& layout, u32 bytes) {
  const unsigned addresses = layout.is_v6 ? 32 : 8;
  const u32 sum = checksum_add(0, frame.subspan(layout.network + (layout.is_v6 ? 8 : 12), addresses));
  return checksum_fold(sum) + u32(layout.protocol) + (bytes >> 16) + (bytes & 0xffff);
}

bool segment(std::span<const u8> frame, const PacketOffload& offload,
             const std::function<void(std::span<const u8>)>& each) {
  const u8 type = offload.gso_type & kGsoMask;
  const auto layout = parse_frame(frame);
  const bool is_tcp = type == kGsoTcp4 || type == kGsoTcp6;
  if (!layout || layout->is_fragment || offload.segment_bytes == 0) return false;
  if ((type == kGsoTcp4 && layout->is_v6) || (type == kGsoTcp6 && !layout->is_v6)) return false;
  if (!is_tcp && type != kGsoUdpL4) return false;
  if (layout->protocol != (is_tcp ? kTcp : kUdp)) return false;

  const std::span<const u8> headers = frame.first(layout->payload);
  const std::span<const u8> data = frame.subspan(layout->payload, layout->end - std::min(layout->end, layout->payload));
  const u32 sequence = is_tcp ? get32(frame, layout->transport + 4) : 0;
  const u16 id = layout->is_v6 ? u16(0) : get16(frame, layout->network + 4);
  std::size_t at = 0;
  u16 number = 0;
  std::vector<u8> out;
  out.reserve(headers.size() + std::min<std::size_t>(offload.segment_bytes, data.size()));
  do {
    const std::size_t count = std::min<std::size_t>(offload.segment_bytes, data.size() - at);
    out.assign(headers.begin(), headers.end());
    out.insert(out.end(), data.begin() + std::ptrdiff_t(at), data.begin() + std::ptrdiff_t(at + count));
    const unsigned network = layout->network, transport = layout->transport;
    const std::size_t transport_bytes = out.size() - transport;
    if (layout->is_v6) {
      put16(out, network + 4, u16(out.size() - network - 40));
    } else {
      put16(out, network + 2, u16(out.size() - network));
      put16(out, network + 4, u16(id + number));
      put16(out, network + 10, 0);
      const std::span<const u8> header = std::span(out).subspan(network, transport - network);
      put16(out, network + 10, u16(~checksum_fold(checksum_add(0, header))));
    }
    const bool is_first = at == 0, is_last = at + count == data.size();
    if (is_tcp) {
      put32(out, transport + 4, u32(sequence + at));
      if (!is_last) out[transport + 13] &= u8(~(kFin | kPsh));
      if (!is_first) out[transport + 13] &= u8(~kCwr);
    } else {
      put16(out, transport + 4, u16(transport_bytes));
    }
    const unsigned where = is_tcp ? 16 : 6;
    put16(out, transport + where, checksum_fold(pseudo_header_sum(out, *layout, u32(transport_bytes))));
    fill_checksum(out, transport, where);
    each(out);
    at += count;
    number++;
  } while (at < data.size());
  return true;
}

bool OffloadSender::send(NetClient& from, const Packet& packet) {
  if (!flush(from)) return false;
  const NetClient* peer = from.peer();
  if (!packet.offload.is_needed() || peer == nullptr || is_taken(packet.offload, peer->receive_offloads())) {
    return from.send(packet);
  }
  flat_.resize(packet.bytes());
  flatten(packet, flat_);
  if (packet.offload.gso_type != 0) {
    const auto each = [&](std::span<const u8> one) { send_or_keep(from, one); };
    const bool done = segment(flat_, packet.offload, each);
    if (!done) log::guest_error("a packet to be segmented (type {}) has no headers for that", packet.offload.gso_type);
    return true;
  }
  if (!fill_checksum(flat_, packet.offload.csum_start, packet.offload.csum_offset)) {
    log::guest_error("a checksum at {}+{} is outside its packet", packet.offload.csum_start, packet.offload.csum_offset);
  }
  const iovec part{flat_.data(), flat_.size()};
  return from.send(Packet{.parts = {&part, 1}});
}

/// What the peer refuses stays with us: the packet itself is taken.
void OffloadSender::send_or_keep(NetClient& from, std::span<const u8> frame) {
  const iovec part{const_cast<u8*>(frame.data()), frame.size()};
  if (waiting_.empty() && from.send(Packet{.parts = {&part, 1}})) return;
  waiting_.emplace_back(frame.begin(), frame.end());
}

bool OffloadSender::flush(NetClient& from) {
  std::size_t sent = 0;
  while (sent < waiting_.size()) {
    const iovec part{waiting_[sent].data(), waiting_[sent].size()};
    if (!from.send(Packet{.parts = {&part, 1}})) break;
    sent++;
  }
  waiting_.erase(waiting_.begin(), waiting_.begin() + std::ptrdiff_t(sent));
  return waiting_.empty();
}

std::size_t flatten(const Packet& packet, std::span<u8> to) {
  std::size_t at = 0;
  for (const iovec& part : packet.parts) {
    const std::size_t count = std::min(part.iov_len, to.size() - at);
    if (count != 0) std::memcpy(to.data() + at, part.iov_base, count);
    at += count;
  }
  return at;
}

std::vector<u8> flatten(const Packet& packet) {
  std::vector<u8> bytes(packet.bytes());
  flatten(packet, bytes);
  return bytes;
}

}  // namespace emu::net
