// SPDX-License-Identifier: Apache-2.0
// Drives the 82540EM as its driver would.
#include "hw/net/e1000.h"

#include "unit/hw/net/nic_bench.h"

namespace emu::test {
namespace {

constexpr u64 kRxRing = 0x10000, kTxRing = 0x20000, kRxBuffers = 0x100000, kTxBuffers = 0x200000;
constexpr u32 kRingBytes = 128;  // 8 descriptors
constexpr u32 kEop = bit(24), kRs = bit(27), kDext = bit(29), kTse = bit(26), kVle = bit(30);

class E1000Test : public ::testing::Test {
 protected:
  E1000Test() : bench([](hw::TypeRegistry& r) { hw::register_e1000(r); }) {}

  void start() {
    bench.write(0x5400, 0x1200'5452);
    bench.write(0x5404, 0x8000'5634);
    for (u64 i = 0; i < 8; i++) bench.put<u64>(kRxRing + 16 * i, kRxBuffers + 0x1000 * i);
    bench.write(0x2800, u32(kRxRing));
    bench.write(0x2804, 0);
    bench.write(0x2808, kRingBytes);
    bench.write(0x2810, 0);
    bench.write(0x2818, 7);
    bench.write(0x3800, u32(kTxRing));
    bench.write(0x3804, 0);
    bench.write(0x3808, kRingBytes);
    bench.write(0x3810, 0);
    bench.write(0x3818, 0);
    bench.write(0x0100, bit(1) | bit(15) | bit(26));  // EN, BAM, SECRC
    bench.write(0x0400, bit(1) | bit(3));
    bench.write(0x00d0, 0xff);
  }
  void descriptor(unsigned index, u64 address, u32 lower, u32 upper = 0) {
    bench.put<u64>(kTxRing + 16 * index, address);
    bench.put<u32>(kTxRing + 16 * index + 8, lower);
    bench.put<u32>(kTxRing + 16 * index + 12, upper);
  }
  u8 rx_status(unsigned index) { return bench.get<u8>(kRxRing + 16 * index + 12); }
  u16 rx_length(unsigned index) { return bench.get<u16>(kRxRing + 16 * index + 8); }

  NicBench<hw::E1000> bench;
};

TEST_F(E1000Test, SaysWhoItIs) {
  EXPECT_EQ(bench.card().config_read(0, 4), 0x100e'8086u);
  EXPECT_EQ(bench.card().config_read(0x0a, 2), 0x0200u);
  EXPECT_EQ(bench.read(0x5400), 0x1200'5452u);
  EXPECT_EQ(bench.read(0x5404), 0x8000'5634u);
  EXPECT_EQ(bench.read(0x0008) & 0x83, 0x83u);  // full duplex, link, gigabit
  EXPECT_EQ(bench.card().port().describe_state(), "model=e1000,macaddr=52:54:00:12:34:56");
}

TEST_F(E1000Test, EepromReadsByRegisterAndByWire) {
  u16 sum = 0;
  for (u32 i = 0; i < 64; i++) {
    bench.write(0x0014, i << 8 | 1);
    const u32 eerd = bench.read(0x0014);
    EXPECT_NE(eerd & 0x10, 0u);
    sum = u16(sum + (eerd >> 16));
  }
  EXPECT_EQ(sum, 0xbaba);

  const auto clock_in = [&](bool one) {
    const u32 data = 0x42 | (one ? 4u : 0u);
    bench.write(0x0010, data);
    bench.write(0x0010, data | 1);
    bench.write(0x0010, data);
  };
  bench.write(0x0010, 0x40);
  EXPECT_NE(bench.read(0x0010) & 0x80, 0u);  // granted
  bench.write(0x0010, 0x42);
  for (const int one : {1, 1, 0, 0, 0, 0, 0, 0, 1}) clock_in(one != 0);  // read word 1
  u16 word = 0;
  for (int i = 0; i < 16; i++) {
    bench.write(0x0010, 0x43);
    word = u16(word << 1 | (bench.read(0x0010) >> 3 & 1));
    bench.write(0x0010, 0x42);
  }
  EXPECT_EQ(word, 0x1200);
  bench.write(0x0010, 0x40);
}

TEST_F(E1000Test, PhyAnswersOverMdic) {
  const auto phy = [&](u32 reg) {
    bench.write(0x0020, 1u << 21 | reg << 16 | 2u << 26);
    return bench.read(0x0020);
  };
  EXPECT_EQ(phy(2) & 0x1000'ffff, 0x1000'0141u);
  EXPECT_EQ(phy(3) & 0xfff0, 0x0c20u);
  EXPECT_NE(phy(1) & 4, 0u);
  bench.peer->set_link(false);
  EXPECT_EQ(phy(1) & 4, 0u);
  EXPECT_EQ(bench.read(0x0008) & 2, 0u);
  EXPECT_NE(bench.read(0x00c0) & 4, 0u);  // LSC
  bench.write(0x0020, 2u << 21 | 2u << 16 | 2u << 26);
  EXPECT_NE(bench.read(0x0020) & bit(30), 0u);  // no such PHY
}

TEST_F(E1000Test, ReceivesIntoItsRing) {
  start();
  const auto frame = frame_to("525400123456", 100);
  EXPECT_TRUE(bench.peer->give(frame));
  EXPECT_EQ(rx_status(0) & 3, 3);
  EXPECT_EQ(rx_length(0), 100);
  EXPECT_EQ(bench.get_bytes(kRxBuffers, 100), frame);
  EXPECT_EQ(bench.read(0x2810), 1u);
  EXPECT_TRUE(bench.interrupt());
  EXPECT_NE(bench.read(0x00c0) & 0x80, 0u);  // RXT0, and reading clears
  EXPECT_FALSE(bench.interrupt());
  EXPECT_EQ(bench.read(0x4074), 1u);
  EXPECT_EQ(bench.read(0x4074), 0u);
  EXPECT_TRUE(bench.peer->give(from_hex("525400123456 525400fedcba 0806 00")));
  EXPECT_EQ(rx_length(1), 60);
}

TEST_F(E1000Test, FiltersAddresses) {
  start();
  const auto arrives = [&](std::string_view mac) {
    const u32 head = bench.read(0x2810);
    bench.peer->give(frame_to(mac, 60));
    const bool arrived = bench.read(0x2810) != head;
    bench.write(0x2818, (bench.read(0x2810) + 7) % 8);
    return arrived;
  };
  EXPECT_TRUE(arrives("525400123456"));
  EXPECT_FALSE(arrives("525400123457"));
  EXPECT_TRUE(arrives("ffffffffffff"));
  EXPECT_FALSE(arrives("01005e000001"));
  const u32 hash = (0x01u << 8 | 0x00) >> 4;
  bench.write(0x5200 + 4 * (hash >> 5), 1u << (hash & 31));
  EXPECT_TRUE(arrives("01005e000001"));
  bench.write(0x0100, bit(1) | bit(3) | bit(26));  // UPE, no BAM
  EXPECT_TRUE(arrives("525400123457"));
  EXPECT_FALSE(arrives("ffffffffffff"));
  bench.write(0x0100, bit(1) | bit(4) | bit(26));  // MPE
  EXPECT_TRUE(arrives("ffffffffffff"));
  bench.write(0x0100, 0);
  EXPECT_FALSE(arrives("525400123456"));
}

TEST_F(E1000Test, StripsAndFiltersVlanTags) {
  start();
  bench.write(0x0000, bench.read(0x0000) | bit(30));  // VME
  const auto tagged = from_hex("525400123456 525400fedcba 8100 6005 0800 0102030405060708091011121314151617181920212223242526272829303132333435363738394041424344454647");
  bench.peer->give(tagged);
  EXPECT_NE(rx_status(0) & 8, 0);
  EXPECT_EQ(bench.get<u16>(kRxRing + 14), 0x6005);
  EXPECT_EQ(rx_length(0), tagged.size() - 4);
  bench.write(0x0100, bit(1) | bit(18) | bit(26));  // VFE
  bench.peer->give(tagged);
  EXPECT_EQ(bench.read(0x2810), 1u);
  bench.write(0x5600, bit(5));
  bench.peer->give(tagged);
  EXPECT_EQ(bench.read(0x2810), 2u);
}

TEST_F(E1000Test, ChecksSumsOfWhatItReceives) {
  start();
  bench.write(0x5000, 0x300);
  std::vector<u8> frame = tcp_frame_without_sums(20);
  std::copy_n(from_hex("525400123456").begin(), 6, frame.begin());
  bench.peer->give(frame);
  EXPECT_EQ(rx_status(0) & 0x64, 0x60);
  EXPECT_EQ(bench.get<u8>(kRxRing + 13), 0x60);  // both are wrong
  const u16 pseudo = net::checksum_fold(net::pseudo_header_sum(frame, *net::parse_frame(frame), 40));
  frame[50] = u8(pseudo >> 8);
  frame[51] = u8(pseudo);
  net::fill_checksum(frame, 34, 16);
  bench.peer->give(frame);
  EXPECT_EQ(bench.get<u8>(kRxRing + 16 + 13), 0x40);
}

TEST_F(E1000Test, WithoutRoomItStopsTheSenderUntilTheDriverGivesSome) {
  start();
  for (int i = 0; i < 7; i++) EXPECT_TRUE(bench.peer->give(frame_to("525400123456", 60)));
  EXPECT_FALSE(bench.peer->give(frame_to("525400123456", 60)));
  EXPECT_EQ(bench.peer->readies, 0u);
  bench.write(0x2818, 3);
  bench.run();
  EXPECT_EQ(bench.peer->readies, 1u);
  EXPECT_TRUE(bench.peer->give(frame_to("525400123456", 60)));
}

/// `data` bytes of TCP in one piece, to be cut into segments of 1,000.
class E1000SegmentTest : public E1000Test {
 protected:
  bool give_long(std::size_t data) {
    std::vector<u8> frame = tcp_frame_without_sums(data);
    std::copy_n(from_hex("525400123456").begin(), 6, frame.begin());
    return bench.peer->give(frame, {.flags = 1, .gso_type = 1, .header_bytes = 54, .segment_bytes = 1000, .csum_start = 34,
                                    .csum_offset = 16});
  }
  std::vector<u8> received(unsigned index) { return bench.get_bytes(kRxBuffers + 0x1000 * index, rx_length(index)); }
};

TEST_F(E1000SegmentTest, CutsWhatComesInOnePiece) {
  start();
  bench.write(0x5000, 0x300);
  EXPECT_TRUE(give_long(2500));
  EXPECT_EQ(bench.read(0x2810), 3u);
  for (unsigned i = 0; i < 3; i++) {
    SCOPED_TRACE(i);
    EXPECT_EQ(rx_status(i) & 0x67, 0x63);
    EXPECT_EQ(bench.get<u8>(kRxRing + 16 * i + 13), 0);
    EXPECT_EQ(received(i).size(), i == 2 ? 554u : 1054u);
    EXPECT_TRUE(has_right_tcp_sum(received(i)));
  }
  EXPECT_TRUE(bench.interrupt());
}

TEST_F(E1000SegmentTest, FillsAChecksumLeftToIt) {
  start();
  std::vector<u8> frame = tcp_frame_without_sums(100);
  std::copy_n(from_hex("525400123456").begin(), 6, frame.begin());
  const u16 pseudo = net::checksum_fold(net::pseudo_header_sum(frame, *net::parse_frame(frame), 120));
  frame[50] = u8(pseudo >> 8);
  frame[51] = u8(pseudo);
  EXPECT_TRUE(bench.peer->give(frame, {.flags = 1, .csum_start = 34, .csum_offset = 16}));
  EXPECT_TRUE(has_right_tcp_sum(received(0)));
  EXPECT_TRUE(bench.peer->give(frame, {.flags = 1, .csum_start = 60000, .csum_offset = 16}));  // gone
  EXPECT_EQ(bench.read(0x2810), 1u);
}

TEST_F(E1000SegmentTest, SegmentsWithoutRoomWaitForIt) {
  start();
  bench.write(0x2818, 2);
  EXPECT_TRUE(give_long(4500));  // five, of which two find room
  EXPECT_EQ(bench.read(0x2810), 2u);
  EXPECT_FALSE(bench.peer->give(frame_to("525400123456", 60)));  // not before the rest
  bench.write(0x2818, 3);
  bench.run();
  EXPECT_EQ(bench.read(0x2810), 3u);
  EXPECT_EQ(bench.peer->readies, 0u);
  bench.write(0x2818, 7);
  bench.run();
  EXPECT_EQ(bench.read(0x2810), 5u);
  EXPECT_EQ(rx_length(4), 554u);
  EXPECT_EQ(bench.peer->readies, 1u);
  EXPECT_TRUE(bench.peer->give(frame_to("525400123456", 60)));
}

TEST_F(E1000SegmentTest, AResetForgetsSegmentsThatWait) {
  start();
  bench.write(0x2818, 2);
  EXPECT_TRUE(give_long(4500));
  bench.write(0x0000, bit(26));
  start();
  bench.run();
  EXPECT_EQ(bench.read(0x2810), 0u);
  EXPECT_TRUE(bench.peer->give(frame_to("525400123456", 60)));
  EXPECT_EQ(rx_length(0), 60);
}

TEST_F(E1000Test, ALongFrameTakesSeveralBuffers) {
  start();
  bench.write(0x0100, bit(1) | bit(5) | 3u << 16 | bit(26));  // LPE, 256 bytes
  const auto frame = frame_to("525400123456", 600);
  bench.peer->give(frame);
  EXPECT_EQ(rx_status(0) & 3, 1);
  EXPECT_EQ(rx_status(1) & 3, 1);
  EXPECT_EQ(rx_status(2) & 3, 3);
  EXPECT_EQ(rx_length(2), 600 - 512);
  bench.write(0x0100, bit(1) | bit(26));
  bench.peer->give(frame_to("525400123456", 1515));  // too long without LPE
  EXPECT_EQ(bench.read(0x2810), 3u);
  EXPECT_EQ(bench.read(0x40ac), 1u);
}

TEST_F(E1000Test, SendsALegacyFrameOutsideTheVcpusThread) {
  start();
  const auto frame = frame_to("525400fedcba", 70);
  bench.put_bytes(kTxBuffers, frame);
  descriptor(0, kTxBuffers, 20 | kRs);
  descriptor(1, kTxBuffers + 20, 50 | kEop | kRs);
  bench.write(0x3818, 2);
  EXPECT_TRUE(bench.peer->got.empty());
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 1u);
  EXPECT_EQ(bench.peer->got[0], frame);
  EXPECT_EQ(bench.get<u32>(kTxRing + 12) & 1, 1u);
  EXPECT_EQ(bench.get<u32>(kTxRing + 28) & 1, 1u);
  EXPECT_EQ(bench.read(0x3810), 2u);
  EXPECT_EQ(bench.read(0x00c0) & 3, 3u);  // TXDW, TXQE
  EXPECT_EQ(bench.read(0x4080), 1u);
}

TEST_F(E1000Test, FillsChecksumsAndCutsSegments) {
  start();
  const auto frame = tcp_frame_without_sums(3000);
  bench.put_bytes(kTxBuffers, frame);
  // Context: IP at 14 (sum at 24, to 33), TCP at 34 (sum at 50), 54 bytes of headers, segments of 1000.
  const u64 context = u64(34u | 50u << 8) << 32 | (14u | 24u << 8 | 33u << 16);
  descriptor(0, context, kDext | bit(24) | bit(25) | kTse | 3000, 54u << 8 | 1000u << 16);
  descriptor(1, kTxBuffers, kDext | 0x0010'0000 | kTse | 54, 0x300);
  descriptor(2, kTxBuffers + 54, kDext | 0x0010'0000 | kTse | kEop | kRs | 3000, 0x300);
  bench.write(0x3818, 3);
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 3u);
  for (const auto& one : bench.peer->got) {
    EXPECT_EQ(one.size(), 1054u);
    EXPECT_TRUE(has_right_tcp_sum(one));
    EXPECT_EQ(net::checksum_fold(net::checksum_add(0, std::span(one).subspan(14, 20))), 0xffff);
  }
  // A peer that can cut itself gets the whole.
  bench.peer->takes = {.checksum = true, .tso4 = true};
  descriptor(3, kTxBuffers, kDext | 0x0010'0000 | kTse | 54, 0x300);
  descriptor(4, kTxBuffers + 54, kDext | 0x0010'0000 | kTse | kEop | kRs | 3000, 0x300);
  bench.write(0x3818, 5);
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 4u);
  EXPECT_EQ(bench.peer->got[3].size(), 3054u);
  EXPECT_EQ(bench.peer->offloads[3].segment_bytes, 1000);
  EXPECT_EQ(bench.peer->offloads[3].csum_start, 34);
}

TEST_F(E1000Test, FillsChecksumsOfOneFrame) {
  start();
  auto frame = tcp_frame_without_sums(100);
  const u16 pseudo = net::checksum_fold(net::pseudo_header_sum(frame, *net::parse_frame(frame), 120));
  frame[50] = u8(pseudo >> 8);
  frame[51] = u8(pseudo);
  bench.put_bytes(kTxBuffers, frame);
  descriptor(0, u64(34u | 50u << 8) << 32 | (14u | 24u << 8 | 33u << 16), kDext | bit(24) | bit(25), 0);
  descriptor(1, kTxBuffers, kDext | 0x0010'0000 | kEop | kRs | u32(frame.size()), 0x300);
  bench.write(0x3818, 2);
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 1u);
  EXPECT_TRUE(has_right_tcp_sum(bench.peer->got[0]));
  EXPECT_EQ(net::checksum_fold(net::checksum_add(0, std::span(bench.peer->got[0]).subspan(14, 20))), 0xffff);
}

TEST_F(E1000Test, InsertsAVlanTag) {
  start();
  bench.write(0x0000, bench.read(0x0000) | bit(30));
  bench.put_bytes(kTxBuffers, frame_to("525400fedcba", 64));
  descriptor(0, kTxBuffers, 64 | kEop | kRs | kVle, 0x2007'0000);
  bench.write(0x3818, 1);
  bench.run();
  ASSERT_EQ(bench.peer->got.size(), 1u);
  EXPECT_EQ(std::vector<u8>(bench.peer->got[0].begin() + 12, bench.peer->got[0].begin() + 18), from_hex("81002007 88b5"));
}

TEST_F(E1000Test, APeerWithoutRoomHoldsTheRing) {
  start();
  bench.put_bytes(kTxBuffers, frame_to("525400fedcba", 64));
  bench.peer->refuses = true;
  for (unsigned i = 0; i < 7; i++) descriptor(i, kTxBuffers, 64 | kEop | kRs);
  bench.write(0x3818, 7);
  bench.run();
  EXPECT_TRUE(bench.peer->got.empty());
  bench.peer->go_on();
  bench.run();
  EXPECT_EQ(bench.peer->got.size(), 7u);
}

TEST_F(E1000Test, ABadRingHarmsNobody) {
  start();
  bench.write(0x3818, 5000);  // outside the ring
  bench.run();
  EXPECT_TRUE(bench.peer->got.empty());
  bench.write(0x3800, 0xfff0'0000);  // nowhere
  bench.write(0x3810, 0);
  bench.write(0x3818, 4);
  bench.run();
  EXPECT_TRUE(bench.peer->got.empty());
  bench.write(0x3800, u32(kTxRing));
  bench.write(0x3808, 0);
  bench.write(0x3818, 1);
  bench.run();
  // A frame without end does not grow without end.
  bench.write(0x3808, kRingBytes);
  bench.write(0x3810, 0);
  for (unsigned i = 0; i < 8; i++) descriptor(i, kTxBuffers, kDext | 0x0010'0000 | 0xfffff);
  for (unsigned round = 0; round < 20; round++) {
    bench.write(0x3818, (round % 2) * 4 + 3);
    bench.run();
  }
  EXPECT_TRUE(bench.peer->got.empty());
  bench.write(0x2818, 60000);
  EXPECT_FALSE(bench.peer->give(frame_to("525400123456", 60)));
}

TEST_F(E1000Test, InterruptsAtOnceWhateverTheThrottlingRegisterSays) {
  start();
  bench.write(0x00c4, 1000);
  for (int i = 0; i < 2; i++) {
    bench.peer->give(frame_to("525400123456", 60));
    EXPECT_TRUE(bench.interrupt());
    bench.read(0x00c0);
    EXPECT_FALSE(bench.interrupt());
  }
  EXPECT_EQ(bench.read(0x00c4), 1000u);
}

TEST_F(E1000Test, ThrottlesInterruptsWithMitigation) {
  start();
  bench.turn_on("mitigation");
  bench.write(0x00c4, 1000);  // 256 us
  bench.peer->give(frame_to("525400123456", 60));
  EXPECT_TRUE(bench.interrupt());
  bench.read(0x00c0);
  bench.peer->give(frame_to("525400123456", 60));
  EXPECT_FALSE(bench.interrupt());
  bench.advance(std::chrono::microseconds(300));
  EXPECT_TRUE(bench.interrupt());
}

TEST_F(E1000Test, LoopsBack) {
  start();
  bench.write(0x0100, bench.read(0x0100) | 3u << 6);
  const auto frame = frame_to("525400123456", 64);
  bench.put_bytes(kTxBuffers, frame);
  descriptor(0, kTxBuffers, 64 | kEop | kRs);
  bench.write(0x3818, 1);
  bench.run();
  EXPECT_TRUE(bench.peer->got.empty());
  EXPECT_EQ(bench.get_bytes(kRxBuffers, 64), frame);
}

TEST_F(E1000Test, AShortFrameLoopsBackPadded) {
  start();
  bench.write(0x0000, bench.read(0x0000) | bit(30));  // VME
  bench.write(0x0100, bench.read(0x0100) | 3u << 6);
  bench.put_bytes(kTxBuffers, from_hex("525400123456 525400fedcba 8100"));
  descriptor(0, kTxBuffers, 14 | kEop | kRs);
  bench.write(0x3818, 1);
  bench.run();
  EXPECT_EQ(rx_length(0), 60 - 4);
  EXPECT_NE(rx_status(0) & 8, 0);
}

TEST_F(E1000Test, APacketShorterThanItsHeadersHasNoSum) {
  start();
  bench.write(0x5000, 0x300);
  // IPv6 of one byte, whose extension header goes on behind it, and TCP behind that.
  bench.peer->give(from_hex(
      "525400123456 525400fedcba 86dd"
      "60000000 0001 3c 40 fe800000000000000000000000000001 fe800000000000000000000000000002"
      "0600000000000000"
      "1234 0050 00000000 00000000 50 18 ffff 0000 0000"));
  EXPECT_EQ(rx_status(0) & 0x64, 0x04);  // IXSM
}

TEST_F(E1000Test, RegistersAreReachedThroughPorts) {
  bench.out(0, 0x5400, 4);
  EXPECT_EQ(bench.in(4, 4), 0x1200'5452u);
}

TEST_F(E1000Test, SavesAndLoads) {
  start();
  bench.write(0x00c4, 100);
  bench.peer->give(frame_to("525400123456", 60));
  bench.expect_round_trip();
  bench.write(0x0000, bit(26));
  EXPECT_EQ(bench.read(0x2808), 0u);
  EXPECT_EQ(bench.read(0x5404), 0x8000'5634u);
}

TEST_F(E1000Test, OutlivesItsNetdev) {
  start();
  bench.run();
  ASSERT_TRUE(net::remove_netdev(bench.machine().tree(), "n0"));
  EXPECT_EQ(bench.card().get("netdev")->text(), "");
  descriptor(0, kTxBuffers, 64 | kEop | kRs);
  bench.write(0x3818, 1);
  bench.machine().run_main_loop();
  EXPECT_EQ(bench.read(0x3810), 1u);
}

}  // namespace
}  // namespace emu::test
