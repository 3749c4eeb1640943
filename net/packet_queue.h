// SPDX-License-Identifier: Apache-2.0
// Packets that the receiver had no room for, in order and bounded.
#pragma once

#include <deque>
#include <functional>
#include <vector>

#include "net/net_client.h"

namespace emu::net {

class PacketQueue {
 public:
  explicit PacketQueue(std::size_t most = 1024) : most_(most) {}

  /// Keeps a copy; drops it when there are too many.
  void push(const Packet& packet);
  /// Sends as many as the peer takes; true when none are left.
  bool drain(const std::function<bool(const Packet&)>& send);
  bool empty() const { return packets_.empty(); }
  bool is_full() const { return packets_.size() >= most_; }
  void clear() { packets_.clear(); }

 private:
  struct Kept {
    std::vector<u8> bytes;
    PacketOffload offload;
  };
  const std::size_t most_;
  std::deque<Kept> packets_;
};

}  // namespace emu::net
