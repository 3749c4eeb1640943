// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include "fake_backend.h"
#include "hw/virtio/vhost/vhost_user_blk.h"
#include "hw/virtio/vhost/vhost_user_fs.h"
#include "vhost_bench.h"

namespace emu::hw {
namespace {

using namespace virtio;
using namespace vhost_user;
using test::FakeBackend;
using test::kBenchRam;
using test::kDriverReady;
using test::VhostBench;
using ::testing::HasSubstr;

class VhostUserTest : public testing::Test {
 protected:
  void make(const VhostBench::Properties& properties = {{"chardev", "c"}}) {
    bench.connect(backend);
    auto plugged = bench.plug<VhostUserBlk>(properties);
    ASSERT_TRUE(plugged.has_value()) << plugged.error().text();
    disk = *plugged;
  }
  std::string refusal() {
    bench.connect(backend);
    auto plugged = bench.plug<VhostUserBlk>({{"chardev", "c"}});
    return plugged ? "" : plugged.error().text();
  }
  VhostUserTest() {
    for (std::size_t i = 0; i < backend.config.size(); ++i) backend.config[i] = u8(i + 1);
  }
  FakeBackend backend;
  VhostBench bench;
  VhostUserBlk* disk = nullptr;
};

TEST_F(VhostUserTest, ABackEndServesTheRings) {
  make({{"chardev", "c"}, {"num-queues", 2}});
  bench.start();
  EXPECT_EQ(bench.shout(0, "hello"), "HELLO");
  EXPECT_EQ(bench.shout(1, "other queue"), "OTHER QUEUE");
  EXPECT_EQ(bench.shout(0, "again"), "AGAIN");
  EXPECT_TRUE(bench.wait_for([&] { return bench.transport->queue_interrupts >= 3; }));
  EXPECT_EQ(bench.transport->last_vector, 1);
  EXPECT_FALSE(bench.needs_reset());
  EXPECT_EQ(backend.driver_features(), backend.features);
}

TEST_F(VhostUserTest, TheConfigurationIsTheBackEnds) {
  make();
  EXPECT_EQ(disk->read_config(0, 8), 0x0807060504030201u);
  EXPECT_EQ(disk->read_config(34, 2), 1u);  // the queues are ours to count
  bench.start();
  const unsigned before = bench.transport->config_interrupts;
  {
    backend.config[0] = 0x55;
    const Header header{u32(SlaveRequest::ConfigChange), kVersion | kNeedReply, 0};
    backend.tell(&header, sizeof header);
  }
  EXPECT_TRUE(bench.wait_for([&] { return bench.transport->config_interrupts > before; }));
  EXPECT_EQ(disk->read_config(0, 1), 0x55u);
}

TEST_F(VhostUserTest, TheWriteCacheIsToldToTheBackEnd) {
  backend.features |= bit64(11);
  make();
  bench.start();
  disk->write_config(32, 1, 1);
  const std::vector<u8> told = backend.written_config();
  ASSERT_EQ(told.size(), 13u);
  EXPECT_EQ(told[0], 32);
  EXPECT_EQ(told[12], 1);
}

TEST_F(VhostUserTest, OnlyWhatTheBackEndHasIsOffered) {
  make();
  EXPECT_EQ(disk->offered_features(), kFeatureVersion1);
  EXPECT_EQ(disk->queue_count(), 1u);
}

TEST_F(VhostUserTest, AStoppedMachineTakesItsRingsBackAndGoesOn) {
  make();
  bench.start();
  ASSERT_EQ(bench.shout(0, "one"), "ONE");
  bench.set_running(false);
  EXPECT_EQ(backend.count(Request::GetVringBase), 1u);
  EXPECT_EQ(disk->queue(0)->place()->avail.index, 1);
  EXPECT_EQ(disk->queue(0)->place()->used.index, 1);
  bench.set_running(true);
  EXPECT_EQ(bench.shout(0, "two"), "TWO");
}

TEST_F(VhostUserTest, AResetEndsServing) {
  make();
  bench.start();
  ASSERT_EQ(bench.shout(0, "one"), "ONE");
  disk->write_status(0);
  EXPECT_EQ(backend.count(Request::GetVringBase), 1u);
  bench.start();
  EXPECT_EQ(bench.shout(0, "two"), "TWO");
}

TEST_F(VhostUserTest, ABackEndThatGoesBreaksTheDeviceAndANewOneServesItAfterAReset) {
  make();
  bench.start();
  ASSERT_EQ(bench.shout(0, "one"), "ONE");
  const unsigned before = bench.transport->config_interrupts;
  backend.stop();
  EXPECT_TRUE(bench.wait_for([&] { return bench.needs_reset(); }));
  EXPECT_GT(bench.transport->config_interrupts, before);
  bench.start();  // there is nobody
  EXPECT_TRUE(bench.needs_reset());
  bench.connect(backend);
  bench.start();
  EXPECT_FALSE(bench.needs_reset());
  EXPECT_EQ(bench.shout(0, "two"), "TWO");
}

TEST_F(VhostUserTest, ANewBackEndMustHaveTheFeaturesOfTheFirst) {
  make();
  backend.stop();
  bench.turn();
  backend.features &= ~bit64(12);
  backend.connect(bench.path);
  EXPECT_TRUE(bench.wait_for([&] { return backend.count(Request::GetFeatures) >= 2; }));
  bench.start();
  EXPECT_TRUE(bench.needs_reset());
}

TEST_F(VhostUserTest, ABackEndThatGoesDuringARequestBreaksTheDevice) {
  backend.hang_up_at = Request::SetMemTable;
  make();
  bench.start();
  EXPECT_TRUE(bench.needs_reset());
  bench.turn();
}

TEST_F(VhostUserTest, ARefusedOrderBreaksTheDevice) {
  backend.refuse = Request::SetVringAddr;
  make();
  bench.start();
  EXPECT_TRUE(bench.needs_reset());
}

TEST_F(VhostUserTest, ARingOutsideMemoryBreaksTheDevice) {
  make();
  disk->write_status(0);
  disk->write_status(kAcknowledge | kDriver);
  disk->accept_word(1, 1);
  disk->write_status(kDriverReady);
  auto& setup = disk->queue(0)->setup();
  setup.descriptors = kBenchRam - 16;
  setup.driver_area = 0x1000;
  setup.device_area = 0x2000;
  disk->enable_queue(0);
  disk->write_status(kDriverReady | kDriverOk);
  EXPECT_TRUE(bench.needs_reset());
  EXPECT_EQ(backend.count(Request::SetVringKick), 0u);
}

TEST_F(VhostUserTest, UnaskedWordsEndTheConnection) {
  make();
  bench.start();
  backend.say("what is this", 12);
  EXPECT_TRUE(bench.wait_for([&] { return bench.needs_reset(); }));
}

TEST_F(VhostUserTest, NonsenseOnTheSlaveChannelEndsThatChannelOnly) {
  make();
  bench.start();
  const Header huge{2, kVersion, 0xffff'ffff};
  backend.tell(&huge, sizeof huge);
  EXPECT_EQ(bench.shout(0, "still here"), "STILL HERE");
}

TEST_F(VhostUserTest, AnUnknownSlaveRequestIsRefused) {
  make();
  bench.start();
  const struct {
    Header header{77, kVersion | kNeedReply, 16};
    u8 payload[16] = {};
  } request;
  backend.tell(&request, sizeof request);
  EXPECT_EQ(bench.shout(0, "still here"), "STILL HERE");
}

TEST_F(VhostUserTest, AnswersOfTheWrongLengthAreRefused) {
  backend.wrong_size_at = Request::GetFeatures;
  EXPECT_THAT(refusal(), HasSubstr("has 9 bytes, not 8"));
}

TEST_F(VhostUserTest, AnswersToAnotherRequestAreRefused) {
  backend.wrong_request_at = Request::GetConfig;
  EXPECT_THAT(refusal(), HasSubstr("is of another"));
}

TEST_F(VhostUserTest, ABackEndWithoutConfigurationIsRefused) {
  backend.protocol &= ~kProtocolConfig;
  EXPECT_THAT(refusal(), HasSubstr("lacks protocol features 0x200"));
}

TEST_F(VhostUserTest, MoreQueuesThanTheBackEndHasAreRefused) {
  bench.connect(backend);
  auto plugged = bench.plug<VhostUserBlk>({{"chardev", "c"}, {"num-queues", 5}});
  ASSERT_FALSE(plugged.has_value());
  EXPECT_THAT(plugged.error().text(), HasSubstr("num-queues=5 is above 4"));
}

TEST_F(VhostUserTest, WithoutABackEndTheErrorSaysWhatToDo) {
  auto plugged = bench.plug<VhostUserBlk>({{"chardev", "c"}});
  ASSERT_FALSE(plugged.has_value());
  EXPECT_THAT(plugged.error().text(), HasSubstr("nobody is connected"));
}

TEST_F(VhostUserTest, TheKernelSendsInterruptsWhereItCan) {
  make();
  bench.board->fake_chips.can_send = true;
  bench.transport->message = VirtioMessage{0xfee0'0000, 0x41};
  bench.start();
  EXPECT_EQ(bench.board->fake_chips.alive, 1u);
  bench.transport->message = VirtioMessage{0xfee0'1000, 0x42};
  disk->interrupts_rerouted();
  EXPECT_EQ(bench.board->fake_chips.sends.back(), (std::pair<u64, u32>(0xfee0'1000, 0x42)));
  bench.transport->message = std::nullopt;  // masked
  disk->interrupts_rerouted();
  EXPECT_EQ(bench.board->fake_chips.alive, 0u);
  const unsigned before = bench.transport->queue_interrupts;
  EXPECT_EQ(bench.shout(0, "masked"), "MASKED");
  EXPECT_TRUE(bench.wait_for([&] { return bench.transport->queue_interrupts > before; }));
}

TEST_F(VhostUserTest, AFileSystemHasItsTagAndItsQueues) {
  bench.connect(backend);
  auto plugged = bench.plug<VhostUserFs>({{"chardev", "c"}, {"tag", "share"}, {"num-request-queues", 2}});
  ASSERT_TRUE(plugged.has_value()) << plugged.error().text();
  EXPECT_EQ((*plugged)->queue_count(), 3u);
  EXPECT_EQ((*plugged)->read_config(0, 1), u64('s'));
  EXPECT_EQ((*plugged)->read_config(36, 4), 2u);
  bench.start();
  EXPECT_EQ(bench.shout(2, "fuse"), "FUSE");
}

TEST(VhostUserRefusal, PrivateMemoryNamesTheFix) {
  FakeBackend backend;
  VhostBench bench(VhostBench::Ram::Private);
  bench.connect(backend);
  auto plugged = bench.plug<VhostUserBlk>({{"chardev", "c"}});
  ASSERT_FALSE(plugged.has_value());
  EXPECT_THAT(plugged.error().text() + plugged.error().hint(), HasSubstr("memory-backend-memfd"));
}

TEST(VhostUserRefusal, TranslatedGuestsNameTheFix) {
  FakeBackend backend;
  VhostBench bench(VhostBench::Ram::Shared, VhostBench::Accelerator::None);
  bench.connect(backend);
  auto plugged = bench.plug<VhostUserBlk>({{"chardev", "c"}});
  ASSERT_FALSE(plugged.has_value());
  EXPECT_THAT(plugged.error().text(), HasSubstr("must stay checked"));
  EXPECT_EQ(plugged.error().hint(), "use -accel kvm");
}

}  // namespace
}  // namespace emu::hw
