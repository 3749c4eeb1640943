// SPDX-License-Identifier: Apache-2.0
// A card's end of a wire, whatever the card: where the cable is plugged in, and what others ask of the card.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "net/mac_address.h"
#include "qom/object.h"
#include "util/check.h"

namespace emu::hw {

/// Which frames a driver wants, as query-rx-filter shows it.
struct RxFilter {
  enum class Kind : u8 { Normal, None, All };
  Kind unicast = Kind::Normal, multicast = Kind::Normal, vlan = Kind::All;
  bool promiscuous = false, broadcast = true, unicast_overflow = false, multicast_overflow = false;
  std::vector<net::MacAddress> unicast_table, multicast_table;
  std::vector<unsigned> vlans;
};

/// The card behind a port. What comes from the wire comes on its loop, without the machine lock.
class NicCard {
 public:
  virtual net::MacAddress mac() const = 0;
  /// "e1000": what people know the card by.
  virtual std::string nic_model() const = 0;
  /// What the user called it; may be empty.
  virtual std::string nic_id() const = 0;
  /// The device that the user made, as the object tree has it.
  virtual std::string nic_path() const = 0;

  /// False: no room now; accept_again() says when there is.
  virtual bool packet_arrived(unsigned queue, const net::Packet& packet) = 0;
  /// The peer has room again for what it refused.
  virtual void may_send(unsigned queue) = 0;
  virtual void cable_moved() = 0;
  virtual void netdev_gone(unsigned queue) = 0;
  virtual net::OffloadSet nic_offloads() const { return {}; }
  /// Nothing for cards that do not show theirs.
  virtual std::optional<RxFilter> rx_filter() const { return std::nullopt; }
  /// Asks the driver to announce its addresses, which it does better than we. Machine lock.
  virtual void ask_for_announcement() {}

 protected:
  ~NicCard() = default;
};

/// A child of the card named "nic"; further queues have "nic1" and so on.
class NicPort final : public net::NetClient {
 public:
  static constexpr const char* kTypeName = "nic-port";
  static void describe(qom::TypeInfo<NicPort>& type) { type.doc("where a network card's cable is plugged in"); }

  void bind(NicCard& card, EventLoop* loop, unsigned queue = 0) {
    card_ = &card;
    loop_ = loop;
    queue_ = queue;
  }
  NicCard& card() const { return *card_; }
  unsigned number() const { return queue_; }
  std::string kind() const override { return card_->nic_model(); }
  EventLoop& loop() const override {
    EMU_CHECK(loop_ != nullptr);
    return *loop_;
  }
  /// "model=e1000,macaddr=52:54:00:12:34:56".
  std::string describe_state() const override;
  net::OffloadSet receive_offloads() const override { return card_->nic_offloads(); }
  /// The device's id, or "e1000.0".
  std::string label() const;
  /// set_link on the card itself.
  void plug_cable(bool in);
  /// We have room again, for packets that were refused.
  void accept_again() { ready(); }

  /// What the card calls when its driver changed the filter: the first time, and the first after each query, which arms
  /// it again, are told to /nic-events. Wire's loop.
  void filter_changed();
  void arm_filter_events() { filter_event_due_ = true; }

 protected:
  bool receive(const net::Packet& packet) override { return card_->packet_arrived(queue_, packet); }
  void peer_ready() override { card_->may_send(queue_); }
  void link_changed() override { card_->cable_moved(); }
  void peer_gone() override { card_->netdev_gone(queue_); }

 private:
  NicCard* card_ = nullptr;
  EventLoop* loop_ = nullptr;
  unsigned queue_ = 0;
  bool filter_event_due_ = true;
};

/// Where cards' events go, as a child of the tree's root; whoever cares puts one there.
class NicEvents final : public qom::Object {
 public:
  static constexpr const char* kTypeName = "nic-events", *kName = "nic-events";
  static void describe(qom::TypeInfo<NicEvents>& type) { type.doc("hears of changes in network cards"); }
  std::function<void(const NicPort& port)> filter_changed;
};

/// The first address from 52:54:00:12:34:56 that no other card has: as QEMU numbers its cards, so that guests see the
/// addresses they know.
net::MacAddress next_free_mac(qom::ObjectTree& tree);
/// All cards' first ports, in the tree's order.
std::vector<NicPort*> all_cards(qom::ObjectTree& tree);
/// "nic-port" and "nic-events".
void register_nic_ports(qom::TypeRegistry& registry);

}  // namespace emu::hw
