// SPDX-License-Identifier: Apache-2.0
// The two transports, reached as guests reach them.
#include <random>

#include "net/register.h"
#include "../pci/pci_bench.h"
#include "hw/virtio/register.h"
#include "hw/virtio/virtio_mmio.h"
#include "hw/virtio/virtio_pci.h"
#include "hw/virtio/virtio_rng.h"
#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;

// PCI. ---------------------------------------------------------------------------------------------------------------

class PciTransport : public testing::Test {
 protected:
  static constexpr u64 kModern = 0xe000'0000, kMsix = 0xf000'0000;
  static constexpr u16 kLegacy = 0xc000, kPio = 0xc100;
  static constexpr u8 kDevfn = pci_devfn(4, 0);

  PciTransport() {
    auto& registry = const_cast<qom::TypeRegistry&>(bench.machine().tree().registry());
    net::register_net_types(registry);
    register_virtio(registry);
  }

  void plug(const char* type, std::vector<std::pair<std::string, qom::PropertyValue>> properties = {}) {
    properties.emplace_back("addr", "04.0");
    auto made = plug_user_device(bench.machine(), type, "rng0", properties, &bench.bus());
    ASSERT_TRUE(made.has_value()) << made.error().text();
    reset_device(**made);
    function = static_cast<VirtioPci*>(*made);
    bench.config_write(kDevfn, pci::BAR0, kLegacy, 4);
    bench.config_write(kDevfn, pci::BAR0 + 4, u32(kMsix), 4);
    bench.config_write(kDevfn, pci::BAR0 + 8, kPio, 4);
    bench.config_write(kDevfn, pci::BAR0 + 16, u32(kModern), 4);
    bench.config_write(kDevfn, pci::BAR0 + 20, 0, 4);
    bench.config_write(kDevfn, pci::COMMAND, 7, 2);
  }
  /// Offset of the capability of that kind; 0 when there is none.
  unsigned capability(u8 kind, unsigned which = 0) {
    for (unsigned at = bench.config_read(kDevfn, pci::CAPABILITY_LIST, 1); at != 0;
         at = bench.config_read(kDevfn, at + 1, 1)) {
      if (bench.config_read(kDevfn, at, 1) != 9 || bench.config_read(kDevfn, at + 3, 1) != kind) continue;
      if (which-- == 0) return at;
    }
    return 0;
  }
  u64 common(u64 offset, unsigned size) { return bench.load(kModern + offset, size); }
  void common(u64 offset, u64 value, unsigned size) { bench.store(kModern + offset, value, size); }
  /// 3.1.1, as a modern driver does it.
  void start_modern(bool with_messages) {
    common(20, 0, 1);
    common(20, 1, 1);
    common(20, 3, 1);
    common(8, 1, 4);
    common(12, 1, 4);
    common(20, 11, 1);
    ASSERT_EQ(common(20, 1), 11u);
    driver.emplace(bench.machine().system_memory(), 0x100000, 8, false);
    common(22, 0, 2);
    if (with_messages) common(26, 1, 2);
    for (const auto& [at, address] : {std::pair(32, driver->descriptors()), std::pair(40, driver->driver_area()),
                                      std::pair(48, driver->device_area())}) {
      common(u64(at), u32(address), 4);
      common(u64(at) + 4, address >> 32, 4);
    }
    common(28, 1, 2);
    EXPECT_EQ(common(28, 2), 1u);
    common(20, 15, 1);
    bench.machine().run_main_loop();
  }

  test::I440FxBench bench;
  VirtioPci* function = nullptr;
  std::optional<test::DriverQueue> driver;
};

TEST_F(PciTransport, ATransitionalFunctionHasTheOldIdAndBothInterfaces) {
  plug("virtio-rng-pci");
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x1005'1af4u);
  EXPECT_EQ(bench.config_read(kDevfn, 0x2c, 4), 0x0004'1af4u);
  EXPECT_EQ(bench.config_read(kDevfn, 8, 4), 0x00ff'0000u);
  EXPECT_EQ(bench.config_read(kDevfn, pci::INTERRUPT_PIN, 1), 1u);
  EXPECT_EQ(bench.in(kLegacy + 12, 2), 8u);
  EXPECT_EQ(common(24, 2), 8u);
}

TEST_F(PciTransport, ANonTransitionalFunctionIsModernOnly) {
  plug("virtio-rng-pci-non-transitional");
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), 0x1044'1af4u);
  EXPECT_EQ(bench.config_read(kDevfn, 0x2c, 4), 0x1100'1af4u);
  EXPECT_EQ(bench.config_read(kDevfn, 8, 1), 1u);
  EXPECT_EQ(bench.config_read(kDevfn, pci::BAR0, 4), 0u);
}

TEST_F(PciTransport, ModernOffLeavesTheLegacyInterface) {
  plug("virtio-rng-pci", {{"disable-modern", true}});
  EXPECT_EQ(capability(1), 0u);
  EXPECT_EQ(bench.config_read(kDevfn, pci::BAR0 + 16, 4), 0u);
  bench.out(kLegacy + 18, 0, 1);
  EXPECT_EQ(bench.in(kLegacy, 4) & 0x3000'0000u, 0x3000'0000u);
}

TEST_F(PciTransport, ContradictionsAreRefused) {
  for (const auto& [type, name, value] :
       {std::tuple("virtio-rng-pci-transitional", "disable-modern", "on"),
        std::tuple("virtio-rng-pci-non-transitional", "disable-legacy", "off"),
        std::tuple("virtio-rng-pci", "page-per-vq", "on"), std::tuple("virtio-rng-pci", "vectors", "4000")}) {
    EXPECT_FALSE(plug_user_device(bench.machine(), type, "x", {{name, value}}, &bench.bus()).has_value()) << type;
  }
  EXPECT_FALSE(plug_user_device(bench.machine(), "virtio-rng-pci", "x",
                                {{"disable-modern", true}, {"disable-legacy", "on"}}, &bench.bus())
                   .has_value());
}

TEST_F(PciTransport, CapabilitiesSayWhereThingsAre) {
  plug("virtio-rng-pci");
  for (const auto& [kind, offset] : {std::pair(1, 0u), std::pair(3, 0x1000u), std::pair(4, 0x2000u), std::pair(2, 0x3000u)}) {
    const unsigned at = capability(u8(kind));
    ASSERT_NE(at, 0u) << kind;
    EXPECT_EQ(bench.config_read(kDevfn, at + 4, 1), 4u);
    EXPECT_EQ(bench.config_read(kDevfn, at + 8, 4), offset);
    EXPECT_EQ(bench.config_read(kDevfn, at + 12, 4), 0x1000u);
  }
  EXPECT_EQ(bench.config_read(kDevfn, capability(2) + 16, 4), 4u);
  EXPECT_NE(capability(5), 0u);
}

TEST_F(PciTransport, AModernDriverGetsItsNumbersAndAPinInterrupt) {
  plug("virtio-rng-pci", {{"vectors", 0}});
  start_modern(false);
  const u16 id = driver->add({{0x2000, 16, true}});
  bench.store(kModern + 0x3000, 0, 2);
  bench.machine().run_main_loop();
  EXPECT_EQ(driver->take_used(), (std::vector<test::Used>{{id, 16}}));
  EXPECT_EQ(bench.config_read(kDevfn, pci::STATUS, 2) & pci::kStatusInterrupt, pci::kStatusInterrupt);
  EXPECT_EQ(bench.load(kModern + 0x1000, 1), 1u);
  EXPECT_EQ(bench.config_read(kDevfn, pci::STATUS, 2) & pci::kStatusInterrupt, 0u);
  EXPECT_EQ(bench.load(kModern + 0x1000, 1), 0u);
}

TEST_F(PciTransport, WithMsixEachQueueHasAMessage) {
  plug("virtio-rng-pci");
  const unsigned msix = std::as_const(*static_cast<PciDevice*>(function)).config().find_capability(0x11);
  ASSERT_NE(msix, 0u);
  EXPECT_EQ(bench.config_read(kDevfn, msix + 2, 2) & 0x7ff, 1u);  // two vectors
  bench.store(kMsix + 16, 0x5000, 4);                            // a message that lands in RAM
  bench.store(kMsix + 24, 0x77, 4);
  bench.store(kMsix + 28, 0, 4);
  bench.config_write(kDevfn, msix + 2, 0x8000, 2);
  start_modern(true);
  common(22, 0, 2);
  EXPECT_EQ(common(26, 2), 1u);
  common(26, 9, 2);  // there is none such
  EXPECT_EQ(common(26, 2), 0xffffu);
  common(26, 1, 2);
  driver->add({{0x2000, 16, true}});
  bench.store(kModern + 0x3000, 0, 2);
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.load(0x5000, 4), 0x77u);
  EXPECT_EQ(bench.load(kModern + 0x1000, 1), 0u);
}

TEST_F(PciTransport, TheWindowInConfigurationSpaceReachesTheRegisters) {
  plug("virtio-rng-pci");
  const unsigned at = capability(5);
  bench.config_write(kDevfn, at + 4, 4, 1);
  bench.config_write(kDevfn, at + 8, 20, 4);
  bench.config_write(kDevfn, at + 12, 1, 4);
  bench.config_write(kDevfn, at + 16, 3, 1);
  EXPECT_EQ(common(20, 1), 3u);
  EXPECT_EQ(bench.config_read(kDevfn, at + 16, 1), 3u);
  bench.config_write(kDevfn, at + 8, 0xffff'fffc, 4);
  bench.config_write(kDevfn, at + 16, 0, 4);
  bench.config_write(kDevfn, at + 8, 0x3ffe, 4);
  bench.config_write(kDevfn, at + 12, 4, 4);
  bench.config_write(kDevfn, at + 16, 0, 4);
  EXPECT_EQ(common(20, 1), 3u);
}

TEST_F(PciTransport, NotificationThroughAPort) {
  plug("virtio-rng-pci", {{"modern-pio-notify", true}});
  ASSERT_NE(capability(2, 1), 0u);
  start_modern(false);
  driver->add({{0x2000, 16, true}});
  bench.out(kPio, 0, 2);
  bench.machine().run_main_loop();
  EXPECT_EQ(driver->take_used().size(), 1u);
}

TEST_F(PciTransport, ALegacyDriverWorksThroughPorts) {
  plug("virtio-rng-pci-transitional");
  bench.out(kLegacy + 18, 1, 1);
  bench.out(kLegacy + 18, 3, 1);
  EXPECT_EQ(bench.in(kLegacy, 4) & 0x3000'0000u, 0x3000'0000u);
  bench.out(kLegacy + 4, 0x1000'0000, 4);
  bench.out(kLegacy + 14, 0, 2);
  bench.out(kLegacy + 8, 0x100, 4);  // at 0x100000
  EXPECT_EQ(bench.in(kLegacy + 8, 4), 0x100u);
  bench.out(kLegacy + 18, 7, 1);
  auto& space = bench.machine().system_memory();
  ASSERT_EQ(space.write<Le64>(0x100000, 0x2000), mem::MemTxResult::Ok);
  ASSERT_EQ(space.write<Le32>(0x100008, 32), mem::MemTxResult::Ok);
  ASSERT_EQ(space.write<Le16>(0x10000c, kDescWrite), mem::MemTxResult::Ok);
  ASSERT_EQ(space.write<Le16>(0x100000 + 128 + 2, 1), mem::MemTxResult::Ok);
  bench.out(kLegacy + 16, 0, 2);
  bench.machine().run_main_loop();
  EXPECT_EQ(space.read<Le16>(0x101002), 1u);
  EXPECT_EQ(space.read<Le32>(0x101008), 32u);
  EXPECT_EQ(bench.in(kLegacy + 19, 1), 1u);
  bench.out(kLegacy + 8, 0, 4);
  EXPECT_EQ(bench.in(kLegacy + 18, 1), 0u);
}

TEST_F(PciTransport, NoAccessToAnyRegisterHarms) {
  plug("virtio-rng-pci");
  std::minstd_rand random(3);
  for (unsigned i = 0; i < 30000; ++i) {
    const unsigned size = 1u << random() % 3;
    const u32 value = random() % 2 != 0 ? u32(random()) : u32(random() % 4);
    const u64 where = random() % 4 != 0 ? random() % 64 : random() % 0x4000;
    switch (random() % 4) {
      case 0: bench.store(kModern + where, value, size); break;
      case 1: bench.load(kModern + where, size); break;
      case 2: bench.out(u16(kLegacy + where % 32), value, size); break;
      default: bench.in(u16(kLegacy + where % 32), size); break;
    }
    if (i % 64 == 0) bench.machine().run_main_loop();
  }
}

TEST_F(PciTransport, PropertiesOfTheDeviceInsideAreTheFunctionsOwn) {
  const auto& registry = bench.machine().tree().registry();
  const qom::Type* type = registry.find("virtio-rng-pci");
  ASSERT_NE(type, nullptr);
  EXPECT_NE(type->find_property("max-bytes"), nullptr);
  EXPECT_EQ(type->default_value(*type->find_property("period")), qom::PropertyValue(u32(1 << 16)));
  EXPECT_FALSE(type->property_help().empty());
  plug("virtio-rng-pci", {{"max-bytes", 77}, {"packed", true}});
  EXPECT_EQ(static_cast<qom::Object*>(function)->get("max-bytes")->get_if<u64>()[0], 77u);
  EXPECT_EQ(function->backend()->path(), "/machine/peripheral/rng0/virtio-backend");
  EXPECT_FALSE(static_cast<qom::Object*>(function)->set("max-bytes", 5).has_value());
}

TEST_F(PciTransport, PluggingAndUnpluggingLeavesNothing) {
  for (unsigned i = 0; i < 50; ++i) {
    plug("virtio-rng-pci");
    start_modern(false);
    destroy(*function);
    while (bench.machine().memory().grace().poll()) {}
  }
  EXPECT_EQ(bench.config_read(kDevfn, 0, 4), ~0u);
}

TEST_F(PciTransport, SavedStateComesBack) {
  plug("virtio-rng-pci");
  start_modern(false);
  auto* folder = bench.machine().tree().find("/machine/peripheral/rng0");
  const auto saved = qom::save_tree(*folder);
  reset_all(*folder);
  auto loaded = qom::load_tree(*folder, saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  EXPECT_EQ(saved.dump(), qom::save_tree(*folder).dump());
  driver->add({{0x2000, 16, true}});
  bench.store(kModern + 0x3000, 0, 2);
  bench.machine().run_main_loop();
  EXPECT_EQ(driver->take_used().size(), 1u);
}

TEST_F(PciTransport, FeaturesThatWereNotOfferedAreSavedUntilTheyAreRefused) {
  plug("virtio-rng-pci");
  auto* folder = bench.machine().tree().find("/machine/peripheral/rng0");
  common(20, 3, 1);
  common(8, 0, 4);
  common(12, 0x5b, 4);
  const auto saved = qom::save_tree(*folder);
  reset_all(*folder);
  auto loaded = qom::load_tree(*folder, saved);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  common(8, 0, 4);
  EXPECT_EQ(common(12, 4), 0x5bu);
  common(20, 11, 1);
  EXPECT_EQ(common(20, 1), 3u) << "FEATURES_OK";
}

// MMIO. --------------------------------------------------------------------------------------------------------------

class MmioTransport : public testing::Test {
 protected:
  static constexpr u64 kBase = 0x4000'0000;
  void make(bool legacy, bool with_device = true) {
    register_core_types(registry);
    register_virtio_core(registry);
    register_virtio_mmio(registry);
    registry.add<VirtioRng>(VirtioRng::kDeviceType);
    machine = std::make_unique<test::BenchMachine>(registry);
    machine->add_ram(0, 4 << 20);
    slot = &place<VirtioMmio>(*machine);
    ASSERT_TRUE(static_cast<qom::Object*>(slot)->set("force-legacy", legacy).has_value());
    slot->irq_out("irq").connect({&irq, 0});
    ASSERT_TRUE(static_cast<Device*>(slot)->realize_on(&machine->system_bus()).has_value());
    slot->map_at(kBase);
    if (!with_device) return;
    auto made = plug_user_device(*machine, "virtio-rng-device", "r", {}, nullptr);
    ASSERT_TRUE(made.has_value()) << made.error().text();
  }
  u32 get(u64 offset) {
    u64 value = 0;
    EXPECT_EQ(machine->system_memory().load(kBase + offset, 4, value), mem::MemTxResult::Ok);
    return u32(value);
  }
  void put(u64 offset, u32 value) {
    EXPECT_EQ(machine->system_memory().store(kBase + offset, 4, value), mem::MemTxResult::Ok);
  }

  qom::TypeRegistry registry;
  test::IrqProbe irq;
  std::unique_ptr<test::BenchMachine> machine;
  VirtioMmio* slot = nullptr;
};

TEST_F(MmioTransport, AnEmptySlotSaysSo) {
  make(false, false);
  EXPECT_EQ(get(0), 0x74726976u);
  EXPECT_EQ(get(4), 2u);
  EXPECT_EQ(get(8), 0u);
  put(0x70, 1);
  put(0x50, 0);
  EXPECT_EQ(get(0x70), 0u);
}

TEST_F(MmioTransport, AModernDriverGetsItsNumbers) {
  make(false);
  EXPECT_EQ(get(8), 4u);
  put(0x70, 0);
  put(0x70, 3);
  put(0x14, 1);
  EXPECT_EQ(get(0x10) & 1, 1u);
  put(0x24, 1);
  put(0x20, 1);
  put(0x70, 11);
  EXPECT_EQ(get(0x70), 11u);
  EXPECT_EQ(get(0x34), 8u);
  test::DriverQueue driver(machine->system_memory(), 0x100000, 4, false);
  put(0x38, 4);
  put(0x80, u32(driver.descriptors()));
  put(0x90, u32(driver.driver_area()));
  put(0xa0, u32(driver.device_area()));
  put(0x44, 1);
  EXPECT_EQ(get(0x44), 1u);
  put(0x70, 15);
  const u16 id = driver.add({{0x2000, 12, true}});
  put(0x50, 0);
  machine->run_main_loop();
  EXPECT_EQ(driver.take_used(), (std::vector<test::Used>{{id, 12}}));
  EXPECT_TRUE(irq.is_high());
  EXPECT_EQ(get(0x60), 1u);
  put(0x64, 1);
  EXPECT_FALSE(irq.is_high());
  EXPECT_EQ(get(0x60), 0u);
}

TEST_F(MmioTransport, ALegacyDriverGetsItsNumbers) {
  make(true);
  EXPECT_EQ(get(4), 1u);
  put(0x28, 4096);
  put(0x70, 3);
  put(0x30, 0);
  put(0x38, 8);
  put(0x3c, 4096);
  put(0x40, 0x100);
  EXPECT_EQ(get(0x40), 0x100u);
  put(0x70, 7);
  auto& space = machine->system_memory();
  ASSERT_EQ(space.write<Le64>(0x100000, 0x2000), mem::MemTxResult::Ok);
  ASSERT_EQ(space.write<Le32>(0x100008, 32), mem::MemTxResult::Ok);
  ASSERT_EQ(space.write<Le16>(0x10000c, kDescWrite), mem::MemTxResult::Ok);
  ASSERT_EQ(space.write<Le16>(0x100000 + 128 + 2, 1), mem::MemTxResult::Ok);
  put(0x50, 0);
  machine->run_main_loop();
  EXPECT_EQ(space.read<Le32>(0x101008), 32u);
  EXPECT_TRUE(irq.is_high());
}

TEST_F(MmioTransport, ALegacyDriverCannotAddFeaturesOnceItRuns) {
  make(true);
  const auto* device = dynamic_cast<VirtioDevice*>(machine->tree().find("/machine/peripheral/r"));
  ASSERT_NE(device, nullptr);
  put(0x24, 0);
  put(0x20, 0x5b);
  EXPECT_EQ(device->accepted_features(), 0x5bu);
  put(0x70, 7);
  EXPECT_EQ(device->accepted_features(), 0u) << "none of them were offered";
  put(0x20, 0x5b);
  EXPECT_EQ(device->accepted_features(), 0u);
}

TEST_F(MmioTransport, TheLineFollowsOnceEverythingIsLoaded) {
  make(false);
  slot->config_interrupt();
  const qom::FieldTree saved = static_cast<Device*>(slot)->save();
  slot->lower_interrupts();
  ASSERT_TRUE(static_cast<Device*>(slot)->load(saved).has_value());
  EXPECT_FALSE(irq.is_high());
  ASSERT_TRUE(static_cast<Device*>(slot)->finish_load().has_value());
  EXPECT_TRUE(irq.is_high());
  EXPECT_EQ(get(0x60), 2u);
}

TEST_F(MmioTransport, NoAccessToAnyRegisterHarms) {
  make(false);
  std::minstd_rand random(5);
  for (unsigned i = 0; i < 20000; ++i) {
    u64 value = random() % 2 != 0 ? random() : random() % 16;
    const u64 at = kBase + random() % 0x200;
    const unsigned size = 1u << random() % 4;
    static_cast<void>(random() % 2 != 0 ? machine->system_memory().store(at, size, value)
                                        : machine->system_memory().load(at, size, value));
    if (i % 64 == 0) machine->run_main_loop();
  }
}

}  // namespace
}  // namespace emu::hw
