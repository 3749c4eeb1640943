// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/tcg_rewind.h"

#include <algorithm>
#include <utility>

namespace emu::accel {

CounterState TcgRewind::save() const {
  CounterState state = icount().save();
  for (const auto& vcpu : vcpus_) state.polled.push_back(vcpu->polled_activity());
  return state;
}

void TcgRewind::restore(const CounterState& state) {
  EMU_CHECK(shared_.run.is_still());
  icount().restore(state);
}

void TcgRewind::return_to_present(const CounterState& end) {
  icount().return_to_present(end);
  for (std::size_t i = 0; i < vcpus_.size(); ++i) vcpus_[i].set_polled_activity(end.polled[i]);
}

Result<RerunResult> TcgRewind::rerun(const Rerun& how) {
  EMU_CHECK(shared_.run.is_still() && icount().is_replaying());
  shared_.rerun = {.how = how};
  shared_.rerun.result.last_step.resize(vcpus_.size());
  for (auto& vcpu : vcpus_) vcpu->set_debug_run(DebugRun::Continue, StepEvents::Taken);
  // Points that do not count only slow it down, watched pages most of all.
  const DebugPoints points = shared_.debug.points();
  if (how.hits == Rerun::Hits::Ignored) shared_.replace_debug_points({});
  vcpus_.start();
  shared_.run.set_stop(false);
  shared_.run.wait_to_stop();
  shared_.run.wait_until_still();
  if (how.hits == Rerun::Hits::Ignored) shared_.replace_debug_points(points);
  if (shared_.rerun.diverged) return error("the guest ran another way than before: {}", *shared_.rerun.diverged);
  return shared_.rerun.result;
}

std::optional<i64> TcgRewind::last_instruction_of(unsigned vcpu, const Moment& before,
                                                  const CounterState& since) const {
  const auto& decisions = icount().log().decisions();
  std::optional<i64> last;
  unsigned turn = since.at.vcpu;
  i64 begin = since.at.count;
  const auto turn_ends = [&](i64 end) {
    if (turn == vcpu && end > begin) last = end - 1;
    begin = end;
  };
  for (u64 i = since.at.decisions; i < before.decisions; ++i) {
    if (decisions[i].kind != Decision::Kind::Turn) continue;
    turn_ends(decisions[i].count);
    turn = unsigned(decisions[i].value);
  }
  turn_ends(before.count);
  return last;
}

std::optional<i64> TcgRewind::next_turn_of(unsigned vcpu) const {
  const Moment here = now();
  if (here.vcpu == vcpu) return here.count;
  const auto& decisions = icount().log().decisions();
  const auto gets_it = [vcpu](const Decision& decision) {
    return decision.kind == Decision::Kind::Turn && decision.value == i64(vcpu);
  };
  const auto turn = std::find_if(decisions.begin() + i64(here.decisions), decisions.end(), gets_it);
  return turn == decisions.end() ? std::nullopt : std::optional(turn->count);
}

}  // namespace emu::accel
