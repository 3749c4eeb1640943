// SPDX-License-Identifier: Apache-2.0
#include "net/offload.h"

#include "unit/net/net_bench.h"

namespace emu::test {
namespace {

using net::PacketOffload;

/// An IPv4 TCP frame: ports 0x1234 and 80, sequence number 0xfffffff0, `data` bytes that count up.
std::vector<u8> tcp_frame(std::size_t data, u8 flags) {
  std::vector<u8> frame = from_hex(
      "525400123456 525400fedcba 0800"
      "4500 0000 0100 4000 4006 0000 0a00020f 0a000202"
      "1234 0050 fffffff0 00000001 50 00 ffff 0000 0000");
  frame[14 + 20 + 13] = flags;
  const std::size_t total = 40 + data;
  frame[16] = u8(total >> 8);
  frame[17] = u8(total);
  for (std::size_t i = 0; i < data; i++) frame.push_back(u8(i));
  return frame;
}

bool is_sum_right(std::span<const u8> frame) {
  const auto layout = net::parse_frame(frame);
  if (!layout) return false;
  const u32 bytes = u32(frame.size() - layout->transport);
  return net::checksum_fold(net::checksum_add(net::pseudo_header_sum(frame, *layout, bytes),
                                              frame.subspan(layout->transport))) == 0xffff;
}

TEST(Offload, SumOfRfc1071) {
  // The worked example of RFC 1071, section 3: ddf2.
  const std::vector<u8> bytes = from_hex("0001f203f4f5f6f7");
  EXPECT_EQ(net::checksum_fold(net::checksum_add(0, bytes)), 0xddf2);
}

TEST(Offload, SumOfAKnownIpHeader) {
  // From "IPv4 header checksum" as it is taught: the sum of this header is b861.
  std::vector<u8> header = from_hex("4500 0073 0000 4000 4011 0000 c0a80001 c0a800c7");
  EXPECT_EQ(u16(~net::checksum_fold(net::checksum_add(0, header))), 0xb861);
}

TEST(Offload, SumsOfAllLengthsAreThoseOfTheDefinition) {
  std::vector<u8> bytes;
  u32 seed = 7;
  for (unsigned length = 0; length < 200; length++) {
    u32 expected = 0x1234;
    for (std::size_t i = 0; i < bytes.size(); i++) expected += i % 2 == 0 ? u32(bytes[i]) << 8 : bytes[i];
    EXPECT_EQ(net::checksum_fold(net::checksum_add(0x1234, bytes)), net::checksum_fold(expected)) << length;
    seed = seed * 1103515245 + 12345;
    bytes.push_back(length % 3 == 0 ? 0xff : u8(seed >> 16));
  }
}

/// Cards index what follows by the layout: a packet whose own length ends before its headers do has none.
TEST(Offload, HeadersBehindThePacketsEndAreNone) {
  std::vector<u8> v6 = from_hex("525400123456 525400fedcba 86dd 60000000 0008 00 40");
  v6.resize(14 + 40);
  const std::vector<u8> options = from_hex("06 1f");  // hop-by-hop options of 256 bytes, then TCP
  v6.insert(v6.end(), options.begin(), options.end());
  v6.resize(14 + 40 + 256);
  v6.resize(v6.size() + 12);
  v6.push_back(0x50);
  v6.resize(v6.size() + 100);
  EXPECT_FALSE(net::parse_frame(v6));
  v6[14 + 5] = 0xff;  // 255 of the 256 bytes
  EXPECT_FALSE(net::parse_frame(v6));
  v6[14 + 4] = 0x01;
  v6[14 + 5] = 0x14;  // 256 and 20
  EXPECT_TRUE(net::parse_frame(v6));
  std::vector<u8> v4 = tcp_frame(0, 0x10);
  v4[17] = 30;
  EXPECT_FALSE(net::parse_frame(v4));
}

TEST(Offload, FillsAChecksumBehindAPseudoHeader) {
  std::vector<u8> frame = tcp_frame(11, 0x18);
  const auto layout = net::parse_frame(frame);
  ASSERT_TRUE(layout);
  const u16 pseudo = net::checksum_fold(net::pseudo_header_sum(frame, *layout, 31));
  frame[14 + 20 + 16] = u8(pseudo >> 8);
  frame[14 + 20 + 17] = u8(pseudo);
  ASSERT_TRUE(net::fill_checksum(frame, 34, 16));
  EXPECT_TRUE(is_sum_right(frame));
  EXPECT_FALSE(net::fill_checksum(frame, 34, 60000));
  EXPECT_FALSE(net::fill_checksum(frame, 60000, 0));
}

TEST(Offload, CutsATcpFrame) {
  const std::vector<u8> frame = tcp_frame(2500, 0x80 | 0x18 | 0x01);  // CWR, PSH, ACK, FIN
  std::vector<std::vector<u8>> out;
  const PacketOffload offload{.flags = 1, .gso_type = 1, .header_bytes = 54, .segment_bytes = 1000, .csum_start = 34, .csum_offset = 16};
  ASSERT_TRUE(net::segment(frame, offload, [&](std::span<const u8> one) { out.emplace_back(one.begin(), one.end()); }));
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0].size(), 54u + 1000);
  EXPECT_EQ(out[2].size(), 54u + 500);
  for (std::size_t i = 0; i < 3; i++) {
    SCOPED_TRACE(i);
    EXPECT_TRUE(is_sum_right(out[i]));
    EXPECT_EQ(net::checksum_fold(net::checksum_add(0, std::span(out[i]).subspan(14, 20))), 0xffff);
    EXPECT_EQ(out[i][18] << 8 | out[i][19], 0x0100 + int(i));  // the IP packet's number
    EXPECT_EQ(out[i][16] << 8 | out[i][17], int(out[i].size() - 14));
  }
  EXPECT_EQ(out[0][47], 0x80 | 0x10);          // first: CWR, no PSH, no FIN
  EXPECT_EQ(out[1][47], 0x10);                 // in the middle: neither
  EXPECT_EQ(out[2][47], 0x18 | 0x01);          // last: PSH and FIN
  EXPECT_EQ(out[1][41], u8(0xf0 + 1000));      // the sequence number wraps
  EXPECT_EQ(out[1][38], 0x00);
  EXPECT_EQ(out[1][54], u8(1000));
}

TEST(Offload, CutsUdpAndTcpOverIpv6) {
  std::vector<u8> frame = from_hex(
      "525400123456 525400fedcba 86dd"
      "60000000 0000 11 40 fec00000000000000000000000000002 fec00000000000000000000000000003"
      "1234 0050 0000 0000");
  frame.resize(frame.size() + 150, 0x5a);
  frame[18] = 0;
  frame[19] = 158;
  std::vector<std::vector<u8>> out;
  const auto keep = [&](std::span<const u8> one) { out.emplace_back(one.begin(), one.end()); };
  ASSERT_TRUE(net::segment(frame, {.flags = 1, .gso_type = 5, .segment_bytes = 100}, keep));
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].size(), 62u + 50);
  EXPECT_EQ(out[1][58] << 8 | out[1][59], 58);
  EXPECT_TRUE(is_sum_right(out[0]));
  EXPECT_TRUE(is_sum_right(out[1]));
  EXPECT_FALSE(net::segment(frame, {.gso_type = 4, .segment_bytes = 100}, keep));  // it is not TCP
  EXPECT_FALSE(net::segment(frame, {.gso_type = 5, .segment_bytes = 0}, keep));
}

TEST(Offload, ShortFramesAreNoFrames) {
  const std::vector<u8> frame = tcp_frame(10, 0x10);
  for (std::size_t size = 0; size < 54; size++) {
    EXPECT_FALSE(net::parse_frame(std::span(frame).first(size))) << size;
  }
}

TEST(Offload, HeadersEndWhereTheirPacketDoes) {
  // IPv6 of one byte, whose extension header goes on behind it, and TCP behind that.
  std::vector<u8> v6 = from_hex(
      "525400123456 525400fedcba 86dd"
      "60000000 0001 3c 40 fe800000000000000000000000000001 fe800000000000000000000000000002"
      "0600000000000000"
      "1234 0050 00000000 00000000 50 18 ffff 0000 0000");
  EXPECT_FALSE(net::parse_frame(v6));
  v6[14 + 5] = 8 + 20;
  EXPECT_TRUE(net::parse_frame(v6));
  // IPv4 whose length leaves no room for the whole TCP header; the rest is padding.
  std::vector<u8> v4 = tcp_frame(20, 0x10);
  v4[17] = 39;
  EXPECT_FALSE(net::parse_frame(v4));
  v4[17] = 40;
  EXPECT_TRUE(net::parse_frame(v4));
}

TEST(OffloadSender, DoesForThePeerWhatItCannot) {
  EventLoop loop;
  FakePeer card(loop), peer(loop);
  ASSERT_TRUE(net::NetClient::connect(card, peer));
  net::OffloadSender sender;
  const std::vector<u8> frame = tcp_frame(2500, 0x18);
  const iovec part{const_cast<u8*>(frame.data()), frame.size()};
  const net::Packet packet{.parts = {&part, 1},
                           .offload = {.flags = 1, .gso_type = 1, .header_bytes = 54, .segment_bytes = 1000,
                                       .csum_start = 34, .csum_offset = 16}};
  EXPECT_TRUE(sender.send(card, packet));
  EXPECT_EQ(peer.got.size(), 3u);
  peer.takes = {.checksum = true, .tso4 = true};
  EXPECT_TRUE(sender.send(card, packet));
  ASSERT_EQ(peer.got.size(), 4u);
  EXPECT_EQ(peer.got[3], frame);
  EXPECT_EQ(peer.offloads[3].segment_bytes, 1000);
}

TEST(OffloadSender, KeepsSegmentsThatThePeerRefuses) {
  EventLoop loop;
  FakePeer card(loop), peer(loop);
  ASSERT_TRUE(net::NetClient::connect(card, peer));
  net::OffloadSender sender;
  const std::vector<u8> frame = tcp_frame(2500, 0x18);
  const iovec part{const_cast<u8*>(frame.data()), frame.size()};
  const net::Packet packet{.parts = {&part, 1}, .offload = {.gso_type = 1, .segment_bytes = 1000}};
  peer.refuses = true;
  EXPECT_TRUE(sender.send(card, packet));
  EXPECT_FALSE(sender.send(card, packet));  // one at a time
  EXPECT_TRUE(peer.got.empty());
  peer.go_on();
  EXPECT_EQ(card.readies, 1u);
  EXPECT_TRUE(sender.flush(card));
  EXPECT_EQ(peer.got.size(), 3u);
}

}  // namespace
}  // namespace emu::test
