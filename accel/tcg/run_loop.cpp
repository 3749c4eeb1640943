// SPDX-License-Identifier: Apache-2.0
// Blocks: finding, entering, interpreting, and what they left for.
#include <bit>

#include "accel/tcg/runtime_vcpu.h"
#include "util/check.h"
#include "util/log.h"

namespace emu::tcg {

using namespace accel;
using target::Access;

void RuntimeVcpu::load_mode() {
  const u32 mode = cpu_.mode_key();
  if (!enter_mode(env_, mode)) tlb_.load_mode(mode, cpu_.current_view());
  mode_is_stale_ = false;
}

std::optional<mem::RamPage> RuntimeVcpu::fetch_page(u64 va) {
  const L2Entry* entry = tlb_.translate(va, Access::Fetch, view());
  if (entry == nullptr || !entry->has(kL2Ram)) return std::nullopt;
  return mem::RamPage(entry->ram_page);
}

RuntimeVcpu::Lookup RuntimeVcpu::find_block(u64 pc, bool unshared, u32 limit) {
  if (shared_.debug.breaks_at(pc)) [[unlikely]] return {Lookup::What::Breakpoint};
  const L2Entry* fetched = tlb_.translate(pc, Access::Fetch, view());
  if (fetched == nullptr) return {Lookup::What::Fault};
  if (!fetched->has(kL2Ram)) return {Lookup::What::Alone};
  return find_in_ram({pc, env_.mode, mem::RamPage(fetched->ram_page), unshared, limit}, fetched->has(kL2Global));
}

/// What is granted may end within the block: then the beginning of it, in powers of two, so that there are few such
/// blocks.
RuntimeVcpu::Lookup RuntimeVcpu::find_fitting(u64 pc, bool unshared) {
  const Lookup found = find_block(pc, unshared);
  if (shared_.icount == nullptr || found.what != Lookup::What::Block) return found;
  if (env_.icount_budget <= 0 || found.block->guest_insns <= env_.icount_budget) return found;
  return find_block(pc, unshared, u32(std::bit_floor(u64(env_.icount_budget))));
}

RuntimeVcpu::Lookup RuntimeVcpu::find_in_ram(const BlockKey& key, bool global) {
  const u64 pc = key.pc;
  for (;;) {
    bool second_faulted = false;
    CodeBlock* block = shared_.blocks->find(key, [&] {
      const auto page = fetch_page(pc + kPageSize);
      second_faulted |= !page;
      return page.value_or(mem::kNoRamPage);
    });
    if (second_faulted) return {cpu_.has_pending_fault() ? Lookup::What::Fault : Lookup::What::Alone};
    if (block == nullptr) return translate(key, global);
    if (block->state.load(std::memory_order_acquire) == CodeBlock::State::Published && !block->compares) {
      return {Lookup::What::Block, block, global};
    }
    statistics_.blocks_checked.add();
    switch (shared_.blocks->check(*block, &participant_)) {
      case BlockCache::CheckVerdict::Same:
        return {Lookup::What::Block, block, global};
      case BlockCache::CheckVerdict::Differs:
        continue;
      case BlockCache::CheckVerdict::LockWasTaken:
        return {Lookup::What::Alone};
    }
  }
}

void RuntimeVcpu::run_one() {
  if (mode_is_stale_) load_mode();
  env_.no_direct_entry =
      !shared_.techniques.direct_entry || log::enabled(log::Mask::Int | log::Mask::Exec | log::Mask::Cpu);
  env_.no_string_runs = !shared_.techniques.string_runs;
  env_.leave = kLeaveNot;
  if (env_.guest_debug != 0 && guest_debug_event()) [[unlikely]] return;
  if (step_alone_) {
    step_alone_ = false;
    interpret_alone(env_.pc);
    return;
  }
  const Lookup found = find_fitting(env_.pc);
  switch (found.what) {
    case Lookup::What::Block:
      if (shared_.backend) {
        enter(*found.block);
      } else {
        interpret(*found.block);
      }
      return;
    case Lookup::What::Fault:
      handle_exit(ExitReason::Fault);
      return;
    case Lookup::What::Alone:
      interpret_alone(env_.pc);
      return;
    case Lookup::What::NoRoom:
      wait_for_code_memory();
      return;
    case Lookup::What::Breakpoint:
      note_debug_stop({.why = DebugStop::Why::Breakpoint, .address = env_.pc});
      return;
  }
}

/// The guest's own breakpoints. True: an exception was delivered.
bool RuntimeVcpu::guest_debug_event() {
  if (!cpu_.before_instruction()) return false;
  env_.leave = kLeaveNot;
  mode_is_stale_ = true;
  step_alone_ = false;
  return true;
}

void RuntimeVcpu::log_entry(const CodeBlock& block) {
  if (log::enabled_at(log::Mask::Exec, block.key.pc)) {
    log::write("exec: vcpu {} {:#x}{} mode {:#x}\n", cpu_.index(), block.key.pc, name_for_log(block.key.pc),
               block.key.mode);
  }
  if (log::enabled_at(log::Mask::Cpu, block.key.pc)) log::write("{}\n", cpu_.dump_registers());
}

void RuntimeVcpu::enter(CodeBlock& block) {
  statistics_.blocks_entered.add();
  if (log::enabled(log::Mask::Exec | log::Mask::Cpu)) log_entry(block);
  in_code_ = true;
  shared_.thunks.enter(&env_, block.entry());
  in_code_ = false;
  handle_exit(ExitReason(env_.exit_reason));
}

void RuntimeVcpu::interpret(CodeBlock& block) {
  statistics_.blocks_entered.add();
  statistics_.interpreted_blocks.add();
  if (log::enabled(log::Mask::Exec | log::Mask::Cpu)) log_entry(block);
  env_.fpu_live = 0;
  interpreted_ = &block;
  const ir::InterpretResult result = ir::interpret(*block.ir, shared_.translator->layout(),
                                                   shared_.translator->helpers(), env_, memory_);
  interpreted_ = nullptr;
  env_.icount_budget -= result.insns_done;
  env_.pc = result.pc;
  env_.exit_arg = result.arg;
  handle_exit(result.reason);
}

void RuntimeVcpu::handle_exit(ExitReason reason) {
  EMU_CHECK(u32(reason) < kExitReasons);
  statistics_.exits[u32(reason)].add();
  env_.leave = kLeaveNot;
  switch (reason) {
    case ExitReason::Lookup:
    case ExitReason::LinkMiss:
    case ExitReason::ExitRequest:
    case ExitReason::Checked:
    case ExitReason::Handled:
      return;
    case ExitReason::FpuLoad:
      env_.fpu_live = 1;  // entering generated code loads the unit from its image
      return;
    case ExitReason::Leave:
      break;
    case ExitReason::Fault:
      // None: the instruction starts again, because events are due (rep) or because a store hit its own block.
      if (!cpu_.has_pending_fault()) break;
      log::write_if(log::Mask::Int, "vcpu {}: fault at pc {:#x}\n", cpu_.index(), env_.pc);
      cpu_.deliver_pending();
      step_alone_ = false;  // that was to be the instruction that faulted
      break;
    case ExitReason::Trap:
      log::write_if(log::Mask::Int, "vcpu {}: trap {:#x} at pc {:#x}\n", cpu_.index(), env_.exit_arg, env_.pc);
      cpu_.handle_trap(env_.exit_arg);
      break;
    case ExitReason::System:
      cpu_.handle_system(env_.exit_arg);
      break;
  }
  env_.leave = kLeaveNot;
  env_.fpu_live = 0;  // kernels seldom touch the x87 unit; its image is up to date
  mode_is_stale_ = true;
}

}  // namespace emu::tcg
