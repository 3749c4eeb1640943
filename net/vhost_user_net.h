// SPDX-License-Identifier: Apache-2.0
// Another process that serves the rings of a virtio network card: no packet comes by here.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/backend.h"
#include "net/vhost_offer.h"
#include "util/options.h"

namespace emu::net {

struct VhostUserOptions {
  std::string chardev;  ///< id
  unsigned queues = 1;
};
Result<VhostUserOptions> take_vhost_user_options(Options& options);

class VhostUserNet final : public BackendClient {
 public:
  static void describe(qom::TypeInfo<VhostUserNet>& type) { type.doc("another process that serves the card's queues"); }
  Result<void> open(const VhostUserOptions& options, EventLoop& loop);
  std::string kind() const override { return "vhost-user"; }
  std::string describe_state() const override { return "chardev=" + offer_.chardev; }
  unsigned queues() const override { return unsigned(others_.size()) + 1; }
  NetClient& queue(unsigned number) override;
  VhostOffer* vhost_offer() override { return &offer_; }
  /// What the other process can is asked of it by the card.
  OffloadSet receive_offloads() const override { return possible_offloads(); }
  OffloadSet possible_offloads() const override {
    return {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true, .ufo = true, .uso = true};
  }

 protected:
  bool receive(const Packet&) override { return true; }
  Result<void> check_peer(const NetClient& peer) const override;

 private:
  VhostOffer offer_;
  std::vector<std::unique_ptr<VhostUserNet>> others_;  ///< further queues
};

}  // namespace emu::net
