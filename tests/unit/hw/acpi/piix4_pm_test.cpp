// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "unit/hw/pci/pci_bench.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;
using test::I440FxBench;

constexpr u8 kPm = 1 << 3 | 3;
constexpr u16 kBase = 0x600, kStatus = kBase, kEnable = kBase + 2, kControl = kBase + 4, kTimer = kBase + 8;

struct PmBench : I440FxBench {
  PmBench() {
    config_write(kPm, Piix4Pm::PMBA, kBase, 4);
    config_write(kPm, Piix4Pm::PMREGMISC, 1, 1);
  }
  bool sci() { return isa_irqs[9].is_high(); }
};

TEST(Piix4Pm, RegistersAppearWhereFirmwareSays) {
  I440FxBench bench;
  EXPECT_EQ(bench.in(kControl, 2), 0xffffu);
  bench.config_write(kPm, Piix4Pm::PMBA, kBase, 4);
  EXPECT_EQ(bench.in(kControl, 2), 0xffffu);
  bench.config_write(kPm, Piix4Pm::PMREGMISC, 1, 1);
  EXPECT_EQ(bench.in(kControl, 2), 0u);
  EXPECT_EQ(bench.config_read(kPm, Piix4Pm::PMBA, 4), 0x601u);
  bench.config_write(kPm, Piix4Pm::PMBA, 0xb000, 4);
  EXPECT_EQ(bench.in(kControl, 2), 0xffffu);
  EXPECT_EQ(bench.in(0xb004, 2), 0u);
}

TEST(Piix4Pm, TimerCountsAt3579545Hz) {
  PmBench bench;
  const u64 before = bench.in(kTimer, 4);
  bench.machine().clock().advance(1s);
  EXPECT_EQ(bench.in(kTimer, 4) - before, 3'579'545u);
  bench.machine().clock().advance(10s);
  EXPECT_LE(bench.in(kTimer, 4), 0xff'ffffu);
}

TEST(Piix4Pm, TimerCarryRaisesSci) {
  PmBench bench;
  bench.out(kControl, 1, 2);
  bench.out(kEnable, 1, 2);
  bench.machine().clock().advance(2s);  // 2^23 ticks are 2.34 s
  EXPECT_FALSE(bench.sci());
  bench.machine().clock().advance(1s);
  EXPECT_TRUE(bench.sci());
  EXPECT_EQ(bench.in(kStatus, 2) & 1, 1u);
  bench.out(kStatus, 1, 2);
  EXPECT_FALSE(bench.sci());
  bench.machine().clock().advance(2500ms);
  EXPECT_TRUE(bench.sci());
}

TEST(Piix4Pm, PowerButtonRaisesSciInAcpiModeOnly) {
  PmBench bench;
  bench.out(kEnable, AcpiPmBlock::kPowerButton, 2);
  ASSERT_EQ(bench.machine().power_listeners.size(), 1u);
  bench.machine().power_listeners[0]->powerdown_requested();
  EXPECT_FALSE(bench.sci());
  bench.out(ApmPort::kPort, Piix4Pm::kAcpiEnable, 1);
  EXPECT_EQ(bench.in(kControl, 2) & 1, 1u);
  EXPECT_TRUE(bench.sci());
  bench.out(kStatus, AcpiPmBlock::kPowerButton, 2);
  EXPECT_FALSE(bench.sci());
}

TEST(Piix4Pm, SleepType0SwitchesOff) {
  PmBench bench;
  bench.out(kControl, 0x0001, 2);
  EXPECT_TRUE(bench.machine().shutdowns.empty());
  bench.out(kControl, 0x2001, 2);
  ASSERT_EQ(bench.machine().shutdowns.size(), 1u);
  EXPECT_EQ(bench.machine().shutdowns[0], ShutdownCause::GuestShutdown);
  EXPECT_EQ(bench.in(kControl, 2), 1u);  // SLP_EN is write-only
}

TEST(Piix4Pm, SleepType1SuspendsAndDoesNotSwitchOff) {
  PmBench bench;
  bench.out(kControl, 0x2401, 2);
  EXPECT_EQ(bench.machine().suspends, 1u);
  EXPECT_TRUE(bench.machine().shutdowns.empty());
}

TEST(Piix4Pm, GpeEnableAndStatusRaiseSci) {
  PmBench bench;
  bench.out(kControl, 1, 2);
  bench.out(Piix4Pm::kGpePort + 2, 0x02, 1);
  bench.pm().pm().raise_gpe(1);
  EXPECT_TRUE(bench.sci());
  EXPECT_EQ(bench.in(Piix4Pm::kGpePort, 1), 2u);
  bench.out(Piix4Pm::kGpePort, 2, 1);
  EXPECT_FALSE(bench.sci());
}

TEST(Piix4Pm, ReservedBitsStayZero) {
  PmBench bench;
  bench.out(kEnable, 0xffff, 2);
  EXPECT_EQ(bench.in(kEnable, 2), AcpiPmBlock::kEnableBits);
  bench.out(kControl, 0x1fff, 2);
  EXPECT_EQ(bench.in(kControl, 2), 0x1c03u);
}

TEST(Piix4Pm, WideAccessReachesStatusAndEnable) {
  PmBench bench;
  bench.out(kStatus, 0x0100'0000, 4);
  EXPECT_EQ(bench.in(kStatus, 4), 0x0100'0000u);
  EXPECT_EQ(bench.in(kEnable + 1, 1), 1u);
}

TEST(Piix4Pm, SmiCommandRaisesSmiWhenEnabled) {
  PmBench bench;
  bench.config_write(kPm, Piix4Pm::DEVACTB, 0, 4);  // set at reset, so that firmware looks for no SMM
  bench.out(ApmPort::kPort, 0x55, 1);
  EXPECT_EQ(bench.smi.rises(), 0u);
  bench.config_write(kPm, Piix4Pm::DEVACTB, Piix4Pm::kApmcEnable, 4);
  bench.out(ApmPort::kPort, 0x55, 1);
  EXPECT_EQ(bench.smi.rises(), 1u);
  EXPECT_EQ(bench.in(ApmPort::kPort, 1), 0x55u);
}

TEST(Piix4Pm, EmptySmbusReportsADeviceError) {
  PmBench bench;
  bench.config_write(kPm, Piix4Pm::SMBBA, 0xb100, 4);
  bench.config_write(kPm, Piix4Pm::SMBHSTCFG, 1, 1);
  bench.config_write(kPm, 4, pci::kCommandIo, 2);
  EXPECT_EQ(bench.in(0xb100, 1), 0u);
  bench.out(0xb102, 0x48, 1);
  EXPECT_EQ(bench.in(0xb100, 1), 0x04u);
  bench.out(0xb100, 0x04, 1);
  EXPECT_EQ(bench.in(0xb100, 1), 0u);
}

TEST(Piix4Pm, ResetClearsAndHides) {
  PmBench bench;
  bench.out(kEnable, 0x100, 2);
  reset_device(bench.pm());
  EXPECT_EQ(bench.in(kEnable, 2), 0xffffu);
  bench.config_write(kPm, Piix4Pm::PMBA, kBase, 4);
  bench.config_write(kPm, Piix4Pm::PMREGMISC, 1, 1);
  EXPECT_EQ(bench.in(kEnable, 2), 0u);
}

TEST(Piix4Pm, StateSurvivesARoundTrip) {
  PmBench bench;
  bench.out(kControl, 1, 2);
  bench.out(kEnable, 0x101, 2);
  Device& pm = bench.pm();
  const auto saved = pm.save();
  reset_device(pm);
  ASSERT_TRUE(pm.load(saved).has_value());
  auto finished = pm.finish_load();
  ASSERT_TRUE(finished.has_value()) << finished.error().text();
  EXPECT_EQ(pm.save().dump(), saved.dump());
  EXPECT_EQ(bench.in(kEnable, 2), 0x101u);
}

}  // namespace
}  // namespace emu::hw
