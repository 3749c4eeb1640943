// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_balloon.h"

#include <random>

#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using namespace std::chrono_literals;
using Bench = test::VirtioBench<VirtioBalloon>;

constexpr u64 kPages = 0x1000, kVictim = 0x20'0000;

void offer_pages(Bench& bench, std::vector<u32> pages) {
  for (size_t i = 0; i < pages.size(); ++i) {
    ASSERT_EQ(bench.memory().write<Le32>(kPages + 4 * i, pages[i]), mem::MemTxResult::Ok);
  }
  bench.submit(0, {{kPages, u32(4 * pages.size())}});
  EXPECT_EQ(bench.queues[0].take_used().size(), 1u);
}

TEST(VirtioBalloon, InflatedPagesAreGivenBackAndReadAsZeroes) {
  Bench bench;
  bench.start();
  for (u64 i = 0; i < 4; ++i) bench.write(kVictim + 0x1000 * i, "full");
  const u32 first = kVictim >> 12;
  offer_pages(bench, {first, first + 1, first + 3});
  EXPECT_EQ(bench.read(kVictim, 4), std::string(4, '\0'));
  EXPECT_EQ(bench.read(kVictim + 0x1000, 4), std::string(4, '\0'));
  EXPECT_EQ(bench.read(kVictim + 0x2000, 4), "full");
  EXPECT_EQ(bench.read(kVictim + 0x3000, 4), std::string(4, '\0'));
}

TEST(VirtioBalloon, PagesThatAreNoRamAreRefused) {
  Bench bench;
  bench.start();
  offer_pages(bench, {0xffff'ffff, 0, 0x1'0000, 0xffff'fffe, 0xffff'ffff});
  EXPECT_FALSE(bench.needs_reset());
}

TEST(VirtioBalloon, DeflatingTakesBuffers) {
  Bench bench;
  bench.start();
  bench.write(kVictim, "full");
  ASSERT_EQ(bench.memory().write<Le32>(kPages, kVictim >> 12), mem::MemTxResult::Ok);
  bench.submit(1, {{kPages, 4}});
  EXPECT_EQ(bench.queues[1].take_used().size(), 1u);
  EXPECT_EQ(bench.read(kVictim, 4), "full");
}

TEST(VirtioBalloon, ReportedPagesAreGivenBackUnlessPoisoned) {
  Bench bench({{"free-page-reporting", true}});
  ASSERT_EQ(bench.virtio().queue_count(), 4u);
  bench.start();
  bench.write(kVictim, "full");
  bench.submit(3, {{kVictim, 0x2000, true}});
  EXPECT_EQ(bench.read(kVictim, 4), std::string(4, '\0'));
  bench.write(kVictim, "full");
  bench.virtio().write_config(12, 0xaa, 4);
  bench.submit(3, {{kVictim, 0x2000, true}, {0xf000'0000, 0x1000, true}});
  EXPECT_EQ(bench.read(kVictim, 4), "full");
  EXPECT_EQ(bench.queues[3].take_used().size(), 2u);
}

TEST(VirtioBalloon, StatisticsAreAskedForAtIntervals) {
  Bench bench;
  bench.start();
  const auto fill = [&](u16 tag, u64 value, unsigned index) {
    ASSERT_EQ(bench.memory().write<Le16>(kPages + 10 * index, tag), mem::MemTxResult::Ok);
    ASSERT_EQ(bench.memory().write<Le64>(kPages + 10 * index + 2, value), mem::MemTxResult::Ok);
  };
  fill(4, 1234, 0);
  fill(5, 5678, 1);
  fill(99, 1, 2);
  bench.submit(2, {{kPages, 30}});
  EXPECT_EQ(bench->statistics()[4], 1234u);
  EXPECT_EQ(bench->statistics()[5], 5678u);
  EXPECT_EQ(bench->statistics()[0], ~u64(0));
  EXPECT_NE(bench->statistics_time_s(), 0);
  EXPECT_TRUE(bench.queues[2].take_used().empty());
  ASSERT_TRUE(static_cast<qom::Object&>(bench.device()).set("guest-stats-polling-interval", 2).has_value());
  EXPECT_EQ(bench.queues[2].take_used().size(), 1u);  // the first question at once
  fill(4, 99, 0);
  bench.submit(2, {{kPages, 10}});
  bench.machine().clock().advance(1s);
  EXPECT_TRUE(bench.queues[2].take_used().empty());
  bench.machine().clock().advance(1s);
  EXPECT_EQ(bench.queues[2].take_used().size(), 1u);
  EXPECT_EQ(bench->statistics()[4], 99u);
}

TEST(VirtioBalloon, AResetForgetsWhatTheGuestSaid) {
  Bench bench;
  bench.start();
  ASSERT_EQ(bench.memory().write<Le16>(kPages, 4), mem::MemTxResult::Ok);
  bench.submit(2, {{kPages, 10}});
  bench.virtio().write_status(0);
  EXPECT_EQ(bench.virtio().status(), 0u);
  EXPECT_EQ(bench->statistics()[4], ~u64(0));
}

TEST(VirtioBalloon, TheDriverTellsItsSize) {
  Bench bench;
  bench.start();
  bench.virtio().write_config(4, 7, 4);
  EXPECT_EQ(bench.config(4, 4), 7u);
  EXPECT_EQ(bench->balloon_bytes(), 7u * 4096);
  bench->set_target_bytes(0x12345);
  EXPECT_EQ(bench.config(0, 4), 0x12u);
  EXPECT_EQ(bench.transport().config_interrupts, 1u);
}

TEST(VirtioBalloon, SavedStateHoldsTheStatisticsBuffer) {
  Bench bench;
  bench.start();
  bench.submit(2, {{kPages, 10}});
  bench.virtio().write_config(4, 7, 4);
  Device& device = bench.device();
  const auto saved = device.save();
  reset_device(device);
  ASSERT_TRUE(device.load(saved).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  EXPECT_EQ(saved.dump(), device.save().dump());
  bench.machine().run_main_loop();
  ASSERT_TRUE(static_cast<qom::Object&>(bench.device()).set("guest-stats-polling-interval", 2).has_value());
  EXPECT_EQ(bench.queues[2].take_used().size(), 1u);
}

TEST(VirtioBalloon, RandomBuffersDoNotHarm) {
  Bench bench({{"free-page-reporting", true}});
  std::minstd_rand random(23);
  bench.start();
  for (unsigned i = 0; i < 2000; ++i) {
    for (u64 k = 0; k < 8; ++k) {
      ASSERT_EQ(bench.memory().write<Le32>(kPages + 4 * k, u32(random())), mem::MemTxResult::Ok);
    }
    const u64 places[] = {kPages, kVictim, kVictim + 1, ~u64(0) - 100};
    const u32 lengths[] = {0, 1, 32, 0x1000, 0xffff'ffff};
    const u32 queue = random() % 4;
    bench.submit(queue, {{places[random() % 4], lengths[random() % 5], random() % 2 != 0}});
    bench.queues[queue].take_used();
    if (bench.needs_reset() || queue == 2) bench.start();
  }
}

}  // namespace
}  // namespace emu::hw
