// SPDX-License-Identifier: Apache-2.0
// TCP between a guest and libslirp in pieces of up to 64 KiB, which cost both of them what one small frame does.
#pragma once

#include <functional>
#include <optional>
#include <span>

#include "net/net_client.h"
#include "net/offload.h"

namespace emu::net {

/// What libslirp may send at once; on the guest's wire nothing is longer than kWireMtu.
inline constexpr std::size_t kJoinedMtu = 65520, kWireMtu = 1500;

/// Does what a guest left to us, so that libslirp can take the frame as one TCP segment, however long. False: it cannot
/// be done.
bool finish_for_libslirp(std::span<u8> frame, const PacketOffload& offload);

/// Whether it is TCP that opens a connection.
bool is_syn(std::span<const u8> frame);
/// Makes libslirp believe that the guest takes segments of any size, if it takes those that fill its wire; smaller ones
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
