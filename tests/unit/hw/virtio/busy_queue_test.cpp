// SPDX-License-Identifier: Apache-2.0
// Queues of devices whose requests take a while: when the driver is asked to notify.
#include <deque>

#include "virt_queue_bench.h"

namespace emu::hw {
namespace {

using test::kBasic;
using test::Rings;

/// A device with requests that take a while.
class BusyRings : public Rings {
 protected:
  void offer(unsigned chains) {
    for (unsigned i = 0; i < chains; ++i) driver(1).add({{0x1000, 16, true}});
  }
  void process() {
    const auto keep = [&](VirtElementPtr element) {
      out.push_back(std::move(element));
      return true;
    };
    queue(1).process(keep, VirtQueue::Asking::WhenQuiet);
  }
  void end(unsigned chains) {
    for (unsigned i = 0; i < chains; ++i) {
      queue(1).push_and_notify(std::move(out.front()), 1);
      out.pop_front();
    }
  }
  bool is_asked() {
    const u64 flags = GetParam() ? driver(1).device_area() + 2 : driver(1).device_area();
    return driver(1).get<Le16>(flags) == 0;
  }
  std::deque<VirtElementPtr> out;
};

INSTANTIATE_TEST_SUITE_P(Both, BusyRings, testing::Bool(), [](const auto& p) { return p.param ? "Packed" : "Split"; });

TEST_P(BusyRings, WhatEndsInQuickSuccessionIsLookedAtWithoutNotifications) {
  start(kBasic);
  offer(12);
  process();
  EXPECT_TRUE(is_asked()) << "nothing is known yet";
  EXPECT_EQ(bench->ticks, 0u);
  end(4);
  EXPECT_EQ(bench->ticks, 1u);
  EXPECT_EQ(bench->looks, 0u);
  queue(1).tick();
  process();
  EXPECT_FALSE(is_asked());
  EXPECT_EQ(bench->ticks, 2u);
  end(1);
  EXPECT_EQ(bench->looks, 1u);
  offer(2);
  process();
  EXPECT_EQ(out.size(), 9u);
  EXPECT_FALSE(is_asked());
  EXPECT_EQ(bench->ticks, 2u) << "one at a time";
  end(5);
  process();
  EXPECT_FALSE(is_asked()) << "four are out";
  end(1);
  process();
  EXPECT_TRUE(is_asked()) << "too few to wait for";
}

TEST_P(BusyRings, WhatEndsSlowlyIsNotified) {
  start(kBasic);
  offer(12);
  process();
  end(4);
  queue(1).tick();
  process();
  ASSERT_FALSE(is_asked());
  end(3);
  queue(1).tick();
  process();
  EXPECT_TRUE(is_asked());
  EXPECT_EQ(bench->ticks, 2u) << "none while nothing ends";
  end(1);
  EXPECT_EQ(bench->ticks, 3u);
}

TEST_P(BusyRings, AResetForgets) {
  start(kBasic);
  offer(12);
  process();
  end(4);
  queue(1).tick();
  process();
  bench.virtio().write_status(0);
  end(8);
  EXPECT_EQ(bench->looks, 0u);
  start(kBasic);
  offer(12);
  process();
  EXPECT_TRUE(is_asked());
}

}  // namespace
}  // namespace emu::hw
