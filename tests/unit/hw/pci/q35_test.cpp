// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "hw/isa/ich9_lpc.h"
#include "hw/pci/q35.h"
#include "support/device_bench.h"

namespace emu::hw {
namespace {

constexpr u8 kMch = 0, kLpc = 0x1f << 3;
constexpr u64 kEcam = 0xb000'0000;

class Pin final : public PciDevice {
 public:
  Pin() : PciDevice({.vendor = 1, .device = 2, .class_code = 0x0780, .express = true}) {}
  Result<void> realize() override {
    use_interrupt_pin(1);
    return {};
  }
  void set(bool level) { set_intx(level); }
};

class Q35Bench {
 public:
  static constexpr u64 kRam = 32 << 20;

  Q35Bench() : machine(registry()) {
    ram = *machine.memory().make_ram("pc.ram", kRam);
    auto region = mem::Region::ram(machine.memory(), "pc.ram", ram);
    machine.system_memory().root()->add(0, region);
    host = &place<Q35Host>(machine);
    host->set_board({.system = machine.system_memory().root(), .ram = region, .below_4g_bytes = kRam});
    EXPECT_TRUE(host->realize_on(&machine.system_bus()).has_value());
    lpc = &place_at<Ich9Lpc>("1f.0");
    for (unsigned i = 0; i < IsaBus::kIrqs; i++) lpc->isa_bus().set_irq(i, {&isa[i], 0});
    for (unsigned i = 0; i < 8; i++) lpc->connect_gsi(16 + i, {&gsi[i], 0});
    lpc->irq_out("smi").connect({&smi, 0});
    reset_all(*machine.tree().find("/machine"));
  }
  template <typename T>
  T& place_at(const char* address) {
    T& device = place<T>(machine);
    Device& base = device;
    EXPECT_TRUE(base.set("addr", address).has_value());
    EXPECT_TRUE(base.set("multifunction", true).has_value());
    EXPECT_TRUE(base.realize_on(&host->pci_bus()).has_value());
    return device;
  }
  u64 in(u16 port, unsigned size) {
    u64 value = 0;
    status = machine.io_ports().load(port, size, value);
    return value;
  }
  void out(u16 port, u64 value, unsigned size) { status = machine.io_ports().store(port, size, value); }
  u64 load(u64 address, unsigned size) {
    u64 value = 0;
    status = machine.system_memory().load(address, size, value);
    return value;
  }
  void store(u64 address, u64 value, unsigned size) { status = machine.system_memory().store(address, size, value); }
  u32 config_read(u8 devfn, unsigned offset, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(devfn) << 8 | (offset & 0xfc), 4);
    return u32(in(u16(0xcfc + (offset & 3)), size));
  }
  void config_write(u8 devfn, unsigned offset, u32 value, unsigned size) {
    out(0xcf8, 0x8000'0000u | u32(devfn) << 8 | (offset & 0xfc), 4);
    out(u16(0xcfc + (offset & 3)), value, size);
  }
  void enable_pm() {
    config_write(kLpc, Ich9Lpc::PMBASE, 0x600, 4);
    config_write(kLpc, Ich9Lpc::ACPI_CNTL, 0x80, 1);
  }

 private:
  qom::TypeRegistry& registry() {
    register_core_types(registry_);
    register_pci_core(registry_);
    register_q35(registry_);
    register_ich9_lpc(registry_);
    registry_.add<Pin>("pin");
    return registry_;
  }
  qom::TypeRegistry registry_;

 public:
  test::IrqProbe isa[16], gsi[8], smi;
  test::BenchMachine machine;
  mem::RamRef ram;
  Q35Host* host = nullptr;
  Ich9Lpc* lpc = nullptr;
  mem::MemTxResult status = mem::MemTxResult::Ok;
};

TEST(Q35, EcamAppearsWhereFirmwarePutsIt) {
  Q35Bench bench;
  bench.place_at<Pin>("03.0");
  EXPECT_EQ(bench.load(kEcam, 4), ~0u);
  bench.config_write(kMch, Mch::PCIEXBAR, u32(kEcam) | 1, 4);
  EXPECT_EQ(bench.load(kEcam, 4), 0x29c0'8086u);
  EXPECT_EQ(bench.load(kEcam + (0x1f << 15), 4), 0x2918'8086u);
  EXPECT_EQ(bench.load(kEcam + (0x1e << 15), 4), ~0u);
  EXPECT_EQ(bench.load(kEcam + (1 << 20), 2), 0xffffu);
  EXPECT_EQ(bench.load(kEcam + (3 << 15) + 0xffc, 4), 0u);  // express function: 4 KiB
  EXPECT_EQ(bench.load(kEcam + 0x100, 4), ~0u);             // the others have 256 bytes
  bench.store(kEcam + (3 << 15) + 4, 6, 2);
  EXPECT_EQ(bench.config_read(3 << 3, 4, 2), 6u);
}

TEST(Q35, ShorterEcamEndsEarlier) {
  Q35Bench bench;
  bench.config_write(kMch, Mch::PCIEXBAR, u32(kEcam) | 5, 4);  // 64 MiB
  EXPECT_EQ(bench.load(kEcam, 4), 0x29c0'8086u);
  EXPECT_NE(bench.status, mem::MemTxResult::DecodeError);
  bench.load(kEcam + (64 << 20), 4);
  EXPECT_EQ(bench.status, mem::MemTxResult::DecodeError);
}

TEST(Q35, PamAndSmramWorkAsOnTheOlderBridge) {
  Q35Bench bench;
  bench.ram->fill(0xa'0000, 0x11, 0x6'0000);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0xffu);
  bench.config_write(kMch, Mch::PAM0, 0x30, 1);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x11u);
  EXPECT_EQ(bench.load(0xa'0000, 1), 0xffu);
  bench.config_write(kMch, Mch::SMRAM, 0x4a, 1);
  EXPECT_EQ(bench.load(0xa'0000, 1), 0x11u);
}

TEST(Q35, TsegIsHiddenOutsideSmm) {
  Q35Bench bench;
  const u64 base = Q35Bench::kRam - (1 << 20);
  bench.ram->fill(base - 1, 0x11, 0x2000);
  bench.config_write(kMch, Mch::SMRAM, 0x0a, 1);
  bench.config_write(kMch, Mch::ESMRAMC, 0x01, 1);
  EXPECT_EQ(bench.load(base, 1), 0xffu);
  EXPECT_EQ(bench.load(base - 1, 1), 0x11u);
  // PCI memory begins where RAM ends; nothing of TSEG lies over it.
  bench.host->pci_memory()->add(Q35Bench::kRam, mem::Region::mmio(bench.machine.memory(), "bar", 0x1000,
                                                                  [](u64, unsigned) { return u64(0x5a); }, {}));
  EXPECT_EQ(bench.load(Q35Bench::kRam, 1), 0x5au);
  mem::AddressSpace smm(bench.machine.memory(), "smm", bench.host->bridge().smram().smm_view());
  EXPECT_EQ(*smm.read<u8>(base), 0x11);
}

TEST(Q35, ExtendedTsegSizeIsToldOnRequest) {
  Q35Bench bench;
  bench.config_write(kMch, Mch::EXT_TSEG, 0xffff, 2);
  EXPECT_EQ(bench.config_read(kMch, Mch::EXT_TSEG, 2), 16u);
}

TEST(Q35, LockKeepsSmramRegisters) {
  Q35Bench bench;
  bench.config_write(kMch, Mch::SMRAM, 0x1a, 1);
  bench.config_write(kMch, Mch::ESMRAMC, 0x01, 1);
  EXPECT_EQ(bench.config_read(kMch, Mch::ESMRAMC, 1), 0x38u);
  reset_device(*bench.host);
  bench.config_write(kMch, Mch::ESMRAMC, 0x01, 1);
  EXPECT_EQ(bench.config_read(kMch, Mch::ESMRAMC, 1), 0x39u);
}

TEST(Ich9, PinGoesToIoApicAndToTheRoutedIsaInterrupt) {
  Q35Bench bench;
  auto& pin = bench.place_at<Pin>("02.0");
  bench.config_write(kLpc, Ich9Lpc::PIRQE + 2, 10, 1);  // slot 2, INTA#: PIRQG
  pin.set(true);
  EXPECT_TRUE(bench.gsi[6].is_high());
  EXPECT_TRUE(bench.isa[10].is_high());
  pin.set(false);
  EXPECT_FALSE(bench.gsi[6].is_high());
  EXPECT_FALSE(bench.isa[10].is_high());
}

TEST(Ich9, SciFollowsItsSelect) {
  Q35Bench bench;
  bench.enable_pm();
  bench.out(0x604, 1, 4);
  bench.out(0x602, AcpiPmBlock::kPowerButton, 2);
  bench.lpc->pm().powerdown_requested();
  EXPECT_TRUE(bench.isa[9].is_high());
  bench.config_write(kLpc, Ich9Lpc::ACPI_CNTL, 0x81, 1);
  EXPECT_FALSE(bench.isa[9].is_high());
  EXPECT_TRUE(bench.isa[10].is_high());
  bench.config_write(kLpc, Ich9Lpc::ACPI_CNTL, 0x84, 1);
  EXPECT_FALSE(bench.isa[10].is_high());
  EXPECT_TRUE(bench.gsi[4].is_high());
}

TEST(Ich9, PmRegistersFollowPmbaseAndEnable) {
  Q35Bench bench;
  EXPECT_EQ(bench.in(0x604, 2), 0xffffu);
  bench.enable_pm();
  EXPECT_EQ(bench.in(0x604, 2), 0u);
  const u64 before = bench.in(0x608, 4);
  bench.machine.clock().advance(std::chrono::seconds(1));
  EXPECT_EQ(bench.in(0x608, 4) - before, 3'579'545u);
  bench.out(0x628, 0x55, 1);
  EXPECT_EQ(bench.in(0x628, 4), 0x55u);
}

TEST(Ich9, SoftOffByEitherSleepType) {
  Q35Bench bench;
  bench.enable_pm();
  bench.out(0x604, 0x2000, 2);
  bench.out(0x604, 0x3c00, 4);
  EXPECT_EQ(bench.machine.shutdowns.size(), 2u);
}

TEST(Ich9, SmiCommandNeedsBothEnables) {
  Q35Bench bench;
  bench.enable_pm();
  bench.out(0xb2, 0x10, 1);
  EXPECT_EQ(bench.smi.rises(), 0u);
  bench.out(0x630, 0x21, 4);
  bench.out(0xb2, 0x10, 1);
  EXPECT_EQ(bench.smi.rises(), 1u);
  EXPECT_EQ(bench.in(0x634, 4), 0x20u);
  bench.out(0x634, 0x20, 4);
  EXPECT_EQ(bench.in(0x634, 4), 0u);
}

TEST(Ich9, AcpiCommandsSwitchTheMode) {
  Q35Bench bench;
  bench.enable_pm();
  bench.out(0xb2, Ich9Lpc::kAcpiEnable, 1);
  EXPECT_EQ(bench.in(0x604, 2), 1u);
  bench.out(0xb2, Ich9Lpc::kAcpiDisable, 1);
  EXPECT_EQ(bench.in(0x604, 2), 0u);
}

TEST(Ich9, RootComplexAppearsAtRcba) {
  Q35Bench bench;
  bench.config_write(kLpc, Ich9Lpc::RCBA, 0xfed1'c001, 4);
  EXPECT_EQ(bench.load(0xfed1'c000 + 0x3140, 2), 0x3210u);
  bench.store(0xfed1'c000 + 0x3410, 0x20, 4);
  EXPECT_EQ(bench.load(0xfed1'c000 + 0x3410, 4), 0x20u);
}

TEST(Ich9, ResetPort) {
  Q35Bench bench;
  bench.out(0xcf9, 0x06, 1);
  EXPECT_EQ(bench.machine.resets.size(), 1u);
}

TEST(Ich9, StateSurvivesARoundTrip) {
  Q35Bench bench;
  bench.enable_pm();
  bench.out(0x630, 0x21, 4);
  bench.config_write(kLpc, Ich9Lpc::RCBA, 0xfed1'c001, 4);
  bench.store(0xfed1'c000 + 0x3410, 0x20, 4);
  Device& lpc = *bench.lpc;
  const auto saved = lpc.save();
  reset_device(lpc);
  EXPECT_EQ(bench.load(0xfed1'c000 + 0x3410, 4), ~0u);
  ASSERT_TRUE(lpc.load(saved).has_value());
  const auto finished = lpc.finish_load();
  ASSERT_TRUE(finished.has_value()) << finished.error().text();
  EXPECT_EQ(lpc.save().dump(), saved.dump());
  EXPECT_EQ(bench.load(0xfed1'c000 + 0x3410, 4), 0x20u);
}

}  // namespace
}  // namespace emu::hw
