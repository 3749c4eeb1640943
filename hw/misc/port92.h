// SPDX-License-Identifier: Apache-2.0
// Port 0x92, system control port A of PS/2 and later PCs: fast A20 gate and fast reset.
#pragma once

#include "hw/core/isa.h"

namespace emu::hw {

class Port92 final : public IsaDevice {
 public:
  static constexpr u8 kFastReset = 1, kA20 = 2;

  static void describe(TypeInfo<Port92>& type);
  Result<void> realize() override;
  void reset_enter() override { state_ = {}; }

 private:
  struct State {
    u8 out = 0;
  };
  static void fields(Archive& ar, State& s) { ar("out", s.out); }
  Result<void> after_load();
  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);

  State state_;
  IrqLine a20_;
};

void register_port92(TypeRegistry& registry);

}  // namespace emu::hw
