// SPDX-License-Identifier: Apache-2.0
// Packets between a network card and the outside: two ends of a wire.
#pragma once

#include <sys/uio.h>

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "net/vhost_offer.h"
#include "qom/type.h"
#include "util/event_loop.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::net {

/// Largest frame with a segmentation offload, its virtio-net header not counted.
inline constexpr std::size_t kMostPacketBytes = 64 * 1024 + 64;

/// Work left to the receiver: the fields of virtio-net's header (virtio 1.2, "Packet Transmission"), host order.
struct PacketOffload {
  u8 flags = 0;     ///< bit 0: the checksum from csum_start is to be filled in at csum_offset; bit 1: it is known good
  u8 gso_type = 0;  ///< 0 none, 1 TCPv4, 3 UDP, 4 TCPv6, 5 UDP_L4; bit 7: ECN
  u16 header_bytes = 0, segment_bytes = 0;
  u16 csum_start = 0, csum_offset = 0;
  bool is_needed() const { return (flags & 1) != 0 || gso_type != 0; }
};

/// An Ethernet frame without FCS. Lent until receive() returns.
struct Packet {
  std::span<const iovec> parts;
  PacketOffload offload = {};
  std::size_t bytes() const;
};

/// What a client can take from its peer with PacketOffload set; else the sender does the work first.
struct OffloadSet {
  bool checksum = false, tso4 = false, tso6 = false, ecn = false, ufo = false, uso = false;
  bool operator==(const OffloadSet&) const = default;
};

using MacAddress = std::array<u8, 6>;

class NetClient;

/// Sees the packets that a client sent and was sent, once the receiver took them (filter-dump). The wire's loop.
class PacketObserver {
 public:
  virtual ~PacketObserver() = default;
  virtual void packet_sent(const Packet& packet) = 0;
  virtual void packet_received(const Packet& packet) = 0;
  /// The client goes away.
  virtual void client_gone() = 0;
};

/// One end of a wire. All calls on the thread of the wire's loop (loop(): the main loop, or an I/O thread for a pair
/// that both allow it), without a lock of ours held: cards that are kicked on a vCPU thread go there first, by
/// EventNotifier or EventLoop::post.
class NetClient : public qom::Object {
 public:
  static constexpr const char* kTypeName = "net-client";
  /// Where `.link<NetClient>` properties (netdev=ID) look for an id.
  static constexpr const char* kContainer = "/netdevs";
  ~NetClient() override;

  /// "user", "tap"; a card's model.
  virtual std::string kind() const = 0;
  /// For `info network`: "net=10.0.2.0,restrict=off".
  virtual std::string describe_state() const { return ""; }
  virtual EventLoop& loop() const = 0;
  /// A back end with several queues has a client for each; queue(0) is this one.
  virtual unsigned queues() const { return 1; }
  virtual NetClient& queue(unsigned number) {
    static_cast<void>(number);
    return *this;
  }

  /// Joins two ends. Errors: one of them has a peer. Main loop.
  static Result<void> connect(NetClient& a, NetClient& b);
  void disconnect();
  NetClient* peer() const { return peer_; }

  /// Gives a packet to the peer; true when that took it or there is nobody (or the link is down): it is gone. False:
  /// the peer has no room; keep it, stop reading at the source, and go on at peer_ready().
  bool send(const Packet& packet);
  /// Our link, as the guest sees its cable (set_link). Tells the peer.
  void set_link(bool up);
  bool is_link_up() const { return link_up_; }

  /// Offloads that the peer's packets may come with: what we take. Set by the front end's negotiation.
  virtual OffloadSet receive_offloads() const { return {}; }
  /// What this back end can do for its peer at most.
  virtual OffloadSet possible_offloads() const { return {}; }
  /// The peer says what it takes from now on.
  virtual void peer_takes(const OffloadSet& offloads) { static_cast<void>(offloads); }

  /// Of a back end that would rather have the card's rings served by others; null: it takes packets.
  virtual VhostOffer* vhost_offer() { return nullptr; }
  /// What the kernel is to serve a queue's rings with; while it is lent, the back end does not read it. Main loop.
  virtual std::optional<HostInterface> host_interface() const { return std::nullopt; }
  virtual void lend_interface(bool lent) { static_cast<void>(lent); }
  /// How long virtio's header before each packet is; of a lent interface. Any thread.
  virtual void set_interface_header(std::size_t bytes) { static_cast<void>(bytes); }

  void add_observer(PacketObserver& observer) { observers_.push_back(&observer); }
  void remove_observer(PacketObserver& observer) { std::erase(observers_, &observer); }

 protected:
  /// A packet from the peer: false when there is no room now (then call ready() once there is).
  virtual bool receive(const Packet& packet) = 0;
  /// The peer, which refused a packet, has room again.
  virtual void peer_ready() {}
  virtual void link_changed() {}
  /// Errors: the two do not go together.
  virtual Result<void> check_peer(const NetClient& peer) const {
    static_cast<void>(peer);
    return {};
  }
  /// The peer went away (netdev_del): whoever keeps a reference to it lets go.
  virtual void peer_gone() {}
  /// We have room again. Loop's thread; cheap when nothing was refused.
  void ready();

 private:
  NetClient* peer_ = nullptr;
  bool link_up_ = true;
  bool refused_ = false;
  std::vector<PacketObserver*> observers_;
};

}  // namespace emu::net
