// SPDX-License-Identifier: Apache-2.0
// Checkpoint: the whole machine at one moment, to be put back in the same process.
#pragma once

#include <vector>

#include "accel/rewind.h"
#include "hw/machine/board.h"
#include "hw/machine/machine.h"
#include "softmmu/memory/ram_image.h"

namespace emu::softmmu {

/// What a checkpoint is of. References outlive it.
struct CheckpointParts {
  hw::Machine& machine;
  hw::Board& board;
  accel::Rewind& rewind;
};

/// Main thread, all vCPUs paused, machine lock not held.
class Checkpoint {
 public:
  /// `similar`: another, whose pages of RAM are shared where they are equal; may be null.
  static Checkpoint take(const CheckpointParts& parts, const Checkpoint* similar);
  /// Puts everything back; the accelerator is in the past then. Errors: the machine has other parts than it had.
  Result<void> restore(const CheckpointParts& parts) const;

  const accel::CounterState& counter() const { return counter_; }
  i64 count() const { return counter_.at.count; }
  /// No decision and no part of an instruction lies between the last instruction that was completed and this.
  bool is_at_begin = false;

 private:
  Result<void> load_devices(hw::Machine& machine) const;

  mem::RamImage ram_;
  qom::FieldTree devices_;
  std::vector<qom::FieldTree> cpus_;
  accel::CounterState counter_;
  std::optional<u64> random_;
};

}  // namespace emu::softmmu
