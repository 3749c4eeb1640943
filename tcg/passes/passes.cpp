// SPDX-License-Identifier: Apache-2.0
#include "tcg/passes/passes.h"

#include <array>

#include "tcg/ir/verify.h"
#include "tcg/passes/refold.h"
#include "util/check.h"

namespace emu::ir {
namespace {

/// While the walk is under way, marks ops whose value is wanted. No opcode uses this bit of Op::flags.
constexpr u8 kWanted = 0x80;
constexpr size_t kMaxFields = 1024;

/// The backward walk. A Set may go when another Set of the field follows with nothing between that could see the first:
/// a Get, or an op before which the whole state must be right. SetFlags likewise.
class DeadWalk {
 public:
  DeadWalk(Block& block, const StateLayout& layout, const HelperTable& helpers, const PassOptions& options)
      : block_(block), layout_(layout), helpers_(helpers), options_(options) {
    EMU_CHECK(layout.fields.size() <= kMaxFields);
  }

  void run() {
    for (size_t i = block_.ops.size(); i-- > 1;) {
      Op& op = block_.ops[i];
      const bool wanted = op.flags & kWanted;
      op.flags &= u8(~kWanted);
      if (may_drop(op, wanted)) {
        op = Op{};
        continue;
      }
      follow_state(op);
      for_each_operand(block_, op, [this](Ref r) {
        if (r.is_value()) block_.ops[r.id()].flags |= kWanted;
      });
    }
  }

 private:
  bool may_drop(const Op& op, bool wanted) const {
    if (op.opcode == Opcode::Set) return options_.dead_code && is_overwritten(op);
    if (op.opcode == Opcode::SetFlags) return options_.dead_flags && flags_overwritten_;
    if (wanted || !is_removable(op, helpers_)) return false;
    return result_type(op) == Type::Flags ? options_.dead_flags || options_.dead_code : options_.dead_code;
  }

  void follow_state(const Op& op) {
    switch (op.opcode) {
      case Opcode::Set:
        mark_overwritten(op);
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
        if (observes_state(op, helpers_)) {
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

void optimize(Block& block, const StateLayout& layout, const HelperTable& helpers, const PassOptions& options) {
  if (options.fold && !block.folded) {
    refold(block, layout, helpers);
    EMU_CHECK(!options.verify || verify(block, layout, helpers));
  }
  if (options.dead_code || options.dead_flags) {
    DeadWalk(block, layout, helpers, options).run();
    EMU_CHECK(!options.verify || verify(block, layout, helpers));
  }
}

}  // namespace emu::ir
