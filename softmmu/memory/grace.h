// SPDX-License-Identifier: Apache-2.0
// Grace periods: what was unpublished is freed once nobody can still be looking at it.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <mutex>
#include <vector>

#include "util/types.h"

namespace emu::mem {

/// Two kinds of readers may hold pointers into published structures (flat views, regions, host RAM addresses):
/// - a ReadGuard, for a short access by any thread: no registration, two uncontended atomic adds;
/// - a Participant, for a vCPU, whose TLBs keep such pointers between accesses: it holds them until it next calls
///   quiescent() (after having applied its queued flushes) or goes offline (halted, or stopped).
/// defer() runs its callback after every reader that was there has left. Nobody waits: poll() on the main loop runs
/// what is due. Any thread may defer.
class GracePeriods {
 public:
  class Participant;
  class ReadGuard;

  GracePeriods() = default;
  ~GracePeriods();
  GracePeriods(const GracePeriods&) = delete;
  GracePeriods& operator=(const GracePeriods&) = delete;

  /// Runs `callback` from poll() once all present readers are gone.
  void defer(std::function<void()> callback);
  /// Main loop, machine lock held: advances the present grace period and runs what is due.
  /// Returns true while something is still waiting; then call again soon (every few milliseconds, or when kicked).
  bool poll();
  /// Called by defer(), from any thread, so that the main loop polls and vCPUs reach a quiescent point soon.
  void set_kick(std::function<void()> kick);

 private:
  friend class Participant;
  friend class ReadGuard;
  static constexpr unsigned kStripes = 16;
  struct alignas(64) Stripe {
    std::atomic<i64> readers{0};
  };
  struct Pending {
    u64 epoch;
    std::function<void()> callback;
  };
  static unsigned my_stripe();
  bool guards_gone(unsigned side) const;
  void advance_locked();

  /// ReadGuards count themselves in under the side current at their start. A grace period flips the side twice and
  /// waits for the other one each time: a reader may read the side, stall, and count itself in after the first wait.
  std::array<std::array<Stripe, kStripes>, 2> stripes_;
  std::atomic<unsigned> side_{0};
  std::atomic<u64> epoch_{1};  ///< advanced by each defer(); participants copy it when quiescent

  mutable std::mutex mutex_;  // leaf lock
  std::vector<Participant*> participants_;
  std::vector<Pending> pending_;
  u64 guards_target_ = 0;    ///< epoch the guard flips under way will cover; 0: none under way
  unsigned flips_left_ = 0;
  u64 guards_done_ = 0;      ///< all guards that began before this epoch have left
  std::function<void()> kick_;
};

/// A thread that keeps pointers between its quiescent points: a vCPU. Created offline.
class GracePeriods::Participant {
 public:
  explicit Participant(GracePeriods& periods);
  ~Participant();
  Participant(const Participant&) = delete;
  Participant& operator=(const Participant&) = delete;

  /// "I hold nothing from before now." Cheap enough for every exit from translated code. Own thread only.
  void quiescent() { seen_.store(periods_.epoch_.load(std::memory_order_seq_cst), std::memory_order_seq_cst); }
  /// From here on nothing is held until online(): before sleeping or blocking.
  void offline() { seen_.store(kOffline, std::memory_order_seq_cst); }
  void online() { quiescent(); }

 private:
  friend class GracePeriods;
  static constexpr u64 kOffline = ~u64(0);
  GracePeriods& periods_;
  std::atomic<u64> seen_{kOffline};
};

/// Pointers read inside the scope stay valid to its end. May nest. Do not sleep in it.
class GracePeriods::ReadGuard {
 public:
  explicit ReadGuard(GracePeriods& periods)
      : readers_(periods.stripes_[periods.side_.load(std::memory_order_seq_cst) & 1][my_stripe()].readers) {
    readers_.fetch_add(1, std::memory_order_seq_cst);
  }
  ~ReadGuard() { readers_.fetch_sub(1, std::memory_order_release); }
  ReadGuard(const ReadGuard&) = delete;
  ReadGuard& operator=(const ReadGuard&) = delete;

 private:
  std::atomic<i64>& readers_;
};

}  // namespace emu::mem
