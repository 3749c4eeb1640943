// SPDX-License-Identifier: Apache-2.0
// What the 82574L has besides the 8254x: extended receive descriptors, vectors with automatic masking.
#include "hw/net/e1000e.h"

#include "unit/hw/net/nic_bench.h"

namespace emu::test {
namespace {

constexpr u64 kRxRing = 0x10000, kTxRing = 0x20000, kRxBuffers = 0x100000, kTxBuffers = 0x200000, kMsixBar = 0xe010'0000;
constexpr u64 kMessages = 0x30'0000;  // RAM stands for the interrupt controller: a message is a write

class E1000eTest : public ::testing::Test {
 protected:
  E1000eTest() : bench([](hw::TypeRegistry& r) {
    hw::register_e1000(r);
    hw::register_e1000e(r);
  }) {
    bench.enable(/*memory_bar=*/0, /*io_bar=*/2);
  }
  void start() {
    for (u64 i = 0; i < 8; i++) {
      bench.put<u64>(kRxRing + 16 * i, kRxBuffers + 0x1000 * i);
      bench.put<u64>(kRxRing + 16 * i + 8, 0);
    }
    bench.write(0x5008, bit(15));
    bench.write(0x2800, u32(kRxRing));
    bench.write(0x2808, 128);
    bench.write(0x2818, 7);
    bench.write(0x3800, u32(kTxRing));
    bench.write(0x3808, 128);
    bench.write(0x0100, bit(1) | bit(15) | bit(26));
    bench.write(0x0400, bit(1) | bit(3));
  }
  void use_msix() {
    bench.card().config_write(0x10 + 4 * 3, 4, u32(kMsixBar));
    for (u64 i = 0; i < 5; i++) {
      auto& memory = bench.machine().system_memory();
      ASSERT_EQ(memory.store(kMsixBar + 16 * i, 4, kMessages + 4 * i), mem::MemTxResult::Ok);
      ASSERT_EQ(memory.store(kMsixBar + 16 * i + 8, 4, 0x40 + i), mem::MemTxResult::Ok);
      ASSERT_EQ(memory.store(kMsixBar + 16 * i + 12, 4, 0), mem::MemTxResult::Ok);
    }
    unsigned at = bench.card().config_read(0x34, 1);
    while (at != 0 && bench.card().config_read(at, 1) != 0x11) at = bench.card().config_read(at + 1, 1);
    ASSERT_NE(at, 0u);
    bench.card().config_write(at + 2, 2, 0x8000);
    bench.write(0x00e4, 0x8 | 0x9 << 8 | 0xa << 16);  // RXQ0 on 0, TXQ0 on 1, the rest on 2
  }
  u32 message(unsigned vector) { return bench.get<u32>(kMessages + 4 * vector); }
  void forget(unsigned vector) { bench.put<u32>(kMessages + 4 * vector, 0); }

  NicBench<hw::E1000e> bench;
};

TEST_F(E1000eTest, SaysWhoItIs) {
  EXPECT_EQ(bench.card().config_read(0, 4), 0x10d3'8086u);
  bench.write(0x0020, 1u << 21 | 3u << 16 | 2u << 26);
  EXPECT_EQ(bench.read(0x0020) & 0xffff, 0x0cb1u);
  u16 sum = 0;
  for (u32 i = 0; i < 64; i++) {
    bench.write(0x0014, i << 2 | 1);
    EXPECT_NE(bench.read(0x0014) & 2, 0u);
    sum = u16(sum + (bench.read(0x0014) >> 16));
  }
  EXPECT_EQ(sum, 0xbaba);
  EXPECT_NE(bench.read(0x0008) & bit(19), 0u);
  bench.write(0x0000, bench.read(0x0000) | bit(2));
  EXPECT_EQ(bench.read(0x0008) & bit(19), 0u);
}

TEST_F(E1000eTest, ReceivesInTheExtendedFormat) {
  start();
  const auto frame = frame_to("525400123456", 100);
  EXPECT_TRUE(bench.peer->give(frame));
  EXPECT_EQ(bench.get<u32>(kRxRing + 8) & 3, 3u);
  EXPECT_EQ(bench.get<u16>(kRxRing + 12), 100);
  EXPECT_EQ(bench.get_bytes(kRxBuffers, 100), frame);
}

TEST_F(E1000eTest, PinFollowsCausesAndIcrSaysSo) {
  start();
  bench.write(0x00d0, bit(7));
  bench.write(0x00e0, ~0u);
  bench.write(0x0018, bit(27));
  bench.peer->give(frame_to("525400123456", 60));
  EXPECT_TRUE(bench.interrupt());
  EXPECT_NE(bench.read(0x00c0) & bit(31), 0u);
  EXPECT_FALSE(bench.interrupt());
  EXPECT_EQ(bench.read(0x00d0), 0u);  // masked by the reading
}

TEST_F(E1000eTest, MessagesClearAndMaskByThemselves) {
  start();
  use_msix();
  bench.write(0x00dc, bit(20) | bit(22));
  bench.write(0x00e0, bit(20) | bit(22));
  bench.write(0x0018, bit(24));
  bench.write(0x00d0, bit(20) | bit(22) | bit(24));
  bench.peer->give(frame_to("525400123456", 60));
  EXPECT_EQ(message(0), 0x40u);
  EXPECT_FALSE(bench.interrupt());
  EXPECT_EQ(bench.read(0x00d0), bit(22) | bit(24));
  forget(0);
  bench.peer->give(frame_to("525400123456", 60));  // masked: it waits
  EXPECT_EQ(message(0), 0u);
  bench.write(0x00d0, bit(20));
  EXPECT_EQ(message(0), 0x40u);
  bench.put_bytes(kTxBuffers, frame_to("525400fedcba", 60));
  bench.put<u64>(kTxRing, kTxBuffers);
  bench.put<u32>(kTxRing + 8, 60 | bit(24) | bit(27));
  bench.put<u32>(kTxRing + 12, 0);
  bench.write(0x3818, 1);
  bench.run();
  EXPECT_EQ(bench.peer->got.size(), 1u);
  EXPECT_EQ(message(1), 0x41u);
  bench.peer->set_link(false);
  EXPECT_EQ(message(2), 0x42u);
}

TEST_F(E1000eTest, ThrottlesEachVectorWithMitigation) {
  start();
  bench.turn_on("mitigation");
  use_msix();
  bench.write(0x00dc, bit(20));
  bench.write(0x00e8, 1000);
  bench.write(0x00d0, bit(20));
  bench.peer->give(frame_to("525400123456", 60));
  EXPECT_EQ(message(0), 0x40u);
  forget(0);
  bench.peer->give(frame_to("525400123456", 60));
  EXPECT_EQ(message(0), 0u);
  bench.advance(std::chrono::microseconds(300));
  EXPECT_EQ(message(0), 0x40u);
}

TEST_F(E1000eTest, MessagesComeAtOnceWithoutMitigation) {
  start();
  use_msix();
  bench.write(0x00dc, bit(20));
  bench.write(0x00e8, 1000);
  bench.write(0x00d0, bit(20));
  for (int i = 0; i < 2; i++) {
    bench.peer->give(frame_to("525400123456", 60));
    EXPECT_EQ(message(0), 0x40u);
    forget(0);
  }
}

TEST_F(E1000eTest, SavesAndLoads) {
  start();
  bench.write(0x5c00, 0x1234);
  bench.peer->give(frame_to("525400123456", 60));
  bench.expect_round_trip();
}

}  // namespace
}  // namespace emu::test
