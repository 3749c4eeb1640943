// SPDX-License-Identifier: Apache-2.0
// Packets and commands of the virtio network card. Virtio 1.2, 5.1.6. All on the loop's thread.
#include <algorithm>
#include <cstring>

#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_net_regs.h"
#include "util/log.h"
#include "util/trace.h"

namespace emu::hw {

using namespace virtio;
using namespace virtio_net;

namespace {

enum CommandClass : u8 { kClassRx = 0, kClassMac = 1, kClassVlan = 2, kClassAnnounce = 3, kClassMq = 4, kClassOffloads = 5 };
enum MacCommand : u8 { kMacTableSet = 0, kMacAddressSet = 1 };
constexpr u64 kCommandHeader = 2;
/// What a packet may be cut into when it goes to a back end: below IOV_MAX, with room for a header of its own.
constexpr std::size_t kMostParts = 512;
constexpr std::size_t kFilteredBytes = 18;  ///< addresses, tag, type

}  // namespace

std::size_t VirtioNet::header_bytes() const {
  return (accepted_features() & (kFeatureVersion1 | kMrgRxbuf)) != 0 ? sizeof(Header) : kShortHeader;
}

/// 5.1.2: behind the one pair that drivers without MQ use.
unsigned VirtioNet::control_queue() const { return has_feature(kMq) ? 2 * pairs() : 2; }

void VirtioNet::handle_queue(unsigned index) {
  if (!vm_running_) return;  // all are called when it goes on
  if (index == control_queue() && has_feature(kCtrlVq)) return control();
  if (outside_ || index / 2 >= pairs()) return;
  if (index % 2 == 1) return transmit(index / 2);
  queue(index)->want_notifications(false);  // until we run out again
  for (NicPort* port : ports_) port->accept_again();
}

// Receive. -----------------------------------------------------------------------------------------------------------

bool VirtioNet::is_wanted(const net::Packet& packet) const {
  std::array<u8, kFilteredBytes> start{};
  const std::size_t bytes = net::flatten(packet, start);
  const std::lock_guard hold(mutex_);
  return filter_.accepts(std::span(start).first(bytes), mac_);
}

bool VirtioNet::packet_arrived(unsigned pair, const net::Packet& packet) {
  if (outside_) return true;  // from before the interface was lent
  if (!vm_running_) return false;
  if (!is_running()) return true;  // nobody listens
  // Queues that the driver does not use hand theirs to one that it does.
  VirtQueue& ring = *queue(2 * (pair % active_pairs_));
  if (!ring.is_enabled() || !is_wanted(packet)) return true;
  if (!packet.offload.is_needed()) return put_into_ring(ring, packet);
  const net::OffloadSet takes = nic_offloads();
  if (net::is_taken(packet.offload, takes)) return put_into_ring(ring, packet);
  // On its way since before the driver said that it does not take this.
  if (packet.offload.gso_type != 0) return true;
  flat_ = net::flatten(packet);
  if (!net::fill_checksum(flat_, packet.offload.csum_start, packet.offload.csum_offset)) return true;
  const iovec part{flat_.data(), flat_.size()};
  return put_into_ring(ring, net::Packet{.parts = {&part, 1}});
}

bool VirtioNet::put_into_ring(VirtQueue& ring, const net::Packet& packet) {
  const std::size_t header_size = header_bytes();
  const u64 total = header_size + packet.bytes();
  const bool mergeable = has_feature(kMrgRxbuf);
  const auto give_back = [&] {
    for (; !chain_.empty(); chain_.pop_back()) ring.unpop(std::move(chain_.back().element));
  };
  // Buffers for all of it, before any is written to.
  u64 room = 0;
  while (room < total) {
    VirtElementPtr element = ring.pop();
    if (element == nullptr) {
      ring.want_notifications(true);
      element = ring.pop();  // it may have come just before
    }
    if (element == nullptr) {
      const bool never = chain_.size() >= ring.max_size();
      give_back();
      return never;
    }
    const u64 size = element->writable_bytes();
    if (room == 0 && size < header_size) {
      ring.fail(std::move(element), "a receive buffer has no room for the header");
      return true;
    }
    chain_.push_back({std::move(element), u32(std::min(size, total - room))});
    room += size;
    if (mergeable || room >= total) continue;
    log::guest_error("virtio-net: a packet of {} bytes does not fit a buffer of {}", packet.bytes(), size);
    give_back();
    return true;
  }
  const net::PacketOffload& offload = packet.offload;
  Header header;
  header.flags = u8(offload.flags & (has_feature(kGuestCsum) ? kNeedsCsum | kDataValid : 0));
  header.gso_type = offload.gso_type;
  header.header_bytes = offload.header_bytes;
  header.segment_bytes = offload.segment_bytes;
  header.csum_start = offload.csum_start;
  header.csum_offset = offload.csum_offset;
  header.buffers = u16(chain_.size());
  bool written = chain_[0].element->write(0, {reinterpret_cast<const u8*>(&header), header_size});
  std::size_t buffer = 0;
  u64 at = header_size;
  for (const iovec& part : packet.parts) {
    std::span<const u8> rest(static_cast<const u8*>(part.iov_base), part.iov_len);
    while (!rest.empty()) {
      if (at == chain_[buffer].written) {
        ++buffer;
        at = 0;
        continue;
      }
      const std::size_t size = std::min<u64>(rest.size(), chain_[buffer].written - at);
      written = chain_[buffer].element->write(at, rest.first(size)) && written;
      rest = rest.subspan(size);
      at += size;
    }
  }
  if (!written) log::guest_error("virtio-net: a receive buffer is not in RAM");
  ring.push_all(chain_);
  ring.notify();
  return true;
}

// Transmit. ----------------------------------------------------------------------------------------------------------

void VirtioNet::transmit(unsigned pair) {
  if (forget_.exchange(false)) {
    for (auto& sender : senders_) sender.clear();
  }
  if (!senders_[pair].flush(*ports_[pair])) return;  // peer_ready() brings us here again
  VirtQueue& ring = *queue(2 * pair + 1);
  i32 left = std::max(tx_burst_, 1);
  ring.process([&](VirtElementPtr element) {
    if (left-- == 0) {
      ring.unpop(std::move(element));
      schedule(2 * pair + 1);  // others on the loop want their turn
      return false;
    }
    bool broken = false;
    if (!transmit_one(pair, ring, *element, broken)) {
      ring.unpop(std::move(element));
      return false;
    }
    if (broken) {
      ring.fail(std::move(element), "a packet without its header");
      return false;
    }
    ring.push(std::move(element), 0);
    return true;
  });
  ring.notify();
}

/// Nothing when the driver asks for what it did not negotiate.
std::optional<net::PacketOffload> VirtioNet::checked_offload(const VirtElement& element) const {
  Header header;
  if (!element.read(0, {reinterpret_cast<u8*>(&header), kShortHeader})) return std::nullopt;
  net::PacketOffload offload{.flags = u8(header.flags & kNeedsCsum),
                             .gso_type = header.gso_type,
                             .header_bytes = header.header_bytes.get(),
                             .segment_bytes = header.segment_bytes.get(),
                             .csum_start = header.csum_start.get(),
                             .csum_offset = header.csum_offset.get()};
  if (!has_feature(kCsum)) offload.flags = 0;
  const auto needed = [&]() -> u64 {
    switch (header.gso_type & ~kGsoEcn) {
      case kGsoNone: return 0;
      case kGsoTcp4: return kHostTso4;
      case kGsoTcp6: return kHostTso6;
      case kGsoUdp: return kHostUfo;
      case kGsoUdpL4: return kHostUso;
      default: return ~u64(0);
    }
  }();
  if ((accepted_features() & needed) != needed) return std::nullopt;
  return offload;
}

/// False when the peer has no room.
bool VirtioNet::transmit_one(unsigned pair, VirtQueue& ring, const VirtElement& element, bool& broken) {
  const std::size_t header_size = header_bytes();
  if (element.readable_bytes() < header_size) {
    broken = true;
    return true;
  }
  const u64 bytes = element.readable_bytes() - header_size;
  EMU_TRACE("virtio_net_transmit", "queue {} bytes {}", ring.index(), bytes);
  if (bytes == 0) return true;
  const auto offload = checked_offload(element);
  std::vector<mem::PinnedSpan>& spans = spans_;
  spans.clear();
  if (bytes > net::kMostPacketBytes || !offload || !element.map(mem::Direction::FromGuest, header_size, bytes, spans)) {
    log::guest_error("virtio-net: a packet of {} bytes is dropped: {}", bytes,
                     bytes > net::kMostPacketBytes ? "it is too long"
                     : !offload                    ? "its offload was not negotiated"
                                                   : "it is not in RAM");
    return true;
  }
  parts_.clear();
  for (const mem::PinnedSpan& span : spans) parts_.push_back({span.data(), span.size()});
  if (parts_.size() > kMostParts) {
    sent_flat_ = net::flatten(net::Packet{.parts = parts_});
    parts_.assign(1, {sent_flat_.data(), sent_flat_.size()});
  }
  const bool taken = senders_[pair].send(*ports_[pair], net::Packet{.parts = parts_, .offload = *offload});
  spans.clear();  // the memory may move again
  return taken;
}

// Control, 5.1.6.5. --------------------------------------------------------------------------------------------------

void VirtioNet::control() {
  VirtQueue& ring = *queue(control_queue());
  ring.process([&](VirtElementPtr element) {
    if (element->readable_bytes() < kCommandHeader || element->writable_bytes() == 0) {
      ring.fail(std::move(element), "a control command without header or room for the answer");
      return false;
    }
    const Ack ack = command(*element);
    if (ack == Ack::Ok && element->read<u8>(0).value_or(0xff) <= kClassVlan) ports_.front()->filter_changed();
    static_cast<void>(element->write<u8>(0, u8(ack)));
    ring.push_and_notify(std::move(element), 1);
    return true;
  });
}

VirtioNet::Ack VirtioNet::command(const VirtElement& element) {
  const auto group = element.read<u8>(0), what = element.read<u8>(1);
  if (!group || !what) return Ack::Error;
  EMU_TRACE("virtio_net_command", "class {} command {}", *group, *what);
  const auto filtered = [&](u64 feature, auto&& change) {
    if (!has_feature(feature)) return Ack::Error;
    const std::lock_guard hold(mutex_);
    return change() ? Ack::Ok : Ack::Error;
  };
  switch (*group) {
    case kClassRx:
      return filtered(kCtrlRx, [&] {
        return filter_.set_mode(*what, element, kCommandHeader, has_feature(kCtrlRxExtra));
      });
    case kClassMac: return mac_command(*what, element);
    case kClassVlan:
      return filtered(kCtrlVlan, [&] { return filter_.change_vlan(*what, element, kCommandHeader); });
    case kClassAnnounce:
      if (*what != 0 || !has_feature(kGuestAnnounce) || !announcing_.exchange(false)) return Ack::Error;
      return Ack::Ok;
    case kClassMq: return *what == 0 ? set_pairs(element) : Ack::Error;
    case kClassOffloads: return *what == 0 ? set_guest_offloads(element) : Ack::Error;
    default: return Ack::Error;
  }
}

VirtioNet::Ack VirtioNet::mac_command(u8 command, const VirtElement& element) {
  const std::lock_guard hold(mutex_);
  if (command == kMacTableSet) {
    return has_feature(kCtrlRx) && filter_.set_tables(element, kCommandHeader) ? Ack::Ok : Ack::Error;
  }
  if (command != kMacAddressSet || !has_feature(kCtrlMacAddr)) return Ack::Error;
  net::MacAddress address{};
  if (!element.read(kCommandHeader, address)) return Ack::Error;
  mac_ = address;
  return Ack::Ok;
}

VirtioNet::Ack VirtioNet::set_pairs(const VirtElement& element) {
  const auto count = element.read<Le16>(kCommandHeader);
  if (!count || !has_feature(kMq) || *count == 0 || *count > pairs()) return Ack::Error;
  active_pairs_ = *count;
  if (vhost_ != nullptr) vhost_->set_active_pairs(*count);
  return Ack::Ok;
}

VirtioNet::Ack VirtioNet::set_guest_offloads(const VirtElement& element) {
  const auto wanted = element.read<Le64>(kCommandHeader);
  if (!wanted || !has_feature(kCtrlGuestOffloads)) return Ack::Error;
  if ((*wanted & ~(accepted_features() & kGuestOffloads)) != 0) return Ack::Error;
  {
    const std::lock_guard hold(mutex_);
    guest_offloads_ = *wanted;
  }
  tell_offloads();
  return Ack::Ok;
}

}  // namespace emu::hw
