// SPDX-License-Identifier: Apache-2.0
#include "util/clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace emu {
namespace {
using namespace std::chrono_literals;

Clock manual() { return Clock(Clock::Kind::Virtual, Clock::Drive::Manual); }

TEST(Clock, ManualTimeMovesByAdvanceOnly) {
  Clock clock = manual();
  EXPECT_EQ(clock.now(), 0ns);
  clock.advance(3s);
  EXPECT_EQ(clock.now(), 3s);
}

TEST(Clock, VirtualStandsStillWhileStopped) {
  Clock clock(Clock::Kind::Virtual);
  EXPECT_EQ(clock.now(), 0ns);
  clock.start();
  while (clock.now() == 0ns) {
  }
  clock.stop();
  const ClockNs then = clock.now();
  std::this_thread::sleep_for(2ms);
  EXPECT_EQ(clock.now(), then);
  clock.start();
  EXPECT_GE(clock.now(), then);
  EXPECT_LT(clock.now(), then + 1s);
}

TEST(Clock, CountedTimeIsWhatItsCounterSays) {
  struct Counter : ClockCounter {
    ClockNs counted() const override { return count; }
    void deadline_moved() override { moved++; }
    ClockNs count{5};
    int moved = 0;
  } counter;
  Clock clock(Clock::Kind::Virtual, Clock::Drive::Counted);
  EXPECT_EQ(clock.now(), 0ns);
  clock.set_counter(&counter);
  EXPECT_EQ(clock.now(), 0ns);
  clock.start();
  counter.count += 10ns;
  EXPECT_EQ(clock.now(), 10ns);
  int fired = 0;
  Timer timer = clock.make_timer([&] { fired++; });
  timer.arm_after(7ns);
  EXPECT_EQ(counter.moved, 1);
  EXPECT_EQ(clock.main_queue().deadline(), ClockNs(17));
  EXPECT_EQ(clock.main_queue().monotonic_deadline(), std::nullopt);  // nobody may wait for it
  Timer later = clock.make_timer([] {});
  later.arm_after(8ns);
  EXPECT_EQ(counter.moved, 1);
  clock.main_queue().run_due();
  EXPECT_EQ(fired, 0);
  counter.count += 7ns;
  clock.main_queue().run_due();
  EXPECT_EQ(fired, 1);
  clock.stop();
  clock.set_now(1000ns);
  EXPECT_EQ(clock.now(), 1000ns);
  clock.set_counter(nullptr);
  EXPECT_EQ(clock.now(), 1000ns);
}

TEST(Clock, StoppedClockHasNoDeadline) {
  Clock clock(Clock::Kind::Virtual);
  int fired = 0;
  Timer timer = clock.make_timer([&] { fired++; });
  timer.arm_at(0ns);
  EXPECT_TRUE(timer.is_armed());
  EXPECT_EQ(clock.main_queue().deadline(), std::nullopt);
  EXPECT_EQ(clock.main_queue().run_due(), 0u);
  clock.start();
  EXPECT_EQ(clock.main_queue().deadline(), 0ns);
  EXPECT_EQ(clock.main_queue().run_due(), 1u);
  EXPECT_EQ(fired, 1);
}

TEST(Clock, SavedTimeIsTakenUpAgain) {
  Clock clock(Clock::Kind::Virtual);
  clock.set_now(100s);
  EXPECT_EQ(clock.now(), 100s);
  clock.start();
  EXPECT_GE(clock.now(), 100s);
}

TEST(Timer, FiresAtItsDeadlineNotBefore) {
  Clock clock = manual();
  ClockNs fired_at = -1ns;
  Timer timer = clock.make_timer([&] { fired_at = clock.now(); });
  timer.arm_at(5s);
  clock.advance(5s - 1ns);
  EXPECT_EQ(fired_at, -1ns);
  clock.advance(10s);
  EXPECT_EQ(fired_at, 5s);
  EXPECT_FALSE(timer.is_armed());
}

TEST(Timer, FireInOrderOfDeadlineThenOfArming) {
  Clock clock = manual();
  std::vector<int> order;
  Timer a = clock.make_timer([&] { order.push_back(1); });
  Timer b = clock.make_timer([&] { order.push_back(2); });
  Timer c = clock.make_timer([&] { order.push_back(3); });
  a.arm_at(2s);
  b.arm_at(1s);
  c.arm_at(2s);
  clock.advance(3s);
  EXPECT_EQ(order, (std::vector{2, 1, 3}));
}

TEST(Timer, CancelledNeverFires) {
  Clock clock = manual();
  int fired = 0;
  Timer timer = clock.make_timer([&] { fired++; });
  timer.arm_after(1s);
  timer.cancel();
  clock.advance(2s);
  EXPECT_EQ(fired, 0);
  {
    Timer gone = clock.make_timer([&] { fired++; });
    gone.arm_after(1s);
  }
  clock.advance(2s);
  EXPECT_EQ(fired, 0);
}

TEST(Timer, PeriodicOneKeepsItsPace) {
  Clock clock = manual();
  int fired = 0;
  Timer timer;
  timer = clock.make_timer([&] {
    fired++;
    timer.arm_after(1ms);
  });
  timer.arm_at(1ms);
  clock.advance(1s);
  EXPECT_EQ(fired, 1000);
}

TEST(Timer, MayDestroyItselfWhileFiring) {
  Clock clock = manual();
  Timer timer;
  std::vector<int> alive(100, 7);
  timer = clock.make_timer([&timer, alive] {
    timer = Timer();
    EXPECT_EQ(alive[99], 7);
  });
  timer.arm_at(1s);
  clock.advance(1s);
}

TEST(Timer, RearmedInThePastDoesNotStarveOthers) {
  Clock clock = manual();
  int other_fired = 0, mine = 0;
  clock.advance(10s);
  Timer hungry;
  hungry = clock.make_timer([&] {
    if (++mine < 1000) hungry.arm_at(1s);
  });
  Timer other = clock.make_timer([&] { other_fired = mine; });
  hungry.arm_at(1s);
  other.arm_at(9s);
  clock.main_queue().run_due();
  clock.main_queue().run_due();
  EXPECT_EQ(mine, 2);
  EXPECT_GE(other_fired, 1);
}

TEST(Timer, RearmedForNowRunsOnceACallHoweverManyOthersWait) {
  Clock clock = manual();
  clock.advance(10s);
  std::vector<Timer> later;
  for (int i = 0; i < 10; i++) {
    later.push_back(clock.make_timer([] {}));
    later.back().arm_after(1s);
  }
  Timer hungry;
  hungry = clock.make_timer([&] { hungry.arm_after(0s); });
  hungry.arm_after(0s);
  EXPECT_EQ(clock.main_queue().run_due(), 1u);
  EXPECT_EQ(clock.main_queue().run_due(), 1u);
}

TEST(Timer, DeadlinesSaturate) {
  Clock clock = manual();
  clock.advance(1s);
  Timer timer = clock.make_timer([] {});
  timer.arm_after(ClockNs::max());
  EXPECT_EQ(timer.deadline(), ClockNs::max());
}

TEST(Timer, NotifyTellsOfEarlierDeadlines) {
  Clock clock = manual();
  TimerQueue queue(clock);
  int told = 0;
  queue.set_notify([&] { told++; });
  Timer a = queue.make_timer([] {}), b = queue.make_timer([] {});
  a.arm_at(5s);
  EXPECT_EQ(told, 1);
  b.arm_at(6s);
  EXPECT_EQ(told, 1);
  b.arm_at(4s);
  EXPECT_EQ(told, 2);
}

TEST(Timer, OutlivesItsClockHarmlessly) {
  Timer timer;
  {
    auto clock = std::make_unique<Clock>(Clock::Kind::Realtime);
    timer = clock->make_timer([] { ADD_FAILURE(); });
  }
  timer.arm_after(1s);
  EXPECT_FALSE(timer.is_armed());
}

TEST(Timer, OutlivesItsQueueHarmlessly) {
  Clock clock = manual();
  Timer timer;
  {
    TimerQueue queue(clock);
    timer = queue.make_timer([] { ADD_FAILURE(); });
    timer.arm_at(1s);
  }
  timer.arm_at(1s);
  clock.advance(2s);
}

TEST(Timer, ManyTimersAgreeWithASortedList) {
  Clock clock = manual();
  std::vector<Timer> timers;
  ClockNs last{};
  unsigned fired = 0, random = 1;
  for (int i = 0; i < 500; i++) {
    timers.push_back(clock.make_timer([&] {
      EXPECT_GE(clock.now(), last);
      last = clock.now();
      fired++;
    }));
  }
  for (int i = 0; i < 5000; i++) {
    random = random * 1103515245 + 12345;
    Timer& timer = timers[(random >> 16) % timers.size()];
    random = random * 1103515245 + 12345;
    if (random & 0x10000)
      timer.cancel();
    else
      timer.arm_at(ClockNs(1 + (random >> 17)));
  }
  unsigned armed = 0;
  for (Timer& timer : timers) armed += timer.is_armed();
  clock.advance(1s);
  EXPECT_EQ(fired, armed);
}

TEST(Timer, ArmedAndCancelledFromOtherThreads) {
  Clock clock(Clock::Kind::Realtime);
  TimerQueue queue(clock);
  std::atomic<int> fired{0};
  std::atomic<bool> done{false};
  std::thread runner([&] {
    while (!done) queue.run_due();
  });
  for (int i = 0; i < 2000; i++) {
    Timer timer = queue.make_timer([&fired] { fired++; });
    timer.arm_at(0ns);
    if (i & 1) timer.cancel();
  }
  done = true;
  runner.join();
  EXPECT_LE(fired, 2000);
}

}  // namespace
}  // namespace emu
