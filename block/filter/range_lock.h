// SPDX-License-Identifier: Apache-2.0
// Stretches of a node that one request at a time works on.
#pragma once

#include <iterator>
#include <list>
#include <vector>

#include "util/check.h"
#include "util/task.h"
#include "util/types.h"

namespace emu::block {

/// All on one loop, which calls name because nodes move.
class RangeLock {
 public:
  RangeLock() = default;
  ~RangeLock() { EMU_CHECK(stretches_.empty()); }

 private:
  struct Stretch {
    u64 begin, end;
    std::vector<Completion<bool>> waiters;
  };

 public:
  /// In line from its construction to its destruction; the stretch is its own once wait() is done.
  class Held {
   public:
    Held(RangeLock& lock, u64 begin, u64 end) : lock_(lock) {
      mine_ = lock_.stretches_.insert(lock_.stretches_.end(), Stretch{begin, end, {}});
    }
    ~Held() {
      const auto waiters = std::move(mine_->waiters);
      lock_.stretches_.erase(mine_);
      for (const Completion<bool>& waiter : waiters) waiter.complete(true);
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    Task<void> wait(EventLoop& loop) {
      while (Stretch* earlier = earlier_overlap()) {
        const Completion<bool> released(loop);
        earlier->waiters.push_back(released);
        co_await released;
      }
    }

   private:
    Stretch* earlier_overlap() {
      for (auto other = lock_.stretches_.begin(); other != mine_; ++other) {
        if (other->begin < mine_->end && mine_->begin < other->end) return &*other;
      }
      return nullptr;
    }
    RangeLock& lock_;
    std::list<Stretch>::iterator mine_;
  };

 private:
  std::list<Stretch> stretches_;  ///< in the order of arrival
};

}  // namespace emu::block
