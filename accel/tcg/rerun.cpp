// SPDX-License-Identifier: Apache-2.0
// A vCPU that runs again what it ran before: its decisions come from the log. See accel/rewind.h.
#include <algorithm>

#include "accel/tcg/runtime_vcpu.h"

namespace emu::tcg {

using namespace accel;

namespace {

/// Whether the moment is the end of the rerun.
std::optional<RerunResult::End> end_at(const Rerun& how, const RerunResult& result, const Moment& now) {
  using End = RerunResult::End;
  if (how.pace == Rerun::Pace::Full) {
    if (now.count >= how.count) return End::Count;
    return std::nullopt;
  }
  if (how.until && now == *how.until) return End::Until;
  if (result.actions >= how.actions) return End::Actions;
  if (now.count > how.count) return End::Count;
  return std::nullopt;
}

}  // namespace

/// Between instructions: the next thing that was done then.
void RuntimeVcpu::rerun_one() {
  Icount& icount = *shared_.icount;
  RerunState& rerun = shared_.rerun;
  const Moment now = icount.now();
  if (!rerun.is_over) {
    if (const auto end = end_at(rerun.how, rerun.result, now)) {
      rerun.end(*end);
    } else {
      act_again(now);
    }
  }
  // With the turn all of it has passed to another.
  if (icount.has_turn(cpu_.index()) && rerun.is_over) shared_.stop_vcpus();
}

void RuntimeVcpu::act_again(const Moment& now) {
  RerunState& rerun = shared_.rerun;
  const Decision* next = shared_.icount->log().next();
  if (next != nullptr && next->count < now.count) return diverge("a decision was passed");
  const bool is_due = next != nullptr && next->count == now.count;
  // The decision may have been taken in the middle of a repeated instruction, or behind a fault.
  if (is_due && next->fingerprint == now.fingerprint) return decide_again(now, *next);
  if (cpu_.halt_state() != target::Halt::Running) return diverge("the CPU sleeps");
  if (is_due || rerun.how.pace == Rerun::Pace::Actions) return execute_again(now, /*rounds=*/true);
  const i64 end = next != nullptr ? std::min(next->count, rerun.how.count) : rerun.how.count;
  shared_.icount->grant_for_replay(end - now.count);
  run_one();
  if (!debug_stop_) return;
  const DebugStop stop = *std::exchange(debug_stop_, std::nullopt);
  if (stop.why == DebugStop::Why::Watchpoint) return rerun.hit({rerun.alone_at, cpu_.index(), stop});
  const Moment there = shared_.icount->now();
  rerun.hit({there, cpu_.index(), stop});
  // Past the breakpoint, unless something else comes first there.
  if (!rerun.is_over && !end_at(rerun.how, rerun.result, there) && there.count < end) {
    execute_again(there, /*rounds=*/false);
  }
}

void RuntimeVcpu::decide_again(const Moment& now, const Decision& decision) {
  Icount& icount = *shared_.icount;
  icount.log().took();
  shared_.rerun.acted(decision.kind == Decision::Kind::Event ? std::optional(cpu_.index()) : std::nullopt);
  switch (decision.kind) {
    case Decision::Kind::Event:
      if (!cpu_.has_deliverable_event()) return diverge("an interrupt is missing");
      cpu_.take_event();
      mode_is_stale_ = true;
      step_alone_ = false;
      // What its delivery pushed may be watched.
      if (debug_stop_) shared_.rerun.hit({now, cpu_.index(), *std::exchange(debug_stop_, std::nullopt)});
      break;
    case Decision::Kind::Poll:
      cpu_.idle_poll();
      break;
    case Decision::Kind::Timers:
    case Decision::Kind::Time:
    case Decision::Kind::Turn:
      offline();  // timers may take the machine lock, and so their time
      icount.repeat(decision);
      quiescent();
      break;
  }
}

/// One instruction by itself, or a round of it.
void RuntimeVcpu::execute_again(const Moment& now, bool rounds) {
  RerunState& rerun = shared_.rerun;
  const unsigned vcpu = cpu_.index();
  if (rounds && rerun.how.hits != Rerun::Hits::Ignored && shared_.debug.breaks_at(env_.pc)) {
    rerun.hit({now, vcpu, {.why = DebugStop::Why::Breakpoint, .address = env_.pc}});
    if (rerun.is_over) return;
  }
  shared_.icount->grant_for_replay(1);
  execute_alone(rounds);
  if (debug_stop_) rerun.hit({now, vcpu, *std::exchange(debug_stop_, std::nullopt)});
  rerun.acted(vcpu);
}

void RuntimeVcpu::diverge(const char* what) {
  const Moment now = shared_.icount->now();
  shared_.rerun.diverge(
      fmt::format("after {} instructions, at {:#x} of CPU {}: {}", now.count, env_.pc, cpu_.index(), what));
}

}  // namespace emu::tcg
