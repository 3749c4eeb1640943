// SPDX-License-Identifier: Apache-2.0
// A hub: what comes in at one port goes out at all others.
#pragma once

#include <memory>

#include "net/backend.h"
#include "net/packet_queue.h"

namespace emu::net {

class HubPort;

/// Lives as long as it has ports.
struct Hub {
  explicit Hub(u64 number) : id(number) {}
  const u64 id;
  std::vector<HubPort*> ports;
};

class HubPort final : public BackendClient {
 public:
  static void describe(qom::TypeInfo<HubPort>& type) { type.doc("port of a hub"); }
  ~HubPort() override;

  void plug(std::shared_ptr<Hub> hub, EventLoop& loop);
  const std::shared_ptr<Hub>& hub() const { return hub_; }
  std::string kind() const override { return "hubport"; }
  std::string describe_state() const override;

 protected:
  bool receive(const Packet& packet) override;
  void peer_ready() override;

 private:
  bool can_forward() const;
  std::shared_ptr<Hub> hub_;
  PacketQueue waiting_;  ///< for our peer, which had no room
};

/// The hub of that number in a tree, made when there is none.
std::shared_ptr<Hub> find_hub(qom::ObjectTree& tree, u64 id);

}  // namespace emu::net
