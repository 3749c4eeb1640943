// SPDX-License-Identifier: Apache-2.0
// Virtio over memory-mapped registers, modern and legacy. Virtio 1.2, 4.2.
#pragma once

#include <mutex>

#include "hw/core/sysbus.h"
#include "hw/virtio/virtio_device.h"

namespace emu::hw {

/// A slot that boards place; it is there without a device, too. Line "irq".
class VirtioMmio final : public SysBusDevice, public VirtioTransport {
 public:
  static constexpr u64 kBytes = 0x200;

  static void describe(TypeInfo<VirtioMmio>& type);
  Result<void> realize() override;
  void reset_hold() override;
  /// Maps the registers. After prepare().
  void map_at(mem::GuestPhys address);
  VirtioBus& slot() const { return *slot_; }

  // VirtioTransport
  mem::AddressSpace& virtio_memory() override { return machine().system_memory(); }
  void queue_interrupt(u16) override { interrupt(virtio::kIsrQueue); }
  void config_interrupt() override { interrupt(virtio::kIsrConfig); }
  u64 transport_features() const override { return force_legacy_ ? 0 : virtio::kFeatureVersion1; }
  void lower_interrupts() override;

 private:
  struct State {
    u32 device_feature_select = 0, driver_feature_select = 0, queue_select = 0;
    u32 page_size = 4096, queue_alignment = 4096;  // legacy
  };

  VirtioDevice* device() const { return slot_ == nullptr ? nullptr : slot_->device(); }
  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  u64 read_notify(u64, unsigned) { return 0; }
  void write_notify(u64, u64 value, unsigned);
  u32 read_register(u64 offset, VirtioDevice& device);
  void write_register(u64 offset, u32 value, VirtioDevice& device);
  void write_queue_register(u64 offset, u32 value, VirtioDevice& device);
  void interrupt(u8 cause);
  void fields(Archive& ar);
  Result<void> after_load();

  bool force_legacy_ = true;
  VirtioBus* slot_ = nullptr;
  State state_;
  std::mutex isr_mutex_;  ///< isr_ and the line
  u8 isr_ = 0;
  IrqLine irq_;
};

void register_virtio_mmio(TypeRegistry& registry);

}  // namespace emu::hw
