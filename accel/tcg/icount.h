// SPDX-License-Identifier: Apache-2.0
// -icount: the virtual clock counts guest instructions, and one vCPU runs at a time.
//
// Every vCPU keeps its thread, but only the one whose turn it is runs the guest. It is granted instructions up to the
// next timer of the virtual clock or the end of its slice, whichever comes first; generated code takes them off
// EnvHeader::icount_budget and comes back when they do not reach for a block. Grants end where the guest's own doings
// put them, never where a thread happened to look up: so the same input gives the same run.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "accel/accel.h"
#include "accel/rewind.h"
#include "accel/tcg/run_log.h"
#include "tcg/abi/env.h"

namespace emu::accel {

/// A vCPU as those who count see it.
class CountedVcpu {
 public:
  virtual ~CountedVcpu() = default;
  /// Instructions of the grant that are not executed yet. Own thread, also in the middle of a block.
  virtual i64 instructions_left() = 0;
  /// Whether it would run if it had the turn. On the thread that has it, while this one has not; or its own.
  virtual bool wants_turn() const = 0;
  /// Makes it come back to its loop soon. Any thread.
  virtual void look_up() = 0;
  /// See target::Vcpu::fingerprint(). On the thread that has the turn, between instructions.
  virtual u64 fingerprint() const = 0;
};

class Icount final : public ClockCounter {
 public:
  Icount(const IcountOptions& options, AccelClient& client, const std::atomic<bool>& should_stop)
      : options_(options), client_(client), should_stop_(should_stop), shift_(options.shift) {}

  // Main thread, nobody runs
  void add(CountedVcpu& vcpu, tcg::EnvHeader& env);
  void set_held(unsigned vcpu, bool held);
  void resumed();
  void paused();

  // vCPU threads
  /// Once, before anything else.
  void started(unsigned vcpu);
  bool has_turn(unsigned vcpu) const { return turn_.load(std::memory_order_acquire) == vcpu; }
  /// Sleeps until it has the turn or shall stop.
  void wait_for_turn(unsigned vcpu);

  // The thread that has the turn, between blocks
  /// The vCPU has used up what it was granted, or a timer moved.
  bool wants_grant() const {
    return seats_[turn_]->env.icount_budget <= 0 || moved_.load(std::memory_order_acquire) || yields_;
  }
  /// Runs timers that are due, ends the slice if that is over, and sees how far the vCPU may go.
  void grant();
  /// The vCPU sleeps: others get the turn, or time goes on to the next timer.
  void idle();
  /// The vCPU spins: it gives the rest of its slice away.
  void yield() { yields_ = seats_.size() > 1; }
  /// What a poller of memory goes by: it changes when anything ran.
  u64 activity() const { return activity_; }
  /// The vCPU leaves its loop.
  void rest();

  // Any thread
  /// A vCPU was kicked.
  void kicked(bool to_stop);
  std::string describe() const;
  ClockNs counted() const override;
  void deadline_moved() override;

  // Going back (icount_replay.cpp). Main thread, nobody runs
  RunLog& log() { return log_; }
  const RunLog& log() const { return log_; }
  CounterState save() const;
  void restore(const CounterState& state);
  void return_to_present(const CounterState& end);
  void cut();
  /// The moment between two instructions; also on the thread that has the turn.
  Moment now() const;
  bool is_replaying() const { return log_.is_replaying(); }
  void run_due_timers();  ///< also on the thread that has the turn, which has settled

  // The thread that has the turn
  /// The vCPU is about to decide that by itself; it is written down.
  void note(Decision::Kind kind, i64 value = 0);
  /// Takes a decision of the log that concerns no vCPU: timers, time, turns.
  void repeat(const Decision& decision);
  /// The vCPU may execute that many.
  void grant_for_replay(i64 instructions);

 private:
  struct Seat {
    CountedVcpu& vcpu;
    tcg::EnvHeader& env;
    std::atomic<std::thread::id> thread = {};
    std::condition_variable turn_came = {};
    bool held = false;
  };

  i64 count() const { return grant_end_ - seats_[turn_]->vcpu.instructions_left(); }
  ClockNs time_of(i64 count) const { return base_ns_ + ClockNs((count - base_count_) * (i64(1) << shift_)); }
  void settle();
  void publish(i64 count);
  void move_time_to(ClockNs time);
  void skip_time_to(ClockNs time);
  std::optional<unsigned> next_to_run() const;
  void pass_turn_locked(unsigned vcpu);
  bool end_slice();
  void grant_until(i64 end);
  void sleep_until(std::optional<ClockNs> deadline);
  void keep_pace();
  void adapt(ClockNs ahead);
  void align(ClockNs ahead);
  i64 slice() const;
  ClockNs host_time() const;
  ClockNs ahead_of_host() const { return ClockNs(published_ns_.load()) - host_time(); }

  const IcountOptions options_;
  AccelClient& client_;
  const std::atomic<bool>& should_stop_;
  std::vector<std::unique_ptr<Seat>> seats_;

  mutable std::mutex mutex_;  ///< leaf lock; hands what follows from turn to turn
  std::condition_variable woken_;
  std::atomic<unsigned> turn_{0};
  std::atomic<bool> waiting_{false};  ///< all vCPUs sleep, and the one with the turn waits for time or events
  std::atomic<bool> moved_{true};     ///< a deadline, or where the slice ends

  // Of the thread that has the turn
  i64 grant_end_ = 0;  ///< instructions executed when the grant is used up
  i64 slice_end_ = 0;
  i64 base_count_ = 0;
  ClockNs base_ns_{0};
  unsigned shift_;
  bool yields_ = false;
  u64 activity_ = 0;
  i64 settled_ = 0;
  std::optional<i64> kept_end_;  ///< of the grant that a stop interrupted
  RunLog log_;

  // Read by anybody
  std::atomic<i64> published_count_{0}, published_ns_{0}, skipped_ns_{0}, slept_ns_{0};
  std::atomic<u64> turns_{0}, shift_now_{0};
  std::atomic<i64> host_base_{Clock::monotonic_now().count()}, paused_at_{host_base_.load()};
  std::atomic<i64> most_behind_{0}, most_ahead_{0};
  ClockNs next_look_{0}, last_ahead_{0}, next_warning_{0};
};

}  // namespace emu::accel
