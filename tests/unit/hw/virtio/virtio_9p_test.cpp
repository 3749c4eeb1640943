// SPDX-License-Identifier: Apache-2.0
// A shared folder through the queue: what the driver offers, what comes back, and in which order.
#include "hw/virtio/virtio_9p.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

#include "unit/hw/9p/client.h"
#include "virtio_bench.h"

namespace emu::hw {
namespace {

using Bench = test::VirtioBench<Virtio9p>;
using p9::Type;
using test::Message;
using test::Reply;

/// Requests at 0x1000 * n, room for replies at 1 MiB + 0x10000 * n.
class Guest {
 public:
  explicit Guest(std::initializer_list<std::pair<std::string, qom::PropertyValue>> more = {}, bool packed = false) {
    bench = std::make_unique<Bench>(
        std::initializer_list<std::pair<std::string, qom::PropertyValue>>{{"mount_tag", "share"}},
        [&](Virtio9p& device, test::BenchMachine& machine) {
          auto added = add_fsdev(machine.tree(), "fs0", {.path = folder.path});
          ASSERT_TRUE(added.has_value()) << added.error().text();
          ASSERT_TRUE(static_cast<qom::Object&>(device).set("fsdev", "fs0").has_value());
          ASSERT_TRUE(static_cast<qom::Object&>(device).set("packed", packed).has_value());
          for (const auto& [name, value] : more) {
            ASSERT_TRUE(static_cast<qom::Object&>(device).set(name, value).has_value());
          }
        },
        [](qom::TypeRegistry& registry) { register_fsdev(registry); });
    bench->start();
  }
  static u64 request_at(unsigned slot) { return 0x1000 * (1 + u64(slot)); }
  static u64 reply_at(unsigned slot) { return (1 << 20) + 0x10000 * u64(slot); }

  /// Offers without a notification; the id under which it comes back.
  u16 offer(unsigned slot, Message message, u32 room = 0x4000) {
    const std::vector<u8> bytes = message.done();
    bench->write(request_at(slot), {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return bench->queues[0].add({{request_at(slot), u32(bytes.size())}, {reply_at(slot), room, true}});
  }
  std::vector<test::Used> wait(size_t count) {
    std::vector<test::Used> all;
    for (unsigned i = 0; i < 5000 && all.size() < count; i++) {
      for (const test::Used& used : bench->queues[0].take_used()) all.push_back(used);
      if (all.size() < count) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }
  Reply reply(unsigned slot, u32 bytes) {
    const std::string text = bench->read(reply_at(slot), bytes);
    return test::parse_reply({text.begin(), text.end()});
  }
  Reply ask(Message message) {
    offer(0, std::move(message));
    bench->device().kick(0);
    const auto used = wait(1);
    return reply(0, used.empty() ? 0 : used[0].length);
  }
  void mount() {
    EXPECT_EQ(ask(test::version_message()).error(), 0);
    EXPECT_EQ(ask(test::attach_message(0)).error(), 0);
  }

  test::TemporaryFolder folder;
  std::unique_ptr<Bench> bench;
};

TEST(Virtio9p, ShowsItsMountTag) {
  Guest guest;
  EXPECT_EQ(guest.bench->config(0, 2), 5u);
  std::string tag;
  for (unsigned i = 0; i < 5; i++) tag += char(guest.bench->config(2 + i, 1));
  EXPECT_EQ(tag, "share");
  EXPECT_EQ(guest.bench->virtio().offered_features() & 1, 1u);
}

TEST(Virtio9p, SpeaksThroughBothKindsOfRings) {
  for (const bool packed : {false, true}) {
    Guest guest({}, packed);
    guest.mount();
    EXPECT_EQ(guest.ask(test::walk_message(0, 1, {})).error(), 0);
    EXPECT_EQ(guest.ask(Message(Type::Lcreate).u32_(1).str("file").u32_(O_RDWR).u32_(0644).u32_(0)).error(), 0);
    EXPECT_EQ(guest.ask(Message(Type::Write).u32_(1).u64_(0).u32_(5).bytes("bytes")).error(), 0);
    std::ifstream in(guest.folder.path + "/file");
    std::string text;
    in >> text;
    EXPECT_EQ(text, "bytes");
    EXPECT_GE(guest.bench->transport().queue_interrupts, 1u);  // the event index asks for no more
  }
}

TEST(Virtio9p, RequestsMayBeCutAnywhere) {
  Guest guest;
  guest.mount();
  const std::vector<u8> bytes = test::walk_message(0, 1, {}).done();
  guest.bench->write(0x1000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  // A byte to each buffer, the reply as well.
  std::vector<test::Buffer> chain;
  for (u32 i = 0; i < bytes.size(); i++) chain.push_back({0x1000 + i, 1});
  for (u32 i = 0; i < 20; i++) chain.push_back({Guest::reply_at(0) + i, 1, true});
  guest.bench->queues[0].add(chain);
  guest.bench->device().kick(0);
  const auto used = guest.wait(1);
  ASSERT_EQ(used.size(), 1u);
  EXPECT_EQ(guest.reply(0, used[0].length).error(), 0);
}

TEST(Virtio9p, ManyAtOnceAreAllAnswered) {
  Guest guest;
  std::ofstream(guest.folder.path + "/file") << std::string(100'000, 'x');
  guest.mount();
  ASSERT_EQ(guest.ask(test::walk_message(0, 1, {"file"})).error(), 0);
  ASSERT_EQ(guest.ask(Message(Type::Lopen).u32_(1).u32_(O_RDONLY)).error(), 0);
  for (unsigned round = 0; round < 20; round++) {
    for (u16 i = 0; i < 60; i++) {
      guest.offer(i, Message(Type::Read, u16(100 + i)).u32_(1).u64_(u64(i) * 1000).u32_(1000));
    }
    guest.bench->device().kick(0);
    for (const test::Used& used : guest.wait(60)) EXPECT_EQ(used.length, 11u + 1000);
  }
  EXPECT_FALSE(guest.bench->needs_reset());
}

TEST(Virtio9p, AFlushIsAnsweredBehindWhatItFlushes) {
  Guest guest;
  std::ofstream(guest.folder.path + "/file") << std::string(1 << 20, 'x');
  guest.mount();
  ASSERT_EQ(guest.ask(test::walk_message(0, 1, {"file"})).error(), 0);
  ASSERT_EQ(guest.ask(Message(Type::Lopen).u32_(1).u32_(O_RDONLY)).error(), 0);
  for (unsigned round = 0; round < 50; round++) {
    const u16 reading = guest.offer(1, Message(Type::Read, 10).u32_(1).u64_(0).u32_(16000));
    const u16 flush = guest.offer(2, Message(Type::Flush, 11).u16_(10), 11);
    const u16 second = guest.offer(3, Message(Type::Flush, 12).u16_(11), 11);
    const u16 unknown = guest.offer(4, Message(Type::Flush, 13).u16_(999), 11);
    guest.bench->device().kick(0);
    const auto used = guest.wait(4);
    const auto place = [&](u16 id) {
      return std::find_if(used.begin(), used.end(), [&](const test::Used& u) { return u.id == id; }) - used.begin();
    };
    EXPECT_LT(place(reading), place(flush));
    EXPECT_LT(place(flush), place(second));
    EXPECT_LT(place(unknown), 4);
    EXPECT_EQ(guest.reply(2, 7).header.type, u8(Type::Flush) + 1);
  }
}

TEST(Virtio9p, ABrokenRequestBreaksTheDeviceAlone) {
  for (const std::vector<u8>& bytes : {std::vector<u8>{1, 2, 3}, std::vector<u8>{200, 0, 0, 0, 24, 1, 0},
                                       std::vector<u8>{0, 0, 0, 0, 24, 1, 0}}) {
    Guest guest;
    guest.mount();
    guest.bench->write(0x1000, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    guest.bench->submit(0, {{0x1000, u32(bytes.size())}, {Guest::reply_at(0), 100, true}});
    for (unsigned i = 0; i < 2000 && !guest.bench->needs_reset(); i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    EXPECT_TRUE(guest.bench->needs_reset());
    guest.bench->start();
    guest.mount();
  }
}

TEST(Virtio9p, ARequestWithoutRoomForItsAnswerGetsAnError) {
  Guest guest;
  guest.mount();
  guest.offer(0, Message(Type::Getattr).u32_(0).u64_(0x7ff), 20);
  guest.bench->device().kick(0);
  const auto used = guest.wait(1);
  ASSERT_EQ(used.size(), 1u);
  EXPECT_EQ(guest.reply(0, used[0].length).error(), ENOBUFS);
}

TEST(Virtio9p, AResetForgetsTheSessionAndWhatIsUnderWay) {
  Guest guest;
  guest.mount();
  for (unsigned round = 0; round < 30; round++) {
    for (u16 i = 0; i < 40; i++) guest.offer(i, Message(Type::Getattr, u16(100 + i)).u32_(0).u64_(0x7ff));
    guest.bench->device().kick(0);
    guest.bench->virtio().write_status(0);
    for (unsigned i = 0; i < 2000 && guest.bench->virtio().status() != 0; i++) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ASSERT_EQ(guest.bench->virtio().status(), 0) << "requests from before come back";
    guest.bench->start();
    EXPECT_EQ(guest.ask(Message(Type::Getattr).u32_(0).u64_(0x7ff)).error(), EPROTO) << "no version yet";
    guest.mount();
  }
}

TEST(Virtio9p, LeavesWithRequestsUnderWay) {
  for (unsigned round = 0; round < 30; round++) {
    Guest guest;
    guest.mount();
    for (u16 i = 0; i < 40; i++) guest.offer(i, Message(Type::Getattr, u16(100 + i)).u32_(0).u64_(0x7ff));
    guest.bench->device().kick(0);
    if (round % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50 * round));
    static_cast<Device&>(guest.bench->device()).unrealize_all();
  }
}

TEST(Virtio9p, SaysWhatIsMissing) {
  const auto failure = [](std::string tag, bool with_fsdev) {
    test::TemporaryFolder folder;
    qom::TypeRegistry registry;
    register_core_types(registry);
    register_virtio_core(registry);
    register_fsdev(registry);
    registry.add<test::TestTransport>("test-transport");
    registry.add<Virtio9p>("bench-device");
    test::BenchMachine machine(registry);
    auto& transport = place<test::TestTransport>(machine);
    EXPECT_TRUE(static_cast<Device&>(transport).realize_on(&machine.system_bus()).has_value());
    Device& device = place<Virtio9p>(machine);
    EXPECT_TRUE(device.set("mount_tag", tag).has_value());
    if (with_fsdev) {
      EXPECT_TRUE(add_fsdev(machine.tree(), "fs0", {.path = folder.path}).has_value());
      EXPECT_TRUE(device.set("fsdev", "fs0").has_value());
    }
    const auto realized = device.realize_on(&transport.slot());
    return realized ? std::string() : realized.error().message();
  };
  EXPECT_EQ(failure("", true), "bench-device: 'mount_tag' is missing");
  EXPECT_EQ(failure("x", false), "bench-device: 'fsdev' is missing");
  EXPECT_NE(failure(std::string(33, 'x'), true), "");
}

TEST(Fsdev, OptionsThatCannotBeAreRefused) {
  const auto failure = [](const std::string& text) {
    auto options = Options::parse(text, {.implied_key = "fsdriver"});
    EXPECT_TRUE(options.has_value());
    const auto parsed = parse_fsdev(*options);
    return parsed ? std::string() : parsed.error().message();
  };
  EXPECT_EQ(failure("local,path=/tmp,security_model=none"), "");
  EXPECT_EQ(failure("local,path=/tmp,security_model=mapped,fmode=0640,dmode=750,readonly,multidevs=remap"), "");
  EXPECT_EQ(failure("local,path=/tmp"), "'security_model=' is missing");
  EXPECT_EQ(failure("local,security_model=none"), "'path=' is missing");
  EXPECT_EQ(failure("synth"), "'synth' is not supported");
  EXPECT_EQ(failure("local,path=/tmp,security_model=mapped-file"), "security_model=mapped-file is not supported");
  EXPECT_NE(failure("local,path=/tmp,security_model=none,fmode=0600"), "");
  EXPECT_NE(failure("local,path=/tmp,security_model=mapped,fmode=0888"), "");
  EXPECT_NE(failure("local,path=/tmp,security_model=none,throttling.bps-total=1"), "");
  EXPECT_NE(failure("local,path=/tmp,security_model=none,nonsense=1"), "");
  EXPECT_NE(failure("local,path=/tmp,security_model=none,writeout=later"), "");
}

}  // namespace
}  // namespace emu::hw
