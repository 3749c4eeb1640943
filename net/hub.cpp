// SPDX-License-Identifier: Apache-2.0
#include "net/hub.h"

#include <algorithm>

namespace emu::net {

HubPort::~HubPort() {
  if (hub_ != nullptr) std::erase(hub_->ports, this);
}

void HubPort::plug(std::shared_ptr<Hub> hub, EventLoop& loop) {
  set_loop(loop);
  hub_ = std::move(hub);
  hub_->ports.push_back(this);
}

std::string HubPort::describe_state() const { return fmt::format("hubid={}", hub_->id); }

/// One slow listener must not stop the others, as on a real hub; but when none of them has room, nothing would be heard.
bool HubPort::can_forward() const {
  return hub_->ports.size() < 2 || std::any_of(hub_->ports.begin(), hub_->ports.end(), [this](const HubPort* port) {
           return port != this && !port->waiting_.is_full();
         });
}

bool HubPort::receive(const Packet& packet) {
  if (!can_forward()) return false;
  for (HubPort* port : std::vector(hub_->ports)) {
    if (port == this) continue;
    if (!port->waiting_.empty() || !port->send(packet)) port->waiting_.push(packet);
  }
  return true;
}

void HubPort::peer_ready() {
  waiting_.drain([this](const Packet& packet) { return send(packet); });
  for (HubPort* port : std::vector(hub_->ports)) {
    if (port != this) port->ready();
  }
}

std::shared_ptr<Hub> find_hub(qom::ObjectTree& tree, u64 id) {
  for (const auto& child : tree.container(NetClient::kContainer).children()) {
    auto* port = dynamic_cast<HubPort*>(child.get());
    if (port == nullptr || port->hub()->id != id) continue;
    return port->hub();
  }
  return std::make_shared<Hub>(id);
}

}  // namespace emu::net
