// SPDX-License-Identifier: Apache-2.0
#include "net/packet_queue.h"

#include "net/offload.h"

namespace emu::net {

void PacketQueue::push(const Packet& packet) {
  if (!is_full()) packets_.push_back({flatten(packet), packet.offload});
}

bool PacketQueue::drain(const std::function<bool(const Packet&)>& send) {
  while (!packets_.empty()) {
    // Sending may bring new packets here: what is sent is no longer in the queue then.
    Kept kept = std::move(packets_.front());
    packets_.pop_front();
    const iovec part{kept.bytes.data(), kept.bytes.size()};
    if (!send(Packet{.parts = {&part, 1}, .offload = kept.offload})) {
      packets_.push_front(std::move(kept));
      return false;
    }
  }
  return true;
}

}  // namespace emu::net
