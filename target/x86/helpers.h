// SPDX-License-Identifier: Apache-2.0
// The C++ functions that translated x86 code calls, by index: helpers.inc as an enumeration and as a table.
#pragma once

#include "tcg/ir/helper.h"

namespace emu::x86 {

/// What a Call of a translated block names. The order is that of helpers.inc.
enum Helper : u32 {
#define X86_HELPER(name, arguments, effects) H_##name,
#include "target/x86/helpers.inc"
#undef X86_HELPER
  kHelperCount
};

/// Index i describes Helper(i).
ir::HelperTable make_helper_table();

}  // namespace emu::x86
