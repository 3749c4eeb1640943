// SPDX-License-Identifier: Apache-2.0
// Code that is copied: what depends on its place and on the guest's pc. Jumps and calls within a part do not; pcs are
// noted where they are emitted.
#include <algorithm>
#include <cstring>

#include "tcg/host/x86_64/backend.h"
#include "tcg/host/x86_64/compiler.h"

namespace emu::tcg::x86_64 {

using ir::Relocation;

void Compiler::relocate(const Assembler& a, size_t position, Relocation::Form form) {
  if (movable_) relocations_.push_back({offset_in(a, position), form});
}

/// Sites of links are not among them: X64Backend::reset_link() writes those anew.
void Compiler::finish_relocations() {
  if (!movable_) return;
  for (const Assembler* a : {&hot_, &cold_}) {
    const Assembler& other = a == &hot_ ? cold_ : hot_;
    for (const Assembler::FarJump& jump : a->far_jumps()) {
      const bool to_other = size_t(jump.target - other.exec_base()) <= other.position();
      relocate(*a, jump.end - 4, to_other ? Relocation::Form::OtherPart : Relocation::Form::Outside);
    }
  }
  std::sort(relocations_.begin(), relocations_.end(),
            [](const Relocation& x, const Relocation& y) { return x.offset < y.offset; });
  ir::pack_relocations(relocations_, result_->relocations);
}

namespace {

template <typename Word>
void add(u8* at, i64 difference) {
  Word word;
  std::memcpy(&word, at, sizeof word);
  word = Word(word + Word(difference));
  std::memcpy(at, &word, sizeof word);
}

}  // namespace

bool X64Backend::relocate(ir::CodeSpan hot, ir::CodeSpan cold, const ir::CodeParts& from, u64 pc_moves,
                          std::span<const u8> relocations) const {
  const i64 hot_moves = hot.exec - from.hot, cold_moves = cold.exec - from.cold;
  bool fits = true;
  ir::for_each_relocation(relocations, [&](const Relocation& r) {
    const bool is_cold = r.offset >= ir::kColdOffset;
    u8* at = is_cold ? cold.write + (r.offset - ir::kColdOffset) : hot.write + r.offset;
    const i64 moves = is_cold ? cold_moves : hot_moves, other_moves = is_cold ? hot_moves : cold_moves;
    switch (r.form) {
      case Relocation::Form::Outside:
        add<u32>(at, -moves);
        break;
      case Relocation::Form::OtherPart:
        add<u32>(at, other_moves - moves);
        break;
      case Relocation::Form::Pc64:
        add<u64>(at, i64(pc_moves));
        break;
      case Relocation::Form::Pc32: {
        i32 old;
        std::memcpy(&old, at, sizeof old);
        const u64 pc = u64(i64(old)) + pc_moves;
        fits = fits && i64(pc) == i64(i32(pc));
        add<u32>(at, i64(pc_moves));
        break;
      }
    }
  });
  return fits;
}

}  // namespace emu::tcg::x86_64
