// SPDX-License-Identifier: Apache-2.0
// The packets that let the machine run, onwards and backwards.
#include <algorithm>

#include "monitor/gdb/protocol.h"
#include "util/log.h"

namespace emu::monitor::gdb {

using accel::DebugRun;
using accel::StepEvents;

// --- Going on ---

std::string Protocol::resume(std::span<const DebugRun> runs) {
  std::vector<DebugRun> chosen(runs.begin(), runs.end());
  if (!(step_bits_ & kStepEnabled)) std::replace(chosen.begin(), chosen.end(), DebugRun::Step, DebugRun::Continue);
  if (std::all_of(chosen.begin(), chosen.end(), [](DebugRun run) { return run == DebugRun::Hold; })) return kInvalid;
  // Timers are told by interrupts here, so one bit rules both.
  const StepEvents events = step_bits_ & (kStepNoIrq | kStepNoTimer) ? StepEvents::Deferred : StepEvents::Taken;
  const bool was_in_past = target_.time_travel() != nullptr && target_.time_travel()->is_in_past();
  if (std::string stopped = go_through_past(chosen); !stopped.empty()) return stopped;
  waiting_ = true;
  if (auto resumed = target_.resume(chosen, events); !resumed) {
    waiting_ = false;
    if (was_in_past) {  // it comes to where it had shut down
      last_stop_ = {kSigTrap, cpu_, "replaylog:end;"};
      return stop_reply();
    }
    log::warn("gdb: {}", resumed.error().text());
    return kInvalid;
  }
  return "";
}

// --- Going back ---

void Protocol::arrived(const TimeTravel::Arrival& arrival) {
  if (arrival.stop) return note_stop(arrival.cpu, *arrival.stop);
  last_stop_ = {kSigTrap, cpu_, "replaylog:begin;"};
}

std::string Protocol::go_back(std::string_view how) {
  TimeTravel* const past = target_.time_travel();
  if (past == nullptr || (how != "s" && how != "c")) return "";
  const auto there = how == "s" ? past->step_back(run_cpu_.value_or(cpu_)) : past->run_back();
  if (!there) return kFailed;
  arrived(*there);
  return stop_reply();
}

std::string Protocol::go_through_past(std::span<const DebugRun> runs) {
  TimeTravel* const past = target_.time_travel();
  if (past == nullptr || !past->is_in_past()) return "";
  const auto step = std::find(runs.begin(), runs.end(), DebugRun::Step);
  const auto there =
      past->run_forward(step == runs.end() ? std::nullopt : std::optional(unsigned(step - runs.begin())));
  if (!there) return kFailed;
  if (!*there) return "";
  arrived(**there);
  return stop_reply();
}

std::string Protocol::resume_old(char action, std::string_view text) {
  const bool is_step = action == 's' || action == 'S';
  if (action == 'C' || action == 'S') {
    if (!take_number(text)) return kInvalid;  // the guest has no signals
    if (!text.empty() && !take(text, ';')) return kInvalid;
  }
  if (!text.empty()) return kInvalid;  // another address: debuggers write the register
  std::vector<DebugRun> runs(target_.cpu_count(), is_step ? DebugRun::Hold : DebugRun::Continue);
  if (is_step) runs[run_cpu_.value_or(cpu_)] = DebugRun::Step;
  return resume(runs);
}

std::string Protocol::resume_each(std::string_view actions) {
  std::vector<std::optional<DebugRun>> chosen(target_.cpu_count());
  while (!actions.empty()) {
    const char kind = actions.front();
    actions.remove_prefix(1);
    if (kind != 'c' && kind != 's' && kind != 'C' && kind != 'S') return kInvalid;
    if ((kind == 'C' || kind == 'S') && !take_number(actions)) return kInvalid;
    ThreadId thread{ThreadId::Kind::All, 0};
    if (take(actions, ':')) {
      const auto named = take_thread(actions);
      if (!named) return kInvalid;
      thread = *named;
    }
    if (!actions.empty() && !take(actions, ';')) return kInvalid;
    const DebugRun run = kind == 'c' || kind == 'C' ? DebugRun::Continue : DebugRun::Step;
    const unsigned any = run_cpu_.value_or(cpu_);
    for (unsigned cpu = 0; cpu < chosen.size(); ++cpu) {
      const bool meant =
          thread.kind == ThreadId::Kind::All || cpu == (thread.kind == ThreadId::Kind::One ? thread.cpu : any);
      if (meant && !chosen[cpu]) chosen[cpu] = run;  // the leftmost that fits counts
    }
  }
  std::vector<DebugRun> runs;
  for (const auto& run : chosen) runs.push_back(run.value_or(DebugRun::Hold));
  return resume(runs);
}

}  // namespace emu::monitor::gdb
