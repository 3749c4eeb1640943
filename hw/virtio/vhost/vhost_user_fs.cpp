// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_user_fs.h"

#include <algorithm>

namespace emu::hw {

using namespace virtio;

void VhostUserFs::describe(TypeInfo<VhostUserFs>& type) {
  type.doc("File system that another process serves");
  type.category(Category::Storage);
  type.property("tag", &VhostUserFs::tag_, "by which the guest mounts it, up to 36 bytes");
  type.property("num-request-queues", &VhostUserFs::request_queues_, "queues for requests");
  type.property("queue-size", &VhostUserFs::queue_size_, "entries of each queue, a power of two");
  type.property("bootindex", &VhostUserFs::boot_index_, "place in the firmware's boot order");
}

Result<void> VhostUserFs::realize() {
  auto opened = open();
  if (!opened) close_backend();
  return opened;
}

Result<void> VhostUserFs::open() {
  if (tag_.empty()) return error("{}: 'tag' is missing", device_name());
  if (tag_.size() > kTagBytes) return error("{}: tag is longer than {} bytes", device_name(), kTagBytes);
  if (request_queues_ == 0) return error("{}: num-request-queues must be larger than 0", device_name());
  EMU_TRY(check_queue_size(queue_size_));
  EMU_TRY(open_backend(0));
  const unsigned most = backend().most_rings() - 1;
  if (request_queues_ > most) {
    return error("{}: num-request-queues={} is above {}", device_name(), request_queues_, most);
  }
  for (unsigned i = 0; i < 1u + request_queues_; ++i) add_outside_queue(queue_size_);
  return serve_queues();
}

/// struct virtio_fs_config, 5.11.4
void VhostUserFs::fill_config(std::span<u8> config) const {
  std::copy_n(tag_.begin(), std::min(tag_.size(), kTagBytes), config.begin());
  config[kTagBytes] = u8(request_queues_);
  config[kTagBytes + 1] = u8(request_queues_ >> 8);
}

}  // namespace emu::hw
