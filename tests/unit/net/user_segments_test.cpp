// SPDX-License-Identifier: Apache-2.0
#include "net/user_segments.h"

#include "unit/net/net_bench.h"

namespace emu::test {
namespace {

using Bytes = std::vector<u8>;

/// TCP over IPv4 with `data` bytes; its lengths and sums are not filled in.
Bytes segment_of(std::size_t data) {
  Bytes frame = from_hex(
      "525400123456 525500000000 0800"
      "4500 0000 0001 4000 4006 0000 0a000202 0a00020f"
      "0050 1234 00000001 00000001 50 18 ffff 0000 0000");
  for (std::size_t i = 0; i < data; i++) frame.push_back(u8(i * 7));
  return frame;
}

bool is_sum_right(std::span<const u8> frame) {
  const auto layout = net::parse_frame(frame);
  if (!layout) return false;
  const auto body = frame.subspan(layout->transport, layout->end - layout->transport);
  const u32 pseudo = net::pseudo_header_sum(frame, *layout, u32(body.size()));
  const auto header = frame.subspan(layout->network, layout->transport - layout->network);
  return net::checksum_fold(net::checksum_add(pseudo, body)) == 0xffff &&
         (layout->is_v6 || net::checksum_fold(net::checksum_add(0, header)) == 0xffff);
}

constexpr net::PacketOffload kTso{
    .flags = 1, .gso_type = 1, .header_bytes = 54, .segment_bytes = 1460, .csum_start = 34, .csum_offset = 16};

TEST(UserSegments, ALongSegmentIsMadeWhole) {
  Bytes frame = segment_of(50000);
  ASSERT_TRUE(net::finish_for_libslirp(frame, kTso));
  EXPECT_EQ(frame[16] << 8 | frame[17], 50040);
  EXPECT_TRUE(is_sum_right(frame));
}

TEST(UserSegments, WhatIsNoTcpOrTooLongIsRefused) {
  Bytes udp = segment_of(3000);
  udp[23] = 17;
  EXPECT_FALSE(net::finish_for_libslirp(udp, kTso));
  Bytes longest = segment_of(65535 - 40), longer = segment_of(65536 - 40), nothing(10);
  EXPECT_TRUE(net::finish_for_libslirp(longest, kTso));
  EXPECT_FALSE(net::finish_for_libslirp(longer, kTso));
  EXPECT_FALSE(net::finish_for_libslirp(nothing, kTso));
  EXPECT_FALSE(net::finish_for_libslirp(nothing, {.flags = 1, .csum_start = 9, .csum_offset = 0}));
}

/// A SYN whose only option, behind one that does nothing, is the segment size; its sum is right.
Bytes syn_of(u16 segment_size) {
  Bytes frame = segment_of(0);
  frame[46] = 0x70;
  frame[47] = 0x02;
  const Bytes options{1, 2, 4, u8(segment_size >> 8), u8(segment_size), 1, 1, 0};
  frame.insert(frame.end(), options.begin(), options.end());
  EXPECT_TRUE(net::finish_for_libslirp(frame, kTso));
  return frame;
}

TEST(UserSegments, AGuestWhoseSegmentsFillItsWireIsSaidToTakeManyInOne) {
  Bytes syn = syn_of(1460);
  EXPECT_TRUE(net::is_syn(syn));
  net::raise_segment_size(syn);
  EXPECT_EQ(syn[57] << 8 | syn[58], 22 * 1460);
  EXPECT_TRUE(is_sum_right(syn));
}

TEST(UserSegments, ASmallerSizeAndABadSumStayAsTheyAre) {
  Bytes small = syn_of(1380), bad = syn_of(1460);
  bad[50] ^= 1;
  const Bytes small_before = small, bad_before = bad;
  net::raise_segment_size(small);
  net::raise_segment_size(bad);
  EXPECT_EQ(small, small_before);
  EXPECT_EQ(bad, bad_before);
  EXPECT_FALSE(net::is_syn(segment_of(3)));
}

TEST(UserSegments, BrokenOptionsHarmNobody) {
  for (unsigned value = 0; value < 256; value++) {
    Bytes syn = syn_of(1460);
    syn[54] = 77;
    syn[55] = u8(value);
    ASSERT_TRUE(net::finish_for_libslirp(syn, kTso));
    net::raise_segment_size(syn);
    EXPECT_TRUE(is_sum_right(syn));
  }
}

TEST(UserSegments, AJoinedFrameCutAgainIsTheSameData) {
  Bytes frame = segment_of(20000);
  ASSERT_TRUE(net::finish_for_libslirp(frame, kTso));
  const auto joined = net::describe_joined(frame);
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->offload.segment_bytes, 1460);
  Bytes sent = frame;
  std::copy_n(joined->pseudo_sum, 2, sent.begin() + joined->sum_at);
  Bytes data;
  ASSERT_TRUE(net::segment(sent, joined->offload, [&](std::span<const u8> one) {
    EXPECT_LE(one.size(), 1514u);
    EXPECT_TRUE(is_sum_right(one));
    data.insert(data.end(), one.begin() + 54, one.end());
  }));
  EXPECT_TRUE(std::equal(data.begin(), data.end(), frame.begin() + 54, frame.end()));
}

TEST(UserSegments, ADatagramIsCutIntoFragments) {
  Bytes frame = segment_of(4000);
  frame[23] = 17;
  frame[20] = 0;  // fragments are allowed
  frame[16] = u8(4020 >> 8);
  frame[17] = u8(4020 & 0xff);
  frame.resize(14 + 4020);
  frame[38] = u8(4000 >> 8);  // UDP length
  frame[39] = u8(4000 & 0xff);
  std::vector<Bytes> out;
  ASSERT_TRUE(net::fragment(frame, [&](std::span<const u8> one) { out.emplace_back(one.begin(), one.end()); }));
  ASSERT_EQ(out.size(), 3u);
  Bytes data;
  for (const Bytes& one : out) {
    EXPECT_LE(one.size(), 1514u);
    EXPECT_EQ(net::checksum_fold(net::checksum_add(0, std::span(one).subspan(14, 20))), 0xffff);
    EXPECT_EQ((one[20] & 0x20) != 0, &one != &out.back());
    EXPECT_EQ(std::size_t((one[20] & 0x1f) << 8 | one[21]) * 8, data.size());
    data.insert(data.end(), one.begin() + 34, one.end());
  }
  EXPECT_TRUE(std::equal(data.begin(), data.end(), frame.begin() + 34, frame.end()));
  frame[20] = 0x40;
  EXPECT_FALSE(net::fragment(frame, [](std::span<const u8>) {}));
}

}  // namespace
}  // namespace emu::test
