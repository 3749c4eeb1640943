// SPDX-License-Identifier: Apache-2.0
// What passes and back ends ask of every op, answered from a byte an opcode. The questions are those of op.h.
#pragma once

#include "tcg/ir/op.h"

namespace emu::ir {

enum OpTrait : u8 {
  kHasA = 1 << 0,  ///< a is an operand
  kHasB = 1 << 1,
  kHasC = 1 << 2,
  kHasPair = 1 << 3,    ///< two more are in Block::args, from b on
  kIsCall = 1 << 4,     ///< operands in Block::args; effects of the helper
  kRemovable = 1 << 5,  ///< is_removable(), whatever the operands are
  kAsksMore = 1 << 6,   ///< is_removable() depends on more than the opcode
  kObserves = 1 << 7,   ///< observes_state(), calls aside
};
inline constexpr auto kOpTraits = [] {
  std::array<u8, unsigned(Opcode::kCount)> traits{};
  for (unsigned i = 0; i < traits.size(); ++i) {
    const OpcodeInfo& row = kOpcodeInfo[i];
    const Opcode o = Opcode(i);
    unsigned t = (is_operand(row.a) ? kHasA : 0) | (is_operand(row.b) ? kHasB : 0) | (is_operand(row.c) ? kHasC : 0);
    if (o == Opcode::Cas || o == Opcode::Vec3) t |= kHasPair;
    const bool is_state = o == Opcode::Get || o == Opcode::GetFlags;
    const bool has_fp_effects = o == Opcode::VecCvtFromInt || o == Opcode::VecCvtToInt || o == Opcode::FlFcmp;
    if (o == Opcode::Call) {
      t |= kIsCall | kAsksMore;
    } else if (o == Opcode::Vec || o == Opcode::Vec3) {
      t |= kAsksMore;
    } else if (is_state || (row.effects == kPure && !has_fp_effects)) {
      t |= kRemovable;
    }
    if (row.effects & (kMayFault | kExit | kEnds)) t |= kObserves;
    traits[i] = u8(t);
  }
  return traits;
}();
constexpr u8 traits(Opcode opcode) { return kOpTraits[unsigned(opcode)]; }


/// As for_each_operand().
template <typename Visit>
void visit_operands(const Block& block, const Op& op, Visit&& visit) {
  const u8 has = traits(op.opcode);
  if ((has & kHasA) && !op.a.is_none()) visit(op.a);
  if ((has & kHasB) && !op.b.is_none()) visit(op.b);
  if ((has & kHasC) && !op.c.is_none()) visit(op.c);
  if (!(has & (kHasPair | kIsCall))) [[likely]]
    return;
  const std::span<const Ref> more =
      has & kIsCall ? block.call_args(op) : std::span<const Ref>(&block.args[op.b.bits()], 2);
  for (const Ref arg : more) visit(arg);
}
/// As is_removable() and observes_state().
inline bool may_be_removed(const Op& op, const HelperTable& helpers) {
  const u8 has = traits(op.opcode);
  return (has & kRemovable) || ((has & kAsksMore) && is_removable(op, helpers));
}
inline bool looks_at_state(const Op& op, const HelperTable& helpers) {
  const u8 has = traits(op.opcode);
  return (has & kObserves) || ((has & kIsCall) && observes_state(op, helpers));
}

}  // namespace emu::ir
