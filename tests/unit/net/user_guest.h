// SPDX-License-Identifier: Apache-2.0
// A guest on a user network, and the frames it sends.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "net/user_net.h"
#include "unit/net/net_bench.h"

namespace emu::test {

inline u16 get16(const std::vector<u8>& bytes, std::size_t at) { return u16(bytes[at] << 8 | bytes[at + 1]); }
inline u32 get32(const std::vector<u8>& bytes, std::size_t at) {
  return u32(get16(bytes, at)) << 16 | get16(bytes, at + 2);
}
inline void put16(std::vector<u8>& bytes, u16 value) {
  bytes.push_back(u8(value >> 8));
  bytes.push_back(u8(value));
}
inline void put32(std::vector<u8>& bytes, u32 value) {
  put16(bytes, u16(value >> 16));
  put16(bytes, u16(value));
}

inline constexpr u32 kGuest = 0x0a00'020f, kGateway = 0x0a00'0202;
inline const std::vector<u8> kGuestMac = from_hex("525400123456"), kGatewayMac = from_hex("525500000000");

/// An IPv4 frame of the guest with its checksums.
inline std::vector<u8> ip_frame(u8 protocol, u32 from, u32 to, const std::vector<u8>& body,
                                const std::vector<u8>& mac) {
  std::vector<u8> frame = mac;
  frame.insert(frame.end(), kGuestMac.begin(), kGuestMac.end());
  put16(frame, 0x0800);
  put16(frame, 0x4500);
  put16(frame, u16(20 + body.size()));
  put32(frame, 0);
  frame.insert(frame.end(), {64, protocol, 0, 0});
  put32(frame, from);
  put32(frame, to);
  const u16 sum = u16(~net::checksum_fold(net::checksum_add(0, std::span(frame).subspan(14, 20))));
  frame[24] = u8(sum >> 8);
  frame[25] = u8(sum);
  frame.insert(frame.end(), body.begin(), body.end());
  return frame;
}

inline std::vector<u8> tcp_frame(u16 source, u16 destination, u32 to, u32 sequence, u32 acknowledged, u8 flags,
                                 std::string_view data = "") {
  std::vector<u8> body;
  put16(body, source);
  put16(body, destination);
  put32(body, sequence);
  put32(body, acknowledged);
  body.insert(body.end(), {0x50, flags});
  put16(body, 0xffff);
  put32(body, 0);
  body.insert(body.end(), data.begin(), data.end());
  std::vector<u8> frame = ip_frame(6, kGuest, to, body, kGatewayMac);
  const auto layout = net::parse_frame(frame);
  const u16 pseudo = net::checksum_fold(net::pseudo_header_sum(frame, *layout, u32(body.size())));
  frame[34 + 16] = u8(pseudo >> 8);
  frame[34 + 17] = u8(pseudo);
  net::fill_checksum(frame, 34, 16);
  return frame;
}

/// The last frame to the guest that `wanted` holds for.
inline const std::vector<u8>* find(const FakePeer& card, const std::function<bool(const std::vector<u8>&)>& wanted) {
  for (auto frame = card.got.rbegin(); frame != card.got.rend(); ++frame) {
    if (wanted(*frame)) return &*frame;
  }
  return nullptr;
}
inline bool is_tcp(const std::vector<u8>& frame, u8 flags) {
  return frame.size() >= 54 && get16(frame, 12) == 0x0800 && frame[23] == 6 && (frame[47] & flags) == flags;
}

inline const std::vector<u8> kArpRequest =
    from_hex("ffffffffffff 525400123456 0806 0001 0800 06 04 0001 525400123456 0a00020f 000000000000 0a000202");

class Guest {
 public:
  explicit Guest(const std::string& options) : net_(bench.made("user,id=n0" + options)), card(bench.loop) {
    EXPECT_TRUE(net::NetClient::connect(card, net_));
    // Whoever asks for our address learns it.
    card.on_packet = [this](const std::vector<u8>& frame) {
      if (frame.size() < 42 || get16(frame, 12) != 0x0806 || get16(frame, 20) != 1) return;
      std::vector<u8> reply(frame.begin() + 6, frame.begin() + 12);
      reply.insert(reply.end(), kGuestMac.begin(), kGuestMac.end());
      const std::vector<u8> head = from_hex("0806 0001 0800 06 04 0002");
      reply.insert(reply.end(), head.begin(), head.end());
      reply.insert(reply.end(), kGuestMac.begin(), kGuestMac.end());
      put32(reply, get32(frame, 38));
      reply.insert(reply.end(), frame.begin() + 22, frame.begin() + 32);
      card.give(reply);
    };
    card.give(kArpRequest);
  }
  NetBench bench;

 private:
  net::NetClient& net_;

 public:
  FakePeer card;
  net::UserNet& net() { return dynamic_cast<net::UserNet&>(net_); }
  /// Waits for the answer to a SYN: the number that is to be acknowledged; 0 when none came.
  u32 answered_syn() {
    const std::vector<u8>* reply = nullptr;
    EXPECT_TRUE(
        bench.wait_for([&] { return (reply = find(card, [](const auto& f) { return is_tcp(f, 0x12); })) != nullptr; }));
    return reply == nullptr ? 0 : get32(*reply, 38) + 1;
  }
};

}  // namespace emu::test
