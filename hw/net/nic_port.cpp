// SPDX-License-Identifier: Apache-2.0
#include "hw/net/nic_port.h"

#include <algorithm>
#include <utility>

namespace emu::hw {

std::string NicPort::describe_state() const {
  return fmt::format("model={},macaddr={}", kind(), net::to_text(card_->mac()));
}

std::string NicPort::label() const {
  if (std::string id = card_->nic_id(); !id.empty()) return id;
  unsigned number = 0;
  for (const NicPort* other : all_cards(*tree())) {
    if (&other->card() == card_) break;
    if (other->kind() == kind()) number++;
  }
  return fmt::format("{}.{}", kind(), number);
}

void NicPort::plug_cable(bool in) {
  if (in == is_link_up()) return;
  set_link(in);
  link_changed();
}

void NicPort::filter_changed() {
  if (!std::exchange(filter_event_due_, false)) return;
  const auto* events = dynamic_cast<const NicEvents*>(tree()->root().child(NicEvents::kName));
  if (events != nullptr && events->filter_changed) events->filter_changed(*this);
}

std::vector<NicPort*> all_cards(qom::ObjectTree& tree) {
  std::vector<NicPort*> ports;
  tree.root().visit([&](qom::Object& object) {
    auto* port = dynamic_cast<NicPort*>(&object);
    if (port != nullptr && port->number() == 0) ports.push_back(port);
  });
  return ports;
}

net::MacAddress next_free_mac(qom::ObjectTree& tree) {
  std::vector<net::MacAddress> used;
  for (const NicPort* port : all_cards(tree)) used.push_back(port->card().mac());
  net::MacAddress mac = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
  while (std::find(used.begin(), used.end(), mac) != used.end()) {
    if (++mac[5] == 0) ++mac[4];
  }
  return mac;
}

void register_nic_ports(qom::TypeRegistry& registry) {
  registry.add_base<NicPort, net::NetClient>();
  registry.add_base<NicEvents, qom::Object>();
}

}  // namespace emu::hw
