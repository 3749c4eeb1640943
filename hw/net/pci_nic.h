// SPDX-License-Identifier: Apache-2.0
// What PCI network cards have in common: work that moves off the vCPU thread.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "hw/net/nic_port.h"
#include "hw/pci/pci_device.h"
#include "net/offload.h"

namespace emu::hw {

/// Lock order: the machine lock protects the card; packets are handed over without it, on the wire's loop.
class PciNic : public PciDevice, private NicCard, private PowerListener {
 public:
  static constexpr const char* kTypeName = "pci-nic";
  static void describe(TypeInfo<PciNic>& type);

  net::MacAddress mac() const override { return mac_; }
  NicPort& port() const { return *port_; }

 protected:
  explicit PciNic(const PciIdentity& identity) : PciDevice(identity) {}

  struct OutFrame {
    std::vector<u8> bytes;
    net::PacketOffload offload = {};
    bool to_ourselves = false;  ///< loopback
  };

  // For models. Machine lock held in all of them. -------------------------------------------------------------------
  /// In realize() and unrealize().
  Result<void> plug_in();
  void unplug();
  /// A frame from outside, at least 60 bytes. `sums_are_good`: whoever made it computed its checksums, nobody need look
  /// at them. False: no room now; call room_appeared() once there is.
  virtual bool frame_arrived(std::span<const u8> frame, bool sums_are_good) = 0;
  /// The next frame to send, its descriptors done with; nothing when there is none. Looks at a bounded number of
  /// descriptors; has_more_work() then says whether it left any.
  virtual std::optional<OutFrame> next_frame() = 0;
  virtual bool has_more_work() const = 0;
  /// After a round of next_frame() and frame_arrived(): interrupts.
  virtual void round_done() = 0;
  virtual void link_moved() = 0;

  bool has_link() const;
  /// Puts bytes into the guest's memory; where none is, a driver's error is logged.
  void store(u64 address, std::span<const u8> bytes);
  /// Sends what is there, soon, on the wire's loop.
  void kick_transmit();
  void room_appeared();
  /// Forgets frames on their way out and in: a reset.
  void drop_pending();
  /// The option ROM of that name unless the user said otherwise; none when it is not installed.
  void default_rom(const char* file);

 private:
  std::string nic_model() const override { return type().name(); }
  std::string nic_id() const override { return id(); }
  std::string nic_path() const override { return path(); }
  bool packet_arrived(unsigned queue, const net::Packet& packet) override;
  /// Packets come in the long pieces that TCP stacks like, and are cut here, under one lock and for one interrupt.
  net::OffloadSet nic_offloads() const override {
    return {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true, .uso = true};
  }
  void may_send(unsigned) override { pump(); }
  void cable_moved() override;
  void netdev_gone(unsigned queue) override;
  void run_state_changed(bool running) override;
  void on_loop(std::function<void()> work);
  void pump();
  bool flush();
  bool send(const OutFrame& frame);
  void loop_back(const OutFrame& frame);
  std::span<const u8> padded(std::span<const iovec> parts);
  bool finish_and_take(const net::Packet& packet);
  void take_rest();

  std::optional<net::MacAddress> asked_mac_;
  net::MacAddress mac_{};
  net::NetClient* netdev_ = nullptr;
  NicPort* port_ = nullptr;
  net::OffloadSender sender_;     ///< wire's loop
  std::deque<OutFrame> waiting_;  ///< taken from the guest, not yet by the peer; wire's loop
  std::atomic<bool> kicked_{false}, drop_{false};
  bool running_ = true;
  bool starved_ = false;  ///< a frame was refused for want of room
  std::deque<std::vector<u8>> arriving_;  ///< segments of a packet that came when there was no more room; machine lock
  std::vector<u8> padded_, whole_;        ///< keep their memory from packet to packet; wire's loop
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  ///< posted work checks it; wire's loop
};

/// "pci-nic" and what all cards' wires need.
void register_nic_core(TypeRegistry& registry);

}  // namespace emu::hw
