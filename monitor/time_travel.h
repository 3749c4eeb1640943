// SPDX-License-Identifier: Apache-2.0
// Going back to earlier moments of the guest, as a debugger asks for it. See docs/devel/reverse.md.
#pragma once

#include <optional>
#include <string>

#include "accel/accel.h"
#include "util/result.h"

namespace emu::monitor {

/// Main thread, machine lock not held. Everything but obstacle() and describe() with the machine stopped.
class TimeTravel {
 public:
  /// Where a run through the past ended.
  struct Arrival {
    unsigned cpu = 0;
    std::optional<accel::DebugStop> stop;  ///< none: at the oldest moment that there is
  };

  virtual ~TimeTravel() = default;
  /// What of this machine stands in the way, in one sentence; empty: nothing.
  virtual std::optional<std::string> obstacle() const = 0;
  /// For `info replay`.
  virtual std::string describe() const = 0;

  /// From now on there is a history, from the next run on; until end().
  virtual void begin() = 0;
  virtual void end() = 0;
  /// The machine is about to run into its future.
  virtual void about_to_run() = 0;
  /// The debugger changed registers or memory: what was recorded behind here is not what will come.
  virtual void touched() = 0;

  /// To where that CPU's last instruction begins. Errors: the guest did not do the same again; it is in the present.
  virtual Result<Arrival> step_back(unsigned cpu) = 0;
  /// To the last break- or watchpoint before.
  virtual Result<Arrival> run_back() = 0;
  /// Whether there is a recorded future.
  virtual bool is_in_past() const = 0;
  /// Through that: over one instruction of `step`, or to the next break- or watchpoint. Nothing: the present was
  /// reached first, or the future is not valid any more, and the machine shall run.
  virtual Result<std::optional<Arrival>> run_forward(std::optional<unsigned> step) = 0;
};

}  // namespace emu::monitor
