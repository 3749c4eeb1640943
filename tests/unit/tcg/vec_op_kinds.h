// SPDX-License-Identifier: Apache-2.0
// What kinds of vector operations there are, for tests that draw some.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <string_view>

#include "tcg/ir/vec_ops.h"

namespace emu::test {

/// Vector operations that legacy SSE has.
inline bool is_legacy(ir::VecOp op) {
  using ir::VecOp;
  return op <= VecOp::VSadBlocks || (op >= VecOp::VAddSubF32 && op <= VecOp::VHSubF64) ||
         (op >= VecOp::VAesEnc && info(op).arity < 3);
}
/// ... that VEX has not, or that are tried elsewhere.
inline bool is_legacy_only(ir::VecOp op) {
  using ir::VecOp;
  return (op >= VecOp::VSha1Next && op <= VecOp::VSha256Msg2) || op == VecOp::VWiden128;
}
inline bool has_low_form_only(ir::VecOp op) {
  using ir::VecOp;
  const std::string_view name = info(op).text;
  if (name.find(".S") != name.npos) return true;
  switch (op) {
    case VecOp::VMergeLow32:
    case VecOp::VMergeLow64:
    case VecOp::VZeroHigh64:
    case VecOp::VLowToHigh64:
    case VecOp::VHighToLow64:
    case VecOp::VInsertF32:
    case VecOp::VMinPosU16:
    case VecOp::VDotF64:
    case VecOp::VAesImc:
    case VecOp::VAesKeygen:
      return true;
    default:
      return false;
  }
}
/// Beyond the baseline: AES, SHA and the like.
inline bool is_on_host(ir::VecOp op, bool wide) {
  using ir::VecOp;
  if (op < VecOp::VAesEnc) return true;
#if defined(__x86_64__)
  unsigned a = 0, b7 = 0, c7 = 0, d = 0, b = 0, c1 = 0;
  __cpuid_count(7, 0, a, b7, c7, d);
  __cpuid(1, a, b, c1, d);
  if (op <= VecOp::VAesKeygen) return (c1 >> 25 & 1) && (!wide || (c7 >> 9 & 1));
  if (op == VecOp::VClmul) return (c1 >> 1 & 1) && (!wide || (c7 >> 10 & 1));
  return op <= VecOp::VSha256Msg2 ? b7 >> 29 & 1 : c7 >> 8 & 1;
#else
  return wide;
#endif
}
inline bool crosses_halves(ir::VecOp op) {
  using ir::VecOp;
  return op >= VecOp::VPerm2x128 && op <= VecOp::VPermute32;
}

}  // namespace emu::test
