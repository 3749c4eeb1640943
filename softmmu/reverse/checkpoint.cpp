// SPDX-License-Identifier: Apache-2.0
#include "softmmu/reverse/checkpoint.h"

#include "util/random.h"

namespace emu::softmmu {

Checkpoint Checkpoint::take(const CheckpointParts& parts, const Checkpoint* similar) {
  Checkpoint made;
  {
    const mem::MachineLockScope guard(parts.machine.memory().lock());
    made.devices_ = qom::save_tree(parts.machine.tree().root());
  }
  for (const hw::BoardCpu& cpu : parts.board.cpus()) made.cpus_.push_back(cpu.cpu->save_state());
  made.counter_ = parts.rewind.save();
  made.random_ = random_position();
  made.ram_ = mem::RamImage::take(parts.machine.memory(), similar == nullptr ? nullptr : &similar->ram_);
  return made;
}

/// Twice: while a device is loaded, it sets its wires, and those at the other end that were loaded before may take that
/// for an edge. The second time every wire has its level already.
Result<void> Checkpoint::load_devices(hw::Machine& machine) const {
  const mem::MachineLockScope guard(machine.memory().lock());
  EMU_TRY(qom::load_tree(machine.tree().root(), devices_));
  return qom::load_tree(machine.tree().root(), devices_);
}

/// Time first, since devices look at the clock as they are loaded; CPUs behind the devices, which signal them.
Result<void> Checkpoint::restore(const CheckpointParts& parts) const {
  EMU_TRY(ram_.restore(parts.machine.memory()));
  parts.rewind.restore(counter_);
  parts.machine.clock().set_now(parts.machine.clock().now());  // its timers run no earlier than this
  EMU_TRY(load_devices(parts.machine));
  const auto cpus = parts.board.cpus();
  if (cpus.size() != cpus_.size()) return error("CPUs were added or removed since");
  for (std::size_t i = 0; i < cpus.size(); ++i) {
    EMU_TRY(cpus[i].cpu->load_state(cpus_[i]), fmt::format("CPU {}", i));
  }
  if (random_) set_random_position(*random_);
  return {};
}

}  // namespace emu::softmmu
