// SPDX-License-Identifier: Apache-2.0
#include "util/task.h"

#include <gtest/gtest.h>

#include "util/result.h"
#include "util/thread_pool.h"

namespace emu {
namespace {
using namespace std::chrono_literals;

constexpr u64 kMillion = 1'000'000;

Task<u64> one() { co_return 1; }

Task<u64> count_to(u64 n) {
  u64 sum = 0;
  for (u64 i = 0; i < n; i++) {
    const u64 step = co_await one();
    sum += step;
  }
  co_return sum;
}

Task<u64> nested(u64 depth) {
  if (depth == 0) co_return 0;
  const u64 below = co_await nested(depth - 1);
  co_return below + 1;
}

Task<u64> count_completions(EventLoop& loop, u64 n) {
  u64 sum = 0;
  for (u64 i = 0; i < n; i++) {
    const Completion<u64> ready(loop);
    ready.complete(1);
    sum += co_await ready;
  }
  co_return sum;
}

TEST(Task, MillionSynchronousTasksNeedNoStack) {
  EventLoop loop;
  EXPECT_EQ(run_sync(loop, count_to(kMillion)), kMillion);
}

TEST(Task, MillionReadyCompletionsNeedNoStack) {
  EventLoop loop;
  EXPECT_EQ(run_sync(loop, count_completions(loop, kMillion)), kMillion);
}

TEST(Task, DeepNestingNeedsNoStack) {
  EventLoop loop;
  EXPECT_EQ(run_sync(loop, nested(100'000)), 100'000u);
}

Task<void> wait_in_turn(Completion<u64> mine, Completion<u64> next) {
  const u64 value = co_await mine;
  next.complete(value + 1);
}

TEST(Task, ChainOfCompletionsNeedsNoStack) {
  EventLoop loop;
  TaskOwner owner(loop);
  const Completion<u64> first(loop);
  Completion<u64> last = first;
  constexpr u64 kLinks = 100'000;
  for (u64 i = 0; i < kLinks; i++) {
    Completion<u64> next(loop);
    owner.start(wait_in_turn(last, next));
    last = next;
  }
  EXPECT_EQ(owner.running(), kLinks);
  first.complete(0);
  owner.drain();
  EXPECT_TRUE(last.is_complete());
}

Task<Result<int>> failing() { co_return error("no such thing"); }
Task<Result<int>> passing_on() {
  auto r = co_await failing();
  EMU_CO_TRY(r);
  ADD_FAILURE();
  co_return *r;
}

TEST(Task, CoTryPassesTheErrorOn) {
  EventLoop loop;
  const Result<int> result = run_sync(loop, passing_on());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message(), "no such thing");
}

TEST(Task, ThreadPoolResultArrivesOnTheLoop) {
  EventLoop loop;
  ThreadPool pool("test-pool", 4);
  const auto body = [](EventLoop& l, ThreadPool& p) -> Task<u64> {
    u64 sum = 0;
    for (u64 i = 0; i < 200; i++) {
      sum += co_await p.run(l, [i] { return i; });
      EXPECT_TRUE(l.is_loop_thread());
    }
    co_return sum;
  };
  EXPECT_EQ(run_sync(loop, body(loop, pool)), 199u * 200 / 2);
}

TEST(Task, CancelledSleepEndsEarly) {
  EventLoop loop;
  Clock clock(Clock::Kind::Realtime);
  TaskOwner owner(loop);
  std::optional<bool> slept;
  const auto body = [](EventLoop& l, Clock& c, std::optional<bool>& out) -> Task<void> {
    out = co_await sleep_until(l, c.main_queue(), c.now() + 1h);
  };
  owner.start(body(loop, clock, slept));
  EXPECT_EQ(owner.running(), 1u);
  owner.cancel();
  owner.drain();
  EXPECT_EQ(slept, false);
}

TEST(Task, SleepEndsAtItsTime) {
  EventLoop loop;
  Clock clock(Clock::Kind::Realtime);
  auto attachment = loop.attach(clock.main_queue());
  ASSERT_TRUE(attachment);
  const ClockNs until = clock.now() + 1ms;
  EXPECT_TRUE(run_sync(loop, sleep_until(loop, clock.main_queue(), until)));
  EXPECT_GE(clock.now(), until);
}

TEST(Task, NeverStartedOneIsSimplyDropped) {
  { auto task = one(); }
}

TEST(TaskDeathTest, SuspendedOneMustNotBeDestroyed) {
  EventLoop loop;
  EXPECT_DEATH(
      {
        TaskOwner owner(loop);
        const Completion<u64> never(loop);
        owner.start(wait_in_turn(never, Completion<u64>(loop)));
      },
      "internal error");
}

Task<u64> after_post(EventLoop& loop, u64 value) {
  const Completion<u64> posted(loop);
  loop.post([posted, value] { posted.complete(value); });
  co_return co_await posted;
}

Task<u64> waits_for_others_itself(EventLoop& loop) {
  const u64 first = co_await after_post(loop, 1);
  co_return first + run_sync(loop, after_post(loop, 2));
}

TEST(Task, MayRunTheLoopUntilAnotherIsDone) {
  EventLoop loop;
  EXPECT_EQ(run_sync(loop, waits_for_others_itself(loop)), 3u);
}

TEST(Task, PostedWorkMayRunTheLoopUntilATaskIsDone) {
  EventLoop loop;
  std::vector<u64> order;
  loop.post([&] {
    order.push_back(run_sync(loop, after_post(loop, 1)));
    order.push_back(2);
  });
  loop.post([&] { order.push_back(0); });  // posted before what the task posts
  while (order.size() < 3) loop.run_once(/*wait=*/true);
  EXPECT_EQ(order, (std::vector<u64>{0, 1, 2}));
}

TEST(Task, ReadyOnesRunWhileATaskRunsTheLoop) {
  EventLoop loop;
  TaskOwner owner(loop);
  const Completion<u64> first(loop), second(loop), third(loop);
  owner.start(wait_in_turn(second, third));
  const auto drains = [](EventLoop& l, Completion<u64> from, Completion<u64> to, Completion<u64> end) -> Task<void> {
    co_await from;
    to.complete(5);  // makes the other one ready: it is queued behind us
    run_sync(l, after_post(l, 0));
    EXPECT_TRUE(end.is_complete());
  };
  owner.start(drains(loop, first, second, third));
  first.complete(0);
  owner.drain();
}

Task<void> throws_out_of_memory() {
  throw std::bad_alloc();
  co_return;
}

TEST(TaskDeathTest, SaysWhatWasThrown) {
  EventLoop loop;
  EXPECT_DEATH(run_sync(loop, throws_out_of_memory()), "an exception left a coroutine.*bad_alloc");
}

TEST(Completion, FirstOfTwoCounts) {
  EventLoop loop;
  const Completion<u64> completion(loop);
  EXPECT_TRUE(completion.complete(1));
  EXPECT_FALSE(completion.complete(2));
}

TEST(ThreadPool, FinishesWhatWasSubmitted) {
  std::atomic<int> done{0};
  {
    ThreadPool pool("test-pool", 3);
    for (int i = 0; i < 500; i++) pool.submit([&] { done++; });
  }
  EXPECT_EQ(done, 500);
}

}  // namespace
}  // namespace emu
