// SPDX-License-Identifier: Apache-2.0
// Registers by which ACPI methods take PCI devices in and out.
#include <gtest/gtest.h>

#include "hw/acpi/pci_hotplug.h"
#include "unit/hw/pci/bridge_bench.h"

namespace emu::hw {
namespace {

using test::BridgeBench;

constexpr u32 kSlot6 = 1 << 6;

class HotplugBench : public BridgeBench {
 public:
  u32 get(AcpiPciHotplug::Reg reg) { return u32(in(u16(AcpiPciHotplug::kPort + reg), 4)); }
  void set(AcpiPciHotplug::Reg reg, u32 value) { out(u16(AcpiPciHotplug::kPort + reg), value, 4); }
  Device& plug_slot6() {
    Device& device = plug("test-function", "f", {{"addr", "06.0"}}, bus());
    bus().hotplug()->device_plugged(device);
    return device;
  }
  bool has_event() { return (in(Piix4Pm::kGpePort, 1) & 2) != 0; }
  void clear_event() { out(Piix4Pm::kGpePort, 2, 1); }
  bool is_there() { return bus().at(6 << 3) != nullptr; }
};

TEST(AcpiPciHotplug, NewDeviceIsToldOnce) {
  HotplugBench bench;
  EXPECT_FALSE(bench.has_event());
  bench.plug_slot6();
  EXPECT_TRUE(bench.has_event());
  EXPECT_EQ(bench.get(AcpiPciHotplug::UP), kSlot6);
  EXPECT_EQ(bench.get(AcpiPciHotplug::UP), 0u);
}

TEST(AcpiPciHotplug, DeviceLeavesWhenTheGuestEjectsIt) {
  HotplugBench bench;
  Device& device = bench.plug_slot6();
  bench.clear_event();
  ASSERT_TRUE(bench.bus().hotplug()->request_unplug(device).has_value());
  EXPECT_TRUE(bench.has_event());
  EXPECT_EQ(bench.get(AcpiPciHotplug::DOWN), kSlot6);
  bench.machine().run_main_loop();
  EXPECT_TRUE(bench.is_there());
  bench.set(AcpiPciHotplug::EJECT, kSlot6);
  EXPECT_EQ(bench.get(AcpiPciHotplug::DOWN), 0u);
  bench.machine().run_main_loop();
  EXPECT_FALSE(bench.is_there());
  while (bench.machine().memory().grace().poll()) {}
  EXPECT_EQ(bench.machine().deleted, std::vector<std::string>{"f"});
}

TEST(AcpiPciHotplug, WhatTheBoardMadeStays) {
  HotplugBench bench;
  EXPECT_EQ(bench.get(AcpiPciHotplug::REMOVABLE), ~3u);  // host bridge, south bridge
  bench.set(AcpiPciHotplug::EJECT, ~0u);
  bench.machine().run_main_loop();
  EXPECT_NE(bench.bus().at(0), nullptr);
  EXPECT_NE(bench.bus().at(1 << 3), nullptr);
}

TEST(AcpiPciHotplug, OtherBusesHaveNothing) {
  HotplugBench bench;
  bench.plug_slot6();
  bench.set(AcpiPciHotplug::BUS_SELECT, 1);
  EXPECT_EQ(bench.get(AcpiPciHotplug::UP), 0u);
  EXPECT_EQ(bench.get(AcpiPciHotplug::REMOVABLE), 0u);
  bench.set(AcpiPciHotplug::EJECT, kSlot6);
  bench.machine().run_main_loop();
  EXPECT_TRUE(bench.is_there());
}

TEST(AcpiPciHotplug, ResetLetsAPendingDeviceGo) {
  HotplugBench bench;
  Device& device = bench.plug_slot6();
  ASSERT_TRUE(bench.bus().hotplug()->request_unplug(device).has_value());
  reset_device(bench.pm());
  bench.machine().run_main_loop();
  EXPECT_FALSE(bench.is_there());
}

TEST(AcpiPciHotplug, StateSurvivesARoundTrip) {
  HotplugBench bench;
  bench.plug_slot6();
  Device& pm = bench.pm();
  const qom::FieldTree saved = pm.save();
  reset_device(pm);
  ASSERT_TRUE(pm.load(saved).has_value());
  ASSERT_TRUE(pm.finish_load().has_value());
  EXPECT_EQ(pm.save().dump(), saved.dump());
  EXPECT_EQ(bench.get(AcpiPciHotplug::UP), kSlot6);
}

}  // namespace
}  // namespace emu::hw
