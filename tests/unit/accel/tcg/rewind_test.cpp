// SPDX-License-Identifier: Apache-2.0
// A recorded stretch is run again, and comes out the same, however it is cut into pieces.
#include "accel/rewind.h"

#include <gtest/gtest.h>

#include "softmmu/memory/ram_image.h"
#include "unit/accel/toy_guest.h"

namespace emu::toy {
namespace {

using accel::Moment;
using accel::Rerun;
using accel::RerunResult;

constexpr u64 kCode = 0x1000, kHandler = 0x2000, kSum = 0x4000;

accel::AccelOptions counted() {
  accel::AccelOptions options;
  options.icount = {.enabled = true, .shift = 0, .sleep = false};
  return options;
}

/// CPUs that add to one word without a lock, and are interrupted by a timer every `kPeriod` instructions; the handler
/// adds up what r4, which changes all the time, holds when it comes. Now and then they sleep.
class RewindTest : public testing::Test {
 protected:
  static constexpr i64 kPeriod = 997;

  struct Kept {
    mem::RamImage ram;
    std::vector<qom::FieldTree> cpus;
    accel::CounterState counter;
    std::optional<ClockNs> timer;
  };

  explicit RewindTest(unsigned cpus = 2) : m(Engine::Jit, cpus, counted()) {
    m.on_timer = [this] {
      timers++;
      *m.timer += ClockNs(kPeriod);
      m.cpu(unsigned(m.timer->count()) % cpus_).set_interrupt(true);
    };
    cpus_ = cpus;
    m.load(kCode, {insn(kSys, 0, 0, kEnable), li(2, 500),
                   // loop
                   insn(kLd, 4, 3, 0), insn(kAddi, 4, 4, 1), insn(kSt, 4, 3, 0), insn(kAdd, 5, 5, 4),
                   insn(kAddi, 2, 2, -1), insn(kBne, 2, 0, -5), insn(kSys, 0, 0, kHalt), insn(kJump, 0, 0, -8)});
    m.load(kHandler, {insn(kLd, 1, 3, 8), insn(kAdd, 1, 1, 4), insn(kAdd, 1, 1, 5), insn(kSt, 1, 3, 8),
                      insn(kSys, 0, 0, kReturn)});
    for (unsigned i = 0; i < cpus; i++) {
      m.cpu(i).state().reg[3] = kSum;
      m.cpu(i).state().irq_handler = kHandler;
      m.cpu(i).restart(kCode);
    }
    m.timer = ClockNs(kPeriod);
  }

  accel::Rewind& rewind() { return *m.accel().rewind(); }
  Kept keep() {
    Kept kept{mem::RamImage::take(m.memory(), nullptr), {}, rewind().save(), m.timer};
    for (unsigned i = 0; i < cpus_; i++) kept.cpus.push_back(m.cpu(i).save_state());
    return kept;
  }
  void put_back(const Kept& kept) {
    ASSERT_TRUE(kept.ram.restore(m.memory()).has_value());
    rewind().restore(kept.counter);
    for (unsigned i = 0; i < cpus_; i++) ASSERT_TRUE(m.cpu(i).load_state(kept.cpus[i]).has_value());
    m.timer = kept.timer;
  }
  void expect_same(const Kept& a, const Kept& b) {
    EXPECT_EQ(a.counter.at, b.counter.at);
    EXPECT_TRUE(a.ram == b.ram);
    for (unsigned i = 0; i < cpus_; i++) EXPECT_EQ(a.cpus[i].dump(), b.cpus[i].dump());
    EXPECT_EQ(a.timer, b.timer);
  }
  /// Live, until some time has gone by.
  void run(i64 instructions) {
    const i64 end = rewind().now().count + instructions;
    m.accel().resume_all();
    while (m.accel().counter()->counted().count() < end) std::this_thread::yield();
    m.accel().pause_all();
  }
  RerunResult rerun(const Rerun& how) {
    auto result = rewind().rerun(how);
    EXPECT_TRUE(result.has_value()) << result.error().text();
    return result.value_or(RerunResult{});
  }
  /// To the end by full pace and the rest by actions.
  void rerun_to(const Moment& end) {
    rerun({.pace = Rerun::Pace::Full, .count = end.count});
    EXPECT_EQ(rerun({.pace = Rerun::Pace::Actions, .count = end.count, .until = end}).end, RerunResult::End::Until);
  }

  ToyMachine m;
  unsigned cpus_;
  u64 timers = 0;
};

TEST_F(RewindTest, TheSameStretchEndsInTheSameState) {
  run(10'000);
  rewind().start_recording();
  const Kept begin = keep();
  run(500'000);
  const Kept end = keep();
  ASSERT_GT(m.cpu(0).interrupts.load() + m.cpu(1).interrupts.load(), 300u);

  for (int i = 0; i < 3; i++) {
    put_back(begin);
    EXPECT_TRUE(rewind().is_in_past());
    rerun_to(end.counter.at);
    expect_same(keep(), end);
  }
  rewind().return_to_present(end.counter);
  EXPECT_FALSE(rewind().is_in_past());

  // And recording goes on.
  run(100'000);
  const Kept later = keep();
  put_back(end);
  rerun_to(later.counter.at);
  expect_same(keep(), later);
  put_back(begin);
  rerun_to(later.counter.at);
  expect_same(keep(), later);
}

TEST_F(RewindTest, BreakpointsAndStepsChangeNothing) {
  rewind().start_recording();
  const Kept begin = keep();
  run(60'000);  // or many more, before this thread sees it
  put_back(begin);
  rerun({.pace = Rerun::Pace::Full, .count = begin.counter.at.count + 60'000});
  const Kept end = keep();

  put_back(begin);
  const accel::DebugPoints points{{kHandler, kHandler + 8}, {{kSum + 8, 8, accel::WatchKind::Write}}};
  ASSERT_TRUE(m.accel().set_debug_points(points).has_value());
  u64 hits = 0;
  while (rerun({.pace = Rerun::Pace::Full, .hits = Rerun::Hits::Stop, .count = end.counter.at.count}).end ==
         RerunResult::End::Hit) {
    hits++;
    rerun({.pace = Rerun::Pace::Actions, .count = end.counter.at.count, .actions = 1});
  }
  rerun({.pace = Rerun::Pace::Actions, .count = end.counter.at.count, .until = end.counter.at});
  expect_same(keep(), end);
  EXPECT_GT(hits, 60u);

  put_back(begin);
  rerun({.pace = Rerun::Pace::Full, .hits = Rerun::Hits::Noted, .count = end.counter.at.count});
  rerun({.pace = Rerun::Pace::Actions, .count = end.counter.at.count, .until = end.counter.at});
  expect_same(keep(), end);

  put_back(begin);
  ASSERT_TRUE(m.accel().set_debug_points({}).has_value());
  rerun({.pace = Rerun::Pace::Actions, .count = end.counter.at.count, .until = end.counter.at});
  expect_same(keep(), end);
}

TEST_F(RewindTest, HitsAreAtTheirInstruction) {
  rewind().start_recording();
  const Kept begin = keep();
  run(20'000);
  const Moment end = rewind().now();

  ASSERT_TRUE(m.accel().set_debug_points({{}, {{kSum + 8, 8, accel::WatchKind::Write}}}).has_value());
  put_back(begin);
  const RerunResult seen = rerun({.pace = Rerun::Pace::Full, .hits = Rerun::Hits::Noted, .count = end.count});
  ASSERT_TRUE(seen.last_hit.has_value());
  EXPECT_EQ(seen.last_hit->stop.address, kSum + 8);
  put_back(begin);
  rerun_to(seen.last_hit->at);
  EXPECT_EQ(m.cpu(seen.last_hit->vcpu).debug_pc(), kHandler + 12) << "the store";
  const u64 before = m.word(kSum + 8);
  rerun({.pace = Rerun::Pace::Actions, .count = end.count, .actions = 1});
  EXPECT_NE(m.word(kSum + 8), before);
}

TEST_F(RewindTest, KnowsWhoRunsNext) {
  rewind().start_recording();
  const Kept begin = keep();
  run(200'000);
  put_back(begin);
  const unsigned first = begin.counter.at.vcpu;
  EXPECT_EQ(rewind().next_turn_of(first), begin.counter.at.count);
  const auto turn = rewind().next_turn_of(1 - first);
  ASSERT_TRUE(turn.has_value());
  EXPECT_GE(*turn, begin.counter.at.count);
  rerun({.pace = Rerun::Pace::Full, .count = *turn});
  const RerunResult step = rerun({.pace = Rerun::Pace::Actions, .count = *turn, .step_of = 1 - first});
  EXPECT_EQ(step.end, RerunResult::End::Step) << "before the first has completed another";
  EXPECT_EQ(rewind().next_turn_of(7), std::nullopt);
}

TEST_F(RewindTest, KnowsWhoRanWhen) {
  rewind().start_recording();
  const Kept begin = keep();
  run(200'000);
  const Kept end = keep();
  const Moment now = end.counter.at;
  const auto last0 = rewind().last_instruction_of(0, now, begin.counter);
  const auto last1 = rewind().last_instruction_of(1, now, begin.counter);
  ASSERT_TRUE(last0 && last1);
  EXPECT_NE(*last0, *last1);
  EXPECT_EQ(std::max(*last0, *last1), now.count - 1);
  for (unsigned cpu = 0; cpu < 2; cpu++) {
    const i64 last = cpu == 0 ? *last0 : *last1;
    put_back(begin);
    rerun({.pace = Rerun::Pace::Full, .count = last});
    const RerunResult step = rerun({.pace = Rerun::Pace::Actions, .count = last});
    EXPECT_EQ(step.last_step[cpu], step.actions - 1);
    EXPECT_EQ(step.last_step[1 - cpu], std::nullopt);
    EXPECT_EQ(rewind().now().count, last + 1);
  }
}

TEST_F(RewindTest, AnotherPresentCanBegin) {
  constexpr u64 kMuch = u64(1) << 60;
  rewind().start_recording();
  const Kept begin = keep();
  run(50'000);
  put_back(begin);
  rerun({.pace = Rerun::Pace::Full, .count = 20'000});
  m.cpu(0).state().reg[5] += kMuch;
  rewind().cut();
  EXPECT_FALSE(rewind().is_in_past());
  rewind().start_recording();
  const Kept changed = keep();
  run(20'000);
  const Kept end = keep();
  EXPECT_GT(m.reg(5, 0), kMuch);
  put_back(changed);
  rerun_to(end.counter.at);
  expect_same(keep(), end);
}

/// What cannot be the same is noticed: here, memory is not what it was.
TEST_F(RewindTest, AnotherWayIsAnError) {
  rewind().start_recording();
  const Kept begin = keep();
  run(50'000);
  const Moment end = rewind().now();
  put_back(begin);
  m.poke(kSum, 1'000'000);
  const auto result = rewind().rerun({.pace = Rerun::Pace::Full, .count = end.count});
  ASSERT_FALSE(result.has_value());
  EXPECT_NE(result.error().message().find("another way than before"), std::string::npos) << result.error().message();
}

TEST(Rewind, IsThereWhereTheGuestsTimeIsItsOwn) {
  accel::AccelOptions options;
  EXPECT_EQ(ToyMachine(Engine::Jit, 1, options).accel().rewind(), nullptr);
  options.icount = {.enabled = true, .shift = 3};
  EXPECT_NE(ToyMachine(Engine::Jit, 1, options).accel().rewind(), nullptr);
  options.icount.adaptive = true;
  EXPECT_EQ(ToyMachine(Engine::Jit, 1, options).accel().rewind(), nullptr);
}

}  // namespace
}  // namespace emu::toy
