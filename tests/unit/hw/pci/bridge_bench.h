// SPDX-License-Identifier: Apache-2.0
// The machine of pci_bench.h with a bridge, and accesses to any bus.
#pragma once

#include "hw/pci/pci_bridge.h"
#include "unit/hw/pci/pci_bench.h"

namespace emu::test {

inline constexpr u8 kBridgeDevfn = 5 << 3;

/// A bridge at 05.0 whose bus is number 1, and accesses to any bus.
class BridgeBench : public I440FxBench {
 public:
  using Properties = std::vector<std::pair<std::string, qom::PropertyValue>>;

  hw::Device& plug(const std::string& type, const std::string& id, Properties properties, hw::Bus& where) {
    auto plugged = hw::plug_user_device(machine(), type, id, properties, &where);
    EXPECT_TRUE(plugged.has_value()) << plugged.error().text();
    hw::reset_device(**plugged);
    return **plugged;
  }
  hw::PciBridge& plug_bridge() {
    auto& bridge = static_cast<hw::PciBridge&>(plug("pci-bridge", "br", {{"chassis_nr", u64(1)}, {"addr", "05.0"}}, bus()));
    number(1);
    return bridge;
  }
  void number(u8 secondary) { config_write(kBridgeDevfn, hw::pci::PRIMARY_BUS, secondary << 8 | secondary << 16, 4); }
  TestFunction& plug_behind(hw::PciBridge& bridge, const char* address) {
    return static_cast<TestFunction&>(plug("test-function", "", {{"addr", address}}, bridge.secondary_bus()));
  }
  u32 read(u8 bus, u8 devfn, unsigned offset, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(bus) << 16 | u32(devfn) << 8 | (offset & 0xfc), 4);
    return u32(in(u16(0xcfc + (offset & 3)), size));
  }
  void write(u8 bus, u8 devfn, unsigned offset, u32 value, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(bus) << 16 | u32(devfn) << 8 | (offset & 0xfc), 4);
    out(u16(0xcfc + (offset & 3)), value, size);
  }
};

}  // namespace emu::test
