// SPDX-License-Identifier: Apache-2.0
// A device whose queues its test handles itself, with rings of both kinds.
#pragma once

#include "virtio_bench.h"

namespace emu::test {

class QueueDevice final : public hw::VirtioDevice {
 public:
  QueueDevice() : hw::VirtioDevice(hw::virtio::DeviceId::Entropy, 8) {}
  static void describe(hw::TypeInfo<QueueDevice>& type) { type.doc("for tests"); }
  u16 pci_class() const override { return 0xff00; }
  u64 device_features() const override { return 0; }
  void fill_config(std::span<u8> config) const override { config[0] = config_byte; }
  void config_written(std::span<const u8> config, u32, u32) override { config_byte = config[0]; }
  void handle_queue(unsigned index) override { handled.push_back(index); }
  void virtio_reset() override { ++resets; }
  void look_again(hw::VirtQueue&) override { ++looks; }
  void wants_tick(hw::VirtQueue&) override { ++ticks; }
  Result<void> realize() override {
    add_queue(8);
    add_queue(256);
    return {};
  }
  void change() { config_changed(); }
  u8 config_byte = 0x55;
  unsigned resets = 0, looks = 0, ticks = 0;
  std::vector<unsigned> handled;
};

using QueueBench = VirtioBench<QueueDevice>;

inline constexpr u64 kBasic = hw::virtio::kFeatureIndirectDesc;
inline constexpr u64 kEvent = kBasic | hw::virtio::kFeatureEventIdx;

class Rings : public testing::TestWithParam<bool> {
 protected:
  Rings() : bench({{"packed", GetParam()}, {"in_order", true}}) {}
  void start(u64 features) { bench.start(features | hw::virtio::kFeatureRingPacked); }
  hw::VirtQueue& queue(unsigned i = 0) { return *bench.virtio().queue(i); }
  DriverQueue& driver(unsigned i = 0) { return bench.queues[i]; }
  QueueBench bench;
};

}  // namespace emu::test
