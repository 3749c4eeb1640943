// SPDX-License-Identifier: Apache-2.0
// Memory balloon: the guest gives pages back, and tells how it does. Virtio 1.2, 5.5.
#pragma once

#include <array>

#include "hw/core/balloon.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

class VirtioBalloon final : public VirtioDevice, public Balloon {
 public:
  static constexpr const char* kDeviceType = "virtio-balloon-device";
  /// Tags of statistics, 5.5.6.4, in the order of their numbers.
  static constexpr std::array<const char*, 10> kStatNames = {
      "stat-swap-in",          "stat-swap-out",   "stat-major-faults", "stat-minor-faults",       "stat-free-memory",
      "stat-total-memory", "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail"};

  VirtioBalloon();
  static void describe(TypeInfo<VirtioBalloon>& type);
  Result<void> realize() override;
  void unrealize() override;

  u16 pci_class() const override { return 0x00ff; }
  unsigned default_vectors() const override { return 0; }  // as in QEMU: it has the pin only
  u64 device_features() const override;
  void fill_config(std::span<u8> config) const override;
  void config_written(std::span<const u8> config, u32 offset, u32 size) override;
  void handle_queue(unsigned index) override;
  void virtio_reset() override;

  // Balloon
  void set_target_bytes(u64 bytes) override;
  u64 balloon_bytes() const override;

  // What the guest said last; all ones for what it did not say. Times are seconds since 1970; 0: never.
  const std::array<u64, kStatNames.size()>& statistics() const { return statistics_; }
  i64 statistics_time_s() const { return statistics_time_s_; }

 private:
  static constexpr unsigned kInflate = 0, kDeflate = 1, kStatistics = 2, kReporting = 3;

  u32 polling_interval() const { return polling_s_; }
  Result<void> set_polling_interval(u32 seconds);
  void poll();
  void take_pages(const VirtElement& element);
  void take_statistics(VirtElementPtr element);
  void take_reported(const VirtElement& element);
  void forget_statistics();
  bool may_discard() const;
  void fields(Archive& ar);
  Result<void> after_load();

  bool deflate_on_oom_ = false, free_page_reporting_ = false, free_page_hint_ = false, page_poison_ = true;
  u32 polling_s_ = 0;

  u32 target_pages_ = 0, actual_pages_ = 0;  ///< in the balloon
  u32 poison_ = 0;
  VirtElementPtr held_statistics_;  ///< the driver fills it anew when it comes back
  std::array<u64, kStatNames.size()> statistics_;
  i64 statistics_time_s_ = 0;
  Timer poll_timer_;
};

}  // namespace emu::hw
