// SPDX-License-Identifier: Apache-2.0
// Features, configuration and life of the card. Packets are in virtio_net_queues.cpp.
#include "hw/virtio/virtio_net.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "hw/virtio/virtio_net_regs.h"
#include "util/log.h"

namespace emu::hw {

using namespace virtio;
using namespace virtio_net;

namespace {

struct Config {  // 5.1.4, without what RSS adds
  net::MacAddress mac{};
  Le16 status, pairs, mtu;
  Le32 speed;
  u8 duplex = 0xff;
  u8 unused[3] = {};
};
static_assert(sizeof(Config) == 20);
constexpr u32 kConfigBytes = 17, kMacBytes = 6;
constexpr u16 kControlQueueSize = 64, kLeastQueueSize = 256;
constexpr unsigned kMostPairs = 256;
constexpr u16 kLeastMtu = 68;

}  // namespace

// Life cycle. --------------------------------------------------------------------------------------------------------

VirtioNet::VirtioNet() : VirtioDevice(DeviceId::Net, kConfigBytes) {}

const std::vector<VirtioNet::FeatureBit>& VirtioNet::feature_bits() {
  using N = VirtioNet;
  static const std::vector<FeatureBit> kBits = {
      {kCsum, &N::csum_},
      {kGuestCsum, &N::guest_csum_},
      {kCtrlGuestOffloads, &N::ctrl_guest_offloads_},
      {kGuestTso4, &N::guest_tso4_},
      {kGuestTso6, &N::guest_tso6_},
      {kGuestEcn, &N::guest_ecn_},
      {kGuestUfo, &N::guest_ufo_},
      {kHostTso4, &N::host_tso4_},
      {kHostTso6, &N::host_tso6_},
      {kHostEcn, &N::host_ecn_},
      {kHostUfo, &N::host_ufo_},
      {kMrgRxbuf, &N::mrg_rxbuf_},
      {kStatus, &N::status_},
      {kCtrlVq, &N::ctrl_vq_},
      {kCtrlRx, &N::ctrl_rx_},
      {kCtrlVlan, &N::ctrl_vlan_},
      {kCtrlRxExtra, &N::ctrl_rx_extra_},
      {kGuestAnnounce, &N::guest_announce_},
      {kMq, &N::mq_},
      {kCtrlMacAddr, &N::ctrl_mac_addr_},
      {kGuestUso4, &N::guest_uso4_},
      {kGuestUso6, &N::guest_uso6_},
      {kHostUso, &N::host_uso_},
  };
  return kBits;
}

void VirtioNet::describe(TypeInfo<VirtioNet>& type) {
  using N = VirtioNet;
  type.doc("Network card");
  type.category(Category::Network);
  type.property("mac", &N::asked_mac_, "Ethernet address; without it the next free one from 52:54:00:12:34:56");
  type.link("netdev", &N::netdev_, net::NetClient::kContainer, "id of the network back end");
  type.property("bootindex", &N::boot_index_, "place in the firmware's boot order");
  type.property("rx_queue_size", &N::rx_queue_size_, "entries of each receive queue, a power of two from 256 to 1024");
  type.property("tx_queue_size", &N::tx_queue_size_, "entries of each transmit queue, a power of two from 256 to 1024");
  type.property("host_mtu", &N::host_mtu_, "MTU that the driver is told; 0: none");
  type.property("speed", &N::speed_, "Mbit/s that the driver is told; -1: unknown");
  type.property("duplex", &N::duplex_, "\"full\" or \"half\", as the driver is told");
  type.property("tx", &N::tx_kind_, "\"timer\" or \"bh\"; has no effect: packets leave when the driver says so");
  type.property("x-txtimer", &N::tx_timer_, "has no effect");
  type.property("x-txburst", &N::tx_burst_, "packets sent before others have their turn");
  type.property("csum", &N::csum_, "offer to compute checksums");
  type.property("guest_csum", &N::guest_csum_, "offer packets without checksums");
  type.property("guest_tso4", &N::guest_tso4_, "offer received TCPv4 segments joined");
  type.property("guest_tso6", &N::guest_tso6_, "offer received TCPv6 segments joined");
  type.property("guest_ecn", &N::guest_ecn_, "offer received joined segments with ECN");
  type.property("guest_ufo", &N::guest_ufo_, "offer received UDP fragments joined");
  type.property("guest_uso4", &N::guest_uso4_, "offer received UDPv4 datagrams joined");
  type.property("guest_uso6", &N::guest_uso6_, "offer received UDPv6 datagrams joined");
  type.property("guest_announce", &N::guest_announce_, "offer to ask the driver for announcements");
  type.property("host_tso4", &N::host_tso4_, "offer to cut TCPv4 segments");
  type.property("host_tso6", &N::host_tso6_, "offer to cut TCPv6 segments");
  type.property("host_ecn", &N::host_ecn_, "offer to cut segments with ECN");
  type.property("host_ufo", &N::host_ufo_, "offer to fragment UDP");
  type.property("host_uso", &N::host_uso_, "offer to cut UDP into datagrams");
  type.property("mrg_rxbuf", &N::mrg_rxbuf_, "offer packets in several buffers");
  type.property("status", &N::status_, "offer the state of the link");
  type.property("ctrl_vq", &N::ctrl_vq_, "offer the control queue");
  type.property("ctrl_rx", &N::ctrl_rx_, "offer receive modes");
  type.property("ctrl_vlan", &N::ctrl_vlan_, "offer filtering by VLAN");
  type.property("ctrl_rx_extra", &N::ctrl_rx_extra_, "offer more receive modes");
  type.property("ctrl_mac_addr", &N::ctrl_mac_addr_, "offer to set the address on the control queue");
  type.property("ctrl_guest_offloads", &N::ctrl_guest_offloads_, "offer to change receive offloads");
  type.property("mq", &N::mq_, "offer as many queue pairs as the back end has");
  type.property("rss", &N::rss_, "off only");
  type.property("hash", &N::hash_, "off only");
  type.property("failover", &N::failover_, "off only");
  type.saved(1, &N::fields, &N::after_load);
}

Result<void> VirtioNet::check_properties() const {
  const std::string name = nic_model();
  for (const auto& [what, value] : {std::pair("rx_queue_size", rx_queue_size_), std::pair("tx_queue_size", tx_queue_size_)}) {
    if (value < kLeastQueueSize || value > kMaxQueueSize || !std::has_single_bit(value)) {
      return error("{}: Invalid {} (= {}), must be a power of 2 between {} and {}", name, what, value, kLeastQueueSize,
                   kMaxQueueSize);
    }
  }
  if (!duplex_.empty() && duplex_ != "full" && duplex_ != "half") {
    return error("{}: 'duplex' must be 'half' or 'full'", name);
  }
  if (speed_ < -1) return error("{}: 'speed' must be between 0 and INT_MAX", name);
  if (!tx_kind_.empty() && tx_kind_ != "timer" && tx_kind_ != "bh") {
    return error("{}: tx={} is neither 'timer' nor 'bh'", name, tx_kind_);
  }
  if (host_mtu_ != 0 && host_mtu_ < kLeastMtu) return error("{}: host_mtu={} is below {}", name, host_mtu_, kLeastMtu);
  for (const auto& [what, on] : {std::pair("rss", rss_), std::pair("hash", hash_), std::pair("failover", failover_)}) {
    if (on) return error("{}: {}=on is not supported", name, what);
  }
  if (netdev_ != nullptr && netdev_->queues() > kMostPairs) {
    return error("{}: Invalid number of queue pairs (= {}), must be at most {}", name, netdev_->queues(), kMostPairs);
  }
  return {};
}

/// The PCI function around the card, if it is inside one: what the user made, and what people know the card by.
const Device* VirtioNet::function() const { return dynamic_cast<const Device*>(parent()); }
std::string VirtioNet::nic_model() const { return (function() != nullptr ? function()->type() : type()).name(); }
std::string VirtioNet::nic_id() const {
  return function() != nullptr && !function()->id().empty() ? function()->id() : id();
}
std::string VirtioNet::nic_path() const { return function() != nullptr ? function()->path() : path(); }

net::OffloadSet VirtioNet::nic_offloads() const {
  const std::lock_guard hold(mutex_);
  return offloads_of(guest_offloads_);
}

Result<void> VirtioNet::realize() {
  EMU_TRY(check_properties());
  if (tx_kind_ == "timer") {
    log::warn("{}: tx=timer has no effect: packets leave when the driver says so, which is what tx=bh stands for",
              nic_model());
  }
  const unsigned count = netdev_ != nullptr ? std::max(netdev_->queues(), 1u) : 1;
  loop_ = netdev_ != nullptr ? &netdev_->loop() : nullptr;
  outside_ = false;
  EMU_TRY(open_vhost());
  own_mac_ = asked_mac_ ? *asked_mac_ : next_free_mac(*tree());
  std::vector<std::unique_ptr<NicPort>> ports;
  for (unsigned i = 0; i < count; ++i) {
    auto port = tree()->make<NicPort>();
    port->bind(*this, loop_, i);
    // Ports that are made already let go of their peers when this fails.
    if (netdev_ != nullptr) {
      auto connected = net::NetClient::connect(*port, netdev_->queue(i));
      if (!connected) {
        vhost_.reset();
        return error(std::move(connected).error().within(nic_model() + ": netdev"));
      }
    }
    ports.push_back(std::move(port));
  }
  ports_.clear();
  for (unsigned i = 0; i < count; ++i) {
    ports_.push_back(&adopt(i == 0 ? "nic" : fmt::format("nic{}", i), std::move(ports[i])));
  }
  senders_.clear();
  senders_.resize(count);
  peer_can_ = netdev_ != nullptr ? netdev_->possible_offloads() : net::OffloadSet{};
  peer_takes_ = netdev_ != nullptr ? netdev_->receive_offloads() : net::OffloadSet{};
  if (netdev_ != nullptr) netdev_->peer_takes({});
  link_up_ = netdev_ == nullptr || netdev_->is_link_up();
  mac_ = own_mac_;
  asked_mac_ = own_mac_;
  for (unsigned i = 0; i < count; ++i) {
    for (const u16 size : {rx_queue_size_, tx_queue_size_}) outside_ ? add_outside_queue(size) : add_queue(size, loop_);
  }
  add_queue(kControlQueueSize, outside_ ? nullptr : loop_);  // what drives the back end needs the machine lock
  if (vhost_ != nullptr) {
    if (auto served = vhost_->serve(); !served) {
      vhost_.reset();
      for (NicPort* port : std::exchange(ports_, {})) remove_child(*port);
      return error(std::move(served).error().within(nic_model()));
    }
  }
  machine().add_power_listener(*this);
  return {};
}

void VirtioNet::unrealize() {
  machine().remove_power_listener(*this);
  vhost_.reset();
  stop_queues();
  *alive_ = false;
  alive_ = std::make_shared<bool>(true);
  senders_.clear();
  if (netdev_ != nullptr) netdev_->peer_takes({});
  netdev_ = nullptr;
  for (NicPort* port : ports_) remove_child(*port);
  ports_.clear();
}

void VirtioNet::on_loop(std::function<void()> work) {
  auto guarded = [alive = alive_, work = std::move(work)] {
    if (*alive) work();
  };
  if (loop_ != nullptr) {
    loop_->post(std::move(guarded));
  } else {
    machine().run_on_main_loop(std::move(guarded));
  }
}

void VirtioNet::run_state_changed(bool running) {
  vm_running_ = running;
  if (!running) return;
  for (unsigned i = 0; i < queue_count(); ++i) schedule(i);
  on_loop([this] {
    for (NicPort* port : ports_) port->accept_again();
  });
}

void VirtioNet::driver_ready() {
  {
    const std::lock_guard hold(mutex_);
    guest_offloads_ = accepted_features() & kGuestOffloads;
    if (has_feature(kCtrlVlan)) filter_.filter_vlans();
  }
  on_loop([this] { tell_offloads(); });
}

void VirtioNet::virtio_reset() {
  {
    const std::lock_guard hold(mutex_);
    guest_offloads_ = 0;
    filter_.reset();
    mac_ = own_mac_;
  }
  active_pairs_ = 1;
  announcing_ = false;
  forget_ = true;
  on_loop([this] {
    if (forget_.exchange(false)) {
      for (auto& sender : senders_) sender.clear();
    }
    tell_offloads();
    // Packets that were refused for want of buffers fall away.
    for (NicPort* port : ports_) port->accept_again();
  });
}

void VirtioNet::cable_moved() {
  if (ports_.empty()) return;
  NicPort& first = *ports_.front();
  const bool up = vhost_up_ && first.is_link_up() && (netdev_ == nullptr ? first.peer() == nullptr : netdev_->is_link_up());
  if (link_up_.exchange(up) != up) config_changed();
}

void VirtioNet::netdev_gone(unsigned pair) {
  senders_[pair].clear();
  if (pair != 0 || !is_realized()) return;
  {
    mem::MachineLockScope guard(memory().lock());
    vhost_.reset();
    netdev_ = nullptr;
  }
  if (link_up_.exchange(false)) config_changed();
}

// Queues that others serve. --------------------------------------------------------------------------------------------

Result<void> VirtioNet::open_vhost() {
  if (netdev_ == nullptr || netdev_->vhost_offer() == nullptr) return {};
  vhost_ = EMU_TRY(VhostNet::open(*netdev_, {.device = *this,
                                             .transport = transport(),
                                             .machine = machine(),
                                             .name = nic_model(),
                                             .link = [this](bool up) { vhost_link(up); }}));
  outside_ = vhost_ != nullptr;
  vhost_up_ = true;
  return {};
}

/// The back end came or went: to the driver that is a cable. Machine lock.
void VirtioNet::vhost_link(bool up) {
  vhost_up_ = up;
  cable_moved();
}

u64 VirtioNet::limit_features(u64 features) const { return vhost_ != nullptr ? vhost_->limit(features) : features; }

void VirtioNet::serving_starts() {
  if (vhost_ != nullptr) vhost_->start(accepted_features(), header_bytes(), active_pairs_);
}

void VirtioNet::serving_ends() {
  if (vhost_ != nullptr) vhost_->stop();
}

void VirtioNet::interrupts_rerouted() {
  if (vhost_ != nullptr) vhost_->reroute();
}

void VirtioNet::announce() {
  if (!has_feature(kGuestAnnounce) || !is_running()) return;
  announcing_ = true;
  config_changed();
}

std::optional<RxFilter> VirtioNet::rx_filter() const {
  const std::lock_guard hold(mutex_);
  return filter_.describe(has_feature(kCtrlVlan));
}

// What the driver sees. ----------------------------------------------------------------------------------------------

net::MacAddress VirtioNet::mac() const {
  const std::lock_guard hold(mutex_);
  return mac_;
}

u64 VirtioNet::device_features() const {
  u64 features = kMac;
  for (const FeatureBit& feature : feature_bits()) {
    if (this->*feature.wanted) features |= feature.bit;
  }
  // What the back end does not take, OffloadSender does for it; but it does not fragment UDP.
  if (!peer_takes_.ufo) features &= ~kHostUfo;
  if (!peer_can_.checksum) features &= ~(kGuestTso4 | kGuestTso6 | kGuestEcn | kGuestUfo | kGuestUso4 | kGuestUso6);
  if (!peer_can_.tso4) features &= ~kGuestTso4;
  if (!peer_can_.tso6) features &= ~kGuestTso6;
  if (!peer_can_.ecn) features &= ~kGuestEcn;
  if (!peer_can_.ufo) features &= ~kGuestUfo;
  if (!peer_can_.uso) features &= ~(kGuestUso4 | kGuestUso6);
  if (pairs() <= 1) features &= ~kMq;
  // 5.1.3.1
  constexpr u64 kNeedCtrlVq =
      kCtrlGuestOffloads | kCtrlRx | kCtrlVlan | kCtrlRxExtra | kGuestAnnounce | kMq | kCtrlMacAddr;
  if (!(features & kCtrlVq)) features &= ~kNeedCtrlVq;
  if (!(features & kCsum)) features &= ~(kHostTso4 | kHostTso6 | kHostEcn | kHostUfo | kHostUso);
  if (!(features & kGuestCsum)) features &= ~kGuestOffloads;
  if (host_mtu_ != 0) features |= kMtu;
  if (speed_ >= 0 || !duplex_.empty()) features |= kSpeedDuplex;
  return features;
}

/// 5.1.3.1
const char* VirtioNet::check_features(u64 accepted) const {
  const auto needs = [&](u64 any_of, u64 one_of) { return (accepted & any_of) != 0 && (accepted & one_of) == 0; };
  if (needs(kHostTso4 | kHostTso6 | kHostUfo | kHostUso, kCsum)) return "sending offloads need CSUM";
  if (needs(kGuestTso4 | kGuestTso6 | kGuestUfo | kGuestUso4 | kGuestUso6, kGuestCsum)) {
    return "receive offloads need GUEST_CSUM";
  }
  if (needs(kCtrlRx | kCtrlVlan | kGuestAnnounce | kMq | kCtrlMacAddr, kCtrlVq)) return "CTRL_VQ is missing";
  return nullptr;
}

void VirtioNet::fill_config(std::span<u8> bytes) const {
  Config config;
  config.mac = mac();
  config.status = u16((link_up_ ? kLinkUp : 0) | (announcing_ ? kAnnounce : 0));
  config.pairs = u16(std::max(pairs(), 1u));
  config.mtu = host_mtu_;
  config.speed = u32(speed_);
  if (!duplex_.empty()) config.duplex = duplex_ == "full" ? 1 : 0;
  std::memcpy(bytes.data(), &config, std::min<std::size_t>(bytes.size(), kConfigBytes));
}

/// Only legacy drivers set the address so, 5.1.4.
void VirtioNet::config_written(std::span<const u8> config, u32 offset, u32) {
  if (offset >= kMacBytes || has_feature(kFeatureVersion1) || has_feature(kCtrlMacAddr)) return;
  const std::lock_guard hold(mutex_);
  std::copy_n(config.begin(), kMacBytes, mac_.begin());
}

// Offloads. ----------------------------------------------------------------------------------------------------------

net::OffloadSet VirtioNet::offloads_of(u64 features) const {
  const auto has = [&](u64 bits) { return (features & bits) == bits; };
  return {.checksum = has(kGuestCsum),
          .tso4 = has(kGuestTso4),
          .tso6 = has(kGuestTso6),
          .ecn = has(kGuestEcn),
          .ufo = has(kGuestUfo),
          .uso = has(kGuestUso4 | kGuestUso6)};
}

/// Loop's thread.
void VirtioNet::tell_offloads() {
  if (netdev_ == nullptr || ports_.empty()) return;
  netdev_->peer_takes(ports_.front()->receive_offloads());
}

// Saved state. -------------------------------------------------------------------------------------------------------

void VirtioNet::fields(Archive& ar) {
  u16 active = active_pairs_;
  bool announcing = announcing_;
  {
    const std::lock_guard hold(mutex_);
    ar("mac", mac_)("filter", filter_)("guest_offloads", guest_offloads_);
  }
  ar("active_pairs", active)("announcing", announcing);
  if (!ar.is_loading()) return;
  active_pairs_ = u16(std::clamp<unsigned>(active, 1, std::max(pairs(), 1u)));
  announcing_ = announcing;
}

Result<void> VirtioNet::after_load() {
  {
    const std::lock_guard hold(mutex_);
    guest_offloads_ &= kGuestOffloads;
  }
  on_loop([this] { tell_offloads(); });
  return {};
}

}  // namespace emu::hw
