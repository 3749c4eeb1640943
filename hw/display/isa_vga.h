// SPDX-License-Identifier: Apache-2.0
// Standard VGA on the ISA bus: the ports and the window of hw/display/vga.h without the BARs, so banks only. Its BIOS,
// which no bus shows, is offered to firmware as the fw_cfg file "vgaroms/...".
#pragma once

#include "hw/core/isa.h"
#include "hw/display/vga_core.h"

namespace emu::hw {

class IsaVga final : public IsaDevice, public VgaCore {
 public:
  static void describe(TypeInfo<IsaVga>& type);
  Result<void> realize() override;
  void unrealize() override { vram_.reset(); }
  void reset_enter() override { reset_core(); }

 private:
  Result<void> offer_bios();
};

}  // namespace emu::hw
