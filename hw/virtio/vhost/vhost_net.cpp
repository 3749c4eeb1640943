// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_net.h"

#include "hw/virtio/vhost/vhost_user_device.h"
#include "hw/virtio/virtio_net_regs.h"
#include "util/log.h"

namespace emu::hw {

using namespace virtio;
using namespace virtio_net;

namespace {

constexpr u64 kRingBits = kFeatureNotifyOnEmpty | kFeatureIndirectDesc | kFeatureEventIdx | kFeatureVersion1 |
                          kFeatureRingPacked | kFeatureInOrder;
/// What must be known to whoever moves the packets; the rest of a card's features we have ourselves.
constexpr u64 kUserBits = kRingBits | kFeatureAnyLayout | kCsum | kGuestCsum | kGuestTso4 | kGuestTso6 | kGuestEcn |
                          kGuestUfo | kGuestUso4 | kGuestUso6 | kHostTso4 | kHostTso6 | kHostEcn | kHostUfo | kHostUso |
                          kMrgRxbuf | kMtu | kMq | kGuestAnnounce;
/// The kernel leaves offloads to the interface.
constexpr u64 kKernelBits = kRingBits | kMrgRxbuf;

}  // namespace

Result<std::unique_ptr<VhostNet>> VhostNet::open(net::NetClient& netdev, Wiring wiring, VhostApi& api) {
  net::VhostOffer& offer = *netdev.vhost_offer();
  EMU_TRY(check_vhost_allowed(wiring.machine, wiring.name));
  std::unique_ptr<VhostNet> made(new VhostNet(netdev, std::move(wiring)));
  const std::string& name = made->wiring_.name;
  if (!offer.chardev.empty()) {
    EMU_TRY(made->open_user(offer), name);
    return made;
  }
  auto opened = made->open_kernel(offer, api);
  if (opened) return made;
  if (offer.required) return error(std::move(opened).error().within(name));
  log::warn("{}: {}; the card goes on without vhost", name, opened.error().text());
  return std::unique_ptr<VhostNet>();
}

VhostNet::~VhostNet() {
  rings_.clear();
  if (kernel_.empty()) return;
  for (unsigned i = 0; i < netdev_.queues(); ++i) netdev_.queue(i).lend_interface(false);
}

Result<void> VhostNet::open_user(const net::VhostOffer& offer) {
  auto* chardev = dynamic_cast<ChardevObject*>(wiring_.machine.tree().find("/chardevs/" + offer.chardev));
  if (chardev == nullptr) return error("netdev '{}': there is no chardev '{}'", netdev_.name(), offer.chardev);
  VhostUser::Events events;
  events.lost = [this] {
    for (const auto& rings : rings_) rings->lost();
    failed("the back end is gone");
  };
  events.back = [this] { back(); };
  user_ = EMU_TRY(VhostUser::open(*chardev, wiring_.machine, 0, std::move(events)));
  const u64 most = user_->queue_limit().value_or(1);
  if (netdev_.queues() > most) {
    return error("netdev '{}': queues={} is above {}, which is what the back end has", netdev_.name(), netdev_.queues(),
                 most);
  }
  return {};
}

Result<void> VhostNet::open_kernel(net::VhostOffer& offer, VhostApi& api) {
  std::vector<Fd> fds = std::exchange(offer.fds, {});
  std::vector<std::unique_ptr<VhostKernelNet>> made;
  for (unsigned i = 0; i < netdev_.queues(); ++i) {
    const auto interface = netdev_.queue(i).host_interface();
    if (!interface) return error("netdev '{}' has no interface of the kernel's", netdev_.name());
    const int fd = i < fds.size() ? fds[i].release() : -1;
    made.push_back(EMU_TRY(VhostKernelNet::open(api, fd, interface->fd, interface->has_header)));
  }
  for (unsigned i = 0; i < netdev_.queues(); ++i) netdev_.queue(i).lend_interface(true);
  kernel_ = std::move(made);
  return {};
}

Result<void> VhostNet::serve() {
  VhostDevice::Wiring wiring{.device = wiring_.device,
                             .transport = wiring_.transport,
                             .machine = wiring_.machine,
                             .count = 2,
                             .failed = [this](const std::string& why) { failed(why); }};
  if (user_ != nullptr) {
    wiring.count = 2 * netdev_.queues();
    rings_.push_back(EMU_TRY(VhostDevice::create(*user_, std::move(wiring))));
    return {};
  }
  for (const auto& backend : kernel_) {
    rings_.push_back(EMU_TRY(VhostDevice::create(*backend, wiring)));
    wiring.first += 2;
  }
  return {};
}

u64 VhostNet::backend_bits() const {
  if (user_ != nullptr) return kUserBits & user_->features();
  u64 all = kKernelBits;
  for (const auto& backend : kernel_) all &= backend->features();
  return all;
}

u64 VhostNet::limit(u64 features) const {
  // Offloads that the driver switches later would have to be told to the other process, for which there is no message.
  if (user_ != nullptr) features &= ~kCtrlGuestOffloads;
  return features & ~((user_ != nullptr ? kUserBits : kKernelBits) & ~backend_bits()) & ~kFeatureAccessPlatform;
}

void VhostNet::start(u64 features, std::size_t header_bytes, unsigned active_pairs) {
  for (unsigned i = 0; !kernel_.empty() && i < netdev_.queues(); ++i) {
    netdev_.queue(i).set_interface_header(header_bytes);
  }
  started_ = true;
  wiring_.link(true);  // a failure of before is forgotten
  features_ = features & backend_bits();
  set_active_pairs(active_pairs);
  for (const auto& rings : rings_) rings->start(features_);
}

void VhostNet::stop() {
  started_ = false;
  for (const auto& rings : rings_) rings->stop();
}

void VhostNet::set_active_pairs(unsigned count) {
  for (unsigned i = 0; i < 2 * netdev_.queues(); ++i) {
    VhostDevice& rings = user_ != nullptr ? *rings_.front() : *rings_.at(i / 2);
    rings.set_ring_enabled(user_ != nullptr ? i : i % 2, i / 2 < count);
  }
}

void VhostNet::reroute() {
  for (const auto& rings : rings_) rings->reroute();
}

void VhostNet::failed(const std::string& why) {
  log::warn("{}: {}: the link is down", wiring_.name, why);
  wiring_.link(false);
}

void VhostNet::back() {
  wiring_.link(true);
  if (!started_) return;
  for (const auto& rings : rings_) rings->start(features_);
}

}  // namespace emu::hw
