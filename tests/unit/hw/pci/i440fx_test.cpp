// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "unit/hw/pci/pci_bench.h"

namespace emu::hw {
namespace {

using test::I440FxBench;

constexpr u8 kHost = 0;

/// Puts a ROM of 0x77s where a BIOS is, on PCI.
void add_bios(I440FxBench& bench) {
  auto ram = bench.machine().memory().make_ram("bios", 0x2'0000);
  ASSERT_TRUE(ram.has_value());
  (*ram)->fill(0, 0x77, 0x2'0000);
  bench.host().pci_memory()->add(0xe'0000, mem::Region::rom(bench.machine().memory(), "bios", *ram), 1);
}

TEST(I440Fx, ShowsPciBelow1MAfterReset) {
  I440FxBench bench;
  add_bios(bench);
  bench.ram()->fill(0xc'0000, 0x11, 0x4'0000);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x77u);
  EXPECT_EQ(bench.load(0xc'0000, 1), 0xffu);
  EXPECT_EQ(bench.load(0xa'0000, 1), 0xffu);
}

TEST(I440Fx, PamModesSendReadsAndWritesToRamOrPci) {
  I440FxBench bench;
  add_bios(bench);
  bench.ram()->fill(0xf'0000, 0x11, 0x1'0000);

  bench.config_write(kHost, I440Fx::PAM0, 0x20, 1);  // writes to RAM, reads from PCI
  bench.store(0xf'0000, 0x22, 1);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x77u);

  bench.config_write(kHost, I440Fx::PAM0, 0x10, 1);  // reads from RAM, write-protected
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x22u);
  bench.store(0xf'0000, 0x33, 1);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x22u);

  bench.config_write(kHost, I440Fx::PAM0, 0x30, 1);
  bench.store(0xf'0000, 0x33, 1);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x33u);

  bench.config_write(kHost, I440Fx::PAM0, 0x00, 1);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x77u);
}

TEST(I440Fx, EachPamNibbleHasItsOwn16K) {
  I440FxBench bench;
  for (unsigned segment = 0; segment < 12; segment++) {
    const u64 address = 0xc'0000 + segment * 0x4000;
    bench.ram()->fill(address, 0x11, 0x4000);
    bench.config_write(kHost, I440Fx::PAM0 + 1 + segment / 2, segment % 2 ? 0x30 : 0x03, 1);
    EXPECT_EQ(bench.load(address, 1), 0x11u) << segment;
    EXPECT_EQ(bench.load(address + 0x3fff, 1), 0x11u) << segment;
    if (segment < 11) {
      EXPECT_EQ(bench.load(address + 0x4000, 1), 0xffu) << segment;
    }
    bench.config_write(kHost, I440Fx::PAM0 + 1 + segment / 2, 0, 1);
  }
}

TEST(I440Fx, PamReservedBitsReadAsZero) {
  I440FxBench bench;
  for (unsigned i = 0; i < 7; i++) {
    bench.config_write(kHost, I440Fx::PAM0 + i, 0xff, 1);
    EXPECT_EQ(bench.config_read(kHost, I440Fx::PAM0 + i, 1), i == 0 ? 0x30u : 0x33u);
  }
}

TEST(I440Fx, OpenSmramShowsRamUnderVga) {
  I440FxBench bench;
  bench.ram()->fill(0xa'0000, 0x11, 0x2'0000);
  bench.config_write(kHost, I440Fx::SMRAM, 0x48, 1);
  EXPECT_EQ(bench.load(0xb'ffff, 1), 0x11u);
  bench.config_write(kHost, I440Fx::SMRAM, 0x08, 1);
  EXPECT_EQ(bench.load(0xb'ffff, 1), 0xffu);
}

TEST(I440Fx, LockedSmramStaysClosedUntilReset) {
  I440FxBench bench;
  bench.config_write(kHost, I440Fx::SMRAM, 0x58, 1);
  EXPECT_EQ(bench.config_read(kHost, I440Fx::SMRAM, 1), 0x1au);
  bench.config_write(kHost, I440Fx::SMRAM, 0x48, 1);
  EXPECT_EQ(bench.config_read(kHost, I440Fx::SMRAM, 1), 0x1au);
  reset_device(bench.host());
  EXPECT_EQ(bench.config_read(kHost, I440Fx::SMRAM, 1), 0x02u);
  bench.config_write(kHost, I440Fx::SMRAM, 0x48, 1);
  EXPECT_EQ(bench.config_read(kHost, I440Fx::SMRAM, 1), 0x4au);
}

TEST(I440Fx, ShadowSurvivesARoundTrip) {
  I440FxBench bench;
  bench.ram()->fill(0xf'0000, 0x11, 0x1'0000);
  bench.config_write(kHost, I440Fx::PAM0, 0x30, 1);
  Device& bridge = bench.host().bridge();
  const auto saved = bridge.save();
  reset_device(bridge);
  EXPECT_EQ(bench.load(0xf'0000, 1), 0xffu);
  ASSERT_TRUE(bridge.load(saved).has_value());
  ASSERT_TRUE(bridge.finish_load().has_value());
  EXPECT_EQ(bench.load(0xf'0000, 1), 0x11u);
}

TEST(Piix3, ResetPortAsksForAReset) {
  I440FxBench bench;
  bench.out(0xcf9, 0x02, 1);
  EXPECT_TRUE(bench.machine().resets.empty());
  EXPECT_EQ(bench.in(0xcf9, 1), 0x02u);
  bench.out(0xcf9, 0x06, 1);
  ASSERT_EQ(bench.machine().resets.size(), 1u);
  EXPECT_EQ(bench.machine().resets[0], ResetCause::GuestReset);
}

TEST(Piix3, RoutesAreDisabledAfterReset) {
  I440FxBench bench;
  EXPECT_EQ(bench.config_read(1 << 3, 0x60, 4), 0x8080'8080u);
  bench.config_write(1 << 3, 0x60, ~0u, 4);
  EXPECT_EQ(bench.config_read(1 << 3, 0x60, 4), 0x8f8f'8f8fu);
  EXPECT_EQ(bench.config_read(1 << 3, 0x0e, 1), 0x80u);
  EXPECT_EQ(bench.config_read(1 << 3, 0x00, 4), 0x7000'8086u);
}

}  // namespace
}  // namespace emu::hw
