// SPDX-License-Identifier: Apache-2.0
// The worked example of docs/devel/devices.md: a whole device model, and its tests.
#include <gtest/gtest.h>

#include "support/device_bench.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;
using test::DeviceBench;

// hw/rtc/tick_rtc.cpp: seconds counter with one alarm. Sections (§): docs/specs/tick_rtc.md rev 1.2
class TickRtc final : public SysBusDevice {
 public:
  enum Reg : hwaddr { TIME = 0x0, ALARM = 0x4, ISR = 0x8, IMR = 0xc };
  static constexpr u32 kFired = bit(0);  // in ISR and IMR, §3.3

  static void describe(TypeInfo<TickRtc>& type) {
    type.property("epoch", &TickRtc::epoch_s_, "TIME at power-on, seconds since 1970-01-01");
    type.irq_out("alarm", &TickRtc::alarm_irq_);
    type.registers("regs", 0x10, &TickRtc::state_)  // 32-bit little-endian accesses only, §3
        .reg(TIME, "TIME", {.read = &TickRtc::time_s})                                // §3.1
        .reg(ALARM, "ALARM", &State::alarm, {.rw = ~0u, .wrote = &TickRtc::refresh})  // §3.2
        .reg(ISR, "ISR", &State::isr, {.w1c = kFired, .wrote = &TickRtc::refresh})    // §3.3
        .reg(IMR, "IMR", &State::imr, {.rw = kFired, .wrote = &TickRtc::refresh});    // §3.4
    type.saved(/*version=*/1, &TickRtc::state_, &TickRtc::fields, &TickRtc::after_load);
  }
  Result<void> realize() override {
    timer_ = clock().make_timer([this] { fire(); });
    return {};
  }
  void reset_enter() override { state_ = {}; }  // ourselves only
  void reset_hold() override { refresh(); }     // now others may notice

 private:
  struct State { u32 alarm = 0, isr = 0, imr = 0; };
  static void fields(Archive& ar, State& s) { ar("alarm", s.alarm)("isr", s.isr)("imr", s.imr); }
  Result<void> after_load() {  // saved state is untrusted
    if ((state_.isr | state_.imr) & ~kFired) return error("tick-rtc: reserved bits, isr {:#x}", state_.isr);
    refresh();
    return {};
  }
  void fire() { state_.isr |= kFired; refresh(); }
  u32 time_s() const { return epoch_s_ + u32(clock().now() / 1s); }  // wraps in 2106, like the part, §3.1
  void refresh() {  // the one place where outputs follow state
    alarm_irq_.set((state_.isr & state_.imr) != 0);
    if (state_.alarm > time_s()) {
      timer_.arm_at(1s * (state_.alarm - epoch_s_));
    } else {
      timer_.cancel();  // §3.2: an alarm that is not in the future never fires
    }
  }
  State state_;
  u32 epoch_s_ = 0;
  IrqLine alarm_irq_;
  Timer timer_;
};

TEST(TickRtc, AlarmRaisesIrqWhenTimeReachesIt) {
  DeviceBench<TickRtc> rtc({{"epoch", 1000}});  // virtual clock, one device, no machine
  rtc.write32(TickRtc::IMR, TickRtc::kFired);
  rtc.write32(TickRtc::ALARM, 1005);

  rtc.advance(4s);
  EXPECT_FALSE(rtc.irq("alarm").is_high());
  rtc.advance(1s);
  EXPECT_TRUE(rtc.irq("alarm").is_high());
}

TEST(TickRtc, WritingOneToIsrLowersTheIrq) {
  DeviceBench<TickRtc> rtc({{"epoch", 1000}});
  rtc.write32(TickRtc::IMR, TickRtc::kFired);
  rtc.write32(TickRtc::ALARM, 1001);
  rtc.advance(1s);
  ASSERT_TRUE(rtc.irq("alarm").is_high());

  rtc.write32(TickRtc::ISR, TickRtc::kFired);

  EXPECT_FALSE(rtc.irq("alarm").is_high());
  EXPECT_EQ(rtc.read32(TickRtc::ISR), 0u);
}

TEST(TickRtc, TimeStartsAtEpochAndIsReadOnly) {
  DeviceBench<TickRtc> rtc({{"epoch", "0x3e8"}});
  rtc.write32(TickRtc::TIME, 5);
  rtc.advance(2s);
  EXPECT_EQ(rtc.read32(TickRtc::TIME), 1002u);
}

TEST(TickRtc, BitsThatTheTableDoesNotMentionStayZero) {
  DeviceBench<TickRtc> rtc;
  rtc.write32(TickRtc::IMR, ~0u);
  EXPECT_EQ(rtc.read32(TickRtc::IMR), TickRtc::kFired);
  rtc.write32(TickRtc::ALARM, ~0u);
  EXPECT_EQ(rtc.read32(TickRtc::ALARM), ~0u);
}

TEST(TickRtc, NarrowAccessIsRefused) {
  DeviceBench<TickRtc> rtc;
  rtc.write8(TickRtc::IMR, 1);
  EXPECT_EQ(rtc.last_status(), mem::MemTxResult::DecodeError);
  EXPECT_EQ(rtc.read8(TickRtc::IMR), 0xffu);
  EXPECT_EQ(rtc.read32(TickRtc::IMR), 0u);
}

TEST(TickRtc, WideAccessIsSplit) {
  DeviceBench<TickRtc> rtc;
  rtc.write64(TickRtc::ISR, u64(TickRtc::kFired) << 32);
  EXPECT_EQ(rtc.read64(TickRtc::ISR), u64(TickRtc::kFired) << 32);
}

TEST(TickRtc, ResetClearsState) {
  DeviceBench<TickRtc> rtc;
  rtc.write32(TickRtc::IMR, TickRtc::kFired);
  rtc.reset();
  EXPECT_EQ(rtc.read32(TickRtc::IMR), 0u);
}

TEST(TickRtc, StateSurvivesARoundTrip) {
  DeviceBench<TickRtc> rtc({{"epoch", 1000}});
  rtc.write32(TickRtc::IMR, TickRtc::kFired);
  rtc.write32(TickRtc::ALARM, 1005);
  rtc.expect_round_trip();
  rtc.advance(5s);
  EXPECT_TRUE(rtc.irq("alarm").is_high());
}

TEST(TickRtc, LoadRefusesReservedBits) {
  DeviceBench<TickRtc> rtc;
  qom::FieldTree state = rtc.save();
  auto* sections = state.get_if<qom::FieldTree::Struct>();
  ASSERT_EQ(sections->size(), 1u);
  for (auto& member : *(*sections)[0].value.get_if<qom::FieldTree::Struct>()) {
    if (member.name == "isr") member.value = qom::FieldTree(u64(2));
  }
  EXPECT_FALSE(rtc.load(state).has_value());
}

TEST(TickRtc, UnknownPropertyNamesTheNearest) {
  DeviceBench<TickRtc> rtc;
  auto set = rtc->set("epcoh", 1);
  ASSERT_FALSE(set.has_value());
  EXPECT_NE(set.error().text().find("epoch"), std::string::npos) << set.error().text();
}

}  // namespace
}  // namespace emu::hw
