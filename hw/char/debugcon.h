// SPDX-License-Identifier: Apache-2.0
// isa-debugcon: a port whose bytes go to a character device; reading it tells that it is there.
#pragma once

#include "hw/char/chardev_object.h"
#include "hw/core/isa.h"

namespace emu::hw {

class IsaDebugcon final : public IsaDevice {
 public:
  static void describe(TypeInfo<IsaDebugcon>& type);
  Result<void> realize() override;
  void unrealize() override;

 private:
  /// Output only: what arrives is not taken.
  struct Front final : chardev::ChardevFrontend {
    size_t can_receive() override { return 0; }
    void receive(std::span<const u8>) override {}
  };
  u64 read(u64 offset, unsigned size);
  void write(u64 offset, u64 value, unsigned size);

  u32 iobase_ = 0xe9, readback_ = 0xe9;
  ChardevObject* chardev_ = nullptr;
  Front front_;
};

void register_debugcon(TypeRegistry& registry);

}  // namespace emu::hw
