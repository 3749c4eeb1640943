// SPDX-License-Identifier: Apache-2.0
// TCP between a guest and libslirp in long pieces, which cost both of them what one small frame does.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "net/net_client.h"
#include "net/offload.h"

namespace emu::net {

/// How many segments libslirp may send as one: two such are in flight, for it knows no windows above 64 KiB, so that it
/// and the guest need not wait for each other.
inline constexpr std::size_t kJoinedSegments = 22;
/// On the guest's wire nothing is longer; what libslirp is told instead.
inline constexpr std::size_t kWireMtu = 1500, kJoinedMtu = kJoinedSegments * 1460 + 40;

/// Does what a guest left to us, so that libslirp can take the frame as one TCP segment, however long. False: it cannot
/// be done.
bool finish_for_libslirp(std::span<u8> frame, const PacketOffload& offload);

/// Whether it is TCP that opens a connection.
bool is_syn(std::span<const u8> frame);
/// Makes libslirp believe that the guest takes kJoinedSegments in one, if it takes one that fills its wire; smaller sizes
/// have a reason (a tunnel in the guest) and stay.
void raise_segment_size(std::span<u8> syn);

/// A frame for the guest that is longer than its wire allows.
struct JoinedFrame {
  PacketOffload offload;
  unsigned sum_at = 0;     ///< where the transport's checksum is
  u8 pseudo_sum[2] = {};   ///< what must stand there instead: the rest is the receiver's work
};
/// Nothing when it is no TCP.
std::optional<JoinedFrame> describe_joined(std::span<const u8> frame);
/// Cuts an IPv4 packet into fragments that fit the wire, RFC 791. False: it is no IPv4, or says not to.
bool fragment(std::span<const u8> frame, const std::function<void(std::span<const u8>)>& each);

}  // namespace emu::net
