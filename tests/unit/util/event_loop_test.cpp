// SPDX-License-Identifier: Apache-2.0
#include "util/event_loop.h"

#include <glib.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

#include "util/event_notifier.h"
#include "util/fd.h"
#include "util/thread.h"

namespace emu {
namespace {
using namespace std::chrono_literals;

TEST(EventLoop, QuitFromAnotherThreadEndsRun) {
  EventLoop loop;
  std::thread other = start_thread("quitter", [&] { loop.quit(); });
  loop.run();
  other.join();
}

TEST(EventLoop, PostedWorkRunsInOrderOnTheLoopThread) {
  EventLoop loop;
  std::vector<int> order;
  bool on_loop = false;
  std::thread other = start_thread("poster", [&] {
    EXPECT_FALSE(loop.is_loop_thread());
    for (int i = 0; i < 100; i++) loop.post([&order, i, owned = std::make_unique<int>(i)] { order.push_back(*owned); });
    loop.post([&] {
      on_loop = loop.is_loop_thread();
      loop.quit();
    });
  });
  loop.run();
  other.join();
  EXPECT_TRUE(on_loop);
  ASSERT_EQ(order.size(), 100u);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

struct Pair {
  Fd a, b;
  Pair() {
    int fds[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    a.reset(fds[0]);
    b.reset(fds[1]);
  }
};

/// Whether a round would end at once, as if it had been woken.
bool is_woken(EventLoop& loop) {
  GMainContext* const context = loop.context();
  EXPECT_TRUE(g_main_context_acquire(context));
  int priority = 0, timeout = 0;
  g_main_context_prepare(context, &priority);
  std::vector<GPollFD> polled(16);
  const int count = g_main_context_query(context, priority, &timeout, polled.data(), int(polled.size()));
  EXPECT_LE(std::size_t(count), polled.size());
  const bool woken = g_poll(polled.data(), guint(count), 0) != 0;
  g_main_context_check(context, priority, polled.data(), count);
  g_main_context_release(context);
  return woken;
}

TEST(EventLoop, WatchReportsReadableAndHangUp) {
  EventLoop loop;
  Pair pair;
  std::vector<FdEvents> seen;
  FdWatch watch = loop.watch_fd(pair.a.get(), FdEvents::Read, [&](FdEvents ready) {
    seen.push_back(ready);
    char c;
    (void)!::read(pair.a.get(), &c, 1);
  });
  EXPECT_FALSE(loop.run_once(false));
  ASSERT_EQ(::write(pair.b.get(), "x", 1), 1);
  loop.run_once(true);
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0], FdEvents::Read);
  pair.b.reset();
  loop.run_once(true);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_TRUE(any(seen[1] & FdEvents::HangUp));
  watch.set_events(FdEvents::None);
  EXPECT_FALSE(loop.run_once(false));
}

TEST(EventLoop, WatchMayDestroyItself) {
  EventLoop loop;
  Pair pair;
  int calls = 0;
  std::vector<int> big(1000, 3);
  FdWatch watch;
  watch = loop.watch_fd(pair.a.get(), FdEvents::Write, [&watch, &calls, big](FdEvents) {
    watch.reset();
    calls += big[999];
  });
  loop.run_once(true);
  loop.run_once(false);
  EXPECT_EQ(calls, 3);
}

TEST(EventLoop, CallbackThatRunsTheLoopIsNotCalledInsideItself) {
  EventLoop loop;
  Pair outer, inner;
  int depth = 0, deepest = 0, inner_calls = 0;
  char c;
  const FdWatch inner_watch = loop.watch_fd(inner.a.get(), FdEvents::Read, [&](FdEvents) {
    (void)!::read(inner.a.get(), &c, 1);
    inner_calls++;
  });
  FdWatch outer_watch = loop.watch_fd(outer.a.get(), FdEvents::Read, [&](FdEvents) {
    deepest = std::max(deepest, ++depth);
    EXPECT_FALSE(loop.run_once(false)) << "what is not read yet is ready, but ours";
    outer_watch.set_events(FdEvents::Read | FdEvents::Write);  // counts from when we return
    EXPECT_FALSE(loop.run_once(false));
    ASSERT_EQ(::write(inner.b.get(), "x", 1), 1);
    EXPECT_TRUE(loop.run_once(true));
    outer_watch.set_events(FdEvents::Read);
    (void)!::read(outer.a.get(), &c, 1);
    depth--;
  });
  ASSERT_EQ(::write(outer.b.get(), "xy", 2), 2);
  loop.run_once(true);
  EXPECT_EQ(inner_calls, 1);
  loop.run_once(true);
  EXPECT_EQ(inner_calls, 2) << "the watch works again after the callback";
  EXPECT_EQ(deepest, 1);
  EXPECT_FALSE(loop.run_once(false));
}

TEST(EventLoop, WatchThatGoesWhileItsCallbackRunsTheLoopIsNotPolledAgain) {
  EventLoop loop;
  Pair pair;
  int calls = 0;
  FdWatch watch;
  watch = loop.watch_fd(pair.a.get(), FdEvents::Write, [&](FdEvents) {
    calls++;
    EXPECT_FALSE(loop.run_once(false));
    watch.reset();
    EXPECT_FALSE(loop.run_once(false));
  });
  loop.run_once(true);
  EXPECT_FALSE(loop.run_once(false));
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, CallingAWatchBackDoesNotWakeTheLoopAgain) {
  EventLoop loop;
  Pair pair;
  char c;
  FdWatch watch = loop.watch_fd(pair.a.get(), FdEvents::Read, [&](FdEvents) { (void)!::read(pair.a.get(), &c, 1); });
  loop.run_once(false);  // the watch is new to the loop
  ASSERT_EQ(::write(pair.b.get(), "x", 1), 1);
  EXPECT_TRUE(is_woken(loop));
  EXPECT_TRUE(loop.run_once(true));
  EXPECT_FALSE(is_woken(loop));
  watch.set_events(FdEvents::Read);
  EXPECT_FALSE(is_woken(loop)) << "nothing was changed";
}

TEST(EventLoop, DeadlineCallsBackOnce) {
  EventLoop loop;
  int calls = 0;
  Deadline deadline = loop.make_deadline([&] { calls++; });
  EXPECT_FALSE(loop.run_once(false)) << "not started";
  const auto start = std::chrono::steady_clock::now();
  deadline.start(2ms);
  while (calls == 0) loop.run_once(true);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 2ms);
  EXPECT_FALSE(loop.run_once(false));
  deadline.start(0ms);
  EXPECT_TRUE(loop.run_once(false));
  EXPECT_EQ(calls, 2);
}

TEST(EventLoop, DeadlineThatIsStoppedOrGoneDoesNotCallBack) {
  EventLoop loop;
  int calls = 0;
  Deadline deadline = loop.make_deadline([&] { calls++; });
  deadline.start(0ms);
  deadline.stop();
  EXPECT_FALSE(loop.run_once(false));
  deadline.start(0ms);
  deadline.reset();
  EXPECT_FALSE(loop.run_once(false));
  EXPECT_EQ(calls, 0);
  Deadline other;
  other = loop.make_deadline([&] {
    calls++;
    other.reset();
  });
  other.start(0ms);
  EXPECT_TRUE(loop.run_once(false));
  EXPECT_FALSE(other.is_active());
  EXPECT_EQ(calls, 1);
}

TEST(EventLoop, StartingADeadlineDoesNotWakeTheLoop) {
  EventLoop loop;
  Deadline deadline = loop.make_deadline([] {});
  loop.run_once(false);  // it is new to the loop
  deadline.start(1h);
  EXPECT_FALSE(is_woken(loop));
  deadline.stop();
  EXPECT_FALSE(is_woken(loop));
}

TEST(EventLoop, TimerOfAnAttachedQueueFires) {
  EventLoop loop;
  Clock clock(Clock::Kind::Realtime);
  auto attachment = loop.attach(clock.main_queue());
  ASSERT_TRUE(attachment);
  ClockNs fired{};
  Timer timer = clock.make_timer([&] {
    fired = clock.now();
    loop.quit();
  });
  const ClockNs start = clock.now();
  timer.arm_at(start + 2ms);
  loop.run();
  EXPECT_GE(fired, start + 2ms);
}

TEST(EventLoop, TimerArmedFromAnotherThreadWakesTheLoop) {
  EventLoop loop;
  Clock clock(Clock::Kind::Host);
  auto attachment = loop.attach(clock.main_queue());
  ASSERT_TRUE(attachment);
  Timer timer = clock.make_timer([&] { loop.quit(); });
  std::thread other = start_thread("armer", [&] { timer.arm_after(1ms); });
  loop.run();
  other.join();
}

TEST(EventLoop, StoppedVirtualClockWakesNobody) {
  EventLoop loop;
  Clock clock(Clock::Kind::Virtual);
  auto attachment = loop.attach(clock.main_queue());
  ASSERT_TRUE(attachment);
  int fired = 0;
  Timer timer = clock.make_timer([&] { fired++; });
  timer.arm_at(0ns);
  std::this_thread::sleep_for(2ms);
  EXPECT_FALSE(loop.run_once(false));
  clock.start();
  loop.run_once(true);
  EXPECT_EQ(fired, 1);
}

TEST(EventNotifier, RemembersOneNotification) {
  auto notifier = EventNotifier::create();
  ASSERT_TRUE(notifier);
  EXPECT_FALSE(notifier->test_and_clear());
  notifier->notify();
  notifier->notify();
  EXPECT_TRUE(notifier->test_and_clear());
  EXPECT_FALSE(notifier->test_and_clear());
}

TEST(EventLoop, PostedWorkMayRunTheLoopForWhatWasPostedBehindIt) {
  EventLoop loop;
  bool second = false;
  bool seen = false;
  loop.post([&] {
    while (!second) loop.run_once(/*wait=*/true);
    seen = true;
  });
  loop.post([&] { second = true; });
  while (!seen) loop.run_once(/*wait=*/true);
  EXPECT_TRUE(second);
}

}  // namespace
}  // namespace emu
