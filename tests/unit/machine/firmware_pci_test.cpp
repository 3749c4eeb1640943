// SPDX-License-Identifier: Apache-2.0
// What we do to PCI in the place of firmware.
#include <gtest/gtest.h>

#include "hw/machine/firmware_setup.h"
#include "unit/hw/pci/bridge_bench.h"

namespace emu::hw {
namespace {

using test::BridgeBench;
using test::kBridgeDevfn;

TEST(FirmwareSetup, NumbersBusesAndOpensWindows) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  auto& inner = static_cast<PciBridge&>(
      bench.plug("pci-bridge", "in", {{"chassis_nr", u64(2)}, {"addr", "01.0"}}, bridge.secondary_bus()));
  bench.plug_behind(bridge, "02.0");
  bench.plug_behind(inner, "03.0");
  reset_all(*bench.machine().tree().find("/machine"));
  FirmwareSetup setup(bench.machine().io_ports());
  setup.assign_resources(bench.bus(), {.memory_base = 0xe000'0000, .memory_end = 0xfec0'0000, .io_base = 0xc000},
                         [](u8 devfn, unsigned pin) { return u8(devfn == kBridgeDevfn ? 100 + pin : 0); });
  EXPECT_EQ(bridge.secondary_bus().number(), 1);
  EXPECT_EQ(inner.secondary_bus().number(), 2);
  EXPECT_EQ(bench.config_read(kBridgeDevfn, pci::SUBORDINATE_BUS, 1), 2u);
  // Both functions answer on the primary side, in all three kinds of windows.
  for (const PciBus* bus : {&bridge.secondary_bus(), &inner.secondary_bus()}) {
    const PciDevice* function = bus == &bridge.secondary_bus() ? bus->at(2 << 3) : bus->at(3 << 3);
    const auto& bars = function->bars();
    ASSERT_TRUE(bars[0].address && bars[1].address && bars[2].address);
    EXPECT_EQ(bench.load(*bars[0].address + 0x10, 4), 0x110u);
    EXPECT_EQ(bench.in(u16(*bars[1].address + 4), 4), 0x24u);
    EXPECT_EQ(bench.load(*bars[2].address + 8, 4), 0x408u);
  }
  EXPECT_EQ(bench.read(1, 2 << 3, pci::INTERRUPT_LINE, 1), 102u);
  EXPECT_EQ(bench.read(2, 3 << 3, pci::INTERRUPT_LINE, 1), 100u);  // (3 + 0), then (1 + 3) modulo 4
}

}  // namespace
}  // namespace emu::hw
