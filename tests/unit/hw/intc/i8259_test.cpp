// SPDX-License-Identifier: Apache-2.0
#include "hw/intc/i8259.h"

#include <gtest/gtest.h>

#include "support/device_bench.h"

namespace emu::hw {
namespace {

struct PicBench : test::DeviceBench<I8259Pair> {
  /// As a PC's firmware does: vectors 8 and 0x70, everything unmasked.
  void initialise() {
    for (const auto& [region, base, cascade] : {std::tuple("master", 0x08, 4), std::tuple("slave", 0x70, 2)}) {
      write(region, 0, 0x11, 1);
      write(region, 1, u64(base), 1);
      write(region, 1, u64(cascade), 1);
      write(region, 1, 0x01, 1);
      write(region, 1, 0x00, 1);
    }
  }
  bool intr() { return irq("intr").is_high(); }
  void pin(unsigned number, bool level) { set_irq_in("irq", level, number); }
  void pulse(unsigned number) {
    pin(number, true);
    pin(number, false);
  }
};

TEST(I8259, EdgeIsDeliveredWithItsVector) {
  PicBench pic;
  pic.initialise();
  pic.pin(1, true);
  ASSERT_TRUE(pic.intr());
  EXPECT_EQ(pic->acknowledge(), 0x09);
  EXPECT_FALSE(pic.intr());
  pic.write("master", 0, 0x20, 1);
  EXPECT_FALSE(pic.intr());  // the same edge does not count twice
}

TEST(I8259, SlaveComesThroughTheCascade) {
  PicBench pic;
  pic.initialise();
  pic.pin(12, true);
  EXPECT_EQ(pic->acknowledge(), 0x74);
  pic.pin(14, true);
  EXPECT_FALSE(pic.intr());  // lower than what the slave serves
  pic.write("slave", 0, 0x20, 1);
  pic.write("master", 0, 0x20, 1);
  ASSERT_TRUE(pic.intr());
  EXPECT_EQ(pic->acknowledge(), 0x76);
}

TEST(I8259, HigherPriorityInterruptsLower) {
  PicBench pic;
  pic.initialise();
  pic.pin(4, true);
  EXPECT_EQ(pic->acknowledge(), 0x0c);
  pic.pin(5, true);
  EXPECT_FALSE(pic.intr());
  pic.pin(0, true);
  EXPECT_TRUE(pic.intr());
  EXPECT_EQ(pic->acknowledge(), 0x08);
}

TEST(I8259, MaskHoldsARequestBack) {
  PicBench pic;
  pic.initialise();
  pic.write("master", 1, 0x02, 1);
  pic.pin(1, true);
  EXPECT_FALSE(pic.intr());
  EXPECT_EQ(pic.read("master", 1, 1), 0x02u);
  pic.write("master", 1, 0x00, 1);
  EXPECT_TRUE(pic.intr());
}

TEST(I8259, VanishedRequestIsSpurious) {
  PicBench pic;
  pic.initialise();
  pic.pulse(3);
  EXPECT_FALSE(pic.intr());
  EXPECT_EQ(pic->acknowledge(), 0x0f);
}

TEST(I8259, LevelInputAsksAgainAfterEoi) {
  PicBench pic;
  pic.initialise();
  pic.write("elcr", 1, 0xff, 1);
  EXPECT_EQ(pic.read("elcr", 1, 1), 0xdeu);
  pic.pin(10, true);
  EXPECT_EQ(pic->acknowledge(), 0x72);
  pic.write("slave", 0, 0x20, 1);
  pic.write("master", 0, 0x20, 1);
  EXPECT_TRUE(pic.intr());
  pic.pin(10, false);
  EXPECT_FALSE(pic.intr());
}

TEST(I8259, StatusReadsShowRequestsAndService) {
  PicBench pic;
  pic.initialise();
  pic.pin(3, true);
  EXPECT_EQ(pic.read("master", 0, 1), 0x08u);
  pic->acknowledge();
  pic.write("master", 0, 0x0b, 1);
  EXPECT_EQ(pic.read("master", 0, 1), 0x08u);
  pic.write("master", 0, 0x63, 1);  // specific EOI of 3
  EXPECT_EQ(pic.read("master", 0, 1), 0x00u);
}

TEST(I8259, AutomaticEoiLeavesNothingInService) {
  PicBench pic;
  pic.initialise();
  pic.write("master", 0, 0x11, 1);
  pic.write("master", 1, 0x08, 1);
  pic.write("master", 1, 0x04, 1);
  pic.write("master", 1, 0x03, 1);
  pic.pin(6, true);
  EXPECT_EQ(pic->acknowledge(), 0x0e);
  pic.write("master", 0, 0x0b, 1);
  EXPECT_EQ(pic.read("master", 0, 1), 0x00u);
}

TEST(I8259, ResetForgetsRequestsButNotPins) {
  PicBench pic;
  pic.initialise();
  pic.pin(1, true);
  pic.reset();
  EXPECT_FALSE(pic.intr());
}

TEST(I8259, StateSurvivesARoundTrip) {
  PicBench pic;
  pic.initialise();
  pic.write("master", 1, 0x10, 1);
  pic.pin(1, true);
  pic.pin(12, true);
  pic.expect_round_trip();
  EXPECT_TRUE(pic.intr());
  EXPECT_EQ(pic->acknowledge(), 0x09);
}

}  // namespace
}  // namespace emu::hw
