// SPDX-License-Identifier: Apache-2.0
// 8254 and HPET.
#include <gtest/gtest.h>

#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "support/device_bench.h"
#include "support/saved_fields.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;

struct PitBench : test::DeviceBench<I8254> {
  void program(unsigned counter, u8 mode, u16 count) {
    write("pit", 3, counter << 6 | 0x30 | mode << 1, 1);
    write("pit", counter, count & 0xff, 1);
    write("pit", counter, count >> 8, 1);
  }
  u16 count(unsigned counter) {
    const u64 low = read("pit", counter, 1);
    return u16(low | read("pit", counter, 1) << 8);
  }
};

TEST(I8254, RateGeneratorTicksAtItsRate) {
  PitBench pit;
  pit.program(0, 2, 11932);  // 100 Hz
  const unsigned before = pit.irq("irq").rises();
  pit.advance(1s);
  EXPECT_NEAR(pit.irq("irq").rises() - before, 100, 1);
}

TEST(I8254, SquareWaveTicksAtItsRate) {
  PitBench pit;
  pit.program(0, 3, 0);  // 65536: 18.2 Hz
  const unsigned before = pit.irq("irq").rises();
  pit.advance(10s);
  EXPECT_NEAR(pit.irq("irq").rises() - before, 182, 1);
}

TEST(I8254, TerminalCountRaisesOnce) {
  PitBench pit;
  pit.program(0, 0, 1193);
  EXPECT_FALSE(pit.irq("irq").is_high());
  pit.advance(2ms);
  EXPECT_TRUE(pit.irq("irq").is_high());
  pit.advance(1s);
  EXPECT_TRUE(pit.irq("irq").is_high());
}

TEST(I8254, LatchedCountStandsStill) {
  PitBench pit;
  pit.program(0, 2, 10000);
  pit.advance(1ms);  // 1193 ticks
  pit.write("pit", 3, 0x00, 1);
  pit.advance(1ms);
  EXPECT_NEAR(pit.count(0), 10000 - 1193, 1);
  EXPECT_NEAR(pit.count(0), 10000 - 2386, 1);
}

TEST(I8254, ReadBackGivesStatus) {
  PitBench pit;
  pit.program(2, 3, 100);
  pit.write("pit", 3, 0xe8, 1);  // status of counter 2
  EXPECT_EQ(pit.read("pit", 2, 1) & 0x3f, 0x36u);
}

TEST(I8254, Counter2FollowsPort61) {
  PitBench pit;
  pit.write("nmisc", 0, 0, 1);
  pit.program(2, 0, 1193);
  pit.advance(5ms);
  EXPECT_EQ(pit.read("nmisc", 0, 1) & 0x20, 0u);
  pit.write("nmisc", 0, 1, 1);
  pit.advance(2ms);
  EXPECT_EQ(pit.read("nmisc", 0, 1) & 0x21, 0x21u);
}

TEST(I8254, StateSurvivesARoundTrip) {
  PitBench pit;
  pit.program(0, 2, 11932);
  pit.program(2, 3, 500);
  pit.advance(3ms);
  pit.expect_round_trip();
  const unsigned before = pit.irq("irq").rises();
  pit.advance(1s);
  EXPECT_NEAR(pit.irq("irq").rises() - before, 100, 1);
}

TEST(I8254, RefusesTimesThatCannotBe) {
  PitBench pit;
  pit.program(0, 2, 11932);
  Device& device = pit.device();
  EXPECT_FALSE(test::load_with(device, "counter0_start_ns", INT64_MIN).has_value());
  EXPECT_FALSE(test::load_with(device, "counter0_start_ns", INT64_MAX).has_value());
  EXPECT_FALSE(test::load_with(device, "counter2_frozen_ticks", ~u64(0)).has_value());
}

struct HpetBench : test::DeviceBench<Hpet> {
  static constexpr u64 timer(unsigned n) { return Hpet::TIMER0 + n * 0x20; }
};

TEST(Hpet, CapabilitiesNameTheClock) {
  HpetBench hpet;
  EXPECT_EQ(hpet.read64(Hpet::CAP), 0x0098'9680'8086'a201u);
  EXPECT_EQ(hpet.read32(Hpet::CAP + 4), 10'000'000u);
  hpet.write64(Hpet::CAP, 0);
  EXPECT_EQ(hpet.read32(Hpet::CAP), 0x8086'a201u);
}

TEST(Hpet, CounterRunsWhileEnabled) {
  HpetBench hpet;
  hpet.advance(1us);
  EXPECT_EQ(hpet.read64(Hpet::COUNTER), 0u);
  hpet.write64(Hpet::CONFIG, 1);
  hpet.advance(1us);
  EXPECT_EQ(hpet.read64(Hpet::COUNTER), 100u);
  hpet.write64(Hpet::CONFIG, 0);
  hpet.advance(1us);
  EXPECT_EQ(hpet.read64(Hpet::COUNTER), 100u);
  hpet.write64(Hpet::COUNTER, 5);
  EXPECT_EQ(hpet.read64(Hpet::COUNTER), 5u);
}

TEST(Hpet, ComparatorRaisesItsRoute) {
  HpetBench hpet;
  hpet.write64(HpetBench::timer(2), Hpet::kTnEnable | u64(20) << 9);
  hpet.write64(HpetBench::timer(2) + 8, 1000);
  hpet.write64(Hpet::CONFIG, 1);
  hpet.advance(9us);
  EXPECT_EQ(hpet.irq("irq", 20).rises(), 0u);
  hpet.advance(2us);
  EXPECT_EQ(hpet.irq("irq", 20).rises(), 1u);
}

TEST(Hpet, LevelStaysUntilStatusIsCleared) {
  HpetBench hpet;
  hpet.write64(HpetBench::timer(0), Hpet::kTnEnable | Hpet::kTnLevel | u64(16) << 9);
  hpet.write64(HpetBench::timer(0) + 8, 100);
  hpet.write64(Hpet::CONFIG, 1);
  hpet.advance(2us);
  EXPECT_TRUE(hpet.irq("irq", 16).is_high());
  EXPECT_EQ(hpet.read64(Hpet::STATUS), 1u);
  hpet.write64(Hpet::STATUS, 1);
  EXPECT_FALSE(hpet.irq("irq", 16).is_high());
}

TEST(Hpet, AHeldLineMovesWithItsRoute) {
  HpetBench hpet;
  const auto routed = [](u64 pin) { return Hpet::kTnEnable | Hpet::kTnLevel | pin << 9; };
  hpet.write64(HpetBench::timer(0), routed(16));
  hpet.write64(HpetBench::timer(0) + 8, 100);
  hpet.write64(Hpet::CONFIG, 1);
  hpet.advance(2us);
  hpet.write64(HpetBench::timer(0), routed(17));
  EXPECT_FALSE(hpet.irq("irq", 16).is_high());
  EXPECT_TRUE(hpet.irq("irq", 17).is_high());
  hpet.write64(HpetBench::timer(0), u64(17) << 9);
  EXPECT_FALSE(hpet.irq("irq", 17).is_high());
}

TEST(Hpet, PeriodicTimerInLegacyMode) {
  HpetBench hpet;
  bool legacy = false;
  hpet->set_legacy_listener([&legacy](bool on) { legacy = on; });
  hpet.write64(HpetBench::timer(0), Hpet::kTnEnable | Hpet::kTnPeriodic | Hpet::kTnSetValue);
  hpet.write64(HpetBench::timer(0) + 8, 100'000);
  hpet.write64(HpetBench::timer(0) + 8, 100'000);
  hpet.write64(Hpet::CONFIG, 3);
  EXPECT_TRUE(legacy);
  hpet.advance(10ms);
  EXPECT_EQ(hpet.irq("irq", 0).rises(), 10u);
}

TEST(Hpet, ReservedBitsStayZero) {
  HpetBench hpet;
  hpet.write64(Hpet::CONFIG, ~u64(0));
  EXPECT_EQ(hpet.read64(Hpet::CONFIG), 3u);
  hpet.write64(Hpet::CONFIG, 0);
  EXPECT_EQ(hpet.read64(HpetBench::timer(3)), 0u);
  hpet.write8(Hpet::CONFIG, 1);
  EXPECT_NE(hpet.last_status(), mem::MemTxResult::Ok);
}

TEST(Hpet, StateSurvivesARoundTrip) {
  HpetBench hpet;
  hpet.write64(HpetBench::timer(1), Hpet::kTnEnable | u64(21) << 9);
  hpet.write64(HpetBench::timer(1) + 8, 1000);
  hpet.write64(Hpet::CONFIG, 1);
  hpet.advance(1us);
  hpet.expect_round_trip();
  hpet.advance(10us);
  EXPECT_EQ(hpet.irq("irq", 21).rises(), 1u);
}

TEST(Hpet, FiresWhenItsCounterGetsThereLoadedOrNot) {
  HpetBench hpet;
  hpet.advance(3ns);
  hpet.write64(Hpet::CONFIG, 1);
  hpet.advance(4ns);  // in the middle of a tick
  hpet.write64(HpetBench::timer(1), Hpet::kTnEnable | u64(21) << 9);
  hpet.write64(HpetBench::timer(1) + 8, 1000);
  hpet.advance(5002ns);
  hpet.expect_round_trip();
  hpet.advance(10002ns - 5009ns);
  EXPECT_EQ(hpet.irq("irq", 21).rises(), 0u);
  hpet.advance(1ns);
  EXPECT_EQ(hpet.irq("irq", 21).rises(), 1u);
}

TEST(Hpet, ALoadedStartMayBeAnyNumber) {
  HpetBench hpet;
  hpet.write64(Hpet::CONFIG, 1);
  for (const i64 start : {INT64_MIN, INT64_MAX}) {
    ASSERT_TRUE(test::load_with(static_cast<Device&>(hpet.device()), "start_ns", start).has_value());
    hpet.advance(10us);
    hpet.read64(Hpet::COUNTER);
  }
}

}  // namespace
}  // namespace emu::hw
