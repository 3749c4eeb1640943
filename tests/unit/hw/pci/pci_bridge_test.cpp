// SPDX-License-Identifier: Apache-2.0
// Bridges, and root ports with their slots.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/pci/pci_express.h"
#include "hw/pci/pcie_port.h"
#include "unit/hw/pci/bridge_bench.h"

namespace emu::hw {
namespace {

using test::BridgeBench;
using test::kBridgeDevfn;
using test::TestFunction;
using testing::HasSubstr;

TEST(PciBridge, ForwardsConfigurationToTheBusesItWasGiven) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug_behind(bridge, "02.0");
  EXPECT_EQ(bench.config_read(kBridgeDevfn, pci::HEADER_TYPE, 1), 1u);
  EXPECT_EQ(bench.read(1, 2 << 3, 0, 4), 0x5678'1234u);
  EXPECT_EQ(bench.read(2, 2 << 3, 0, 4), ~0u);
  bench.number(2);
  EXPECT_EQ(bench.read(1, 2 << 3, 0, 4), ~0u);
  EXPECT_EQ(bench.read(2, 2 << 3, 0, 4), 0x5678'1234u);
  bench.number(0);
  EXPECT_EQ(bench.read(0, 2 << 3, 0, 4), ~0u);
}

TEST(PciBridge, MemoryWindowMoves) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug_behind(bridge, "02.0");
  bench.write(1, 2 << 3, pci::BAR0, 0xe000'0000, 4);
  bench.write(1, 2 << 3, pci::COMMAND, pci::kCommandMemory, 2);
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);
  bench.config_write(kBridgeDevfn, pci::MEMORY_BASE, 0xe000'e000, 4);
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);  // the bridge decodes nothing yet
  bench.config_write(kBridgeDevfn, pci::COMMAND, pci::kCommandMemory, 2);
  EXPECT_EQ(bench.load(0xe000'0010, 4), 0x110u);
  bench.config_write(kBridgeDevfn, pci::MEMORY_BASE, 0xe010'e010, 4);
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);
  bench.config_write(kBridgeDevfn, pci::MEMORY_BASE, 0xe000'e010, 4);  // base above limit
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);
}

TEST(PciBridge, PrefetchableWindowReachesAbove4G) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug_behind(bridge, "02.0");
  bench.write(1, 2 << 3, pci::BAR0 + 8, 0, 4);
  bench.write(1, 2 << 3, pci::BAR0 + 12, 0x12, 4);
  bench.write(1, 2 << 3, pci::COMMAND, pci::kCommandMemory, 2);
  bench.config_write(kBridgeDevfn, pci::PREFETCH_BASE, 0, 4);
  bench.config_write(kBridgeDevfn, pci::PREFETCH_BASE_HIGH, 0x12, 4);
  bench.config_write(kBridgeDevfn, pci::PREFETCH_LIMIT_HIGH, 0x12, 4);
  bench.config_write(kBridgeDevfn, pci::COMMAND, pci::kCommandMemory, 2);
  EXPECT_EQ(bench.config_read(kBridgeDevfn, pci::PREFETCH_BASE, 4), 0x0001'0001u);
  EXPECT_EQ(bench.load(0x12'0000'0010, 4), 0x410u);
}

TEST(PciBridge, IoWindowMoves) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug_behind(bridge, "02.0");
  bench.write(1, 2 << 3, pci::BAR0 + 4, 0xd000, 4);
  bench.write(1, 2 << 3, pci::COMMAND, pci::kCommandIo, 2);
  bench.config_write(kBridgeDevfn, pci::COMMAND, pci::kCommandIo, 2);
  bench.config_write(kBridgeDevfn, pci::IO_BASE, 0xd0d0, 2);
  EXPECT_EQ(bench.in(0xd004, 4), 0x24u);
  bench.config_write(kBridgeDevfn, pci::IO_BASE, 0xe0e0, 2);
  EXPECT_EQ(bench.in(0xd004, 4), ~0u);
}

TEST(PciBridge, PinsAreRotatedBySlot) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  TestFunction& function = bench.plug_behind(bridge, "02.0");
  TestFunction& other = bench.plug_behind(bridge, "06.0");
  // Slot 2, INTA#: INTC# of slot 5, which is PIRQ (5 - 1 + 2) % 4 = C.
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 11, 1);
  function.pin(true);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
  other.pin(true);
  function.pin(false);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
  other.pin(false);
  EXPECT_FALSE(bench.isa_irqs[11].is_high());
}

TEST(PciBridge, SecondaryResetResetsWhatIsBehind) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug_behind(bridge, "02.0");
  bench.write(1, 2 << 3, pci::COMMAND, 7, 2);
  bench.config_write(kBridgeDevfn, pci::BRIDGE_CONTROL, pci::kBridgeReset, 2);
  EXPECT_EQ(bench.read(1, 2 << 3, pci::COMMAND, 2), 0u);
  bench.write(1, 2 << 3, pci::COMMAND, 7, 2);
  bench.config_write(kBridgeDevfn, pci::BRIDGE_CONTROL, pci::kBridgeReset, 2);  // still held
  EXPECT_EQ(bench.read(1, 2 << 3, pci::COMMAND, 2), 7u);
}

TEST(PciBridge, ResetForgetsNumbersAndWindows) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.config_write(kBridgeDevfn, pci::COMMAND, 3, 2);
  reset_device(bridge);
  EXPECT_EQ(bench.config_read(kBridgeDevfn, pci::PRIMARY_BUS, 4), 0u);
  EXPECT_EQ(bridge.secondary_bus().number(), 0);
}

TEST(PciBridge, StateSurvivesARoundTrip) {
  BridgeBench bench;
  Device& bridge = bench.plug_bridge();
  bench.config_write(kBridgeDevfn, pci::MEMORY_BASE, 0xe000'e000, 4);
  const qom::FieldTree saved = bridge.save();
  reset_device(bridge);
  ASSERT_TRUE(bridge.load(saved).has_value());
  ASSERT_TRUE(bridge.finish_load().has_value());
  EXPECT_EQ(bridge.save().dump(), saved.dump());
  EXPECT_EQ(static_cast<PciBridge&>(bridge).secondary_bus().number(), 1);
}

TEST(PciBridge, WantsAChassisNumber) {
  BridgeBench bench;
  const auto plugged = plug_user_device(bench.machine(), "pci-bridge", "br", {}, &bench.bus());
  ASSERT_FALSE(plugged.has_value());
  EXPECT_THAT(plugged.error().text(), HasSubstr("unique chassis id > 0"));
}

TEST(PciBridge, DmaGoesWhereAnIommuSays) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  auto view = mem::Region::container(bench.machine().memory(), "view", mem::kWholeAddressSpace);
  view->add(0, mem::Region::alias(bench.machine().memory(), "moved", bench.machine().system_memory().root(), 0x1000,
                                  0x1000));
  const PciBus* asked_bus = nullptr;
  bench.bus().set_dma_root([&](const PciBus& bus, u8 devfn) -> mem::RegionRef {
    asked_bus = &bus;
    return devfn == 2 << 3 ? view : nullptr;
  });
  TestFunction& function = bench.plug_behind(bridge, "02.0");
  TestFunction& other = bench.plug_behind(bridge, "03.0");
  EXPECT_EQ(asked_bus, &bridge.secondary_bus());
  bench.write(1, 2 << 3, pci::COMMAND, pci::kCommandMaster, 2);
  bench.write(1, 3 << 3, pci::COMMAND, pci::kCommandMaster, 2);
  bench.store(0x1008, 0x4711, 4);
  EXPECT_EQ(function.space().read<Le32>(8), 0x4711u);
  EXPECT_EQ(other.space().read<Le32>(0x1008), 0x4711u);
}

TEST(PciBridge, IsDescribedWithWhatIsBehind) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug_behind(bridge, "02.0");
  const std::string text = describe_pci(bench.bus());
  EXPECT_THAT(text, HasSubstr("    PCI bridge: PCI device 1b36:0001\n      BUS 0.\n      secondary bus 1.\n"));
  EXPECT_THAT(text, HasSubstr("id \"br\"\n  Bus  1, device   2, function 0:\n"));
}

// Slots of PCI Express. ----------------------------------------------------------------------------------------------

class PortBench : public BridgeBench {
 public:
  PortBench() {
    // The port only asks for a bus of PCI Express; it does not use what is different there.
    auto& folder = machine().tree().container("/machine");
    express_ = &folder.adopt("pcie.0", machine().tree().make<PcieBus>());
    express_->set_spaces(bus().memory_ref(), bus().ports_ref());
    express_->set_irqs([](u8, unsigned) { return 0u; }, {{&pin, 0}});
    port_ = static_cast<PcieRootPort*>(&plug("pcie-root-port", "rp", {{"addr", "05.0"}}, *express_));
    capability_ = std::as_const(*port_).config().find_capability(pci::kCapExpress);
    number_bus();
  }
  ~PortBench() {
    unplug(*port_);
    machine().run_main_loop();
    while (machine().memory().grace().poll()) {}
  }
  void restart() {
    reset_device(*port_);
    number_bus();
  }
  PcieRootPort& port() { return *port_; }
  PcieBus& express() { return *express_; }
  u16 get(unsigned reg) { return u16(port_->config_read(capability_ + reg, 2)); }
  void set(unsigned reg, u16 value) { port_->config_write(capability_ + reg, 2, value); }
  bool is_seen() { return express_->find(1) != nullptr && express_->find(1)->at(0) != nullptr; }
  test::IrqProbe pin;

 private:
  void number_bus() { port_->config_write(pci::PRIMARY_BUS, 4, 0x0001'0100); }
  PcieBus* express_;
  PcieRootPort* port_;
  unsigned capability_ = 0;
};

TEST(PcieRootPort, HasASlotThatTakesDevices) {
  PortBench bench;
  EXPECT_EQ(bench.get(express::CAPABILITIES), 0x0142u);
  EXPECT_EQ(bench.get(express::SLOT_CAPABILITIES) & 0x7f, 0x5bu);
  EXPECT_EQ(bench.get(express::SLOT_STATUS), 0u);
  EXPECT_EQ(bench.get(express::SLOT_CONTROL), 0x07c0u);
  EXPECT_EQ(std::as_const(bench.port()).config().size(), 4096u);
}

TEST(PcieRootPort, OnlySlotZeroIsThere) {
  PortBench bench;
  const auto plugged =
      plug_user_device(bench.machine(), "test-function", "f", {{"addr", "1"}}, &bench.port().secondary_bus());
  ASSERT_FALSE(plugged.has_value());
  EXPECT_THAT(plugged.error().text(), HasSubstr("only allows plugging into slot 0"));
}

TEST(PcieRootPort, NewDeviceIsAnnouncedAndAnswersOncePowered) {
  PortBench bench;
  bench.set(express::SLOT_CONTROL, 0x07c0 | express::kHotplugInterrupt | express::kPresenceChanged);
  bench.set(express::SLOT_STATUS, 0x11f);
  EXPECT_FALSE(bench.pin.is_high());
  Device& device = bench.plug("test-function", "f", {}, bench.port().secondary_bus());
  bench.port().device_plugged(device);
  EXPECT_EQ(bench.get(express::SLOT_STATUS), express::kPresent | express::kPresenceChanged | express::kButtonPressed);
  EXPECT_TRUE(bench.pin.is_high());
  EXPECT_FALSE(bench.is_seen());
  bench.set(express::SLOT_STATUS, express::kPresenceChanged);
  EXPECT_FALSE(bench.pin.is_high());
  bench.set(express::SLOT_CONTROL, 0x01c0);  // power on
  EXPECT_TRUE(bench.get(express::LINK_STATUS) & express::kLinkActive);
  EXPECT_TRUE(bench.get(express::SLOT_STATUS) & express::kCommandCompleted);
  EXPECT_TRUE(bench.is_seen());
}

TEST(PcieRootPort, DeviceLeavesWhenTheGuestSwitchesPowerOff) {
  PortBench bench;
  Device& device = bench.plug("test-function", "f", {}, bench.port().secondary_bus());
  bench.restart();
  EXPECT_EQ(bench.get(express::SLOT_STATUS), express::kPresent);
  EXPECT_TRUE(bench.is_seen());
  bench.set(express::SLOT_CONTROL, 0x01c0 | express::kHotplugInterrupt | express::kButtonPressed);
  ASSERT_TRUE(bench.port().request_unplug(device).has_value());
  EXPECT_TRUE(bench.pin.is_high());
  EXPECT_TRUE(bench.get(express::SLOT_STATUS) & express::kButtonPressed);
  const auto again = bench.port().request_unplug(device);
  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error().text(), "Device f is already in the process of unplug");
  bench.machine().run_main_loop();
  EXPECT_TRUE(device.is_realized());
  bench.set(express::SLOT_CONTROL, 0x07c0);
  EXPECT_FALSE(bench.is_seen());
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.machine().tree().find("/machine/peripheral/f"), nullptr);
  EXPECT_FALSE(bench.get(express::SLOT_STATUS) & express::kPresent);
  while (bench.machine().memory().grace().poll()) {}
  EXPECT_EQ(bench.machine().deleted, std::vector<std::string>{"f"});
}

TEST(PcieRootPort, DeviceWithoutPowerLeavesAtOnce) {
  PortBench bench;
  Device& device = bench.plug("test-function", "f", {}, bench.port().secondary_bus());
  bench.port().device_plugged(device);
  ASSERT_TRUE(bench.port().request_unplug(device).has_value());
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.machine().tree().find("/machine/peripheral/f"), nullptr);
}

TEST(PcieRootPort, ResetLetsAPendingDeviceGo) {
  PortBench bench;
  Device& device = bench.plug("test-function", "f", {}, bench.port().secondary_bus());
  reset_device(bench.port());
  ASSERT_TRUE(bench.port().request_unplug(device).has_value());
  reset_device(bench.port());
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.machine().tree().find("/machine/peripheral/f"), nullptr);
}

TEST(PcieRootPort, StateSurvivesARoundTrip) {
  PortBench bench;
  Device& port = bench.port();
  bench.set(express::SLOT_CONTROL, 0x07c0 | express::kHotplugInterrupt | express::kPresenceChanged);
  const qom::FieldTree saved = port.save();
  reset_device(port);
  ASSERT_TRUE(port.load(saved).has_value());
  ASSERT_TRUE(port.finish_load().has_value());
  EXPECT_EQ(port.save().dump(), saved.dump());
}

TEST(Unplug, TakesWhatSitsOnTheDevicesBusesFirst) {
  BridgeBench bench;
  PciBridge& bridge = bench.plug_bridge();
  bench.plug("test-function", "f", {}, bridge.secondary_bus());
  unplug(bridge);
  while (bench.machine().memory().grace().poll()) {}
  EXPECT_EQ(bench.machine().deleted, (std::vector<std::string>{"f", "br"}));
  EXPECT_EQ(bench.bus().at(kBridgeDevfn), nullptr);
}

}  // namespace
}  // namespace emu::hw
