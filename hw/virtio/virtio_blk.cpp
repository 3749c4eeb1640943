// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_blk.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "block/disk_backend.h"
#include "hw/pci/pci_device.h"
#include "hw/virtio/blk_session.h"
#include "util/log.h"

namespace emu::hw {

using namespace virtio;

namespace {

// 5.2.3
constexpr u64 kSegMax = bit64(2), kGeometry = bit64(4), kReadOnly = bit64(5), kBlockSize = bit64(6), kFlush = bit64(9),
              kTopology = bit64(10), kConfigWce = bit64(11), kMultiQueue = bit64(12), kDiscard = bit64(13),
              kWriteZeroes = bit64(14);

struct Config {  // 5.2.4, without secure erase
  Le64 capacity;  ///< sectors of 512 bytes
  Le32 size_max, seg_max;
  Le16 cylinders;
  u8 heads = 0, sectors = 0;
  Le32 block_size;
  u8 physical_block_exponent = 0, alignment_offset = 0;
  Le16 min_io_size;
  Le32 opt_io_size;
  u8 writeback = 0, unused0 = 0;
  Le16 num_queues;
  Le32 max_discard_sectors, max_discard_segments, discard_sector_alignment;
  Le32 max_write_zeroes_sectors, max_write_zeroes_segments;
  u8 write_zeroes_may_unmap = 0;
  u8 unused1[3] = {};
};
static_assert(sizeof(Config) == 60);
constexpr u32 kWritebackOffset = 32;

constexpr u16 kAutoQueues = 0xffff;
constexpr u32 kAutoGranularity = ~0u;
/// Chains keep two descriptors for header and status.
constexpr u32 kSegMaxUnadjusted = 128 - 2;

}  // namespace

VirtioBlk::VirtioBlk() : VirtioDevice(DeviceId::Block, sizeof(Config)) {}
VirtioBlk::~VirtioBlk() = default;

void VirtioBlk::describe(TypeInfo<VirtioBlk>& type) {
  type.doc("Disk");
  type.category(Category::Storage);
  type.link("drive", &VirtioBlk::drive_, block::BlockBackend::kContainer, "node name or id of the drive");
  type.link("iothread", &VirtioBlk::iothread_, "/objects", "thread that serves the queues; the main loop if not given");
  type.property("serial", &VirtioBlk::serial_, "serial number, 20 characters of it");
  type.property("num-queues", &VirtioBlk::num_queues_, "queues; 65535: as many as vCPUs, and one on virtio-mmio");
  type.property("queue-size", &VirtioBlk::queue_size_, "entries of each queue, a power of two");
  type.property("config-wce", &VirtioBlk::config_wce_, "let the guest switch the write cache");
  type.property("write-cache", &VirtioBlk::write_cache_option_, "whether there is a write cache; auto: as cache= says");
  type.property("seg-max-adjust", &VirtioBlk::seg_max_adjust_, "as many segments as the queue has room for");
  type.property("discard", &VirtioBlk::discard_, "offer discard");
  type.property("write-zeroes", &VirtioBlk::write_zeroes_, "offer writing zeroes");
  type.property("request-merging", &VirtioBlk::merging_, "make reads or writes that follow upon each other as one");
  type.property("max-discard-sectors", &VirtioBlk::max_discard_sectors_, "of one request");
  type.property("max-write-zeroes-sectors", &VirtioBlk::max_write_zeroes_sectors_, "of one request");
  type.property("logical_block_size", &VirtioBlk::logical_block_, "bytes; a power of two, 512 to 2 MiB");
  type.property("physical_block_size", &VirtioBlk::physical_block_, "bytes; a power of two, 512 to 2 MiB");
  type.property("min_io_size", &VirtioBlk::min_io_, "bytes");
  type.property("opt_io_size", &VirtioBlk::opt_io_, "bytes");
  type.property("discard_granularity", &VirtioBlk::discard_granularity_, "bytes; the logical block if not given");
  type.property("bootindex", &VirtioBlk::boot_index_, "place in the firmware's boot order");
  type.property("share-rw", &VirtioBlk::share_rw_, "others may write to the image, too");
  block::add_error_properties(type, &VirtioBlk::on_write_error_, &VirtioBlk::on_read_error_);
  type.saved(1, &VirtioBlk::fields);
}

// Life cycle. --------------------------------------------------------------------------------------------------------

Result<void> VirtioBlk::check_properties() const {
  const std::string& name = type().name();
  if (drive_ == nullptr) return error("{}: drive property not set", name);
  if (!drive_->has_medium()) return error("{}: Device needs media, but drive is empty", name);
  if (num_queues_ == 0) return error("{}: num-queues property must be larger than 0", name);
  if (num_queues_ != kAutoQueues && num_queues_ > kMaxQueues) {
    return error("{}: num-queues={} is above {}", name, num_queues_, kMaxQueues);
  }
  if (queue_size_ <= 2 || queue_size_ > kMaxQueueSize || !std::has_single_bit(queue_size_)) {
    return error("{}: invalid queue-size property ({}), must be a power of 2 (max {}) and larger than 2", name,
                 queue_size_, kMaxQueueSize);
  }
  constexpr u32 kMostBlock = 2 << 20;
  for (const auto& [property, value] :
       {std::pair("logical_block_size", logical_block_), std::pair("physical_block_size", physical_block_)}) {
    if (value < kSectorBytes || value > kMostBlock || !std::has_single_bit(value)) {
      return error("{}: {}={} is no power of two from 512 to 2 MiB", name, property, value);
    }
  }
  if (logical_block_ > physical_block_) return error("{}: logical_block_size > physical_block_size not supported", name);
  if (min_io_ % logical_block_ != 0) return error("{}: min_io_size must be a multiple of logical_block_size", name);
  if (opt_io_ % logical_block_ != 0) return error("{}: opt_io_size must be a multiple of logical_block_size", name);
  if (discard_granularity_ != kAutoGranularity && discard_granularity_ % logical_block_ != 0) {
    return error("{}: discard_granularity must be a multiple of logical_block_size", name);
  }
  constexpr u32 kMostSectors = 0x3fffff;
  if (max_discard_sectors_ == 0 || max_discard_sectors_ > kMostSectors) {
    return error("{}: max-discard-sectors must be between 1 and {}", name, kMostSectors);
  }
  if (max_write_zeroes_sectors_ == 0 || max_write_zeroes_sectors_ > kMostSectors) {
    return error("{}: max-write-zeroes-sectors must be between 1 and {}", name, kMostSectors);
  }
  return {};
}

Result<void> VirtioBlk::realize() {
  EMU_TRY(check_properties());
  EventLoop& home = drive_->loop();
  EventLoop& loop = iothread_ != nullptr ? iothread_->loop() : home;
  BlkLimits limits{.serial = serial_,
                   .logical_block = logical_block_,
                   .read_only = drive_->is_read_only(),
                   .discard = discard_,
                   .write_zeroes = write_zeroes_,
                   .merging = merging_,
                   .max_discard_sectors = max_discard_sectors_,
                   .max_write_zeroes_sectors = max_write_zeroes_sectors_};
  auto session = std::make_shared<BlkSession>(*drive_, loop, std::move(limits), [this] { capacity_changed(); },
                                              device_name());
  if (auto* disk = dynamic_cast<block::DiskBackend*>(drive_)) {
    EMU_TRY(disk->set_wishes({.write_error = on_write_error_, .read_error = on_read_error_, .share_writes = share_rw_}),
            type().name());
  }
  EMU_TRY(drive_->attach(*session), type().name());
  if (&loop != &home) {
    if (auto moved = drive_->move_to(loop); !moved) {
      drive_->detach(*session);
      return error(std::move(moved).error().within(type().name()));
    }
  }
  session_ = std::move(session);
  home_loop_ = &home;
  if (iothread_ != nullptr) iothread_->add_user();
  initial_write_cache_ = write_cache_option_ == qom::OnOffAuto::Auto ? drive_->has_write_cache()
                                                                     : write_cache_option_ == qom::OnOffAuto::On;
  set_write_cache(initial_write_cache_);
  for (unsigned i = 0; i < wanted_queues(); ++i) add_queue(queue_size_, &loop);
  return {};
}

/// As in QEMU each vCPU has one on PCI, where each queue has its interrupt.
unsigned VirtioBlk::wanted_queues() const {
  if (num_queues_ != kAutoQueues) return num_queues_;
  const bool has_vectors = dynamic_cast<const PciDevice*>(parent()) != nullptr;
  return has_vectors ? std::clamp<unsigned>(machine().vcpu_count(), 1, kMaxQueues - 1) : 1;
}

/// By which people know the device: the function's id, when it is inside one.
std::string VirtioBlk::device_name() const {
  const auto* function = dynamic_cast<const Device*>(parent());
  const Device& outer = function != nullptr ? *function : static_cast<const Device&>(*this);
  return outer.id().empty() ? outer.path() : outer.id();
}

void VirtioBlk::unrealize() {
  // The drive is given back when the last request is done, which may be after the device has gone.
  stop_queues();
  auto session = std::exchange(session_, nullptr);
  auto give_back = [session, drive = drive_, iothread = iothread_, home = home_loop_] {
    drive->detach(*session);
    if (iothread == nullptr) return;
    if (auto moved = drive->move_to(*home); !moved) log::error(moved.error());
    iothread->remove_user();
  };
  if (session->close([&machine = machine(), give_back] { machine.run_on_main_loop(give_back); })) give_back();
}

void VirtioBlk::virtio_reset() {
  session_->cancel();
  set_write_cache(initial_write_cache_);
}

void VirtioBlk::driver_ready() {
  // 5.2.5.2: a driver that can neither flush nor switch the cache off relies on there being none.
  if (!has_feature(kConfigWce)) set_write_cache(initial_write_cache_ && has_feature(kFlush));
}

void VirtioBlk::set_write_cache(bool enabled) { session_->set_write_cache(enabled); }

void VirtioBlk::capacity_changed() { config_changed(); }

// What the driver sees. ----------------------------------------------------------------------------------------------

u64 VirtioBlk::device_features() const {
  u64 features = kSegMax | kGeometry | kBlockSize | kTopology | kFlush;
  if (config_wce_) features |= kConfigWce;
  if (queue_count() > 1) features |= kMultiQueue;
  if (drive_ != nullptr && drive_->is_read_only()) {
    features |= kReadOnly;
  } else {
    if (discard_) features |= kDiscard;
    if (write_zeroes_) features |= kWriteZeroes;
  }
  return features;
}

void VirtioBlk::fill_config(std::span<u8> bytes) const {
  if (session_ == nullptr) return;
  Config config;
  const u64 sectors = session_->capacity_bytes() / kSectorBytes;
  config.capacity = sectors;
  config.seg_max = seg_max_adjust_ ? queue_size_ - 2u : kSegMaxUnadjusted;
  constexpr u8 kHeads = 16, kTrackSectors = 63;
  config.cylinders = u16(std::min<u64>(sectors / (kHeads * kTrackSectors), 0xffff));
  config.heads = kHeads;
  config.sectors = kTrackSectors;
  config.block_size = logical_block_;
  config.physical_block_exponent = u8(std::countr_zero(physical_block_) - std::countr_zero(logical_block_));
  config.min_io_size = u16(min_io_ / logical_block_);
  config.opt_io_size = opt_io_ / logical_block_;
  config.writeback = session_->is_write_cached();
  config.num_queues = u16(queue_count());
  config.max_discard_sectors = max_discard_sectors_;
  config.max_discard_segments = 1;
  const u32 granularity = discard_granularity_ == kAutoGranularity ? logical_block_ : discard_granularity_;
  config.discard_sector_alignment = std::max(granularity, logical_block_) / kSectorBytes;
  config.max_write_zeroes_sectors = max_write_zeroes_sectors_;
  config.max_write_zeroes_segments = 1;
  config.write_zeroes_may_unmap = 1;
  std::memcpy(bytes.data(), &config, std::min(bytes.size(), sizeof config));
}

void VirtioBlk::config_written(std::span<const u8> config, u32 offset, u32 size) {
  if (!has_feature(kConfigWce) || offset > kWritebackOffset || kWritebackOffset >= offset + size) return;
  set_write_cache(config[kWritebackOffset] != 0);
}

void VirtioBlk::handle_queue(unsigned index) {
  const std::shared_ptr<VirtQueue> queue = shared_queue(index);
  const auto take = [&](VirtElementPtr element) {
    session_->take(queue, std::move(element));
    return true;
  };
  queue->process(take, VirtQueue::Asking::WhenQuiet, [&] { session_->start_taken(queue); });
}

// Saved state: requests are not in it, they are done before. ---------------------------------------------------------

void VirtioBlk::fields(Archive& ar) {
  bool cached = session_ != nullptr && session_->is_write_cached();
  ar("write_cache", cached);
  if (ar.is_loading() && session_ != nullptr) set_write_cache(cached);
}

}  // namespace emu::hw
