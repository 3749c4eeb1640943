// SPDX-License-Identifier: Apache-2.0
#include "hw/net/pci_nic.h"

#include <unistd.h>

#include <algorithm>

#include "util/log.h"

namespace emu::hw {
namespace {

constexpr std::size_t kLeastFrame = 60;  ///< IEEE 802.3: without FCS; what is shorter is padded on the wire
constexpr unsigned kFramesInARound = 32, kRounds = 8;

}  // namespace

void PciNic::describe(TypeInfo<PciNic>& type) {
  type.category(Category::Network);
  type.property("mac", &PciNic::asked_mac_, "Ethernet address; without it the next free one from 52:54:00:12:34:56");
  type.link("netdev", &PciNic::netdev_, net::NetClient::kContainer, "id of the network back end");
}

Result<void> PciNic::plug_in() {
  mac_ = asked_mac_ ? *asked_mac_ : next_free_mac(*tree());
  auto port = tree()->make<NicPort>();
  port->bind(*this, netdev_ != nullptr ? &netdev_->loop() : nullptr);
  if (netdev_ != nullptr) EMU_TRY(net::NetClient::connect(*port, *netdev_), type().name() + ": netdev");
  port_ = &adopt("nic", std::move(port));
  if (netdev_ != nullptr) netdev_->peer_takes(nic_offloads());
  machine().add_power_listener(*this);
  asked_mac_ = mac_;
  return {};
}

void PciNic::unplug() {
  machine().remove_power_listener(*this);
  *alive_ = false;
  alive_ = std::make_shared<bool>(true);
  netdev_ = nullptr;
  sender_.clear();
  waiting_.clear();
  arriving_.clear();
  remove_child(*port_);
  port_ = nullptr;
}

void PciNic::default_rom(const char* file) {
  const std::string path = machine().find_data_file(file);
  if (::access(path.c_str(), R_OK) == 0) return;
  const auto chosen = get("romfile");
  if (chosen && chosen->text() == file) static_cast<void>(set("romfile", std::string()));
}

void PciNic::cable_moved() {
  mem::MachineLockScope guard(memory().lock());
  link_moved();
}

void PciNic::netdev_gone(unsigned) {
  {
    mem::MachineLockScope guard(memory().lock());  // a vCPU may be about to use it
    netdev_ = nullptr;
    drop_pending();
  }
  if (is_realized()) cable_moved();
}

bool PciNic::has_link() const {
  return port_ != nullptr && port_->is_link_up() && (port_->peer() == nullptr || port_->peer()->is_link_up());
}

void PciNic::store(u64 address, std::span<const u8> bytes) {
  if (dma().write(address, bytes) == mem::MemTxResult::Ok) return;
  log::guest_error("{}: there is no memory at {:#x} for {} bytes", type().name(), address, bytes.size());
}

void PciNic::on_loop(std::function<void()> work) {
  auto guarded = [alive = alive_, work = std::move(work)] {
    if (*alive) work();
  };
  if (netdev_ != nullptr) {
    netdev_->loop().post(std::move(guarded));
  } else {
    machine().run_on_main_loop(std::move(guarded));
  }
}

void PciNic::kick_transmit() {
  if (!kicked_.exchange(true, std::memory_order_acq_rel)) on_loop([this] { pump(); });
}

void PciNic::room_appeared() {
  if (!starved_) return;
  starved_ = false;
  on_loop([this] { take_rest(); });
}

void PciNic::drop_pending() {
  drop_.store(true, std::memory_order_release);
  arriving_.clear();
}

void PciNic::run_state_changed(bool running) {
  running_ = running;
  if (!running) return;
  kick_transmit();
  room_appeared();
}

bool PciNic::send(const OutFrame& frame) {
  if (frame.to_ourselves) {
    loop_back(frame);
    return true;
  }
  const iovec part{const_cast<u8*>(frame.bytes.data()), frame.bytes.size()};
  return sender_.send(*port_, net::Packet{.parts = {&part, 1}, .offload = frame.offload});
}

/// What comes back is as it would be on the wire: checksums filled in, segments cut, short frames padded.
void PciNic::loop_back(const OutFrame& frame) {
  mem::MachineLockScope guard(memory().lock());
  if (!running_) return;
  const auto arrive = [this](std::span<const u8> bytes) {
    const iovec part{const_cast<u8*>(bytes.data()), bytes.size()};
    frame_arrived(padded({&part, 1}), /*sums_are_good=*/false);
  };
  std::vector<u8> bytes = frame.bytes;
  if (frame.offload.gso_type != 0) {
    net::segment(bytes, frame.offload, arrive);
  } else {
    if ((frame.offload.flags & 1) != 0) {
      net::fill_checksum(bytes, frame.offload.csum_start, frame.offload.csum_offset);
    }
    arrive(bytes);
  }
  round_done();
}

/// True when nothing waits any more.
bool PciNic::flush() {
  while (sender_.flush(*port_) && !waiting_.empty()) {
    // Sending can bring frames in, and a guest's answers with them: the frame is ours meanwhile.
    OutFrame frame = std::move(waiting_.front());
    waiting_.pop_front();
    if (send(frame)) continue;
    waiting_.push_front(std::move(frame));
    return false;
  }
  return waiting_.empty() && !sender_.is_waiting();
}

/// Frames are taken from the guest by the dozen with the machine lock held, and sent without it.
void PciNic::pump() {
  kicked_.store(false, std::memory_order_release);
  if (drop_.exchange(false, std::memory_order_acq_rel)) {
    waiting_.clear();
    sender_.clear();
  }
  if (!flush()) return;
  for (unsigned round = 0; round < kRounds; round++) {
    bool more = false;
    {
      mem::MachineLockScope guard(memory().lock());
      if (!running_) return;
      while (waiting_.size() < kFramesInARound) {
        auto frame = next_frame();
        if (!frame) break;
        // A segmentation offload's frames may wait in the sender; nothing may be fetched behind it before they went.
        const bool alone = frame->offload.gso_type != 0;
        waiting_.push_back(std::move(*frame));
        if (alone) break;
      }
      more = has_more_work();
      round_done();
    }
    if (!flush() || !more) return;
  }
  kick_transmit();  // others on the loop want their turn
}

/// The bytes in one piece, at least as many as the shortest frame has.
std::span<const u8> PciNic::padded(std::span<const iovec> parts) {
  const net::Packet packet{.parts = parts};
  const std::size_t bytes = packet.bytes();
  if (parts.size() == 1 && bytes >= kLeastFrame) return {static_cast<const u8*>(parts[0].iov_base), bytes};
  padded_.assign(std::max(bytes, kLeastFrame), 0);
  net::flatten(packet, padded_);
  return padded_;
}

bool PciNic::packet_arrived(unsigned, const net::Packet& packet) {
  mem::MachineLockScope guard(memory().lock());
  starved_ = !running_ || !arriving_.empty();
  if (starved_) return false;
  constexpr u8 kKnownGood = 2;
  const bool taken = packet.offload.is_needed() ? finish_and_take(packet)
                                                : frame_arrived(padded(packet.parts), (packet.offload.flags & kKnownGood) != 0);
  starved_ = !taken || !arriving_.empty();
  round_done();
  return taken;
}

/// Does what the sender left to us. Of a packet that is cut all segments are taken, though some may have to wait.
bool PciNic::finish_and_take(const net::Packet& packet) {
  whole_.resize(packet.bytes());
  net::flatten(packet, whole_);
  const auto take = [this](std::span<const u8> frame) {
    const iovec part{const_cast<u8*>(frame.data()), frame.size()};
    return frame_arrived(padded({&part, 1}), /*sums_are_good=*/true);
  };
  const net::PacketOffload& offload = packet.offload;
  if (offload.gso_type == 0) {
    if (net::fill_checksum(whole_, offload.csum_start, offload.csum_offset)) return take(whole_);
    log::guest_error("{}: a checksum at {}+{} is outside its packet", type().name(), offload.csum_start, offload.csum_offset);
    return true;
  }
  const bool cut = net::segment(whole_, offload, [&](std::span<const u8> one) {
    if (!arriving_.empty() || !take(one)) arriving_.emplace_back(one.begin(), one.end());
  });
  if (!cut) log::guest_error("{}: a packet to be cut (type {}) has no headers for that", type().name(), offload.gso_type);
  return true;
}

/// There is room again: what waits here comes before what the sender holds.
void PciNic::take_rest() {
  {
    mem::MachineLockScope guard(memory().lock());
    starved_ = !running_;
    while (!starved_ && !arriving_.empty()) {
      const iovec part{arriving_.front().data(), arriving_.front().size()};
      starved_ = !frame_arrived(padded({&part, 1}), /*sums_are_good=*/true);
      if (!starved_) arriving_.pop_front();
    }
    round_done();
    if (starved_) return;
  }
  port_->accept_again();
}

void register_nic_core(TypeRegistry& registry) {
  registry.add_abstract<PciNic, PciDevice>();
  register_nic_ports(registry);
}

}  // namespace emu::hw
