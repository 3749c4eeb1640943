// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "unit/hw/pci/pci_bench.h"

namespace emu::hw {
namespace {

using test::I440FxBench;
using test::TestFunction;
using testing::HasSubstr;

constexpr u8 kDevfn = 3 << 3;

TEST(PciConfig, BitsInNoMaskStayAsTheyAre) {
  PciConfig config;
  config.set32(0x40, 0x1234'5678);
  config.allow32(0x40, 0x0000'ff00);
  config.write(0x40, 4, 0xffff'ffff);
  EXPECT_EQ(config.read(0x40, 4), 0x1234'ff78u);
}

TEST(PciConfig, WritingOneClears) {
  PciConfig config;
  config.set16(0x06, 0xf900);
  config.clears16(0x06, 0xf900);
  config.write(0x06, 2, 0x8000);
  EXPECT_EQ(config.read(0x06, 2), 0x7900u);
}

TEST(PciConfig, BeyondTheEndReadsAsOnes) {
  PciConfig config;
  EXPECT_EQ(config.read(0x100, 4), ~0u);
  EXPECT_EQ(config.read(0xfe, 4), ~0u);
  config.write(0xfe, 4, 0);
}

TEST(PciConfig, ExtendedCapabilitiesAreLinkedFrom0x100) {
  PciConfig config(pci::kExpressConfigBytes);
  EXPECT_EQ(config.add_extended_capability(0x1, 2, 0x48), 0x100u);
  EXPECT_EQ(config.add_extended_capability(0x3, 1, 0xc), 0x148u);
  EXPECT_EQ(config.get32(0x100), 0x1482'0001u);
  EXPECT_EQ(config.get32(0x148), 0x0001'0003u);
}

TEST(PciPorts, AbsentFunctionReadsAsOnes) {
  I440FxBench bench;
  EXPECT_EQ(bench.config_read(0x1f << 3, 0, 4), ~0u);
  EXPECT_EQ(bench.config_read(0x1f << 3, 0, 2), 0xffffu);
}

TEST(PciPorts, DisabledAddressReachesNothing) {
  I440FxBench bench;
  bench.out(0xcf8, 0, 4);
  EXPECT_EQ(bench.in(0xcfc, 4), ~0u);
}

TEST(PciPorts, OnlyDwordsReachTheAddressRegister) {
  I440FxBench bench;
  bench.out(0xcf8, 0x8000'0000, 4);
  bench.out(0xcf8, 0x55, 1);
  EXPECT_EQ(bench.in(0xcf8, 4), 0x8000'0000u);
  EXPECT_EQ(bench.in(0xcf8, 1), 0xffu);
}

TEST(PciPorts, BusBehindNoBridgeIsEmpty) {
  I440FxBench bench;
  bench.out(0xcf8, 0x8001'0000, 4);
  EXPECT_EQ(bench.in(0xcfc, 4), ~0u);
}

TEST(PciDevice, IdentifiesItself) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x5678'1234u);
  EXPECT_EQ(bench.config_read(kDevfn, 8, 4), 0x0780'0007u);
  EXPECT_EQ(bench.config_read(kDevfn, 0x2c, 4), 0x1100'1af4u);
  EXPECT_EQ(bench.config_read(kDevfn, 0x3d, 1), 1u);
  bench.config_write(kDevfn, 0, 0, 4);
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x5678'1234u);
}

TEST(PciDevice, BarsTellTheirSizeAndKind) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  for (unsigned offset = 0x10; offset < 0x28; offset += 4) bench.config_write(kDevfn, offset, ~0u, 4);
  EXPECT_EQ(bench.config_read(kDevfn, 0x10, 4), 0xffff'f000u);
  EXPECT_EQ(bench.config_read(kDevfn, 0x14, 4), 0xffff'ffe1u);
  EXPECT_EQ(bench.config_read(kDevfn, 0x18, 4), 0xffff'c00cu);
  EXPECT_EQ(bench.config_read(kDevfn, 0x1c, 4), 0xffff'ffffu);
  EXPECT_EQ(bench.config_read(kDevfn, 0x20, 4), 0u);
}

TEST(PciDevice, MemoryBarAnswersOnlyWhileDecodingIsOn) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 0x10, 0xe000'0000, 4);
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);
  bench.config_write(kDevfn, 4, pci::kCommandMemory, 2);
  EXPECT_EQ(bench.load(0xe000'0010, 4), 0x110u);
  bench.config_write(kDevfn, 0x10, 0xe100'0000, 4);
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);
  EXPECT_EQ(bench.load(0xe100'0010, 4), 0x110u);
  bench.config_write(kDevfn, 4, 0, 2);
  EXPECT_EQ(bench.load(0xe100'0010, 4), ~0u);
}

TEST(PciDevice, WideBarMovesAbove4G) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 4, pci::kCommandMemory, 2);
  bench.config_write(kDevfn, 0x18, 0x4000, 4);
  bench.config_write(kDevfn, 0x1c, 0x80, 4);
  EXPECT_EQ(bench.load(0x80'0000'4008, 4), 0x408u);
}

TEST(PciDevice, IoBarFollowsItsOwnEnable) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 0x14, 0xc000, 4);
  bench.config_write(kDevfn, 4, pci::kCommandMemory, 2);
  EXPECT_EQ(bench.in(0xc004, 4), ~0u);
  bench.config_write(kDevfn, 4, pci::kCommandIo, 2);
  EXPECT_EQ(bench.in(0xc004, 4), 0x24u);
}

TEST(PciDevice, SizingPatternIsNotMapped) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 4, pci::kCommandMemory | pci::kCommandIo, 2);
  for (unsigned offset = 0x10; offset < 0x20; offset += 4) bench.config_write(kDevfn, offset, ~0u, 4);
  for (const PciBar& bar : function.bars()) EXPECT_FALSE(bar.address.has_value());
}

TEST(PciDevice, DmaReachesMemoryOnlyAsBusMaster) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  EXPECT_FALSE(function.space().read<Le32>(0x1000).has_value());
  bench.config_write(kDevfn, 4, pci::kCommandMaster, 2);
  EXPECT_TRUE(function.space().read<Le32>(0x1000).has_value());
  bench.config_write(kDevfn, 4, 0, 2);
  EXPECT_FALSE(function.space().read<Le32>(0x1000).has_value());
}

TEST(PciDevice, WhatEndsAfterItLeftItsBusReachesNoMemory) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 4, pci::kCommandMaster, 2);
  static_cast<Device&>(function).unrealize_all();
  EXPECT_FALSE(function.space().read<Le32>(0x1000).has_value());
  EXPECT_NE(function.space().write<Le32>(0x1000, 1), mem::MemTxResult::Ok);
}

TEST(PciDevice, ExpansionRomIsReadThroughItsBar) {
  I440FxBench bench;
  const std::string path = testing::TempDir() + "pci_rom_" + std::to_string(::getpid());
  std::ofstream(path, std::ios::binary) << "\x55\xaa" << std::string(3000, 'r');
  auto& function = place<TestFunction>(bench.machine());
  Device& device = function;
  ASSERT_TRUE(device.set("addr", "03.0").has_value());
  ASSERT_TRUE(device.set("romfile", path).has_value());
  ASSERT_TRUE(device.realize_on(&bench.bus()).has_value());
  reset_device(device);
  std::filesystem::remove(path);
  bench.config_write(kDevfn, pci::ROM_ADDRESS, 0xffff'fffe, 4);
  EXPECT_EQ(bench.config_read(kDevfn, pci::ROM_ADDRESS, 4), 0xffff'f000u);  // 3002 bytes need 4 KiB
  bench.config_write(kDevfn, pci::ROM_ADDRESS, 0xe800'0000, 4);
  bench.config_write(kDevfn, pci::COMMAND, pci::kCommandMemory, 2);
  EXPECT_EQ(bench.load(0xe800'0000, 2), 0xffffu);  // not enabled
  bench.config_write(kDevfn, pci::ROM_ADDRESS, 0xe800'0001, 4);
  EXPECT_EQ(bench.load(0xe800'0000, 4), 0x7272'aa55u);
  bench.store(0xe800'0000, 0, 4);
  EXPECT_EQ(bench.load(0xe800'0000, 4), 0x7272'aa55u);
}

TEST(PciDevice, CapabilitiesAreInAList) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  EXPECT_TRUE(bench.config_read(kDevfn, 6, 2) & pci::kStatusCapabilities);
  const u32 first = bench.config_read(kDevfn, 0x34, 1);
  EXPECT_EQ(bench.config_read(kDevfn, first, 1), 0x01u);
  const u32 second = bench.config_read(kDevfn, first + 1, 1);
  EXPECT_EQ(bench.config_read(kDevfn, second, 1), 0x05u);
  EXPECT_EQ(bench.config_read(kDevfn, second + 1, 1), 0u);
}

TEST(PciDevice, ResetTakesBarsAway) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 0x10, 0xe000'0000, 4);
  bench.config_write(kDevfn, 4, 7, 2);
  reset_device(function);
  EXPECT_EQ(bench.config_read(kDevfn, 0x10, 4), 0u);
  EXPECT_EQ(bench.config_read(kDevfn, 4, 2), 0u);
  EXPECT_EQ(bench.load(0xe000'0010, 4), ~0u);
}

TEST(PciDevice, StateSurvivesARoundTrip) {
  I440FxBench bench;
  Device& function = bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 0x10, 0xe000'0000, 4);
  bench.config_write(kDevfn, 4, 2, 2);
  const qom::FieldTree saved = function.save();
  reset_device(function);
  ASSERT_TRUE(function.load(saved).has_value());
  ASSERT_TRUE(function.finish_load().has_value());
  EXPECT_EQ(function.save().dump(), saved.dump());
  EXPECT_EQ(bench.load(0xe000'0010, 4), 0x110u);
}

TEST(PciDevice, LoadRefusesAnotherDevicesConfiguration) {
  I440FxBench bench;
  Device& function = bench.place_function<TestFunction>("03.0");
  const qom::FieldTree saved = static_cast<Device&>(bench.piix3()).save();
  const auto loaded = function.load(*&saved);
  EXPECT_FALSE(loaded.has_value() && function.finish_load().has_value());
}

// Interrupts. --------------------------------------------------------------------------------------------------------

TEST(PciInterrupts, PinReachesTheRoutedIsaInterrupt) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  function.pin(true);
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 11, 1);  // slot 3, INTA#: PIRQC
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 10, 1);
  EXPECT_FALSE(bench.isa_irqs[11].is_high());
  EXPECT_TRUE(bench.isa_irqs[10].is_high());
  function.pin(false);
  EXPECT_FALSE(bench.isa_irqs[10].is_high());
}

TEST(PciInterrupts, SharedLineStaysHighUntilAllPinsAreLow) {
  I440FxBench bench;
  auto& one = bench.place_function<TestFunction>("03.0");
  auto& other = bench.place_function<TestFunction>("07.0");
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 5, 1);
  one.pin(true);
  other.pin(true);
  one.pin(false);
  EXPECT_TRUE(bench.isa_irqs[5].is_high());
  other.pin(false);
  EXPECT_FALSE(bench.isa_irqs[5].is_high());
}

TEST(PciInterrupts, CommandRegisterCanSilenceThePin) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 11, 1);
  function.pin(true);
  bench.config_write(kDevfn, 4, pci::kCommandIntxDisable, 2);
  EXPECT_FALSE(bench.isa_irqs[11].is_high());
  bench.config_write(kDevfn, 4, 0, 2);
  EXPECT_TRUE(bench.isa_irqs[11].is_high());
}

TEST(PciInterrupts, ReservedRoutesDriveNothing) {
  I440FxBench bench;
  auto& function = bench.place_function<TestFunction>("03.0");
  bench.config_write(1 << 3, Piix3::PIRQRCA + 2, 8, 1);
  function.pin(true);
  for (auto& irq : bench.isa_irqs) EXPECT_FALSE(irq.is_high());
}

// Places. ------------------------------------------------------------------------------------------------------------

TEST(PciBus, RefusesATakenPlaceAndNamesTheOwner) {
  I440FxBench bench;
  auto& device = place<TestFunction>(bench.machine());
  Device& base = device;
  ASSERT_TRUE(base.set("addr", "01.0").has_value());
  const auto realized = base.realize_on(&bench.bus());
  ASSERT_FALSE(realized.has_value());
  EXPECT_THAT(realized.error().text(), HasSubstr("PIIX3"));
}

TEST(PciBus, RefusesAFunctionOfASingleFunctionSlot) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  Device& other = place<TestFunction>(bench.machine());
  ASSERT_TRUE(other.set("addr", "3.1").has_value());
  EXPECT_FALSE(other.realize_on(&bench.bus()).has_value());
}

TEST(PciBus, GivesTheFirstFreeSlot) {
  I440FxBench bench;
  Device& device = place<TestFunction>(bench.machine());
  I440FxBench::realize(device, &bench.bus());
  EXPECT_EQ(bench.bus().device_address(device), "0000:00:02.0");
}

TEST(PciBus, BadAddressIsRefused) {
  I440FxBench bench;
  Device& device = place<TestFunction>(bench.machine());
  EXPECT_FALSE(device.set("addr", "20.0").has_value());
  EXPECT_FALSE(device.set("addr", "1.8").has_value());
  EXPECT_FALSE(device.set("addr", "x").has_value());
  EXPECT_FALSE(device.set("addr", "1.").has_value());
  EXPECT_TRUE(device.set("addr", "0x1f.7").has_value());
}

TEST(PciBus, IsDescribedForPeople) {
  I440FxBench bench;
  bench.place_function<TestFunction>("03.0");
  bench.config_write(kDevfn, 0x10, 0xe000'0000, 4);
  bench.config_write(kDevfn, 4, 2, 2);
  const std::string text = describe_pci(bench.bus());
  EXPECT_THAT(
      text,
      HasSubstr(
          "  Bus  0, device   0, function 0:\n    Host bridge: PCI device 8086:1237\n      PCI subsystem 1af4:1100\n"));
  EXPECT_THAT(text, HasSubstr("BAR0: 32 bit memory at 0xe0000000 [0xe0000fff].\n"));
  EXPECT_THAT(text, HasSubstr("BAR1: I/O at 0xffffffffffffffff"));
  EXPECT_THAT(text, HasSubstr("IRQ 0, pin A"));
}

}  // namespace
}  // namespace emu::hw
