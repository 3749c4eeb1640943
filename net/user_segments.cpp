// SPDX-License-Identifier: Apache-2.0
// RFC 791, 8200, 9293; virtio 1.2 "Packet Transmission" for what the offload fields mean.
#include "net/user_segments.h"

#include <algorithm>

namespace emu::net {
namespace {

constexpr u8 kTcp = 6;
constexpr u8 kSyn = 0x02;
constexpr unsigned kSumInTcp = 16, kFlagsInTcp = 13, kTcpHeader = 20, kV4Header = 20, kV6Header = 40;

u16 get16(std::span<const u8> bytes, std::size_t at) { return u16(bytes[at] << 8 | bytes[at + 1]); }
void put16(std::span<u8> bytes, std::size_t at, u16 value) {
  bytes[at] = u8(value >> 8);
  bytes[at + 1] = u8(value);
}

std::optional<FrameLayout> parse_tcp(std::span<const u8> frame) {
  auto layout = parse_frame(frame);
  if (!layout || layout->protocol != kTcp || layout->is_fragment) return std::nullopt;
  return layout;
}

void set_v4_sum(std::span<u8> frame, unsigned network, unsigned transport) {
  put16(frame, network + 10, 0);
  put16(frame, network + 10, u16(~checksum_fold(checksum_add(0, frame.subspan(network, transport - network)))));
}

}  // namespace

bool finish_for_libslirp(std::span<u8> frame, const PacketOffload& offload) {
  if (offload.gso_type == 0) {
    return (offload.flags & 1) == 0 || fill_checksum(frame, offload.csum_start, offload.csum_offset);
  }
  auto layout = parse_tcp(frame);
  if (!layout) return false;
  // Lengths and the pseudo-header's sum as they are for the whole: drivers differ in what they leave there.
  const std::size_t length = frame.size() - layout->network - (layout->is_v6 ? kV6Header : 0);
  if (length > 0xffff) return false;
  layout->end = unsigned(frame.size());
  put16(frame, layout->network + (layout->is_v6 ? 4 : 2), u16(length));
  if (!layout->is_v6) set_v4_sum(frame, layout->network, layout->transport);
  const u32 sum = pseudo_header_sum(frame, *layout, layout->end - layout->transport);
  put16(frame, layout->transport + kSumInTcp, checksum_fold(sum));
  return fill_checksum(frame, layout->transport, kSumInTcp);
}

bool is_syn(std::span<const u8> frame) {
  const auto layout = parse_tcp(frame);
  return layout && (frame[layout->transport + kFlagsInTcp] & kSyn) != 0;
}

void raise_segment_size(std::span<u8> syn) {
  const auto layout = parse_tcp(syn);
  if (!layout) return;
  const u32 bytes = layout->end - layout->transport;
  const auto segment = syn.subspan(layout->transport, bytes);
  const u32 pseudo = pseudo_header_sum(syn, *layout, bytes);
  if (checksum_fold(checksum_add(pseudo, segment)) != 0xffff) return;  // libslirp shall see that it is wrong
  constexpr u8 kEnd = 0, kNothing = 1, kSegmentSize = 2;
  const std::size_t fills_wire = kWireMtu - kTcpHeader - (layout->is_v6 ? kV6Header : kV4Header);
  for (unsigned at = layout->transport + kTcpHeader; at < layout->payload && syn[at] != kEnd;) {
    if (syn[at] == kNothing) {
      ++at;
      continue;
    }
    if (at + 2 > layout->payload || syn[at + 1] < 2 || at + syn[at + 1] > layout->payload) return;
    if (syn[at] == kSegmentSize && syn[at + 1] == 4 && get16(syn, at + 2) >= fills_wire) {
      put16(syn, at + 2, u16(fills_wire * kJoinedSegments));
      put16(syn, layout->transport + kSumInTcp, checksum_fold(pseudo));
      fill_checksum(syn.first(layout->end), layout->transport, kSumInTcp);
      return;
    }
    at += syn[at + 1];
  }
}

std::optional<JoinedFrame> describe_joined(std::span<const u8> frame) {
  const auto layout = parse_tcp(frame);
  if (!layout || layout->payload - layout->network >= kWireMtu) return std::nullopt;
  JoinedFrame joined;
  joined.offload = {.flags = 1,
                    .gso_type = u8(layout->is_v6 ? 4 : 1),
                    .header_bytes = u16(layout->payload),
                    .segment_bytes = u16(kWireMtu - (layout->payload - layout->network)),
                    .csum_start = u16(layout->transport),
                    .csum_offset = kSumInTcp};
  joined.sum_at = layout->transport + kSumInTcp;
  put16(joined.pseudo_sum, 0, checksum_fold(pseudo_header_sum(frame, *layout, layout->end - layout->transport)));
  return joined;
}

bool fragment(std::span<const u8> frame, const std::function<void(std::span<const u8>)>& each) {
  const auto layout = parse_frame(frame);
  if (!layout || layout->is_v6) return false;
  constexpr u16 kDoNot = 0x4000, kMore = 0x2000, kOffset = 0x1fff;
  const u16 flags = get16(frame, layout->network + 6);
  if ((flags & kDoNot) != 0) return false;
  const auto headers = frame.first(layout->transport);
  auto data = frame.subspan(layout->transport, layout->end - layout->transport);
  const std::size_t most = (kWireMtu - (layout->transport - layout->network)) & ~std::size_t(7);
  std::vector<u8> out;
  for (u32 offset = flags & kOffset; !data.empty();) {
    const std::size_t here = std::min(most, data.size());
    const bool more = here < data.size() || (flags & kMore) != 0;
    out.assign(headers.begin(), headers.end());
    out.insert(out.end(), data.begin(), data.begin() + std::ptrdiff_t(here));
    put16(out, layout->network + 2, u16(out.size() - layout->network));
    put16(out, layout->network + 6, u16(offset | (more ? kMore : 0)));
    set_v4_sum(out, layout->network, layout->transport);
    each(out);
    data = data.subspan(here);
    offset += u32(here / 8);
  }
  return true;
}

}  // namespace emu::net
