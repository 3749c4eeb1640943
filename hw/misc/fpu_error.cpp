// SPDX-License-Identifier: Apache-2.0
#include "hw/misc/fpu_error.h"

namespace emu::hw {

namespace {
constexpr u16 kClearPort = 0xf0;
}

void FpuError::describe(TypeInfo<FpuError>& type) {
  type.doc("x87 error latch: IRQ 13 and port 0xf0");
  type.not_user_creatable();
  type.irq_out("irq", &FpuError::irq_);
  type.region("fpu-error", 1, &FpuError::read, &FpuError::write,
              {.valid = {1, 1}, .impl = {1, 1}, .locking = mem::Locking::None});
  type.saved(1, &FpuError::state_, &FpuError::fields, &FpuError::after_load);
}

Result<void> FpuError::realize() {
  map_ports("fpu-error", kClearPort);
  return {};
}

/// CPUs take their FERR# back when they are reset, before or after us.
void FpuError::reset_enter() {
  std::lock_guard guard(mutex_);
  state_ = {};
  ignne_.store(false, std::memory_order_relaxed);
}

Result<void> FpuError::after_load() {
  std::lock_guard guard(mutex_);
  refresh_locked();
  return {};
}

void FpuError::refresh_locked() {
  ignne_.store(state_.ignne, std::memory_order_relaxed);
  irq_.set(state_.latched);
}

void FpuError::set_ferr(bool level) {
  std::lock_guard guard(mutex_);
  if (level) {
    ++state_.asserted;
    state_.latched = true;
  } else if (state_.asserted > 0) {
    --state_.asserted;
  }
  if (state_.asserted == 0) state_.ignne = false;
  refresh_locked();
}

u64 FpuError::read(u64, unsigned) { return 0xff; }

/// Whatever is written.
void FpuError::write(u64, u64, unsigned) {
  std::lock_guard guard(mutex_);
  state_.latched = false;
  state_.ignne = state_.asserted > 0;
  refresh_locked();
}

void register_fpu_error(TypeRegistry& registry) { registry.add<FpuError>("fpu-error"); }

}  // namespace emu::hw
