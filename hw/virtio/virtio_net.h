// SPDX-License-Identifier: Apache-2.0
// Network card. Virtio 1.2, 5.1.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "hw/net/nic_port.h"
#include "hw/virtio/net_filter.h"
#include "hw/virtio/vhost/vhost_net.h"
#include "hw/virtio/virtio_device.h"
#include "net/offload.h"

namespace emu::hw {

/// A card whose netdev asks for it has its packets' queues served outside (vhost); control stays here.
/// Packets go between the rings and the wire on the wire's loop, without the machine lock. Queues: receive 2i and
/// transmit 2i + 1 of each pair, then control.
class VirtioNet final : public VirtioDevice, private NicCard, private PowerListener {
 public:
  static constexpr const char* kDeviceType = "virtio-net-device";

  VirtioNet();
  static void describe(TypeInfo<VirtioNet>& type);
  Result<void> realize() override;
  void unrealize() override;

  u16 pci_class() const override { return 0x0200; }
  u64 device_features() const override;
  const char* check_features(u64 accepted) const override;
  void fill_config(std::span<u8> config) const override;
  void config_written(std::span<const u8> config, u32 offset, u32 size) override;
  void handle_queue(unsigned index) override;
  void driver_ready() override;
  void virtio_reset() override;
  u64 limit_features(u64 features) const override;
  void serving_starts() override;
  void serving_ends() override;
  void interrupts_rerouted() override;

  net::MacAddress mac() const override;
  std::optional<RxFilter> rx_filter() const override;
  unsigned pairs() const { return unsigned(ports_.size()); }
  NicPort& port(unsigned pair) const { return *ports_.at(pair); }
  /// Asks the driver to tell the network where its addresses are now (after a migration). Machine lock.
  void announce();

 private:
  enum class Ack : u8 { Ok = 0, Error = 1 };

  // virtio_net.cpp: control, machine lock unless said otherwise.
  Result<void> check_properties() const;
  Result<void> open_vhost();
  void vhost_link(bool up);
  void run_state_changed(bool running) override;
  const Device* function() const;
  std::string nic_model() const override;
  std::string nic_id() const override;
  std::string nic_path() const override;
  net::OffloadSet nic_offloads() const override;
  void may_send(unsigned pair) override { schedule(2 * pair + 1); }
  void cable_moved() override;
  void netdev_gone(unsigned pair) override;
  void ask_for_announcement() override { announce(); }
  void on_loop(std::function<void()> work);
  net::OffloadSet offloads_of(u64 features) const;
  void tell_offloads();
  void fields(Archive& ar);
  Result<void> after_load();

  // virtio_net_queues.cpp: the loop's thread.
  std::size_t header_bytes() const;
  unsigned control_queue() const;
  bool packet_arrived(unsigned pair, const net::Packet& packet) override;
  bool is_wanted(const net::Packet& packet) const;
  bool put_into_ring(VirtQueue& queue, const net::Packet& packet);
  void transmit(unsigned pair);
  bool transmit_one(unsigned pair, VirtQueue& queue, const VirtElement& element, bool& broken);
  std::optional<net::PacketOffload> checked_offload(const VirtElement& element) const;
  void control();
  Ack command(const VirtElement& element);
  Ack mac_command(u8 command, const VirtElement& element);
  Ack set_guest_offloads(const VirtElement& element);
  Ack set_pairs(const VirtElement& element);

  std::optional<net::MacAddress> asked_mac_;
  net::NetClient* netdev_ = nullptr;
  std::optional<i32> boot_index_;
  u16 rx_queue_size_ = 256, tx_queue_size_ = 256, host_mtu_ = 0;
  i32 speed_ = -1, tx_burst_ = 256;
  u32 tx_timer_ = 150'000;
  std::string duplex_, tx_kind_;
  bool csum_ = true, guest_csum_ = true, guest_tso4_ = true, guest_tso6_ = true, guest_ecn_ = true, guest_ufo_ = true,
       guest_uso4_ = true, guest_uso6_ = true, guest_announce_ = true, host_tso4_ = true, host_tso6_ = true,
       host_ecn_ = true, host_ufo_ = true, host_uso_ = true, mrg_rxbuf_ = true, status_ = true, ctrl_vq_ = true,
       ctrl_rx_ = true, ctrl_vlan_ = true, ctrl_rx_extra_ = true, ctrl_mac_addr_ = true, ctrl_guest_offloads_ = true,
       mq_ = false, rss_ = false, hash_ = false, failover_ = false;
  struct FeatureBit {
    u64 bit;
    bool VirtioNet::*wanted;
  };
  static const std::vector<FeatureBit>& feature_bits();

  net::MacAddress own_mac_{};  ///< the user's choice; mac_ is the driver's
  net::OffloadSet peer_can_;   ///< give us
  net::OffloadSet peer_takes_;
  std::vector<NicPort*> ports_;
  EventLoop* loop_ = nullptr;  ///< of the wire; null: the main loop
  std::vector<net::OffloadSender> senders_;  ///< loop
  std::vector<u8> flat_;                     ///< loop
  std::vector<VirtQueue::Done> chain_;       ///< loop
  std::vector<mem::PinnedSpan> spans_;       ///< loop; of the packet that is being sent
  std::vector<iovec> parts_;                 ///< loop; the same for the wire
  std::vector<u8> sent_flat_;                ///< loop; the same in one piece
  std::atomic<bool> vm_running_{true}, link_up_{true}, announcing_{false};
  std::atomic<u16> active_pairs_{1};
  std::unique_ptr<VhostNet> vhost_;     ///< serves the packets' queues; null: we do
  bool outside_ = false;                ///< it does, or did before it went
  std::atomic<bool> vhost_up_{true};    ///< it is there
  std::atomic<bool> forget_{false};  ///< a reset: packets on their way out are dropped
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  ///< posted work checks it; loop

  mutable std::mutex mutex_;  ///< the rest. Lock order: machine lock → this; nothing is called under it
  net::MacAddress mac_{};
  NetFilter filter_;
  u64 guest_offloads_ = 0;  ///< in feature bits
};

}  // namespace emu::hw
