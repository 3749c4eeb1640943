// SPDX-License-Identifier: Apache-2.0
// Port 0xcf9, reset control register: PIIX3 datasheet §2.5.1, ICH9 datasheet "RST_CNT".
#pragma once

#include "hw/core/services.h"
#include "hw/pci/pci_host.h"

namespace emu::hw {

class ResetControl {
 public:
  static constexpr u8 kHardReset = 0x02, kResetCpu = 0x04, kFullReset = 0x08;

  /// `writable`: the bits besides kResetCpu that are kept.
  explicit ResetControl(u8 writable) : writable_(writable) {}

  PciHostBridge::ResetPort port(MachineServices& machine) {
    return {[this] { return value_; },
            [this, &machine](u8 value) {
              value_ = value & writable_;
              // Deviation: a soft and a hard reset are both a reset of the whole machine, as software that uses the
              // port means.
              if (value & kResetCpu) machine.request_reset(ResetCause::GuestReset);
            }};
  }
  void reset() { value_ = 0; }
  void fields(Archive& ar) { ar("value", value_); }

 private:
  const u8 writable_;
  u8 value_ = 0;
};

}  // namespace emu::hw
