// SPDX-License-Identifier: Apache-2.0
// Who serves the rings of a virtio network card in its place: another process (vhost-user), or the kernel (vhost-net).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hw/virtio/vhost/vhost_device.h"
#include "hw/virtio/vhost/vhost_kernel.h"
#include "hw/virtio/vhost/vhost_user.h"
#include "net/net_client.h"

namespace emu::hw {

/// A back end that goes takes the link with it, and the link comes back with the next one, which goes on where the
/// rings are. Machine lock.
class VhostNet {
 public:
  struct Wiring {
    VirtioDevice& device;
    VirtioTransport& transport;
    MachineServices& machine;
    std::string name;                ///< of the card, for messages
    std::function<void(bool)> link;  ///< the rings are served, or not any more
  };
  /// Null where it cannot be had and the netdev does not insist, of which a line in the log tells. Main loop, before
  /// the card's queues are there.
  static Result<std::unique_ptr<VhostNet>> open(net::NetClient& netdev, Wiring wiring, VhostApi& api = vhost_api());
  ~VhostNet();

  /// Once the queues are there: receive and transmit of each pair.
  Result<void> serve();
  /// What of these feature bits can be offered.
  u64 limit(u64 features) const;
  void start(u64 features, std::size_t header_bytes, unsigned active_pairs);
  void stop();
  void set_active_pairs(unsigned count);
  void reroute();

 private:
  VhostNet(net::NetClient& netdev, Wiring wiring) : netdev_(netdev), wiring_(std::move(wiring)) {}
  Result<void> open_user(const net::VhostOffer& offer);
  Result<void> open_kernel(net::VhostOffer& offer, VhostApi& api);
  void failed(const std::string& why);
  void back();
  u64 backend_bits() const;

  net::NetClient& netdev_;
  const Wiring wiring_;
  std::unique_ptr<VhostUser> user_;
  std::vector<std::unique_ptr<VhostKernelNet>> kernel_;  ///< one a pair
  std::vector<std::unique_ptr<VhostDevice>> rings_;      ///< one a back end
  u64 features_ = 0;
  bool started_ = false;
};

}  // namespace emu::hw
