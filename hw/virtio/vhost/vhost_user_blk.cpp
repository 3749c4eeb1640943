// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_user_blk.h"

#include <algorithm>

#include "util/log.h"

namespace emu::hw {

using namespace virtio;

namespace {

// 5.2.3
constexpr u64 kSizeMax = bit64(1), kSegMax = bit64(2), kGeometry = bit64(4), kReadOnly = bit64(5),
              kBlockSize = bit64(6), kFlush = bit64(9), kTopology = bit64(10), kConfigWce = bit64(11),
              kMultiQueue = bit64(12), kDiscard = bit64(13), kWriteZeroes = bit64(14);
// struct virtio_blk_config, 5.2.4
constexpr u32 kWriteback = 32, kNumQueues = 34;

constexpr u16 kAutoQueues = 0xffff;

}  // namespace

void VhostUserBlk::describe(TypeInfo<VhostUserBlk>& type) {
  type.doc("Disk that another process serves");
  type.category(Category::Storage);
  type.property("num-queues", &VhostUserBlk::num_queues_,
                "queues; 65535: as many as vCPUs, if the other process has as many");
  type.property("queue-size", &VhostUserBlk::queue_size_, "entries of each queue, a power of two");
  type.property("config-wce", &VhostUserBlk::config_wce_, "let the guest switch the write cache");
  type.property("bootindex", &VhostUserBlk::boot_index_, "place in the firmware's boot order");
}

Result<void> VhostUserBlk::realize() {
  auto opened = open();
  if (!opened) close_backend();
  return opened;
}

Result<void> VhostUserBlk::open() {
  if (num_queues_ == 0) return error("{}: num-queues property must be larger than 0", device_name());
  EMU_TRY(check_queue_size(queue_size_));
  EMU_TRY(open_backend(vhost_user::kProtocolConfig));
  const u64 most = std::min<u64>(backend().queue_limit().value_or(1), backend().most_rings());
  if (num_queues_ != kAutoQueues && num_queues_ > most) {
    return error("{}: num-queues={} is above {}, which is what the back end has", device_name(), num_queues_, most);
  }
  const u64 count = num_queues_ != kAutoQueues ? num_queues_ : std::clamp<u64>(machine().vcpu_count(), 1, most);
  EMU_TRY(read_config_space(), device_name());
  for (u64 i = 0; i < count; ++i) add_outside_queue(queue_size_);
  return serve_queues();
}

Result<void> VhostUserBlk::read_config_space() {
  std::array<u8, kConfigBytes> fresh{};
  EMU_TRY(backend().read_config(fresh));
  config_ = fresh;
  return {};
}

void VhostUserBlk::backend_config_changed() {
  if (auto read = read_config_space(); !read) return log::warn("{}", read.error().text());
  config_changed();
}

u64 VhostUserBlk::device_features() const {
  u64 features = kSizeMax | kSegMax | kGeometry | kReadOnly | kBlockSize | kFlush | kTopology | kDiscard | kWriteZeroes;
  if (config_wce_) features |= kConfigWce;
  if (queue_count() > 1) features |= kMultiQueue;
  return features;
}

void VhostUserBlk::fill_config(std::span<u8> config) const {
  std::copy_n(config_.begin(), std::min(config.size(), config_.size()), config.begin());
  config[kNumQueues] = u8(queue_count());
  config[kNumQueues + 1] = u8(queue_count() >> 8);
}

void VhostUserBlk::config_written(std::span<const u8> config, u32 offset, u32 size) {
  if (!has_feature(kConfigWce) || offset > kWriteback || kWriteback >= offset + size) return;
  if (!has_backend()) return;
  if (auto told = backend().write_config(kWriteback, config.subspan(kWriteback, 1)); !told) {
    return log::warn("{}", told.error().text());
  }
  config_[kWriteback] = config[kWriteback];
}

}  // namespace emu::hw
