// SPDX-License-Identifier: Apache-2.0
// Small port devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "hw/misc/debug_exit.h"
#include "hw/misc/fpu_error.h"
#include "hw/misc/port92.h"
#include "hw/misc/pvpanic.h"
#include "support/device_bench.h"

namespace emu::hw {
namespace {

using test::DeviceBench;

TEST(IsaDebugExit, StatusIsTwiceTheValuePlusOne) {
  DeviceBench<IsaDebugExit> bench({{"iobase", 0xf4}, {"iosize", 4}});
  EXPECT_EQ(bench.machine().io_ports().store(0xf4, 4, 0x10), mem::MemTxResult::Ok);
  EXPECT_THAT(bench.machine().exits, testing::ElementsAre(0x21));
  u64 value = 1;
  EXPECT_EQ(bench.machine().io_ports().load(0xf4, 1, value), mem::MemTxResult::Ok);
  EXPECT_EQ(value, 0u);
}

TEST(IsaDebugExit, PortsThatAreNotThereAreRefused) {
  for (const u32 base : {0xfffdu, 0x10000u, 0xffff'fffeu}) {
    qom::TypeRegistry registry;
    register_core_types(registry);
    register_debug_exit(registry);
    test::BenchMachine machine(registry);
    IsaBus& bus = machine.tree().container("/machine").adopt("isa.0", machine.tree().make<IsaBus>());
    bus.set_spaces(machine.io_ports().root(), machine.system_memory().root());
    Device& device = place<IsaDebugExit>(machine);
    ASSERT_TRUE(device.set("iobase", base).has_value());
    ASSERT_TRUE(device.set("iosize", 4).has_value());
    EXPECT_FALSE(device.realize_on(&bus).has_value()) << base;
  }
}

TEST(Port92, FastResetWorksOnItsRisingEdge) {
  DeviceBench<Port92> bench;
  bench.write8(0, 0x03);
  bench.write8(0, 0x03);
  EXPECT_EQ(bench.machine().resets.size(), 1u);
}

TEST(Port92, A20FollowsItsBit) {
  DeviceBench<Port92> bench;
  bench.write8(0, 0x02);
  EXPECT_TRUE(bench.irq("a20").is_high());
  EXPECT_EQ(bench.read8(0), 0x02);
  bench.expect_round_trip();
  EXPECT_TRUE(bench.irq("a20").is_high());
  bench.write8(0, 0x00);
  EXPECT_FALSE(bench.irq("a20").is_high());
}

TEST(FpuError, PortTakesTheInterruptBackAndAssertsIgnne) {
  DeviceBench<FpuError> bench;
  bench.device().set_ferr(true);
  EXPECT_TRUE(bench.irq("irq").is_high());
  EXPECT_FALSE(bench.device().ignne());
  bench.write8(0, 0);
  EXPECT_FALSE(bench.irq("irq").is_high());
  EXPECT_TRUE(bench.device().ignne());
  bench.expect_round_trip();
  EXPECT_TRUE(bench.device().ignne());
  bench.device().set_ferr(false);
  EXPECT_FALSE(bench.device().ignne());
}

TEST(FpuError, InterruptStaysUntilThePortIsWritten) {
  DeviceBench<FpuError> bench;
  bench.device().set_ferr(true);
  bench.device().set_ferr(false);
  EXPECT_TRUE(bench.irq("irq").is_high());
  bench.write8(0, 0);
  EXPECT_FALSE(bench.irq("irq").is_high());
  EXPECT_FALSE(bench.device().ignne());
  EXPECT_EQ(bench.read8(0), 0xff);
}

TEST(PvPanic, EventsAreOfferedAndReported) {
  DeviceBench<PvPanicIsa> bench;
  EXPECT_EQ(bench.read8(0), 0x03);
  bench.write8(0, 0x01);
  bench.write8(0, 0x02);
  bench.write8(0, 0x80);
  EXPECT_THAT(bench.machine().panics, testing::ElementsAre(PanicKind::Panicked, PanicKind::CrashLoaded));
}

TEST(PvPanic, EventsNotOfferedAreIgnored) {
  DeviceBench<PvPanicIsa> bench({{"events", 1}});
  bench.write8(0, 0x02);
  EXPECT_TRUE(bench.machine().panics.empty());
  EXPECT_EQ(bench.read8(0), 0x01);
}

}  // namespace
}  // namespace emu::hw
