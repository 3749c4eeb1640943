// SPDX-License-Identifier: Apache-2.0
// Checksums and segmentation in software, for receivers that want packets as they are on the wire.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "net/net_client.h"

namespace emu::net {

/// RFC 1071 sum of `bytes` on top of `sum`, not yet folded; a piece that is not the last has an even length.
u32 checksum_add(u32 sum, std::span<const u8> bytes);
/// The folded sum, not complemented.
u16 checksum_fold(u32 sum);

/// Whether a receiver that takes `takes` can have the packet as it is.
bool is_taken(const PacketOffload& offload, const OffloadSet& takes);

/// Puts the checksum of everything from `start` at start + offset (where the pseudo-header's sum stands). False, and
/// nothing done, when that is outside the frame.
bool fill_checksum(std::span<u8> frame, unsigned start, unsigned offset);

/// What one frame looks like: offsets of its headers; used to segment and by cards that compute checksums.
struct FrameLayout {
  unsigned network = 0;    ///< offset of the IP header
  unsigned transport = 0;  ///< offset of what is in it
  unsigned payload = 0;    ///< behind the TCP or UDP header
  u8 protocol = 0;         ///< 6 TCP, 17 UDP
  bool is_v6 = false, is_fragment = false;
  unsigned end = 0;        ///< where the IP packet ends; padding may follow
};
/// Nothing for a frame that holds no whole IP header (and transport header, when that is TCP or UDP).
std::optional<FrameLayout> parse_frame(std::span<const u8> frame);
/// The pseudo-header's sum for `bytes` bytes of transport header and data.
u32 pseudo_header_sum(std::span<const u8> frame, const FrameLayout& layout, u32 bytes);

/// Cuts a frame into what goes on the wire, checksums included: one frame for each segment, in order, lent until `each`
/// returns. A frame whose headers do not fit its offload fields is dropped: no segment, false.
bool segment(std::span<const u8> frame, const PacketOffload& offload,
             const std::function<void(std::span<const u8>)>& each);

/// Sends packets with offloads to whomever the client is wired to, after doing what that cannot.
class OffloadSender {
 public:
  /// As NetClient::send(). False: the packet was not taken; also while segments of an earlier one wait.
  bool send(NetClient& from, const Packet& packet);
  /// At peer_ready(): sends what waits. True when nothing does any more.
  bool flush(NetClient& from);
  void clear() { waiting_.clear(); }
  bool is_waiting() const { return !waiting_.empty(); }

 private:
  void send_or_keep(NetClient& from, std::span<const u8> frame);

  std::vector<std::vector<u8>> waiting_;
  std::vector<u8> flat_;  ///< keeps its memory from packet to packet
};

/// Copies the packet's bytes to `to`; gives how many were copied.
std::size_t flatten(const Packet& packet, std::span<u8> to);
std::vector<u8> flatten(const Packet& packet);

}  // namespace emu::net
