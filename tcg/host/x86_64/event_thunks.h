// SPDX-License-Identifier: Apache-2.0
// Thunks that change the mode, or move control between privileges, without C++ outside a leaf.
#pragma once

#include "tcg/abi/thunks.h"
#include "tcg/host/x86_64/assembler.h"
#include "tcg/host/x86_64/registers.h"

namespace emu::tcg::x86_64 {

/// ThunkTable::switch_mode. `miss` is a called thunk that has C++ enter the mode in r11.
const u8* emit_switch_mode(Assembler& a, const u8* miss);

/// ThunkTable::transfer. `helper` and `indirect_miss` are those of the table.
const u8* emit_transfer(Assembler& a, const RegisterMap& map, const u8* helper, const u8* indirect_miss);

}  // namespace emu::tcg::x86_64
