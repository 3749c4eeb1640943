// SPDX-License-Identifier: Apache-2.0
#include "net/vhost_user_net.h"

namespace emu::net {

namespace {
constexpr u64 kMostQueues = 127;  ///< two rings each, which the protocol numbers with eight bits
}  // namespace

Result<VhostUserOptions> take_vhost_user_options(Options& options) {
  VhostUserOptions user;
  user.chardev = options.take("chardev").value_or("");
  if (user.chardev.empty()) {
    return error(Error("'chardev' is missing").with_hint("-chardev socket,id=c,path=PATH -netdev vhost-user,chardev=c"));
  }
  const u64 queues = EMU_TRY(options.take_u64_or("queues", 1));
  if (queues == 0 || queues > kMostQueues) return error("queues: {} is not 1 to {}", queues, kMostQueues);
  user.queues = unsigned(queues);
  EMU_TRY(options.take_bool("vhostforce"));  // it always is
  return user;
}

Result<void> VhostUserNet::open(const VhostUserOptions& options, EventLoop& loop) {
  set_loop(loop);
  offer_.chardev = options.chardev;
  for (unsigned i = 1; i < options.queues; i++) {
    others_.push_back(tree() != nullptr ? tree()->make<VhostUserNet>() : std::make_unique<VhostUserNet>());
    others_.back()->set_loop(loop);
    others_.back()->offer_.chardev = options.chardev;
  }
  return {};
}

NetClient& VhostUserNet::queue(unsigned number) {
  if (number == 0) return *this;
  EMU_CHECK(number <= others_.size());
  return *others_[number - 1];
}

Result<void> VhostUserNet::check_peer(const NetClient& peer) const {
  if (peer.kind().starts_with("virtio-net-")) return {};
  return error(Error(fmt::format("vhost-user serves virtio-net cards only, and not '{}'", peer.kind()))
                   .with_hint("-device virtio-net-pci"));
}

}  // namespace emu::net
