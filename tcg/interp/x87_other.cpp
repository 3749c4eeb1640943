// SPDX-License-Identifier: Apache-2.0
// Hosts other than x86: x87 operations are refused by can_interpret().
#if !defined(__x86_64__)

#include "tcg/interp/x87.h"
#include "util/check.h"

namespace emu::ir {

bool host_has_x87() { return false; }
u64 run_x87(X87Op, unsigned, u64, u64, tcg::EnvHeader&) {
  EMU_CHECK(!"x87 operations need an x86 host");
  return 0;
}

}  // namespace emu::ir

#endif
