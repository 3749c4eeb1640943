// SPDX-License-Identifier: Apache-2.0
// SCSI controller. Virtio 1.2, 5.6.
#pragma once

#include <atomic>
#include <deque>
#include <mutex>

#include "hw/core/hotplug.h"
#include "hw/core/io_thread.h"
#include "hw/scsi/scsi_bus.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

/// Queues: control, events, then requests. They are served on the I/O thread (iothread=) or the main loop, without the
/// machine lock; a unit's commands run where its drive is, which is the same thread.
class VirtioScsi final : public VirtioDevice, private ScsiTransport, private HotplugHandler {
 public:
  static constexpr const char* kDeviceType = "virtio-scsi-device";

  VirtioScsi();
  static void describe(TypeInfo<VirtioScsi>& type);
  Result<void> realize() override;
  void unrealize() override;

  u16 pci_class() const override { return 0x0100; }
  u64 device_features() const override;
  void fill_config(std::span<u8> config) const override;
  void config_written(std::span<const u8> config, u32 offset, u32 size) override;
  void handle_queue(unsigned index) override;
  void virtio_reset() override;

  ScsiBus& scsi_bus() const { return *bus_; }

 private:
  class Command;
  class Tmf;
  struct Event {
    u32 what = 0, reason = 0;
    ScsiAddress address;
  };
  static constexpr unsigned kControl = 0, kEvents = 1, kFirstRequests = 2;

  Result<void> check_properties() const;
  std::string bus_name() const;
  void start(const std::shared_ptr<VirtQueue>& queue, VirtElementPtr element);
  void answer_without_unit(Command& command, const ScsiAddress& address);
  void control(VirtElementPtr element);
  void manage(const std::shared_ptr<Tmf>& task, u32 what, const std::optional<ScsiAddress>& address, u64 tag);
  void push_event(const Event& event);
  void flush_events();
  std::optional<Event> next_event();
  void fields(Archive& ar);
  Result<void> after_load();

  // ScsiTransport
  IoThreadObject* scsi_thread() override { return iothread_; }
  void unit_attention(const ScsiAddress& address, bool is_cd, ScsiSense what) override;
  // HotplugHandler
  void device_plugged(Device& device) override;
  Result<void> request_unplug(Device& device) override;

  IoThreadObject* iothread_ = nullptr;
  u32 num_queues_ = ~0u;  ///< auto
  u32 queue_size_ = 256, max_sectors_ = 0xffff, cmd_per_lun_ = 128;
  bool seg_max_adjust_ = true, hotplug_ = true, param_change_ = true, t10_pi_ = false;

  ScsiBus* bus_ = nullptr;
  std::atomic<u32> sense_size_, cdb_size_;  ///< the driver's choice

  std::mutex mutex_;  ///< the rest; nothing is called under it
  std::deque<Event> events_;
  bool missed_ = false;  ///< events were dropped since the last that was told
};

}  // namespace emu::hw
