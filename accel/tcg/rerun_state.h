// SPDX-License-Identifier: Apache-2.0
// One rerun under way: what it is to do, and what has come of it. Of the thread that has the turn; of the main thread
// while nobody runs.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "accel/rewind.h"

namespace emu::accel {

struct RerunState {
  Rerun how;
  RerunResult result;
  std::optional<std::string> diverged;
  bool is_over = false;
  Moment alone_at;  ///< before the instruction that is executed by itself

  void end(RerunResult::End why) {
    result.end = why;
    is_over = true;
  }
  void diverge(std::string why) {
    if (!diverged) diverged = std::move(why);
    is_over = true;
  }
  /// An instruction, a round of one, or a decision; of which vCPU it was a step.
  void acted(std::optional<unsigned> step_of) {
    if (how.pace == Rerun::Pace::Full) return;
    if (step_of) {
      result.last_step[*step_of] = result.actions;
      if (how.step_of == step_of) end(RerunResult::End::Step);
    }
    ++result.actions;
  }
  void hit(const DebugHit& hit) {
    if (how.hits == Rerun::Hits::Ignored) return;
    result.last_hit = hit;
    if (how.hits == Rerun::Hits::Stop) end(RerunResult::End::Hit);
  }
};

}  // namespace emu::accel
