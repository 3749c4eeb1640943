// SPDX-License-Identifier: Apache-2.0
#include "tcg/passes/passes.h"

#include <array>

#include "tcg/ir/op_traits.h"
#include "tcg/ir/verify.h"
#include "tcg/passes/refold.h"
#include "util/check.h"

namespace emu::ir {
namespace {

/// While the walk is under way, mark ops whose value is wanted, and whose value a later Set of a pinned field takes. No
/// opcode uses these bits of Op::flags.
constexpr u8 kWanted = 0x80, kPlaced = 0x40;
constexpr size_t kMaxFields = 1024;

/// The backward walk. A Set may go when another Set of the field follows with nothing between that could see the first:
/// a Get, or an op before which the whole state must be right. SetFlags likewise.
class DeadWalk {
 public:
  DeadWalk(Block& block, const StateLayout& layout, const HelperTable& helpers, const PassOptions& options)
      : block_(block), layout_(layout), helpers_(helpers), options_(options) {
    EMU_CHECK(layout.fields.size() <= kMaxFields);
  }

  /// How many ops went.
  u32 run() {
    u32 dropped = 0;
    for (size_t i = block_.ops.size(); i-- > 1;) {
      Op& op = block_.ops[i];
      const bool wanted = op.flags & kWanted;
      op.flags &= u8(~(kWanted | kPlaced));
      if (may_drop(i, wanted)) {
        dropped += op.opcode != Opcode::Nop;
        op = Op{};
        continue;
      }
      follow_state(op);
      visit_operands(block_, op, [this](Ref r) {
        if (r.is_value()) block_.ops[r.id()].flags |= kWanted;
      });
    }
    return dropped;
  }

 private:
  bool may_drop(size_t i, bool wanted) const {
    const Op& op = block_.ops[i];
    if (op.opcode == Opcode::Set) return options_.dead_code && is_overwritten(op) && !gives_place(i);
    if (op.opcode == Opcode::SetFlags) return options_.dead_code && flags_overwritten_;
    return options_.dead_code && !wanted && may_be_removed(op, helpers_);
  }

  /// A dead Set of a pinned field costs nothing where its value is computed in that register, and is used later:
  /// without it the value would need one of the few scratch registers.
  bool gives_place(size_t at) const {
    const Op& set = block_.ops[at];
    if (layout_.fields[set.c.bits()].pin == Pin::None || !set.a.is_value()) return false;
    const Op& value = block_.ops[set.a.id()];
    if (!(value.flags & kWanted) || (value.flags & kPlaced) || value.opcode == Opcode::Get) return false;
    for (size_t i = set.a.id() + 1; i < at; ++i) {  // usually none or two
      const Op& op = block_.ops[i];
      const bool same_field = (op.opcode == Opcode::Get || op.opcode == Opcode::Set) && op.c == set.c;
      if (same_field || looks_at_state(op, helpers_)) return false;
    }
    return true;
  }

  void follow_state(const Op& op) {
    switch (op.opcode) {
      case Opcode::Set:
        mark_overwritten(op);
        if (layout_.fields[op.c.bits()].pin != Pin::None && op.a.is_value()) block_.ops[op.a.id()].flags |= kPlaced;
        break;
      case Opcode::Get:
        overwritten_[op.c.bits() / 64] &= ~(u64(1) << op.c.bits() % 64);
        low_overwritten_[op.c.bits() / 64] &= ~(u64(1) << op.c.bits() % 64);
        break;
      case Opcode::SetFlags:
        flags_overwritten_ = true;
        break;
      case Opcode::GetFlags:
        flags_overwritten_ = false;
        break;
      default:
        if (looks_at_state(op, helpers_)) {
          for (size_t i = 0; i <= layout_.fields.size() / 64; ++i) overwritten_[i] = low_overwritten_[i] = 0;
          flags_overwritten_ = false;
        }
        break;
    }
  }

  bool is_low_half(const Op& set) const { return layout_.fields[set.c.bits()].type != set.type; }
  bool is_overwritten(const Op& set) const {
    const u32 field = set.c.bits();
    const u64 word = overwritten_[field / 64] | (is_low_half(set) ? low_overwritten_[field / 64] : 0);
    return word >> field % 64 & 1;
  }
  void mark_overwritten(const Op& set) {
    const u32 field = set.c.bits();
    if (is_volatile_field(layout_.fields[field])) return;
    (is_low_half(set) ? low_overwritten_ : overwritten_)[field / 64] |= u64(1) << field % 64;
  }

  Block& block_;
  const StateLayout& layout_;
  const HelperTable& helpers_;
  const PassOptions& options_;
  std::array<u64, kMaxFields / 64 + 1> overwritten_{}, low_overwritten_{};
  bool flags_overwritten_ = false;
};

}  // namespace

u32 optimize(Block& block, const StateLayout& layout, const HelperTable& helpers, const PassOptions& options) {
  u32 dropped = 0;
  if (options.fold && !block.folded) {
    refold(block, layout, helpers);
    EMU_CHECK(!options.verify || verify(block, layout, helpers));
  }
  if (options.dead_code) {
    dropped = DeadWalk(block, layout, helpers, options).run();
    EMU_CHECK(!options.verify || verify(block, layout, helpers));
  }
  return dropped;
}

}  // namespace emu::ir
