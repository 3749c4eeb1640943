// SPDX-License-Identifier: Apache-2.0
#include "net/net_client.h"

#include <utility>

namespace emu::net {

std::size_t Packet::bytes() const {
  std::size_t sum = 0;
  for (const iovec& part : parts) sum += part.iov_len;
  return sum;
}

NetClient::~NetClient() {
  disconnect();
  for (PacketObserver* observer : std::vector(observers_)) observer->client_gone();
}

Result<void> NetClient::connect(NetClient& a, NetClient& b) {
  for (const NetClient* end : {&a, &b}) {
    if (end->peer_ != nullptr) return error("network client '{}' is already in use", end->name());
  }
  EMU_TRY(a.check_peer(b));
  EMU_TRY(b.check_peer(a));
  a.peer_ = &b;
  b.peer_ = &a;
  return {};
}

void NetClient::disconnect() {
  if (peer_ == nullptr) return;
  NetClient& other = *std::exchange(peer_, nullptr);
  other.peer_ = nullptr;
  other.peer_gone();
}

bool NetClient::send(const Packet& packet) {
  if (peer_ == nullptr || !link_up_ || !peer_->link_up_) return true;
  NetClient& peer = *peer_;
  if (!peer.receive(packet)) {
    peer.refused_ = true;
    return false;
  }
  for (PacketObserver* observer : observers_) observer->packet_sent(packet);
  for (PacketObserver* observer : peer.observers_) observer->packet_received(packet);
  return true;
}

void NetClient::ready() {
  if (!refused_) return;
  refused_ = false;
  if (peer_ != nullptr) peer_->peer_ready();
}

void NetClient::set_link(bool up) {
  if (link_up_ == up) return;
  link_up_ = up;
  if (peer_ != nullptr) peer_->link_changed();
}

}  // namespace emu::net
