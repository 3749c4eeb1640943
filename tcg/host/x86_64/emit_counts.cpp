// SPDX-License-Identifier: Apache-2.0
// What generated code counts when it is asked to (ir::CompileRequest::count, icount): at each exit of a block, the way
// to it.
#include "tcg/abi/env.h"
#include "tcg/host/x86_64/compiler.h"

namespace emu::tcg::x86_64 {

/// From the block's entry to this place of the hot part.
Compiler::Path Compiler::path_to_here() const {
  return {.insns = insn_index_,
          .basic_blocks = basic_blocks_,
          .host_insns = hot_.instructions() - hot_counting_.insns,
          .host_bytes = u32(hot_.position() - entry_) - hot_counting_.bytes};
}

void Compiler::count(Assembler& a, size_t counter, u32 n) {
  if (!request_->count) return;
  Counting& counting = &a == &hot_ ? hot_counting_ : cold_counting_;
  const size_t begin = a.position();
  a.alu_imm(Alu::Add, Width::q, slot(i32(counter)), i32(n));
  counting.bytes += u32(a.position() - begin);
  ++counting.insns;
}

/// The head has taken the whole block off the budget; `insns` are executed. Flags are at home.
void Compiler::give_back_budget(Assembler& a, u32 insns) {
  if (!request_->icount || insns == block_->guest_insns) return;
  a.alu_imm(Alu::Add, Width::q, slot(i32(offsetof(EnvHeader, icount_budget))), i32(block_->guest_insns - insns));
}

/// With flags at home, before the jump that leaves the block. finish_counted_exit() comes behind it.
void Compiler::count_exit(Assembler& a, const Path& path) {
  give_back_budget(a, path.insns);
  if (!request_->count) return;
  constexpr u32 kLater = 0x7fffffff;  // makes the assembler choose a 32-bit immediate
  count(a, offsetof(EnvHeader, executed_insns), path.insns);
  count(a, offsetof(EnvHeader, executed_blocks));
  count(a, offsetof(EnvHeader, executed_basic_blocks), path.basic_blocks);
  CountedExit exit{.path = path, .in_cold = &a == &cold_};
  count(a, offsetof(EnvHeader, executed_host_insns), kLater);
  exit.host_insns_end = a.position();
  count(a, offsetof(EnvHeader, executed_host_bytes), kLater);
  exit.host_bytes_end = a.position();
  count(a, offsetof(EnvHeader, stub_bytes), kLater);
  exit.end = a.position();
  exit.insns = a.instructions();
  counted_exits_.push_back(exit);
}

/// Behind the jump. A link counts as it is before it is linked.
void Compiler::finish_counted_exit(Assembler& a) {
  if (!request_->count) return;
  const CountedExit& exit = counted_exits_.back();
  a.patch_imm32(exit.host_insns_end, exit.path.host_insns + a.instructions() - exit.insns);
  a.patch_imm32(exit.host_bytes_end, exit.path.host_bytes + u32(a.position() - exit.end));
}

/// When all is emitted: each exit's share of what is out of line, by the basic blocks on the way to it.
void Compiler::finish_stub_counts() {
  const u64 stub_bytes = cold_.position() - cold_counting_.bytes;
  for (const CountedExit& exit : counted_exits_) {
    (exit.in_cold ? cold_ : hot_)
        .patch_imm32(exit.end, u32(stub_bytes * exit.path.basic_blocks / basic_blocks_));
  }
}

}  // namespace emu::tcg::x86_64
