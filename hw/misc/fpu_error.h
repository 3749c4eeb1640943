// SPDX-License-Identifier: Apache-2.0
// How a PC reports x87 errors while CR0.NE is clear: FERR# raises IRQ 13, port 0xf0 takes it back and asserts IGNNE#.
#pragma once

#include <atomic>
#include <mutex>

#include "hw/core/isa.h"

namespace emu::hw {

/// SDM vol. 1, appendix "Guidelines for writing SIMD/x87 exception handlers": MS-DOS compatibility sub-mode.
/// Pins are used from any thread; `mutex_` guards the state. Lock order: this device, then interrupt controllers.
class FpuError final : public IsaDevice {
 public:
  static void describe(TypeInfo<FpuError>& type);
  Result<void> realize() override;
  void reset_enter() override;
  void reset_hold() override { irq_.set(false); }

  /// A CPU's FERR# output changes.
  void set_ferr(bool level);
  /// IGNNE#: CPUs go on despite their errors.
  bool ignne() const { return ignne_.load(std::memory_order_relaxed); }

 private:
  struct State {
    bool latched = false, ignne = false;
    u32 asserted = 0;  ///< CPUs whose FERR# is low
  };
  static void fields(Archive& ar, State& s) { ar("latched", s.latched)("ignne", s.ignne)("asserted", s.asserted); }
  Result<void> after_load();
  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);
  void refresh_locked();

  std::mutex mutex_;
  State state_;
  std::atomic<bool> ignne_ = false;  ///< state_.ignne, for CPUs
  IrqLine irq_;
};

void register_fpu_error(TypeRegistry& registry);

}  // namespace emu::hw
