// SPDX-License-Identifier: Apache-2.0
// Hosts other than x86: floating-point vectors are refused by can_interpret().
#if !defined(__x86_64__)

#include "tcg/interp/vector.h"
#include "util/check.h"

namespace emu::ir {

bool host_has_vector_float() { return false; }
Vector128 evaluate_vector_float(VecOp, const Vector128&, const Vector128&, u8, u32&) {
  EMU_CHECK(!"floating-point vectors need an x86 host");
  return {};
}
Vector128 evaluate_vector_fused(VecOp, const Vector128&, const Vector128&, const Vector128&, u8, u32&) {
  EMU_CHECK(!"floating-point vectors need an x86 host");
  return {};
}
Vector128 convert_from_int(const Vector128&, Type, u64, bool, u32&) {
  EMU_CHECK(!"floating-point vectors need an x86 host");
  return {};
}
u64 convert_to_int(Type, const Vector128&, bool, Round, u32&) {
  EMU_CHECK(!"floating-point vectors need an x86 host");
  return 0;
}
u64 compare_float(const Vector128&, const Vector128&, bool, bool, u32&) {
  EMU_CHECK(!"floating-point vectors need an x86 host");
  return 0;
}

}  // namespace emu::ir

#endif
