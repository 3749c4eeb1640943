// SPDX-License-Identifier: Apache-2.0
#include "tcg/host/x86_64/vector_encoding.h"

#include <iterator>

namespace emu::tcg::x86_64 {
namespace {

constexpr u8 k66 = 0x66, kF2 = 0xf2, kF3 = 0xf3;

constexpr Encoding kEncodings[] = {
#define VECTOR_ROW(op, prefix, opcode, form, digit, vex_w, evex_w) {prefix, opcode, Form::form, digit, vex_w, evex_w},
#include "tcg/host/x86_64/vector_rows.inc"
#undef VECTOR_ROW
};
static_assert(std::size(kEncodings) == size_t(ir::VecOp::kCount));

constexpr ir::VecOp kOrder[] = {
#define VECTOR_ROW(op, prefix, opcode, form, digit, vex_w, evex_w) ir::VecOp::op,
#include "tcg/host/x86_64/vector_rows.inc"
#undef VECTOR_ROW
};
constexpr bool is_in_order() {
  for (size_t i = 0; i < std::size(kOrder); ++i)
    if (kOrder[i] != ir::VecOp(i)) return false;
  return true;
}
static_assert(is_in_order());

}  // namespace

const Encoding& encoding(ir::VecOp op) { return kEncodings[size_t(op)]; }

Assembler::VectorForm Encoding::vector_form(bool is_256) const {
  const u8 map = opcode < 0x10000 ? 1 : (opcode >> 8 & 0xff) == 0x38 ? 2 : 3;
  const u8 pp = prefix == k66 ? 1 : prefix == kF3 ? 2 : prefix == kF2 ? 3 : 0;
  return {map, pp, u8(opcode), vex_w != 0, evex_w > 0, is_256};
}

}  // namespace emu::tcg::x86_64
