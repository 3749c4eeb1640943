// SPDX-License-Identifier: Apache-2.0
// Counted instructions: where the clock stands in the middle of blocks, when timers run, and whose turn it is.
#include <gtest/gtest.h>

#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

constexpr u64 kCode = 0x1000;
/// Reads the device in the middle of a block of each pass; calls a helper; leaves from the middle. Eleven instructions
/// a pass but for the last, and five around.
const std::initializer_list<u32> kPasses = {
    li(0, 0), li(1, 7), insn(kSlli, 3, 3, 0), insn(kAddi, 4, 3, 0),
    // loop, at 0x1010
    insn(kAddi, 2, 2, 1), insn(kLd, 5, 3, 8), insn(kAdd, 6, 6, 5), insn(kHelpSt, 6, 7), insn(kLd, 5, 3, 16),
    insn(kAddi, 1, 1, -1), insn(kBne, 2, 2, 4), insn(kLd, 5, 7, 0), insn(kNop), insn(kBne, 1, 0, -9),
    insn(kSys, 0, 0, kStop)};

accel::AccelOptions counted(unsigned shift = 0, bool sleep = false) {
  accel::AccelOptions options;
  options.icount = {.enabled = true, .shift = shift, .sleep = sleep};
  return options;
}

i64 time_of(ToyMachine& m) { return m.accel().counter()->counted().count(); }

struct Seen {
  std::vector<i64> reads, timers;
  i64 end = 0;
  bool operator==(const Seen&) const = default;
};

/// The program with a timer every `period` instructions.
Seen run_passes(Engine engine, accel::AccelOptions options, i64 period = 0) {
  ToyMachine m(engine, 1, options);
  Seen seen;
  m.on_read = [&](u64 offset) {
    seen.reads.push_back(time_of(m));
    return offset;
  };
  if (period != 0) m.timer = ClockNs(period);
  m.on_timer = [&] {
    if (m.cpu().halt_state() != target::Halt::Running)
      return m.timer.reset();  // it has stopped for good, and time goes on
    seen.timers.push_back(time_of(m));
    *m.timer += ClockNs(period);
  };
  m.load(kCode, kPasses);
  m.cpu().state().reg[3] = ToyMachine::kDevice;
  m.cpu().state().reg[7] = 0x4000;
  EXPECT_TRUE(m.run(kCode));
  if (period == 0) seen.end = time_of(m);
  return seen;
}

TEST(Icount, TimeInTheMiddleOfABlockIsThatOfTheInstruction) {
  const Seen seen = run_passes(Engine::Jit, counted());
  ASSERT_EQ(seen.reads.size(), 14u);
  for (unsigned pass = 0; pass < 7; pass++) {
    EXPECT_EQ(seen.reads[2 * pass], 4 + 10 * pass + 1);
    EXPECT_EQ(seen.reads[2 * pass + 1], 4 + 10 * pass + 4);
  }
  EXPECT_EQ(seen.end, 4 + 7 * 10 + 1);
}

TEST(Icount, AllEnginesCountTheSame) {
  const Seen seen = run_passes(Engine::Jit, counted(3));
  EXPECT_EQ(run_passes(Engine::Interpreter, counted(3)), seen);
  accel::AccelOptions by_one = counted(3);
  by_one.one_insn_per_block = true;
  EXPECT_EQ(run_passes(Engine::Jit, by_one), seen);
  accel::AccelOptions slow = counted(3);
  slow.without = "links:jump-cache";
  EXPECT_EQ(run_passes(Engine::Jit, slow), seen);
}

TEST(Icount, TimersRunAtExactCounts) {
  for (i64 period = 1; period < 30; period++) {
    const Seen seen = run_passes(Engine::Jit, counted(), period);
    ASSERT_EQ(seen.timers.size(), size_t(74 / period)) << period;
    for (size_t i = 0; i < seen.timers.size(); i++) EXPECT_EQ(seen.timers[i], i64(i + 1) * period);
    EXPECT_EQ(run_passes(Engine::Interpreter, counted(), period), seen) << period;
  }
}

TEST(Icount, SleepingCpuSkipsToTheTimer) {
  ToyMachine m(Engine::Jit, 1, counted(1));
  m.timer = ClockNs(1'000'000'000'000);  // a quarter of an hour
  m.on_timer = [&] {
    m.timer.reset();
    m.cpu().set_interrupt(true);
  };
  m.load(kCode, {insn(kNop), insn(kSys, 0, 0, kEnable), insn(kSys, 0, 0, kHalt), insn(kNop)});
  m.load(0x2000, {insn(kNop), insn(kSys, 0, 0, kStop)});
  m.cpu().state().irq_handler = 0x2000;
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(time_of(m), 1'000'000'000'000 + 2 * 2);
}

TEST(Icount, SleepingCpuWaitsIfItShall) {
  constexpr auto kWait = std::chrono::milliseconds(50);
  ToyMachine m(Engine::Jit, 1, counted(0, true));
  m.timer = kWait;
  i64 fired = 0;
  m.on_timer = [&] {
    fired = time_of(m);
    m.timer.reset();
    m.cpu().set_interrupt(true);
  };
  m.load(kCode, {insn(kSys, 0, 0, kEnable), insn(kSys, 0, 0, kHalt), insn(kNop)});
  m.load(0x2000, {insn(kSys, 0, 0, kStop)});
  m.cpu().state().irq_handler = 0x2000;
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(m.run(kCode));
  EXPECT_GE(std::chrono::steady_clock::now() - begin, kWait - std::chrono::milliseconds(1));
  EXPECT_EQ(fired, ClockNs(kWait).count());
}

/// Two CPUs add to one word without a lock, 30000 times each; r1 says who.
u64 race() {
  ToyMachine m(Engine::Jit, 2, counted());
  m.load(kCode, {li(0, 0), li(2, 30000), insn(kLd, 4, 3, 0), insn(kAddi, 4, 4, 1), insn(kSt, 4, 3, 0),
                 insn(kAddi, 2, 2, -1), insn(kBne, 2, 0, -4), insn(kSys, 0, 0, kStop)});
  for (unsigned i = 0; i < 2; i++) m.cpu(i).state().reg[3] = 0x4000;
  EXPECT_TRUE(m.run(kCode));
  EXPECT_EQ(time_of(m), 2 * (2 + 5 * 30000 + 1));
  return m.word(0x4000);
}

TEST(Icount, CpusRunInTurnAndLoseTheSameInEachRun) {
  const u64 sum = race();
  EXPECT_GE(sum, 30000u);
  for (int i = 0; i < 5; i++) EXPECT_EQ(race(), sum);
}

/// CPU 1 spins until CPU 0, which counts first, has written.
TEST(Icount, WhoSpinsDoesNotKeepTheOtherFromRunning) {
  ToyMachine m(Engine::Jit, 2, counted());
  m.load(kCode, {insn(kBne, 1, 0, 5),  // CPU 1: to the spinning loop
                 li(2, 20000), insn(kAddi, 2, 2, -1), insn(kBne, 2, 0, -1), insn(kJump, 0, 0, 3),
                 insn(kLd, 4, 3, 0), insn(kBne, 4, 1, -1),
                 insn(kSt, 5, 3, 0), insn(kSys, 0, 0, kStop)});
  for (unsigned i = 0; i < 2; i++) {
    m.cpu(i).state().reg[1] = i;
    m.cpu(i).state().reg[3] = 0x4000;
    m.cpu(i).state().reg[5] = 1;
  }
  ASSERT_TRUE(m.run(kCode));
  EXPECT_EQ(m.word(0x4000), 1u);
}

/// Timers that ran, and what two CPUs that race have made of a word.
std::pair<u64, i64> run_with_stops(int stops) {
  ToyMachine m(Engine::Jit, 2, counted());
  m.timer = ClockNs(77);
  u64 timers = 0, done = 0;
  m.on_timer = [&] {
    timers++;
    *m.timer += ClockNs(10007);
  };
  m.on_write = [&](u64, u64) {
    if (++done == 2) m.timer.reset();
  };
  m.load(kCode,
         {li(0, 0), li(2, 30000), insn(kSlli, 2, 2, 6), insn(kLd, 4, 3, 0), insn(kAddi, 4, 4, 1), insn(kSt, 4, 3, 0),
          insn(kNop), insn(kAddi, 2, 2, -1), insn(kBne, 2, 0, -5), insn(kSt, 4, 7, 0), insn(kSys, 0, 0, kStop)});
  for (unsigned i = 0; i < 2; i++) {
    m.cpu(i).state().reg[3] = 0x4000;
    m.cpu(i).state().reg[7] = ToyMachine::kDevice;
    m.cpu(i).restart(kCode);
  }
  m.start();
  for (int i = 0; i < stops; i++) {
    m.accel().pause_all();
    m.accel().resume_all();
  }
  EXPECT_TRUE(m.wait());
  EXPECT_EQ(time_of(m), 2 * (3 + 6 * (30000 << 6) + 2));
  return {timers, m.word(0x4000)};
}

TEST(Icount, StoppingChangesNothing) {
  const auto undisturbed = run_with_stops(0);
  EXPECT_GT(undisturbed.first, 30u);
  EXPECT_EQ(run_with_stops(10), undisturbed);
  EXPECT_EQ(run_with_stops(100), undisturbed);
}

}  // namespace
}  // namespace emu::toy
