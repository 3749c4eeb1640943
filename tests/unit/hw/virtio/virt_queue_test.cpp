// SPDX-License-Identifier: Apache-2.0
// Rings of both kinds: the test is the driver, and takes chains out of the queue as a device would.
#include <random>

#include "virt_queue_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using test::kBasic;
using test::kEvent;
using test::Rings;
using test::Buffer;
using test::kDriverReady;
using test::Used;
using Bench = test::QueueBench;

INSTANTIATE_TEST_SUITE_P(Both, Rings, testing::Bool(), [](const auto& p) { return p.param ? "Packed" : "Split"; });

TEST_P(Rings, AnEmptyQueueGivesNothing) {
  start(kBasic);
  EXPECT_EQ(queue().pop(), nullptr);
  EXPECT_FALSE(queue().has_more());
}

TEST_P(Rings, AChainComesOutAsBuffersOfTwoDirections) {
  start(kBasic);
  bench.write(0x1000, "hello ");
  bench.write(0x2000, "world");
  const u16 id = driver().add({{0x1000, 6}, {0x2000, 5}, {0x3000, 4, true}, {0x3ff0, 0x20, true}});
  auto element = queue().pop();
  ASSERT_NE(element, nullptr);
  EXPECT_EQ(element->readable_bytes(), 11u);
  EXPECT_EQ(element->writable_bytes(), 0x24u);
  std::string in(9, '\0');
  ASSERT_TRUE(element->read(2, {reinterpret_cast<u8*>(in.data()), 9}));
  EXPECT_EQ(in, "llo world");
  EXPECT_TRUE(element->write<Le32>(2, 0x44332211));
  EXPECT_EQ(bench.read(0x3002, 2), "\x11\x22");
  EXPECT_EQ(bench.read(0x3ff0, 2), "\x33\x44");
  EXPECT_FALSE(element->write<Le32>(0x22, 0));
  EXPECT_FALSE(element->read<Le32>(8));
  queue().push(std::move(element), 6);
  EXPECT_EQ(driver().take_used(), (std::vector<Used>{{id, 6}}));
  EXPECT_EQ(queue().in_use(), 0u);
}

TEST_P(Rings, AnIndirectChainIsTheSame) {
  start(kBasic);
  const u16 id = driver().add({{0x1000, 6}, {0x2000, 5}, {0x3000, 4, true}}, true);
  auto element = queue().pop();
  ASSERT_NE(element, nullptr);
  EXPECT_EQ(element->readable().size(), 2u);
  EXPECT_EQ(element->writable().size(), 1u);
  queue().push(std::move(element), 0);
  EXPECT_EQ(driver().take_used(), (std::vector<Used>{{id, 0}}));
}

TEST_P(Rings, ManyChainsOfAllLengthsWrapAroundAndComeBackInAnyOrder) {
  start(kBasic);
  std::minstd_rand random(7);
  std::vector<VirtElementPtr> out;
  std::vector<u16> offered, used;
  unsigned free = 8;
  for (unsigned round = 0; round < 5000; ++round) {
    const unsigned length = 1 + random() % 3;
    if (free >= length && random() % 2 != 0) {
      std::vector<Buffer> chain(length, {0x1000, 16, true});
      offered.push_back(driver().add(chain));
      free -= length;
      auto element = queue().pop();
      ASSERT_NE(element, nullptr);
      ASSERT_EQ(element->writable().size(), length);
      out.push_back(std::move(element));
    } else if (!out.empty()) {
      const size_t which = GetParam() ? 0 : random() % out.size();  // our driver of packed rings expects no gaps
      free += unsigned(out[which]->writable().size());
      queue().push(std::move(out[which]), round);
      out.erase(out.begin() + long(which));
      const auto now = driver().take_used();
      ASSERT_EQ(now.size(), 1u);
      EXPECT_EQ(now[0].length, round);
      used.push_back(u16(now[0].id));
    }
  }
  EXPECT_GT(used.size(), 1000u);
  EXPECT_FALSE(bench.needs_reset());
}

TEST_P(Rings, InOrderHoldsBackWhatIsDoneAheadOfItsTurn) {
  start(kBasic | kFeatureInOrder);
  std::vector<u16> ids;
  for (unsigned i = 0; i < 3; ++i) ids.push_back(driver().add({{0x1000, 16, true}}));
  auto a = queue().pop(), b = queue().pop(), c = queue().pop();
  queue().push(std::move(c), 3);
  queue().push(std::move(b), 2);
  EXPECT_TRUE(driver().take_used().empty());
  queue().push(std::move(a), 1);
  EXPECT_EQ(driver().take_used(), (std::vector<Used>{{ids[0], 1}, {ids[1], 2}, {ids[2], 3}}));
}

TEST_P(Rings, AnInterruptCarriesTheVectorOfItsQueue) {
  start(kBasic);
  driver(1).add({{0x1000, 16, true}});
  queue(1).push_and_notify(queue(1).pop(), 1);
  EXPECT_EQ(bench.transport().queue_interrupts, 1u);
  EXPECT_EQ(bench.transport().last_vector, 2u);
}

TEST_P(Rings, TheDriverCanSwitchInterruptsOff) {
  start(kBasic);
  const u64 flags = GetParam() ? driver().driver_area() + 2 : driver().driver_area();
  driver().put<Le16>(flags, 1);
  driver().add({{0x1000, 16, true}});
  queue().push_and_notify(queue().pop(), 1);
  EXPECT_EQ(bench.transport().queue_interrupts, 0u);
}

TEST_P(Rings, WithEventIndexTheInterruptComesWhenThatEntryIsUsed) {
  start(kEvent);
  const auto ask = [&](u16 entry) {
    if (GetParam()) {
      driver().put<Le16>(driver().driver_area(), u16(entry % 8 | (entry / 8 % 2 == 0 ? 0x8000 : 0)));
      driver().put<Le16>(driver().driver_area() + 2, 2);
    } else {
      driver().put<Le16>(driver().driver_area() + 4 + 2 * 8, entry);
    }
  };
  const auto use_one = [&] {
    driver().add({{0x1000, 16, true}});
    queue().push_and_notify(queue().pop(), 1);
    driver().take_used();
    return bench.transport().queue_interrupts.exchange(0) != 0;
  };
  ask(0);
  EXPECT_TRUE(use_one());  // the first, always
  ask(3);
  EXPECT_FALSE(use_one());
  EXPECT_FALSE(use_one());
  EXPECT_TRUE(use_one());
  EXPECT_FALSE(use_one());
  ask(10);
  for (unsigned i = 5; i < 10; ++i) EXPECT_FALSE(use_one()) << i;
  EXPECT_TRUE(use_one());
  EXPECT_FALSE(use_one());
}

TEST_P(Rings, TheDeviceSaysWhetherItWantsToBeNotified) {
  start(kBasic);
  const u64 flags = GetParam() ? driver().device_area() + 2 : driver().device_area();
  queue().want_notifications(false);
  EXPECT_EQ(driver().get<Le16>(flags), 1u);
  queue().want_notifications(true);
  EXPECT_EQ(driver().get<Le16>(flags), 0u);
}

TEST_P(Rings, TheEventIndexSaysFromWhereToNotify) {
  start(kEvent);
  driver().add({{0x1000, 16, true}});
  queue().pop();
  queue().want_notifications(false);
  queue().want_notifications(true);
  if (GetParam()) {
    EXPECT_EQ(driver().get<Le16>(driver().device_area()), 0x8001u);
    EXPECT_EQ(driver().get<Le16>(driver().device_area() + 2), 2u);
  } else {
    EXPECT_EQ(driver().get<Le16>(driver().device_area() + 4 + 8 * 8), 1u);
  }
}

TEST_P(Rings, ProcessHandlesEverythingThatIsThere) {
  start(kEvent);
  for (unsigned i = 0; i < 5; ++i) driver().add({{0x1000, 16, true}});
  unsigned seen = 0;
  queue().process([&](VirtElementPtr element) {
    queue().push(std::move(element), ++seen);
    if (seen == 5) driver().add({{0x1000, 16, true}});  // while we are at it
    return true;
  });
  EXPECT_EQ(seen, 6u);
}

TEST_P(Rings, AnUnpoppedChainComesAgain) {
  start(kBasic);
  for (unsigned i = 0; i < 7; ++i) {  // so that the packed ring has to go back over its end
    driver().add({{0x1000, 16, true}});
    queue().push(queue().pop(), 0);
    driver().take_used();
  }
  const u16 id = driver().add({{0x1000, 16, true}, {0x2000, 16, true}});
  queue().unpop(queue().pop());
  EXPECT_EQ(queue().in_use(), 0u);
  queue().push(queue().pop(), 9);
  EXPECT_EQ(driver().take_used(), (std::vector<Used>{{id, 9}}));
}

TEST_P(Rings, WhatIsOutAtAResetIsSwallowedAndStatusWaitsForIt) {
  start(kBasic);
  driver().add({{0x1000, 16, true}});
  auto element = queue().pop();
  bench.virtio().write_status(0);
  EXPECT_NE(bench.virtio().status(), 0u);
  queue().push_and_notify(std::move(element), 16);
  EXPECT_EQ(bench.virtio().status(), 0u);
  EXPECT_EQ(bench.transport().queue_interrupts, 0u);
  EXPECT_TRUE(driver().take_used().empty());
  start(kBasic);
  driver().add({{0x1000, 16, true}});
  EXPECT_NE(queue().pop(), nullptr);
}

TEST_P(Rings, SavedStateGoesOnWhereItWas) {
  start(kBasic);
  for (unsigned i = 0; i < 11; ++i) {
    driver().add({{0x1000, 16, true}});
    queue().push(queue().pop(), 0);
    driver().take_used();
  }
  const u16 held = driver().add({{0x1000, 16, true}, {0x1000, 16, true}});
  auto element = queue().pop();
  hw::Device& device = bench.device();
  const auto saved = device.save();
  element.reset();
  reset_device(device);
  ASSERT_TRUE(device.load(saved).has_value());
  auto loaded = device.finish_load();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().text();
  auto again = queue().pop();  // what was held is popped again
  ASSERT_NE(again, nullptr);
  queue().push(std::move(again), 5);
  EXPECT_EQ(driver().take_used(), (std::vector<Used>{{held, 5}}));
  EXPECT_EQ(queue().vector(), 1u);
}

TEST_P(Rings, BuffersOutsideRamFailWhereTheyAreUsed) {
  start(kBasic);
  driver().add({{0xf000'0000, 16}, {~u64(0) - 3, 16, true}});
  auto element = queue().pop();
  ASSERT_NE(element, nullptr);
  EXPECT_FALSE(element->read<Le32>(0));
  EXPECT_FALSE(element->write<Le32>(0, 1));
  EXPECT_FALSE(element->write<Le32>(8, 1));
  std::vector<mem::PinnedSpan> spans;
  EXPECT_FALSE(element->map(mem::Direction::FromGuest, 0, 16, spans));
  EXPECT_FALSE(element->map(mem::Direction::ToGuest, 0, 16, spans));
}

TEST_P(Rings, MappedBuffersAreTheGuestsOwnMemory) {
  start(kBasic);
  bench.write(0x1000, "abcdefgh");
  driver().add({{0x1000, 4}, {0x1004, 4}, {0x2000, 8, true}});
  auto element = queue().pop();
  std::vector<mem::PinnedSpan> spans;
  ASSERT_TRUE(element->map(mem::Direction::FromGuest, 2, 4, spans));
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(std::string(reinterpret_cast<char*>(spans[0].data()), 2), "cd");
  EXPECT_EQ(std::string(reinterpret_cast<char*>(spans[1].data()), 2), "ef");
  EXPECT_FALSE(element->map(mem::Direction::ToGuest, 4, 5, spans));
  EXPECT_EQ(to_iovecs(spans)[0].iov_len, 2u);
}

// What drivers must not do. ------------------------------------------------------------------------------------------

class BadRings : public Rings {
 protected:
  void expect_broken() {
    EXPECT_EQ(queue().pop(), nullptr);
    EXPECT_TRUE(bench.needs_reset());
    EXPECT_EQ(bench.transport().config_interrupts, 1u);
    EXPECT_EQ(queue().pop(), nullptr);
    start(kBasic);  // and a reset mends it
    driver().add({{0x1000, 16, true}});
    EXPECT_NE(queue().pop(), nullptr);
  }
};

INSTANTIATE_TEST_SUITE_P(Both, BadRings, testing::Bool(), [](const auto& p) { return p.param ? "Packed" : "Split"; });

TEST_P(BadRings, ReadableAfterWritable) {
  start(kBasic);
  driver().add({{0x1000, 16, true}, {0x2000, 16}});
  expect_broken();
}

TEST_P(BadRings, IndirectWithoutTheFeature) {
  start(0);
  driver().add({{0x1000, 16, true}}, true);
  expect_broken();
}

TEST_P(BadRings, IndirectTableOfAnOddLength) {
  start(kBasic);
  driver().add({{0x1000, 16, true}}, true);
  driver().put<Le32>(driver().descriptors() + 8, 17);
  expect_broken();
}

TEST_P(BadRings, IndirectTableTooLong) {
  start(kBasic);
  driver().add({{0x1000, 16, true}}, true);
  driver().put<Le32>(driver().descriptors() + 8, 0xffff'fff0);
  expect_broken();
}

TEST_P(BadRings, IndirectTableOutsideRam) {
  start(kBasic);
  driver().add({{0x1000, 16, true}}, true);
  driver().put<Le64>(driver().descriptors(), 0xffff'ffff'ffff'fff0);
  expect_broken();
}

TEST_P(BadRings, RingOutsideRam) {
  start(kBasic);
  bench.virtio().write_status(0);
  bench.virtio().write_status(kAcknowledge | kDriver);
  bench.virtio().accept_word(1, 1 | (GetParam() ? 4 : 0));
  bench.virtio().write_status(kDriverReady);
  queue().setup().descriptors = queue().setup().driver_area = queue().setup().device_area = u64(1) << 40;
  bench.virtio().enable_queue(0);
  bench.virtio().write_status(kDriverReady | kDriverOk);
  expect_broken();
}

TEST_P(BadRings, AChainWithoutAnEnd) {
  start(kBasic);
  if (GetParam()) {
    for (u32 i = 0; i < 8; ++i) {
      driver().write_descriptor(driver().descriptors(), i, 0x1000, 16, 1, kDescAvail | kDescNext | kDescWrite);
    }
  } else {
    driver().write_descriptor(driver().descriptors(), 0, 0x1000, 16, kDescNext | kDescWrite, 1);
    driver().write_descriptor(driver().descriptors(), 1, 0x1000, 16, kDescNext | kDescWrite, 0);
    driver().offer_head(0);
  }
  expect_broken();
}

TEST(SplitRing, AnIndexTooFarAheadBreaksTheQueue) {
  Bench bench;
  bench.start(kBasic);
  bench.queues[0].put<Le16>(bench.queues[0].driver_area() + 2, 9);
  EXPECT_EQ(bench.virtio().queue(0)->pop(), nullptr);
  EXPECT_TRUE(bench.needs_reset());
}

TEST(SplitRing, AHeadOrNextOutsideTheTableBreaksTheQueue) {
  Bench bench;
  bench.start(kBasic);
  bench.queues[0].offer_head(8);
  EXPECT_EQ(bench.virtio().queue(0)->pop(), nullptr);
  EXPECT_TRUE(bench.needs_reset());
  bench.start(kBasic);
  bench.queues[0].write_descriptor(bench.queues[0].descriptors(), 0, 0x1000, 16, kDescNext, 0xffff);
  bench.queues[0].offer_head(0);
  EXPECT_EQ(bench.virtio().queue(0)->pop(), nullptr);
  EXPECT_TRUE(bench.needs_reset());
}

TEST(SplitRing, MoreChainsThanEntriesBreakTheQueue) {
  Bench bench;
  bench.start(kBasic);
  bench.queues[0].write_descriptor(bench.queues[0].descriptors(), 0, 0x1000, 16, 0, 0);
  std::vector<VirtElementPtr> out;
  for (unsigned i = 0; i < 8; ++i) {
    bench.queues[0].offer_head(0);
    out.push_back(bench.virtio().queue(0)->pop());
    ASSERT_NE(out.back(), nullptr);
  }
  bench.queues[0].offer_head(0);
  EXPECT_EQ(bench.virtio().queue(0)->pop(), nullptr);
  EXPECT_TRUE(bench.needs_reset());
  for (auto& element : out) bench.virtio().queue(0)->push(std::move(element), 0);
}

TEST(RingFuzz, NoRingContentCrashesOrRunsForEver) {
  for (const bool packed : {false, true}) {
    Bench bench({{"packed", packed}});
    std::minstd_rand random(packed ? 11 : 13);
    for (unsigned round = 0; round < 3000; ++round) {
      bench.start(kEvent | kFeatureRingPacked);
      auto& driver = bench.queues[0];
      for (u64 i = 0; i < 16 * 8; i += 2) {
        const u32 kind = random() % 4;
        const u16 value = kind == 0 ? u16(random()) : kind == 1 ? u16(random() % 9) : kind == 2 ? u16(0x8080) : u16(0);
        driver.put<Le16>(driver.descriptors() + i, value);
      }
      for (u64 i = 0; i < 8; ++i) driver.put<Le16>(driver.driver_area() + 4 + 2 * i, u16(random() % 9));
      driver.put<Le16>(driver.driver_area() + 2, u16(random() % 10));
      VirtQueue& queue = *bench.virtio().queue(0);
      for (unsigned i = 0; i < 20; ++i) {
        auto element = queue.pop();
        if (element == nullptr) break;
        static_cast<void>(element->read<Le32>(0));
        static_cast<void>(element->write<Le32>(0, 0));
        queue.push_and_notify(std::move(element), 1);
      }
    }
  }
}

// The device around it. ----------------------------------------------------------------------------------------------

TEST(VirtioDevice, FeaturesThatWereNotOfferedAreRefused) {
  Bench bench;
  VirtioDevice& v = bench.virtio();
  v.write_status(kAcknowledge | kDriver);
  v.accept_word(0, 1);
  v.accept_word(1, 1);
  v.write_status(kDriverReady);
  EXPECT_EQ(v.status(), kAcknowledge | kDriver);
  v.accept_word(0, 0);
  v.write_status(kDriverReady);
  EXPECT_EQ(v.status(), kDriverReady);
  v.accept_word(0, 1u << 28);  // too late
  EXPECT_EQ(v.accepted_word(0), 0u);
}

TEST(VirtioDevice, AModernDriverMustAcceptVersion1) {
  Bench bench;
  bench.virtio().write_status(kAcknowledge | kDriver);
  bench.virtio().write_status(kDriverReady);
  EXPECT_EQ(bench.virtio().status(), kAcknowledge | kDriver);
}

TEST(VirtioDevice, PropertiesTakeFeaturesAway) {
  Bench bench({{"indirect_desc", false}, {"event_idx", false}, {"packed", true}, {"iommu_platform", true}});
  const u64 features = bench.virtio().offered_features();
  EXPECT_FALSE(features & (kFeatureIndirectDesc | kFeatureEventIdx | kFeatureInOrder));
  EXPECT_EQ(features & (kFeatureRingPacked | kFeatureAccessPlatform), kFeatureRingPacked | kFeatureAccessPlatform);
}

TEST(VirtioDevice, ConfigurationIsReadAndWrittenInAnyPieces) {
  Bench bench;
  EXPECT_EQ(bench.config(0, 1), 0x55u);
  EXPECT_EQ(bench.config(0, 8), 0x55u);
  EXPECT_EQ(bench.config(8, 1), 0u);
  EXPECT_EQ(bench.config(~u64(0), 8), 0u);
  bench.virtio().write_config(0, 0x1234, 2);
  EXPECT_EQ(bench.config(0, 4), 0x34u);
  bench.virtio().write_config(7, 0x1234, 2);
}

TEST(VirtioDevice, AChangeOfConfigurationIsToldOnlyToADriverThatIsReady) {
  Bench bench;
  const u32 before = bench.virtio().config_generation();
  bench->change();
  EXPECT_EQ(bench.transport().config_interrupts, 0u);
  bench.start();
  bench->change();
  EXPECT_EQ(bench.transport().config_interrupts, 1u);
  EXPECT_EQ(bench.virtio().config_generation(), before + 2);
}

TEST(VirtioDevice, QueuesAreHandledOnceReadyAndKicksAreGatheredUp) {
  Bench bench;
  bench.virtio().kick(0);
  bench.machine().run_main_loop();
  EXPECT_TRUE(bench->handled.empty());
  bench.start();
  EXPECT_EQ(bench->handled, (std::vector<unsigned>{0, 1}));
  bench.virtio().kick(1);
  bench.virtio().kick(1);
  bench.virtio().kick(7);
  bench.machine().run_main_loop();
  EXPECT_EQ(bench->handled, (std::vector<unsigned>{0, 1, 1}));
}

TEST(VirtioDevice, ALegacyDriverNeedsNoVersionAndNoFeaturesOk) {
  Bench bench;
  VirtioDevice& v = bench.virtio();
  v.write_status(kAcknowledge | kDriver);
  v.accept_word(0, u32(kFeatureIndirectDesc | 1));
  v.enable_legacy_queue(0, 0x10000, 4096);
  EXPECT_EQ(v.legacy_address(0), 0x10000u);
  v.write_status(kAcknowledge | kDriver | kDriverOk);
  EXPECT_EQ(v.accepted_word(0), u32(kFeatureIndirectDesc));
  ASSERT_EQ(bench.memory().write<Le64>(0x10000, 0x1000), mem::MemTxResult::Ok);
  ASSERT_EQ(bench.memory().write<Le32>(0x10008, 16), mem::MemTxResult::Ok);
  ASSERT_EQ(bench.memory().write<Le16>(0x10000 + 16 * 8 + 2, 1), mem::MemTxResult::Ok);
  auto element = v.queue(0)->pop();
  ASSERT_NE(element, nullptr);
  v.queue(0)->push(std::move(element), 7);
  EXPECT_EQ(bench.memory().read<Le16>(0x11002), 1u);
  EXPECT_EQ(bench.memory().read<Le32>(0x11008), 7u);
}

TEST(VirtioDevice, QueuesOnALoopOfTheirOwnAreServedThere) {
  EventLoop loop;
  std::atomic<unsigned> handled{0};
  auto events = QueueEvents::create(&loop, {}, [&] { ++handled; });
  ASSERT_TRUE(events.has_value());
  std::thread vcpu([&] {
    (*events)->kick();
    (*events)->kick();
  });
  vcpu.join();
  EXPECT_EQ(handled, 0u);
  while (loop.run_once(false)) {}
  EXPECT_EQ(handled, 1u);
  (*events)->kick();
  (*events)->close();
  while (loop.run_once(false)) {}
  EXPECT_EQ(handled, 1u);
}

}  // namespace
}  // namespace emu::hw
