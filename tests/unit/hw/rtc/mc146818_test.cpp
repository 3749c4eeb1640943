// SPDX-License-Identifier: Apache-2.0
#include "hw/rtc/mc146818.h"

#include <gtest/gtest.h>

#include "support/device_bench.h"
#include "support/saved_fields.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;

/// 2001-02-03 04:05:06 UTC, a Saturday, on the clock that the test moves.
constexpr i64 kStart = 981173106;

struct RtcBench : test::DeviceBench<Mc146818> {
  RtcBench() : DeviceBench({{"clock", "vm"}}) {
    device().set_time(kStart);
    set(Mc146818::B, Mc146818::k24Hours);
  }
  u8 get(u8 index) {
    write8(0, index);
    return read8(1);
  }
  void set(u8 index, u8 value) {
    write8(0, index);
    write8(1, value);
  }
  bool high() { return irq("irq").is_high(); }
};

TEST(Mc146818, TellsTheTimeInBcd) {
  RtcBench rtc;
  EXPECT_EQ(rtc.get(Mc146818::SECONDS), 0x06);
  EXPECT_EQ(rtc.get(Mc146818::MINUTES), 0x05);
  EXPECT_EQ(rtc.get(Mc146818::HOURS), 0x04);
  EXPECT_EQ(rtc.get(Mc146818::DAY_OF_WEEK), 7);
  EXPECT_EQ(rtc.get(Mc146818::DAY_OF_MONTH), 0x03);
  EXPECT_EQ(rtc.get(Mc146818::MONTH), 0x02);
  EXPECT_EQ(rtc.get(Mc146818::YEAR), 0x01);
  EXPECT_EQ(rtc.get(Mc146818::CENTURY), 0x20);
  rtc.advance(60s);
  EXPECT_EQ(rtc.get(Mc146818::MINUTES), 0x06);
}

TEST(Mc146818, TellsTheTimeInBinaryAndTwelveHours) {
  RtcBench rtc;
  rtc.advance(10h);
  rtc.set(Mc146818::B, Mc146818::kBinary);
  EXPECT_EQ(rtc.get(Mc146818::HOURS), 0x82);
  EXPECT_EQ(rtc.get(Mc146818::YEAR), 1);
}

TEST(Mc146818, SetStopsAndStartsTheClock) {
  RtcBench rtc;
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kSet);
  rtc.set(Mc146818::YEAR, 0x24);
  rtc.set(Mc146818::SECONDS, 0x30);
  rtc.advance(5s);
  EXPECT_EQ(rtc.get(Mc146818::SECONDS), 0x30);
  rtc.set(Mc146818::B, Mc146818::k24Hours);
  rtc.advance(2s);
  EXPECT_EQ(rtc.get(Mc146818::SECONDS), 0x32);
  EXPECT_EQ(rtc.get(Mc146818::YEAR), 0x24);
}

TEST(Mc146818, UpdateInterruptComesEachSecond) {
  RtcBench rtc;
  rtc.get(Mc146818::C);
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kUie);
  EXPECT_FALSE(rtc.high());
  rtc.advance(1s);
  EXPECT_TRUE(rtc.high());
  EXPECT_EQ(rtc.get(Mc146818::C), Mc146818::kIrqf | Mc146818::kUf);
  EXPECT_FALSE(rtc.high());
  rtc.advance(1s);
  EXPECT_TRUE(rtc.high());
}

TEST(Mc146818, AlarmFiresAtItsTime) {
  RtcBench rtc;
  rtc.set(Mc146818::SECONDS_ALARM, 0x10);
  rtc.set(Mc146818::MINUTES_ALARM, 0xc0);
  rtc.set(Mc146818::HOURS_ALARM, 0xff);
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kAie);
  rtc.advance(3500ms);
  EXPECT_FALSE(rtc.high());
  rtc.advance(1s);
  EXPECT_TRUE(rtc.high());
  EXPECT_TRUE(rtc.get(Mc146818::C) & Mc146818::kAf);
}

TEST(Mc146818, PeriodicInterruptHasItsRate) {
  RtcBench rtc;
  rtc.set(Mc146818::A, 0x26);  // 1024 Hz
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kPie);
  unsigned count = 0;
  for (unsigned ms = 0; ms < 1000; ms++) {
    rtc.advance(1ms);
    if (rtc.get(Mc146818::C) & Mc146818::kPf) count++;
  }
  EXPECT_NEAR(count, 1000, 25);  // at most one a look
  EXPECT_FALSE(rtc.high());
}

TEST(Mc146818, FlagsAreReadOnly) {
  RtcBench rtc;
  rtc.get(Mc146818::C);
  rtc.set(Mc146818::C, 0xff);
  EXPECT_EQ(rtc.get(Mc146818::C), 0);
  rtc.set(Mc146818::D, 0);
  EXPECT_EQ(rtc.get(Mc146818::D), 0x80);
  EXPECT_EQ(rtc.read8(0), 0xff);
}

TEST(Mc146818, CmosKeepsWhatWasWritten) {
  RtcBench rtc;
  rtc.set(0x40, 0x5a);
  EXPECT_EQ(rtc.get(0x40), 0x5a);
  EXPECT_EQ(rtc.get(0xc0), 0x5a);  // bit 7 of the index is the NMI mask
}

TEST(Mc146818, GarbageDatesDoNoHarm) {
  RtcBench rtc;
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kSet | Mc146818::kBinary);
  for (const u8 index : {0, 2, 4, 7, 8, 9, 0x32}) rtc.set(index, 0xff);
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kBinary);
  rtc.advance(1s);
  rtc.get(Mc146818::SECONDS);
}

TEST(Mc146818, StateSurvivesARoundTrip) {
  RtcBench rtc;
  rtc.set(0x40, 0x5a);
  rtc.set(Mc146818::B, Mc146818::k24Hours | Mc146818::kUie);
  rtc.expect_round_trip();
  rtc.advance(1s);
  EXPECT_TRUE(rtc.high());
}

TEST(Mc146818, RefusesTimesThatCannotBe) {
  RtcBench rtc;
  Device& device = rtc.device();
  for (const char* field : {"offset_s", "alarm_checked_s", "periodic_next_ns"}) {
    EXPECT_FALSE(test::load_with(device, field, INT64_MIN).has_value()) << field;
    EXPECT_FALSE(test::load_with(device, field, INT64_MAX).has_value()) << field;
  }
}

}  // namespace
}  // namespace emu::hw
