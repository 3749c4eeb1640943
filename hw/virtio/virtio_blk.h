// SPDX-License-Identifier: Apache-2.0
// Block device. Virtio 1.2, 5.2.
#pragma once

#include <memory>
#include <string>

#include "block/block_backend.h"
#include "hw/core/io_thread.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

class BlkSession;

/// Requests are taken from the queues and ended on the loop of the drive (an I/O thread's, with iothread=), and no lock
/// is taken on the way that another queue or a vCPU waits for.
class VirtioBlk final : public VirtioDevice {
 public:
  static constexpr const char* kDeviceType = "virtio-blk-device";
  static constexpr u32 kSectorBytes = 512;

  VirtioBlk();
  ~VirtioBlk() override;
  static void describe(TypeInfo<VirtioBlk>& type);
  Result<void> realize() override;
  void unrealize() override;

  u16 pci_class() const override { return 0x0100; }
  u64 device_features() const override;
  void fill_config(std::span<u8> config) const override;
  void config_written(std::span<const u8> config, u32 offset, u32 size) override;
  void handle_queue(unsigned index) override;
  void driver_ready() override;
  void virtio_reset() override;

 private:
  friend class BlkSession;

  Result<void> check_properties() const;
  unsigned wanted_queues() const;
  void set_write_cache(bool enabled);
  void capacity_changed();
  std::string device_name() const;
  void fields(Archive& ar);

  block::BlockBackend* drive_ = nullptr;
  IoThreadObject* iothread_ = nullptr;
  std::string serial_;
  u16 num_queues_ = 0xffff;  ///< auto
  u16 queue_size_ = 256;
  bool config_wce_ = true, seg_max_adjust_ = true, discard_ = true, write_zeroes_ = true, share_rw_ = false,
       merging_ = true;
  u32 logical_block_ = 512, physical_block_ = 512, opt_io_ = 0, discard_granularity_ = ~0u;
  u16 min_io_ = 0;
  std::optional<i32> boot_index_;
  u32 max_discard_sectors_ = 0x3fffff, max_write_zeroes_sectors_ = 0x3fffff;
  qom::OnOffAuto write_cache_option_ = qom::OnOffAuto::Auto;
  block::ErrorWish on_write_error_ = block::ErrorWish::Auto, on_read_error_ = block::ErrorWish::Auto;

  std::shared_ptr<BlkSession> session_;
  EventLoop* home_loop_ = nullptr;  ///< of the drive, without us
  bool initial_write_cache_ = true;
};

}  // namespace emu::hw
