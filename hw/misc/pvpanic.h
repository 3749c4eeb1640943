// SPDX-License-Identifier: Apache-2.0
// pvpanic: the port by which a guest kernel reports that it panicked. QEMU docs/specs/pvpanic.txt.
#pragma once

#include "hw/core/isa.h"

namespace emu::hw {

class PvPanicIsa final : public IsaDevice {
 public:
  static constexpr u8 kPanicked = 1, kCrashLoaded = 2;

  static void describe(TypeInfo<PvPanicIsa>& type);
  Result<void> realize() override;
  u16 port() const { return u16(ioport_); }

 private:
  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);

  u32 ioport_ = 0x505;
  u8 events_ = kPanicked | kCrashLoaded;
};

void register_pvpanic(TypeRegistry& registry);

}  // namespace emu::hw
