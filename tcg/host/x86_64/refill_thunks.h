// SPDX-License-Identifier: Apache-2.0
// The assembly stage of the slow path: first-level TLB entries filled from the second level.
#pragma once

#include "tcg/abi/thunks.h"
#include "tcg/host/x86_64/registers.h"

namespace emu::tcg::x86_64 {

/// Emits ThunkTable::load, store, load_aligned, store_aligned and window (first index: r9, r10). access_slow is there
/// already.
void emit_refill_thunks(Assembler& a, const RegisterMap& map, ThunkTable& table);

}  // namespace emu::tcg::x86_64
