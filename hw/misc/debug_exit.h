// SPDX-License-Identifier: Apache-2.0
// isa-debug-exit: a port that ends the program; the guest's way to give a test result.
#pragma once

#include "hw/core/isa.h"

namespace emu::hw {

/// A write of v to the port ends the program with status (v << 1) | 1.
class IsaDebugExit final : public IsaDevice {
 public:
  static void describe(TypeInfo<IsaDebugExit>& type);
  Result<void> realize() override;

 private:
  u32 iobase_ = 0x501;
  u32 iosize_ = 2;
};

void register_debug_exit(TypeRegistry& registry);

}  // namespace emu::hw
