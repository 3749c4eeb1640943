// SPDX-License-Identifier: Apache-2.0
// What stands outside a fuzzed device: a stream and a wire that bring what the fuzzer says and may be slow.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "chardev/chardev.h"
#include "net/net_client.h"

namespace emu::fuzz {

class Stream final : public Chardev {
 public:
  Stream() : Chardev("fuzz") {}
  std::string description() const override { return "fuzz"; }
  void type(std::span<const u8> bytes) {
    if (frontend() == nullptr) return;
    const auto taken = bytes.first(std::min(bytes.size(), frontend()->can_receive()));
    if (!taken.empty()) frontend()->receive(taken);
  }
  void happen(ChardevEvent event) { tell(event); }
  void set_room(std::size_t bytes) {
    room_ = bytes;
    if (room_ != 0 && frontend() != nullptr) frontend()->writable();
  }

 protected:
  std::size_t do_write(std::span<const u8> data) override {
    const std::size_t taken = std::min(room_, data.size());
    if (room_ != kEndless) room_ -= taken;
    return taken;
  }

 private:
  static constexpr std::size_t kEndless = ~std::size_t(0);
  std::size_t room_ = kEndless;
};

class Wire final : public net::NetClient {
 public:
  explicit Wire(EventLoop& event_loop) : loop_(event_loop) {}
  std::string kind() const override { return "fuzz"; }
  EventLoop& loop() const override { return loop_; }
  unsigned queues() const override { return 1; }
  net::OffloadSet receive_offloads() const override { return takes; }
  net::OffloadSet possible_offloads() const override { return {true, true, true, true, true, true}; }

  void give(std::span<const u8> bytes, const net::PacketOffload& offload) {
    std::vector<u8> copy(bytes.begin(), bytes.end());
    const std::size_t half = copy.size() / 2;
    const iovec parts[] = {{copy.data(), half}, {copy.data() + half, copy.size() - half}};
    send(net::Packet{.parts = parts, .offload = offload});
  }
  void set_refusing(bool refusing) {
    refuses_ = refusing;
    if (!refusing) ready();
  }
  net::OffloadSet takes;

 protected:
  bool receive(const net::Packet& packet) override {
    if (refuses_) return false;
    // Each byte is looked at, so that a sanitizer sees a packet of memory that is not there.
    for (const iovec& part : packet.parts) {
      for (std::size_t i = 0; i < part.iov_len; i++) sum_ = u8(sum_ + static_cast<const u8*>(part.iov_base)[i]);
    }
    return true;
  }

 private:
  EventLoop& loop_;
  bool refuses_ = false;
  u8 sum_ = 0;
};

}  // namespace emu::fuzz
