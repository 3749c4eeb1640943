// SPDX-License-Identifier: Apache-2.0
// Drives the RTL8139 in C mode and in C+ mode as its drivers would.
#include "hw/net/rtl8139.h"

#include "support/saved_fields.h"
#include "unit/hw/net/nic_bench.h"

namespace emu::test {
namespace {

constexpr u64 kRing = 0x10000, kTx = 0x40000, kTxRing = 0x50000, kRxRing = 0x51000, kRxBuffers = 0x100000;
constexpr u32 kOwn = bit(31), kEnd = bit(30), kFirst = bit(29), kLast = bit(28);

class Rtl8139Test : public ::testing::Test {
 protected:
  Rtl8139Test() : bench([](hw::TypeRegistry& r) { hw::register_rtl8139(r); }) {
    bench.enable(/*memory_bar=*/1, /*io_bar=*/0);
  }
  void start() {
    bench.write(0x37, 0x10, 1);
    bench.write(0x30, u32(kRing));
    bench.write(0x37, 0x0c, 1);
    bench.write(0x44, 0x0e | bit(7));  // ours, broadcast, multicast; wrap; 8 KiB
    bench.write(0x3c, 0xffff, 2);
  }
  void start_cplus() {
    for (u64 i = 0; i < 4; i++) {
      bench.put<u32>(kRxRing + 16 * i, kOwn | (i == 3 ? kEnd : 0) | 1600);
      bench.put<u32>(kRxRing + 16 * i + 4, 0);
      bench.put<u64>(kRxRing + 16 * i + 8, kRxBuffers + 0x1000 * i);
    }
    bench.write(0xe0, 0x63, 2);  // receive and transmit enable, checksums, VLAN
    bench.write(0x20, u32(kTxRing));
    bench.write(0x24, 0);
    bench.write(0xe4, u32(kRxRing));
    bench.write(0xe8, 0);
    bench.write(0x37, 0x0c, 1);
    bench.write(0x44, 0x0e);
    bench.write(0x3c, 0xffff, 2);
  }
  void descriptor(unsigned index, u64 address, u32 word, u32 vlan = 0) {
    bench.put<u32>(kTxRing + 16 * index, word);
    bench.put<u32>(kTxRing + 16 * index + 4, vlan);
    bench.put<u64>(kTxRing + 16 * index + 8, address);
  }
  NicBench<hw::Rtl8139> bench;
};

TEST_F(Rtl8139Test, SaysWhoItIs) {
  EXPECT_EQ(bench.card().config_read(0, 4), 0x8139'10ecu);
  EXPECT_EQ(bench.read(0x00), 0x1200'5452u);
  EXPECT_EQ(bench.in(0x04, 2), 0x5634u);
  EXPECT_EQ(bench.read(0x40) & 0x7cc0'0000, 0x7480'0000u);
  EXPECT_EQ(bench.read(0x64, 2) & 4, 4u);
  EXPECT_EQ(bench.read(0x58, 1) & 4, 0u);
  bench.peer->set_link(false);
  EXPECT_EQ(bench.read(0x58, 1) & 4, 4u);
  EXPECT_EQ(bench.read(0x3e, 2), 0x20u);
}

TEST_F(Rtl8139Test, EepromHoldsTheAddress) {
  bench.write(0x50, 0x80, 1);
  const auto clock_in = [&](bool one) {
    const u32 data = 0x88 | (one ? 2u : 0u);
    bench.write(0x50, data, 1);
    bench.write(0x50, data | 4, 1);
  };
  bench.write(0x50, 0x88, 1);
  for (const int one : {1, 1, 0, 0, 0, 0, 1, 1, 1}) clock_in(one != 0);  // read word 7
  u16 word = 0;
  for (int i = 0; i < 16; i++) {
    bench.write(0x50, 0x88, 1);
    bench.write(0x50, 0x8c, 1);
    word = u16(word << 1 | (bench.read(0x50, 1) & 1));
  }
  EXPECT_EQ(word, 0x5452);
}

TEST_F(Rtl8139Test, ReceivesIntoTheRingOfBytes) {
  start();
  EXPECT_EQ(bench.read(0x37, 1) & 1, 1u);
  const auto frame = frame_to("525400123456", 61);
  EXPECT_TRUE(bench.peer->give(frame));
  EXPECT_EQ(bench.read(0x37, 1) & 1, 0u);
  EXPECT_EQ(bench.get<u16>(kRing), 0x4001);
  EXPECT_EQ(bench.get<u16>(kRing + 2), 65);
  EXPECT_EQ(bench.get_bytes(kRing + 4, 61), frame);
  EXPECT_EQ(bench.read(0x3a, 2), 72u);
  EXPECT_TRUE(bench.interrupt());
  bench.write(0x3e, 1, 2);
  EXPECT_FALSE(bench.interrupt());
  bench.write(0x38, 72 - 16, 2);
  EXPECT_EQ(bench.read(0x37, 1) & 1, 1u);
  EXPECT_TRUE(bench.peer->give(frame_to("525400123499", 60)));  // not ours
  EXPECT_EQ(bench.read(0x3a, 2), 72u);
}

TEST_F(Rtl8139Test, AFullRingStopsTheSender) {
  start();
  unsigned count = 0;
  while (count < 100 && bench.peer->give(frame_to("525400123456", 1000))) count++;
  EXPECT_EQ(count, 8u);
  bench.write(0x38, bench.read(0x3a, 2) - 16, 2);
  bench.run();
  EXPECT_EQ(bench.peer->readies, 1u);
  EXPECT_TRUE(bench.peer->give(frame_to("525400123456", 1000)));  // runs on behind the end
  EXPECT_EQ(bench.read(0x3a, 2), (9u * 1008) % 8192);
}

TEST_F(Rtl8139Test, SendsItsFourBuffersInTurn) {
  start();
  for (u32 i = 0; i < 4; i++) {
    auto frame = frame_to("525400fedcba", 60 + i);
    bench.put_bytes(kTx + 0x1000 * i, frame);
    bench.write(0x20 + 4 * i, u32(kTx + 0x1000 * i));
    bench.write(0x10 + 4 * i, 60 + i);
  }
  EXPECT_TRUE(bench.peer->got.empty());
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 4u);
  for (u32 i = 0; i < 4; i++) EXPECT_EQ(bench.peer->got[i].size(), 60 + i);
  EXPECT_EQ(bench.read(0x10) & 0xa000, 0xa000u);
  EXPECT_NE(bench.read(0x3e, 2) & 4, 0u);
}

TEST_F(Rtl8139Test, AFragmentWithoutItsTransportHeaderHasNoSum) {
  start_cplus();
  // An IP header of 60 bytes, and nothing behind it.
  std::vector<u8> frame = from_hex("525400123456 525400fedcba 0800 4f00 003c 0100 0001 4011 0000 0a00020f 0a000202");
  frame.resize(74);
  EXPECT_TRUE(bench.peer->give(frame));
  EXPECT_EQ(bench.get<u32>(kRxRing) & (bit(13) | bit(14)), 0u);
}

TEST_F(Rtl8139Test, SendsAndReceivesByDescriptors) {
  start_cplus();
  const auto frame = frame_to("525400123456", 100);
  EXPECT_TRUE(bench.peer->give(frame));
  EXPECT_EQ(bench.get<u32>(kRxRing) & (kOwn | 0x3fff), 104u);
  EXPECT_EQ(bench.get_bytes(kRxBuffers, 100), frame);
  for (int i = 0; i < 3; i++) EXPECT_TRUE(bench.peer->give(frame));
  EXPECT_FALSE(bench.peer->give(frame));
  bench.put<u32>(kRxRing, kOwn | 1600);
  bench.write(0x3e, 0x10, 2);
  bench.run();
  EXPECT_TRUE(bench.peer->give(frame));  // around the ring's end

  const auto out = tcp_frame_without_sums(3000);
  bench.put_bytes(kTx, out);
  descriptor(0, kTx, kOwn | kFirst | bit(27) | 1000u << 16 | 54);
  descriptor(1, kTx + 54, kOwn | kLast | kEnd | 3000);
  bench.write(0xd9, 0x40, 1);
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 3u);
  for (const auto& one : bench.peer->got) EXPECT_TRUE(has_right_tcp_sum(one));
  EXPECT_EQ(bench.get<u32>(kTxRing + 16) & kOwn, 0u);
  const auto small = tcp_frame_without_sums(100);
  bench.put_bytes(kTx, small);
  descriptor(0, kTx, kOwn | kFirst | kLast | kEnd | bit(18) | bit(16) | u32(small.size()), bit(17) | 0x0520);
  bench.write(0xd9, 0x40, 1);
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 4u);
  EXPECT_TRUE(has_right_tcp_sum(bench.peer->got[3]));
  EXPECT_EQ(bench.peer->got[3][12], 0x81);
  EXPECT_EQ(bench.peer->got[3][14], 0x20);
}

/// In loopback a driver decides how short a frame is that comes back.
TEST_F(Rtl8139Test, ShortFramesInLoopbackArePadded) {
  start();
  bench.write(0x40, 3u << 17);
  bench.write(0x44, 0x0f | bit(7));
  for (const u32 size : {0u, 3u, 14u}) {
    bench.write(0x20, u32(kTx));
    bench.write(0x10, size);
    bench.run();
    EXPECT_EQ(bench.get<u32>(kRing) >> 16, 64u) << size;
    start();
    bench.write(0x40, 3u << 17);
    bench.write(0x44, 0x0f | bit(7));
  }
  EXPECT_TRUE(bench.peer->got.empty());
}

TEST_F(Rtl8139Test, BadRingsHarmNobody) {
  start_cplus();
  bench.write(0x20, 0xfff0'0000);
  bench.write(0xe4, 0xfff0'0000);
  bench.write(0xd9, 0x40, 1);
  bench.run();
  EXPECT_TRUE(bench.peer->give(frame_to("525400123456", 100)));
  for (unsigned i = 0; i < 64; i++) descriptor(i, kTx, kOwn | 0xffff);
  bench.write(0x20, u32(kTxRing));
  for (int i = 0; i < 5; i++) {
    bench.write(0xd9, 0x40, 1);
    bench.run();
  }
  EXPECT_TRUE(bench.peer->got.empty());
}

TEST_F(Rtl8139Test, TimerInterrupts) {
  start();
  bench.write(0x54, 33'000);  // about a millisecond
  bench.write(0x48, 0);
  bench.advance(std::chrono::microseconds(900));
  EXPECT_EQ(bench.read(0x3e, 2) & 0x4000, 0u);
  bench.advance(std::chrono::microseconds(200));
  EXPECT_EQ(bench.read(0x3e, 2) & 0x4000, 0x4000u);
}

TEST_F(Rtl8139Test, SavesAndLoads) {
  start();
  bench.peer->give(frame_to("525400123456", 60));
  bench.expect_round_trip();
}

TEST_F(Rtl8139Test, ALoadedTimerMayHaveBegunAtAnyTime) {
  start();
  bench.write(0x54, 33'000);
  for (const i64 begin : {INT64_MIN, INT64_MAX}) {
    hw::Device& card = bench.card();
    ASSERT_TRUE(load_with(card, "timer_base", begin).has_value());
    bench.advance(std::chrono::microseconds(10));
    bench.read(0x48);
  }
}

}  // namespace
}  // namespace emu::test
