// SPDX-License-Identifier: Apache-2.0
// Running the same stretch again: what an accelerator that counts instructions offers to whoever takes a machine back.
//
// While it records, everything is written down that is decided between instructions: which vCPU took an event after how
// many of them, when timers ran, how time went on while all slept, whose turn it was. The rest follows from the state.
// So a machine whose state was put back (devices, RAM, CPUs and the CounterState) runs again as it did, with these
// decisions taken from the log, wherever blocks of translated code end this time. docs/devel/reverse.md.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "accel/accel.h"

namespace emu::accel {

/// Between two instructions, on the machine's way.
struct Moment {
  i64 count = 0;        ///< instructions completed by all vCPUs
  u64 decisions = 0;    ///< of the log, taken so far
  unsigned vcpu = 0;    ///< whose turn it is
  u64 fingerprint = 0;  ///< of that vCPU: rounds of a repeated instruction and faults complete none
  bool operator==(const Moment&) const = default;
};

/// What an accelerator has to keep of a moment besides the state of vCPUs.
struct CounterState {
  Moment at;
  i64 slice_end = 0, base_count = 0;
  ClockNs base{0};
  std::optional<i64> kept_end;
  bool yields = false, moved = true;
  u64 activity = 0;
  std::vector<u64> polled;  ///< by vCPU
};

/// A stop at a break- or watchpoint that a run met. `at`: before the instruction, for watchpoints too.
struct DebugHit {
  Moment at;
  unsigned vcpu = 0;
  DebugStop stop;
};

/// How to run again.
struct Rerun {
  enum class Pace : u8 {
    Full,     ///< as fast as ever, to the moment at which `count` instructions are complete
    Actions,  ///< one instruction (or a round of it), or one decision of the log at a time
  } pace = Pace::Full;
  enum class Hits : u8 { Ignored, Noted, Stop } hits = Hits::Ignored;
  i64 count = 0;                    ///< Full: where it ends; Actions: it ends once more are complete
  std::optional<Moment> until;      ///< Actions: or here
  u64 actions = ~u64(0);            ///< Actions: or after that many
  std::optional<unsigned> step_of;  ///< Actions: or when that vCPU has executed an instruction or taken an event
};

struct RerunResult {
  enum class End : u8 { Count, Until, Actions, Step, Hit } end = End::Count;
  u64 actions = 0;
  /// By vCPU: which of the actions, from 0, was the last that executed an instruction of its, or took an event.
  std::vector<std::optional<u64>> last_step;
  std::optional<DebugHit> last_hit;
};

/// Main thread, all vCPUs paused.
class Rewind {
 public:
  virtual ~Rewind() = default;
  /// Begins an empty log at the present.
  virtual void start_recording() = 0;
  virtual void stop_recording() = 0;
  /// Recorded, or at a moment of the record. False also when the log has become too long.
  virtual bool is_recording() const = 0;

  /// Runs timers that are due, as the next vCPU to run would do first. In the present; the machine's clock runs.
  virtual void run_due_timers() = 0;
  virtual Moment now() const = 0;
  virtual CounterState save() const = 0;
  /// To a moment of the log; from here on is_in_past().
  virtual void restore(const CounterState& state) = 0;
  virtual bool is_in_past() const = 0;
  /// Runs from here, and waits. Errors: the machine did not do what it did the first time.
  virtual Result<RerunResult> rerun(const Rerun& how) = 0;
  /// The largest count below `before` at which the vCPU executed an instruction, since `since`.
  virtual std::optional<i64> last_instruction_of(unsigned vcpu, const Moment& before,
                                                 const CounterState& since) const = 0;
  /// The count at which the vCPU has the turn at the earliest, from here on; empty: not again in the record.
  virtual std::optional<i64> next_turn_of(unsigned vcpu) const = 0;
  /// The past ends: `end` is the present that was left, and we are there again.
  virtual void return_to_present(const CounterState& end) = 0;
  /// What was recorded behind this moment is forgotten: it is the present.
  virtual void cut() = 0;
};

}  // namespace emu::accel
