// SPDX-License-Identifier: Apache-2.0
#include "hw/misc/port92.h"

namespace emu::hw {

void Port92::describe(TypeInfo<Port92>& type) {
  type.doc("System control port A: A20 gate and reset");
  type.not_user_creatable();
  type.irq_out("a20", &Port92::a20_);
  type.region("port92", 1, &Port92::read, &Port92::write, {.valid = {1, 1}, .impl = {1, 1}});
  type.saved(1, &Port92::state_, &Port92::fields, &Port92::after_load);
}

Result<void> Port92::realize() {
  map_ports("port92", 0x92);
  return {};
}

Result<void> Port92::after_load() {
  a20_.set(state_.out & kA20);
  return {};
}

u64 Port92::read(u64, unsigned) { return state_.out; }

void Port92::write(u64, u64 value, unsigned) {
  const u8 old = state_.out;
  state_.out = u8(value);
  a20_.set(state_.out & kA20);
  // Bit 0 resets on its rising edge.
  if ((value & kFastReset) && !(old & kFastReset)) machine().request_reset(ResetCause::GuestReset);
}

void register_port92(TypeRegistry& registry) { registry.add<Port92>("port92"); }

}  // namespace emu::hw
