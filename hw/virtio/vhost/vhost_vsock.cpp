// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_vsock.h"

#include <cstring>

#include "hw/virtio/vhost/vhost_user_device.h"
#include "util/string.h"

namespace emu::hw {

using namespace virtio;

namespace {
constexpr u16 kQueueSize = 128;
/// The first and the last that a guest may have, 5.10.4.
constexpr u64 kFirstCid = 3, kLastCid = 0xffff'fffe;
}  // namespace

void VhostVsock::describe(TypeInfo<VhostVsock>& type) {
  type.doc("Sockets between host and guest");
  type.category(Category::Misc);
  type.property("guest-cid", &VhostVsock::guest_cid_, "the guest's address, from 3");
  type.property("vhostfd", &VhostVsock::vhost_fd_, "number of a descriptor of /dev/vhost-vsock that was inherited");
  type.property("seqpacket", &VhostVsock::seqpacket_, "offer sockets that keep messages apart, if the kernel has them");
}

Result<void> VhostVsock::realize() {
  auto opened = open();
  if (!opened) close();
  return opened;
}

Result<void> VhostVsock::open() {
  const auto* function = dynamic_cast<const Device*>(parent());
  const std::string who = (function != nullptr ? function->type() : type()).name();
  EMU_TRY(check_vhost_allowed(machine(), who));
  if (guest_cid_ < kFirstCid || guest_cid_ > kLastCid) {
    return error("{}: guest-cid={} is not {} to {}", who, guest_cid_, kFirstCid, kLastCid);
  }
  int fd = -1;
  if (!vhost_fd_.empty()) {
    const auto number = parse_u64(vhost_fd_);
    if (!number || *number > 0x7fff'ffff) return error("{}: vhostfd: '{}' is not a file descriptor", who, vhost_fd_);
    fd = int(*number);
  }
  backend_ = EMU_TRY(VhostKernelVsock::open(*api_, fd, guest_cid_), who);
  for (unsigned i = 0; i < 3; ++i) add_outside_queue(kQueueSize);
  rings_ = EMU_TRY(VhostDevice::create(*backend_, {.device = *this,
                                                   .transport = transport(),
                                                   .machine = machine(),
                                                   .count = 2,
                                                   .failed = [this](const std::string& why) { break_device(why); }}),
                   who);
  return {};
}

void VhostVsock::close() {
  rings_.reset();
  backend_.reset();
}

u64 VhostVsock::limit_features(u64 features) const {
  if (!seqpacket_) features &= ~kSeqPacket;
  return backend_ != nullptr ? features & backend_->features() & ~kFeatureAccessPlatform : features;
}

void VhostVsock::interrupts_rerouted() {
  if (rings_ != nullptr) rings_->reroute();
}

void VhostVsock::fill_config(std::span<u8> config) const {
  const Le64 cid = guest_cid_;
  std::memcpy(config.data(), &cid, sizeof cid);
}

}  // namespace emu::hw
