// SPDX-License-Identifier: Apache-2.0
#include "hw/virtio/vhost/vhost_net.h"

#include <gmock/gmock.h>

#include "fake_backend.h"
#include "hw/virtio/virtio_net.h"
#include "hw/virtio/virtio_net_regs.h"
#include "net/register.h"
#include "net/vhost_user_net.h"
#include "qom/user_creatable.h"
#include "vhost_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using namespace virtio_net;
using vhost_user::Request;
using test::FakeBackend;
using test::VhostBench;
using ::testing::HasSubstr;

class VhostUserNetTest : public testing::Test {
 protected:
  VhostUserNetTest() {
    bench.registry.add_abstract<qom::UserCreatable, qom::Object>();
    net::register_net_types(bench.registry);
    register_nic_ports(bench.registry);
    backend.features = kFeatureVersion1 | vhost_user::kFeatureProtocol | kCsum | kMrgRxbuf | kMq;
  }
  Result<VirtioNet*> make(unsigned queues = 1) {
    auto made = bench.machine->tree().make<net::VhostUserNet>();
    EMU_TRY(made->open({.chardev = "c", .queues = queues}, bench.loop));
    netdev = &bench.machine->tree().container("/netdevs").adopt("n0", std::move(made));
    card = EMU_TRY(bench.plug<VirtioNet>({{"netdev", "n0"}, {"mq", queues > 1}}));
    return card;
  }
  bool is_link_up() { return (card->read_config(6, 2) & kLinkUp) != 0; }

  FakeBackend backend;
  VhostBench bench;
  net::VhostUserNet* netdev = nullptr;
  VirtioNet* card = nullptr;
};

TEST_F(VhostUserNetTest, ABackEndServesTheRings) {
  bench.connect(backend);
  auto made = make();
  ASSERT_TRUE(made.has_value()) << made.error().text();
  bench.start();
  EXPECT_EQ(bench.shout(1, "a packet"), "A PACKET");
  EXPECT_EQ(bench.shout(0, "and one"), "AND ONE");
  EXPECT_EQ(backend.driver_features() & (kCsum | kMrgRxbuf | kCtrlVq), kCsum | kMrgRxbuf);
}

TEST_F(VhostUserNetTest, OffloadsAreTheBackEnds) {
  bench.connect(backend);
  ASSERT_TRUE(make().has_value());
  const u64 offered = card->offered_features();
  EXPECT_EQ(offered & (kCsum | kGuestCsum | kHostTso4 | kMrgRxbuf | kFeatureEventIdx), kCsum | kMrgRxbuf);
  EXPECT_NE(offered & kCtrlVq, 0u);
  EXPECT_EQ(offered & kCtrlGuestOffloads, 0u);
}

TEST_F(VhostUserNetTest, TheDriverSwitchesQueuePairs) {
  bench.connect(backend);
  ASSERT_TRUE(make(2).has_value());
  bench.start();
  EXPECT_TRUE(bench.wait_for([&] { return backend.is_enabled(1); }));
  EXPECT_FALSE(backend.is_enabled(2));
  const u8 command[] = {4, 0, 2, 0};  // MQ, VQ_PAIRS_SET
  ASSERT_EQ(bench.machine->system_memory().write(0x1000, command), mem::MemTxResult::Ok);
  bench.queues[4].add({{0x1000, 4}, {0x3000, 1, true}});
  card->kick(4);
  EXPECT_TRUE(bench.wait_for([&] { return backend.is_enabled(2) && backend.is_enabled(3); }));
  EXPECT_EQ(bench.shout(3, "second pair"), "SECOND PAIR");
}

TEST_F(VhostUserNetTest, ABackEndThatGoesTakesTheLinkAndTheNextOneBringsIt) {
  bench.connect(backend);
  ASSERT_TRUE(make().has_value());
  bench.start();
  ASSERT_EQ(bench.shout(1, "one"), "ONE");
  ASSERT_TRUE(is_link_up());
  backend.stop();
  EXPECT_TRUE(bench.wait_for([&] { return !is_link_up(); }));
  EXPECT_FALSE(bench.needs_reset());
  bench.connect(backend);
  EXPECT_TRUE(bench.wait_for([&] { return is_link_up(); }));
  EXPECT_EQ(bench.shout(1, "two"), "TWO");  // where the ring was
}

TEST_F(VhostUserNetTest, MoreQueuesThanTheBackEndHasAreRefused) {
  backend.queues = 1;
  bench.connect(backend);
  auto made = make(2);
  ASSERT_FALSE(made.has_value());
  EXPECT_THAT(made.error().text(), HasSubstr("queues=2 is above 1"));
}

TEST_F(VhostUserNetTest, ANetdevThatGoesTakesTheRingsBack) {
  bench.connect(backend);
  ASSERT_TRUE(make().has_value());
  bench.start();
  ASSERT_EQ(bench.shout(1, "one"), "ONE");
  netdev->parent()->remove_child(*netdev);
  EXPECT_EQ(backend.count(Request::GetVringBase), 2u);
  EXPECT_FALSE(is_link_up());
}

}  // namespace
}  // namespace emu::hw
