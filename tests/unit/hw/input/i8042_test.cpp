// SPDX-License-Identifier: Apache-2.0
#include "hw/input/i8042.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/device_bench.h"

namespace emu::hw {
namespace {

using testing::ElementsAre;

struct KbdBench : test::DeviceBench<I8042> {
  void command(u8 value) { write("command", 0, value, 1); }
  void data(u8 value) { write("data", 0, value, 1); }
  u8 status() { return u8(read("command", 0, 1)); }
  u8 get() { return u8(read("data", 0, 1)); }
  std::vector<u8> all() {
    std::vector<u8> bytes;
    while (status() & I8042::kOutputFull) bytes.push_back(get());
    return bytes;
  }
  void mode(u8 value) {
    command(0x60);
    data(value);
  }
};

TEST(I8042, SelfTestPasses) {
  KbdBench kbd;
  kbd.command(0xaa);
  EXPECT_THAT(kbd.all(), ElementsAre(0x55));
  EXPECT_TRUE(kbd.status() & I8042::kSystem);
  kbd.command(0xab);
  EXPECT_THAT(kbd.all(), ElementsAre(0x00));
}

TEST(I8042, CommandByteIsKept) {
  KbdBench kbd;
  kbd.mode(0x45);
  kbd.command(0x20);
  EXPECT_THAT(kbd.all(), ElementsAre(0x45));
}

TEST(I8042, KeyboardAnswersResetAndIdentify) {
  KbdBench kbd;
  kbd.data(0xff);
  EXPECT_THAT(kbd.all(), ElementsAre(0xfa, 0xaa));
  kbd.data(0xf2);
  EXPECT_THAT(kbd.all(), ElementsAre(0xfa, 0xab, 0x83));
  kbd.data(0x01);
  EXPECT_THAT(kbd.all(), ElementsAre(0xfe));
}

TEST(I8042, KeysAreTranslatedToSet1) {
  KbdBench kbd;
  kbd.mode(I8042::kKeyboardIrq | I8042::kTranslate);
  kbd->keyboard().key(0x1e, false, true);  // A
  kbd->keyboard().key(0x1e, false, false);
  kbd->keyboard().key(0x48, true, true);  // up
  kbd->pump();
  EXPECT_TRUE(kbd.isa_irq(1).is_high());
  EXPECT_THAT(kbd.all(), ElementsAre(0x1e, 0x9e, 0xe0, 0x48));
  EXPECT_FALSE(kbd.isa_irq(1).is_high());
}

TEST(I8042, UntranslatedKeysAreOfSet2) {
  KbdBench kbd;
  kbd.mode(I8042::kKeyboardIrq);
  kbd->keyboard().key(0x1e, false, true);
  kbd->keyboard().key(0x1e, false, false);
  kbd->pump();
  EXPECT_THAT(kbd.all(), ElementsAre(0x1c, 0xf0, 0x1c));
}

TEST(I8042, MouseAnswersThroughItsOwnInterrupt) {
  KbdBench kbd;
  kbd.mode(I8042::kMouseIrq);
  kbd.command(0xd4);
  kbd.data(0xff);
  EXPECT_TRUE(kbd.isa_irq(12).is_high());
  EXPECT_TRUE(kbd.status() & I8042::kAuxFull);
  EXPECT_THAT(kbd.all(), ElementsAre(0xfa, 0xaa, 0x00));
  kbd.command(0xd4);
  kbd.data(0xf4);
  kbd.all();
  kbd->mouse().move(3, -2, 1);
  kbd->pump();
  EXPECT_THAT(kbd.all(), ElementsAre(0x29, 0x03, 0xfe));
}

TEST(I8042, DisabledLineHoldsItsBytes) {
  KbdBench kbd;
  kbd.command(0xad);
  kbd->keyboard().key(0x1e, false, true);
  kbd->pump();
  EXPECT_FALSE(kbd.status() & I8042::kOutputFull);
  kbd.command(0xae);
  EXPECT_TRUE(kbd.status() & I8042::kOutputFull);
}

TEST(I8042, OutputPortDrivesA20AndReset) {
  KbdBench kbd;
  EXPECT_TRUE(kbd.irq("a20").is_high());
  kbd.command(0xd1);
  kbd.data(0x01);
  EXPECT_FALSE(kbd.irq("a20").is_high());
  kbd.command(0xdf);
  EXPECT_TRUE(kbd.irq("a20").is_high());
  EXPECT_TRUE(kbd.machine().resets.empty());
  kbd.command(0xfe);
  EXPECT_EQ(kbd.machine().resets.size(), 1u);
}

TEST(I8042, WhatDoesNotFitIsLostWhole) {
  KbdBench kbd;
  kbd.command(0xd4);
  kbd.data(0xf4);  // mouse reporting on
  kbd.all();
  for (unsigned i = 0; i < 2 * Ps2Queue::kMax; i++) kbd->mouse().move(1, 2, 0);
  EXPECT_EQ(kbd->mouse().queue.bytes().size() % 3, 0u);
  for (unsigned i = 0; i < Ps2Queue::kMax; i++) kbd->keyboard().key(0x1d, true, false);  // right Ctrl let go
  EXPECT_EQ(kbd->keyboard().queue.bytes().size() % 3, 0u);
}

TEST(I8042, AKeyThatNoKeyboardHasIsNotSent) {
  KbdBench kbd;
  kbd->keyboard().key(0x00, true, true);
  EXPECT_TRUE(kbd->keyboard().queue.is_empty());
}

TEST(I8042, AFullQueueKeepsItsBytesWhenTheMouseKnowsNoSuchCommand) {
  KbdBench kbd;
  Ps2Mouse& mouse = kbd->mouse();
  for (unsigned i = 0; i < Ps2Queue::kMax; i++) mouse.queue.push(0x42);
  mouse.receive(0x01);
  EXPECT_EQ(mouse.queue.bytes().back(), 0x42);
}

TEST(I8042, StateSurvivesARoundTrip) {
  KbdBench kbd;
  kbd.mode(I8042::kKeyboardIrq | I8042::kTranslate);
  kbd->keyboard().key(0x1e, false, true);
  kbd->keyboard().key(0x30, false, true);
  kbd->pump();
  kbd.expect_round_trip();
  EXPECT_TRUE(kbd.isa_irq(1).is_high());
  EXPECT_THAT(kbd.all(), ElementsAre(0x1e, 0x30));
}

}  // namespace
}  // namespace emu::hw
