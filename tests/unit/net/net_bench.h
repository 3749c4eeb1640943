// SPDX-License-Identifier: Apache-2.0
// A loop, a tree and a peer that records: what tests of network back ends stand on.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "net/mac_address.h"
#include "net/netdev.h"
#include "net/offload.h"
#include "net/register.h"
#include "qom/user_creatable.h"

namespace emu::test {

/// The other end of a wire: keeps what it is sent, and refuses while told so.
class FakePeer final : public net::NetClient {
 public:
  explicit FakePeer(EventLoop& event_loop) : loop_(event_loop) {}
  std::string kind() const override { return "fake"; }
  EventLoop& loop() const override { return loop_; }
  net::OffloadSet receive_offloads() const override { return takes; }

  bool give(const std::vector<u8>& bytes, net::PacketOffload offload = {}) {
    const iovec part{const_cast<u8*>(bytes.data()), bytes.size()};
    return send(net::Packet{.parts = {&part, 1}, .offload = offload});
  }
  void go_on() {
    refuses = false;
    ready();
  }

  std::vector<std::vector<u8>> got;
  std::vector<net::PacketOffload> offloads;
  net::OffloadSet takes;
  bool refuses = false;
  unsigned readies = 0, links = 0;
  std::function<void(const std::vector<u8>&)> on_packet;

 protected:
  bool receive(const net::Packet& packet) override {
    if (refuses) return false;
    got.push_back(net::flatten(packet));
    offloads.push_back(packet.offload);
    if (on_packet) on_packet(got.back());
    return true;
  }
  void peer_ready() override { readies++; }
  void link_changed() override { links++; }

 private:
  EventLoop& loop_;
};

class NetBench {
 public:
  NetBench() : tree(registry()) {}
  /// "user,id=n0,..." as after -netdev.
  Result<net::NetClient*> add(std::string_view text) {
    return net::add_netdev({.tree = tree, .loop = loop}, EMU_TRY(Options::parse(text, {.implied_key = "type"})));
  }
  net::NetClient& made(std::string_view text) {
    auto client = add(text);
    EXPECT_TRUE(client.has_value()) << client.error().text();
    EMU_CHECK(client.has_value());
    return **client;
  }
  std::string refusal(std::string_view text) {
    auto client = add(text);
    return client ? "" : client.error().text();
  }
  /// Runs the loop until that holds, for some seconds at most.
  bool wait_for(const std::function<bool()>& done) {
    for (unsigned i = 0; i < 5000; i++) {
      if (done()) return true;
      if (!loop.run_once(false)) ::usleep(1000);
    }
    return done();
  }

  qom::TypeRegistry types;
  EventLoop loop;
  qom::ObjectTree tree;

 private:
  const qom::TypeRegistry& registry() {
    types.add_abstract<qom::UserCreatable, qom::Object>();
    net::register_net_types(types);
    net::register_net_objects(types);
    return types;
  }
};

inline std::vector<u8> from_hex(std::string_view text) {
  std::vector<u8> bytes;
  std::string digits;
  std::copy_if(text.begin(), text.end(), std::back_inserter(digits), [](char c) { return c != ' ' && c != '\n'; });
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(u8(std::stoul(digits.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

}  // namespace emu::test
