// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/virtio_net.h"

#include "hw/virtio/virtio_net_regs.h"
#include "net/register.h"
#include "qom/user_creatable.h"
#include "virtio_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using namespace virtio_net;
using test::Buffer;
using test::Used;
using Bench = test::VirtioBench<VirtioNet>;
using Properties = std::initializer_list<std::pair<std::string, qom::PropertyValue>>;
using Bytes = std::vector<u8>;

/// A back end that records, with as many queues as the test wants.
class WirePeer final : public net::NetClient {
 public:
  explicit WirePeer(EventLoop& event_loop) : loop_(event_loop) {}
  std::string kind() const override { return "wire"; }
  EventLoop& loop() const override { return loop_; }
  unsigned queues() const override { return unsigned(others.size()) + 1; }
  net::NetClient& queue(unsigned number) override { return number == 0 ? *this : *others[number - 1]; }
  net::OffloadSet receive_offloads() const override { return can; }
  net::OffloadSet possible_offloads() const override { return can; }
  void peer_takes(const net::OffloadSet& taken) override { told = taken; }

  bool give(const Bytes& bytes, net::PacketOffload offload = {}) {
    const iovec part{const_cast<u8*>(bytes.data()), bytes.size()};
    return send(net::Packet{.parts = {&part, 1}, .offload = offload});
  }
  void go_on() {
    refuses = false;
    ready();
  }

  std::vector<std::unique_ptr<WirePeer>> others;
  net::OffloadSet can, told;
  std::vector<Bytes> got;
  std::vector<net::PacketOffload> offloads;
  bool refuses = false;
  unsigned readies = 0, links = 0;

 protected:
  bool receive(const net::Packet& packet) override {
    if (refuses) return false;
    got.push_back(net::flatten(packet));
    offloads.push_back(packet.offload);
    return true;
  }
  void peer_ready() override { readies++; }
  void link_changed() override { links++; }

 private:
  EventLoop& loop_;
};

constexpr u64 kAllOffloads = kGuestOffloads | kCsum | kHostTso4 | kHostTso6 | kHostEcn | kHostUfo | kHostUso;
constexpr u64 kPlain = ~(kAllOffloads | kMrgRxbuf | kCtrlVlan | kFeatureEventIdx | kFeatureRingPacked);
constexpr u64 kRx = 0x1000, kTx = 0x100000, kCommand = 0x200000, kAck = 0x210000;

Bytes frame(std::size_t size, u8 first = 0x52) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = u8(i);
  const Bytes start{first, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1, 0x88, 0xb5};
  std::copy(start.begin(), start.end(), bytes.begin());
  return bytes;
}

class Net : public testing::Test {
 protected:
  void make(Properties properties = {}, unsigned queues = 1, net::OffloadSet can = {}) {
    bench = std::make_unique<Bench>(
        properties,
        [&](VirtioNet& device, test::BenchMachine& machine) {
          peer = &machine.tree().container("/netdevs").adopt("n0", std::make_unique<WirePeer>(loop));
          for (unsigned i = 1; i < queues; ++i) peer->others.push_back(std::make_unique<WirePeer>(loop));
          peer->can = can;
          ASSERT_TRUE(static_cast<qom::Object&>(device).set("netdev", "n0").has_value());
        },
        [](qom::TypeRegistry& registry) {
          registry.add_abstract<qom::UserCreatable, qom::Object>();
          net::register_net_types(registry);
          register_nic_ports(registry);
        });
    turn();
  }
  void start(u64 features = kPlain) {
    bench->start(features);
    turn();
  }
  void turn() {
    bench->machine().run_main_loop();
    while (loop.run_once(false)) {
    }
    bench->machine().run_main_loop();
  }
  u16 submit(u32 queue, const std::vector<Buffer>& chain) {
    const u16 id = bench->submit(queue, chain);
    turn();
    return id;
  }
  void put(u64 at, const Bytes& bytes) { ASSERT_EQ(bench->memory().write(at, bytes), mem::MemTxResult::Ok); }
  Bytes get(u64 at, std::size_t size) {
    const std::string bytes = bench->read(at, size);
    return {bytes.begin(), bytes.end()};
  }
  /// The answer to a control command; 0 is OK.
  u8 command(u32 queue, const Bytes& bytes) {
    put(kCommand, bytes);
    put(kAck, {0xee});
    submit(queue, {{kCommand, u32(bytes.size())}, {kAck, 1, true}});
    return get(kAck, 1)[0];
  }
  std::vector<Used> used(u32 queue) { return bench->queues[queue].take_used(); }
  ~Net() override {
    if (bench == nullptr) return;
    Device& device = bench->device();
    if (device.is_realized()) device.unrealize_all();
    turn();
  }

  EventLoop loop;
  WirePeer* peer = nullptr;
  std::unique_ptr<Bench> bench;
};

TEST_F(Net, TheConfigurationSpaceShowsAddressLinkAndWhatTheUserSaid) {
  make({{"mac", "52:54:00:aa:bb:cc"}, {"host_mtu", 9000}, {"speed", 10000}, {"duplex", "full"}});
  EXPECT_EQ(bench->config(0, 1), 0x52u);
  EXPECT_EQ(bench->config(5, 1), 0xccu);
  EXPECT_EQ(bench->config(6, 2), 1u);
  EXPECT_EQ(bench->config(8, 2), 1u);
  EXPECT_EQ(bench->config(10, 2), 9000u);
  EXPECT_EQ(bench->config(12, 4), 10000u);
  EXPECT_EQ(bench->config(16, 1), 1u);
  EXPECT_TRUE(bench->virtio().offered_features() & kMtu);
  EXPECT_TRUE(bench->virtio().offered_features() & kSpeedDuplex);
  EXPECT_FALSE(bench->virtio().offered_features() & (kMq | kGuestTso4 | kHostUfo));
}

TEST_F(Net, PacketsAreSentFromWhereTheyLie) {
  make();
  start();
  put(kTx, Bytes(12));
  put(kTx + 0x1000, frame(60));
  const u16 id = submit(1, {{kTx, 12}, {kTx + 0x1000, 20}, {kTx + 0x1014, 40}});
  EXPECT_EQ(used(1), (std::vector<Used>{{id, 0}}));
  ASSERT_EQ(peer->got.size(), 1u);
  EXPECT_EQ(peer->got[0], frame(60));
}

TEST_F(Net, WhatThePeerHasNoRoomForWaitsInTheRing) {
  make();
  start();
  put(kTx, Bytes(12));
  put(kTx + 12, frame(60));
  peer->refuses = true;
  submit(1, {{kTx, 72}});
  submit(1, {{kTx, 72}});
  EXPECT_TRUE(used(1).empty());
  peer->go_on();
  turn();
  EXPECT_EQ(used(1).size(), 2u);
  EXPECT_EQ(peer->got.size(), 2u);
}

TEST_F(Net, APacketWithoutHeaderBreaksTheCard) {
  make();
  start();
  submit(1, {{kTx, 11}});
  EXPECT_TRUE(bench->needs_reset());
  EXPECT_TRUE(peer->got.empty());
}

TEST_F(Net, BuffersOutsideMemoryAndHugePacketsAreDropped) {
  make();
  start();
  put(kTx, Bytes(12));
  submit(1, {{kTx, 12}, {0xf000'0000, 60}});
  submit(1, {{kTx, 12}, {kTx, 0x20000}});
  EXPECT_EQ(used(1).size(), 2u);
  EXPECT_TRUE(peer->got.empty());
  EXPECT_FALSE(bench->needs_reset());
}

TEST_F(Net, ChecksumsAreComputedForABackEndThatCannot) {
  make();
  start(kPlain | kCsum);
  Bytes sent = frame(60);
  sent[40] = sent[41] = 0;
  put(kTx, {1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0});
  put(kTx + 12, sent);
  submit(1, {{kTx, 72}});
  ASSERT_EQ(peer->got.size(), 1u);
  EXPECT_FALSE(peer->offloads[0].is_needed());
  EXPECT_EQ(net::checksum_fold(net::checksum_add(0, std::span(peer->got[0]).subspan(34))), 0xffff);
}

TEST_F(Net, OffloadsGoThroughWhereBothSidesHaveThem) {
  make({}, 1, {.checksum = true, .tso4 = true, .tso6 = true});
  start(kPlain | kAllOffloads);
  EXPECT_TRUE(peer->told.checksum);
  EXPECT_TRUE(peer->told.tso4);
  EXPECT_FALSE(peer->told.uso);
  put(kTx, {1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0});
  put(kTx + 12, frame(1000));
  submit(1, {{kTx, 1012}});
  ASSERT_EQ(peer->offloads.size(), 1u);
  EXPECT_EQ(peer->offloads[0].gso_type, 1);
  EXPECT_EQ(peer->offloads[0].segment_bytes, 100);
  submit(0, {{kRx, 2000, true}});
  EXPECT_TRUE(peer->give(frame(1000), {.flags = 1, .gso_type = 1, .segment_bytes = 100, .csum_start = 34, .csum_offset = 16}));
  EXPECT_EQ(get(kRx, 12), (Bytes{1, 1, 0, 0, 100, 0, 34, 0, 16, 0, 1, 0}));
  EXPECT_EQ(command(2, {5, 0, 2, 0, 0, 0, 0, 0, 0, 0}), 0);
  EXPECT_TRUE(peer->told.checksum);
  EXPECT_FALSE(peer->told.tso4);
  EXPECT_EQ(command(2, {5, 0, 0, 0, 0, 0, 0, 0, 0, 1}), 1);
  bench->virtio().write_status(0);
  turn();
  EXPECT_EQ(peer->told, net::OffloadSet{});
}

TEST_F(Net, AnOffloadThatWasNotNegotiatedDropsThePacket) {
  make();
  start();
  put(kTx, {1, 1, 54, 0, 100, 0, 34, 0, 16, 0, 0, 0});
  put(kTx + 12, frame(1000));
  submit(1, {{kTx, 1012}});
  EXPECT_EQ(used(1).size(), 1u);
  EXPECT_TRUE(peer->got.empty());
}

TEST_F(Net, PacketsArriveInOneBuffer) {
  make();
  start();
  const u16 id = submit(0, {{kRx, 12, true}, {kRx + 0x1000, 1514, true}});
  EXPECT_TRUE(peer->give(frame(100)));
  EXPECT_EQ(used(0), (std::vector<Used>{{id, 112}}));
  EXPECT_EQ(get(kRx + 0x1000, 100), frame(100));
  EXPECT_EQ(get(kRx + 10, 2), (Bytes{1, 0}));
}

TEST_F(Net, MergeableBuffersTakeAPacketInPartsAndAreUsedTogether) {
  for (const u64 ring : {u64(0), kFeatureRingPacked}) {
    bench.reset();
    make({{"packed", ring != 0}});
    start(kPlain | kMrgRxbuf | ring);
    const u16 a = submit(0, {{kRx, 100, true}});
    EXPECT_FALSE(peer->give(frame(250)));  // no room yet
    const u16 b = submit(0, {{kRx + 0x1000, 100, true}});
    EXPECT_TRUE(used(0).empty());
    const u16 c = submit(0, {{kRx + 0x2000, 100, true}});
    EXPECT_GE(peer->readies, 1u);
    EXPECT_TRUE(peer->give(frame(250)));
    EXPECT_EQ(used(0), (std::vector<Used>{{a, 100}, {b, 100}, {c, 62}}));
    EXPECT_EQ(get(kRx + 10, 2), (Bytes{3, 0}));
    const Bytes whole = frame(250);
    EXPECT_EQ(get(kRx + 12, 88), Bytes(whole.begin(), whole.begin() + 88));
    EXPECT_EQ(get(kRx + 0x2000, 62), Bytes(whole.begin() + 188, whole.end()));
    Device& device = bench->device();
    device.unrealize_all();
    turn();
  }
}

TEST_F(Net, APacketThatFitsNoBufferIsDropped) {
  make();
  start();
  submit(0, {{kRx, 100, true}});
  EXPECT_TRUE(peer->give(frame(200)));
  EXPECT_TRUE(used(0).empty());
  EXPECT_TRUE(peer->give(frame(60)));
  EXPECT_EQ(used(0).size(), 1u);
}

TEST_F(Net, WithoutADriverPacketsFallAwayAndAStoppedMachineLetsThemWait) {
  make();
  EXPECT_TRUE(peer->give(frame(60)));
  start();
  submit(0, {{kRx, 2000, true}});
  for (PowerListener* listener : bench->machine().power_listeners) listener->run_state_changed(false);
  EXPECT_FALSE(peer->give(frame(60)));
  for (PowerListener* listener : bench->machine().power_listeners) listener->run_state_changed(true);
  turn();
  EXPECT_GE(peer->readies, 1u);
  EXPECT_TRUE(peer->give(frame(60)));
  EXPECT_EQ(used(0).size(), 1u);
}

TEST_F(Net, TheDriverSaysWhatItWantsToReceive) {
  make();
  start(kPlain | kCtrlVlan);
  const auto arrives = [&](const Bytes& bytes) {
    submit(0, {{kRx, 2000, true}});
    EXPECT_TRUE(peer->give(bytes));
    const bool got = !used(0).empty();
    return got;
  };
  EXPECT_TRUE(arrives(frame(60, 0x54)));
  EXPECT_EQ(command(2, {0, 0, 0}), 0);  // promiscuous off
  EXPECT_FALSE(arrives(frame(60, 0x54)));
  EXPECT_TRUE(arrives(frame(60, 0x52)));
  EXPECT_FALSE(arrives(frame(60, 0x53)));
  EXPECT_EQ(command(2, {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x53, 0x54, 0, 0x12, 0x34, 0x56}), 0);
  EXPECT_TRUE(arrives(frame(60, 0x53)));
  EXPECT_EQ(command(2, {1, 1, 0x54, 0x54, 0, 0x12, 0x34, 0x56}), 0);
  EXPECT_EQ(bench->config(0, 1), 0x54u);
  EXPECT_TRUE(arrives(frame(60, 0x54)));
  Bytes tagged = frame(64, 0x54);
  tagged[12] = 0x81, tagged[13] = 0, tagged[14] = 0x20, tagged[15] = 7;
  EXPECT_FALSE(arrives(tagged));
  EXPECT_EQ(command(2, {2, 0, 7, 0}), 0);
  EXPECT_TRUE(arrives(tagged));
  EXPECT_EQ(command(2, {2, 1, 7, 0}), 0);
  EXPECT_FALSE(arrives(tagged));
  // Malformed ones.
  EXPECT_EQ(command(2, {2, 0, 0, 0x10}), 1);
  EXPECT_EQ(command(2, {1, 0, 0xff, 0xff, 0xff, 0xff}), 1);
  EXPECT_EQ(command(2, {1, 1, 1}), 1);
  EXPECT_EQ(command(2, {0, 9, 1}), 1);
  EXPECT_EQ(command(2, {77, 0, 1}), 1);
  EXPECT_EQ(command(2, {4, 0, 1, 0}), 1);
  EXPECT_FALSE(bench->needs_reset());
  submit(2, {{kCommand, 1}, {kAck, 1, true}});
  EXPECT_TRUE(bench->needs_reset());
}

TEST_F(Net, QueuePairsOfTheBackEndAreOffered) {
  make({{"mq", true}}, 3);
  start();
  EXPECT_EQ(bench->virtio().queue_count(), 7u);
  EXPECT_EQ(bench->config(8, 2), 3u);
  put(kTx, Bytes(12));
  put(kTx + 12, frame(60));
  submit(5, {{kTx, 72}});
  EXPECT_EQ(peer->others[1]->got.size(), 1u);
  submit(0, {{kRx, 2000, true}});
  EXPECT_TRUE(peer->others[1]->give(frame(60)));  // only one pair is in use
  EXPECT_EQ(used(0).size(), 1u);
  EXPECT_EQ(command(6, {4, 0, 3, 0}), 0);
  submit(4, {{kRx, 2000, true}});
  EXPECT_TRUE(peer->others[1]->give(frame(60)));
  EXPECT_EQ(used(4).size(), 1u);
  EXPECT_EQ(command(6, {4, 0, 4, 0}), 1);
  EXPECT_EQ(command(6, {4, 0, 0, 0}), 1);
}

TEST_F(Net, TheLinkIsShownAndTheDriverIsTold) {
  make();
  start();
  peer->set_link(false);
  EXPECT_EQ(bench->config(6, 2), 0u);
  EXPECT_EQ(bench->transport().config_interrupts, 1u);
  peer->set_link(true);
  bench->device().port(0).plug_cable(false);
  EXPECT_EQ(bench->config(6, 2), 0u);
  bench->device().port(0).plug_cable(true);
  EXPECT_EQ(bench->config(6, 2), 1u);
  bench->device().announce();
  EXPECT_EQ(bench->config(6, 2), 3u);
  EXPECT_EQ(command(2, {3, 0}), 0);
  EXPECT_EQ(bench->config(6, 2), 1u);
}

TEST_F(Net, TheFilterIsShownAndItsFirstChangeTold) {
  make();
  start(kPlain | kCtrlVlan);
  NicPort& port = bench->device().port(0);
  std::vector<std::string> told;
  auto& events = port.tree()->root().adopt(NicEvents::kName, std::make_unique<NicEvents>());
  events.filter_changed = [&](const NicPort& changed) { told.push_back(changed.label()); };
  EXPECT_EQ(command(2, {0, 0, 0}), 0);
  EXPECT_EQ(command(2, {0, 1, 1}), 0);
  EXPECT_EQ(told.size(), 1u);
  auto filter = port.card().rx_filter();
  ASSERT_TRUE(filter);
  EXPECT_FALSE(filter->promiscuous);
  EXPECT_EQ(filter->multicast, RxFilter::Kind::All);
  EXPECT_EQ(filter->vlan, RxFilter::Kind::None);
  port.arm_filter_events();
  EXPECT_EQ(command(2, {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x53, 0x54, 0, 0x12, 0x34, 0x56}), 0);
  EXPECT_EQ(command(2, {2, 0, 7, 0}), 0);
  EXPECT_EQ(command(2, {77, 0, 1}), 1);
  EXPECT_EQ(told.size(), 2u);
  filter = port.card().rx_filter();
  EXPECT_EQ(filter->multicast_table, std::vector<net::MacAddress>({{0x53, 0x54, 0, 0x12, 0x34, 0x56}}));
  EXPECT_EQ(filter->vlans, std::vector<unsigned>({7}));
}

TEST_F(Net, StateSurvives) {
  make();
  start();
  EXPECT_EQ(command(2, {0, 0, 0}), 0);
  EXPECT_EQ(command(2, {1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x53, 0x54, 0, 0x12, 0x34, 0x56}), 0);
  Device& device = bench->device();
  const qom::FieldTree before = device.save();
  reset_device(device);
  ASSERT_TRUE(device.load(before).has_value());
  ASSERT_TRUE(device.finish_load().has_value());
  turn();
  EXPECT_EQ(before.dump(), device.save().dump());
}

}  // namespace
}  // namespace emu::hw
