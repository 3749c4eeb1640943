// SPDX-License-Identifier: Apache-2.0
// Quiescent points of vCPU threads: moments at which a vCPU stands between blocks and uses no block, link or TLB entry
// from before. They decide when code is published and when its memory may be reused. Nobody waits for them.
#pragma once

#include <atomic>
#include <vector>

#include "util/types.h"

namespace emu::accel {

class Quiescence {
 public:
  class Participant {
    friend class Quiescence;
    std::atomic<u64> seen_{kOffline};
  };

  /// Before any vCPU runs.
  void add(Participant& participant) { participants_.push_back(&participant); }

  /// Starts a grace period; passed() says when it is over. A change, or the request that makes vCPUs see it, comes
  /// before this call.
  u64 advance() { return epoch_.fetch_add(1, std::memory_order_seq_cst) + 1; }

  /// Every participant but `self`, which vouches for itself, has been quiescent or offline since `epoch` began.
  bool passed(u64 epoch, const Participant* self) const {
    for (const Participant* p : participants_) {
      if (p != self && p->seen_.load(std::memory_order_seq_cst) < epoch) return false;
    }
    return true;
  }

  /// Own thread. The caller applies all queued requests after this and before it touches a table or runs code: a
  /// request is queued before its epoch begins, so whoever saw the epoch also sees the request.
  void quiescent(Participant& p) {
    p.seen_.store(epoch_.load(std::memory_order_seq_cst), std::memory_order_seq_cst);
  }
  void offline(Participant& p) { p.seen_.store(kOffline, std::memory_order_seq_cst); }

 private:
  static constexpr u64 kOffline = ~u64(0);
  std::atomic<u64> epoch_{1};
  std::vector<Participant*> participants_;
};

}  // namespace emu::accel
