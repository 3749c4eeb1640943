// SPDX-License-Identifier: Apache-2.0
// Icount: what is kept of a moment, and decisions that are taken again.
#include "accel/tcg/icount.h"

namespace emu::accel {

Moment Icount::now() const {
  const unsigned vcpu = turn_;
  return {.count = count(), .decisions = log_.at(), .vcpu = vcpu, .fingerprint = seats_[vcpu]->vcpu.fingerprint()};
}

CounterState Icount::save() const {
  CounterState state{.at = now(), .slice_end = slice_end_, .base_count = base_count_, .base = base_ns_};
  state.kept_end = kept_end_;
  state.yields = yields_;
  state.moved = moved_;
  state.activity = activity_;
  return state;
}

void Icount::restore(const CounterState& state) {
  for (auto& seat : seats_) seat->env.icount_budget = 0;
  turn_ = state.at.vcpu;
  grant_end_ = settled_ = state.at.count;
  base_count_ = state.base_count;
  base_ns_ = state.base;
  kept_end_.reset();
  yields_ = false;
  slice_end_ = state.slice_end;
  moved_ = true;
  publish(grant_end_);
  log_.go_to(state.at.decisions);
}

/// From here on the machine decides as it would have, had it not been taken back.
void Icount::return_to_present(const CounterState& end) {
  settle();
  EMU_CHECK(now() == end.at);
  slice_end_ = end.slice_end;
  kept_end_ = end.kept_end;
  yields_ = end.yields;
  moved_ = end.moved;
  activity_ = end.activity;
  log_.end_replay();
}

void Icount::cut() {
  settle();
  slice_end_ = grant_end_ + slice();
  moved_ = true;
  log_.cut();
}

void Icount::note(Decision::Kind kind, i64 value) {
  if (!log_.is_recording() || log_.is_replaying()) return;
  const Moment moment = now();
  log_.add({kind, moment.vcpu, moment.count, moment.fingerprint, value});
}

void Icount::repeat(const Decision& decision) {
  settle();
  switch (decision.kind) {
    case Decision::Kind::Timers:
      client_.run_timers();
      return;
    case Decision::Kind::Time:
      move_time_to(ClockNs(decision.value));
      return;
    case Decision::Kind::Turn: {
      const std::lock_guard lock(mutex_);
      pass_turn_locked(unsigned(decision.value));
      return;
    }
    case Decision::Kind::Event:
    case Decision::Kind::Poll:
      EMU_CHECK(!"a decision of the vCPU's own");
  }
}

void Icount::grant_for_replay(i64 instructions) {
  settle();
  moved_ = false;
  grant_until(grant_end_ + instructions);
}

}  // namespace emu::accel
