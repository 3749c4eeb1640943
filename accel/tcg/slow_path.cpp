// SPDX-License-Identifier: Apache-2.0
// What thunks of generated code call. Each returns the host address to go on at. See tcg/abi/thunks.h.
#include <algorithm>
#include <cstring>

#include "accel/tcg/runtime_vcpu.h"
#include "util/check.h"
#include "util/log.h"

namespace emu::tcg {

using namespace accel;
using ir::Location;
using target::Access;

namespace {

constexpr unsigned kMaxAccess = 32;

u8* slot(EnvHeader& env, const Location& at) { return reinterpret_cast<u8*>(&env) + at.value; }

void read_location(EnvHeader& env, const Location& at, u8* data, unsigned bytes) {
  std::memset(data, 0, kMaxAccess);
  if (at.where == Location::Where::State) {
    std::memcpy(data, slot(env, at), bytes);
  } else if (at.where == Location::Where::Constant) {
    std::memcpy(data, &at.value, std::min(bytes, 8u));
  }
}

u64 location_value(EnvHeader& env, const Location& at, unsigned bytes) {
  u8 data[kMaxAccess];
  read_location(env, at, data, bytes);
  u64 value;
  std::memcpy(&value, data, 8);
  return value;
}

/// Stores what was loaded the way the block expects it: extended to the result's type, zeros above.
void write_result(EnvHeader& env, const ir::AccessRecord& record, const u8* data, unsigned bytes) {
  if (record.result.where != Location::Where::State) return;
  u8* to = slot(env, record.result);
  if (ir::is_vector(record.type)) {
    std::memcpy(to, data, ir::width(record.type) / 8);
    return;
  }
  u64 value;
  std::memcpy(&value, data, 8);
  value &= low_mask(std::min(bytes, 8u) * 8);
  if (record.mem.extend == ir::Extend::Sign) value = u64(sign_extend(value, std::min(bytes, 8u) * 8));
  value &= low_mask(std::max(ir::width(record.type), 8u));
  std::memcpy(to, &value, 8);
}

}  // namespace

/// The recovery point of a return address, decoded once and kept.
RuntimeVcpu::Site& RuntimeVcpu::site_at(u64 return_site) {
  Site& site = sites_[(return_site >> 2 ^ return_site >> 12) % kSites];
  const u64 generation = shared_.blocks->reuse_generation();
  if (site.return_site == return_site && site.generation == generation) return site;
  statistics_.site_misses.add();
  const u8* address = reinterpret_cast<const u8*>(return_site);
  CodeBlock* block = shared_.code->find(address);
  EMU_CHECK(block != nullptr);
  auto point = ir::find_recovery_point(block->side_table, block->parts().offset_of(address), block->key.pc);
  EMU_CHECK(point.has_value());
  site = {return_site, generation, block, std::move(*point)};
  return site;
}

const CodeBlock* RuntimeVcpu::running_block() {
  if (interpreted_ != nullptr) return interpreted_;
  if (!in_code_) return nullptr;
  return shared_.code->find(reinterpret_cast<const u8*>(env_.return_site));
}

const u8* RuntimeVcpu::exit_code(ExitReason reason) {
  env_.exit_reason = u32(reason);
  env_.leave = kLeaveNot;
  return shared_.thunks.exit_from_callback;
}

const u8* RuntimeVcpu::leave_at_instruction(Site& site, ExitReason reason) {
  ir::apply_recovery(site.point, shared_.translator->layout(), env_);
  env_.pc = site.block->key.pc + site.point.pc_delta;
  give_back(site, site.point.insn_index);
  return go_on_after(reason);
}

/// The block took all its instructions off the budget, and is left after `executed`.
void RuntimeVcpu::give_back(const Site& site, unsigned executed) {
  if (shared_.icount != nullptr) env_.icount_budget += i64(site.block->guest_insns) - i64(executed);
}

i64 RuntimeVcpu::instructions_left() {
  if (!in_code_) return env_.icount_budget;
  const Site& site = site_at(env_.return_site);
  return env_.icount_budget + i64(site.block->guest_insns) - i64(site.point.insn_index);
}

/// Deals with what a block left for, and finds the code to go on at, without unwinding to the run loop. That is for
/// requests of others, and for whatever keeps the guest from running on.
const u8* RuntimeVcpu::go_on_after(ExitReason reason) {
  in_code_ = false;  // the block is left: stores of an exception's delivery may hit its source
  handle_exit(reason);
  in_code_ = true;
  if (env_.exit_req.load(std::memory_order_relaxed) != 0 || step_alone_ || debug_stop_ || env_.guest_debug != 0 ||
      cpu_.halt_state() != target::Halt::Running || cpu_.has_deliverable_event()) {
    return exit_code(ExitReason::Handled);
  }
  if (mode_is_stale_) load_mode();
  if (const u8* cached = find_jump(env_.jc, env_.pc)) return cached;
  return continue_at(env_.pc, 0);
}

// --- Memory ---

const u8* RuntimeVcpu::slow_access(EnvHeader& env) {
  RuntimeVcpu& vcpu = *env.runtime;
  vcpu.statistics_.slow_accesses.add();
  vcpu.statistics_.l2_refills.add(env.l2_refills);
  env.l2_refills = 0;
  return vcpu.access(vcpu.site_at(env.return_site));
}

bool RuntimeVcpu::is_in_l1(u64 va, bool write, u8 view_or_current) {
  const TlbEntry& entry = tlb_.l1(va, view_or_current == ir::kCurrentView ? view() : view_or_current);
  return (write ? entry.wr : entry.rd) == align_down(va, kPageSize);
}

const u8* RuntimeVcpu::access(Site& site) {
  const ir::AccessRecord& record = site.point.access;
  const u64 va = env_.slow_address;
  const unsigned bytes = 1u << record.mem.log2_bytes;
  const bool is_atomic = record.opcode == ir::Opcode::Rmw || record.opcode == ir::Opcode::Cas;
  const u64 align = low_mask(is_atomic ? record.mem.log2_bytes : record.mem.align_log2);
  const bool crosses = (va & (kPageSize - 1)) + bytes > kPageSize;

  // A RAM access whose entry was merely missing is done by the block itself.
  const bool is_load = record.opcode == ir::Opcode::Ld && !record.mem.write_intent;
  const bool is_there = record.unshares && is_in_l1(va, !is_load, record.mem.view);
  if (site.point.retry != 0 && !crosses && (va & align) == 0 && !is_there) {
    switch (memory_.refill(va, bytes, is_load ? Access::Load : Access::Store, record.mem.view)) {
      case GuestMemory::Refill::Ready:
        return site.block->parts().at(site.point.retry);
      case GuestMemory::Refill::Fault:
        if (record.mem.stack) cpu_.stack_access_faulted();
        return leave_at_instruction(site, ExitReason::Fault);
      case GuestMemory::Refill::Perform:
        break;
    }
  }
  if (record.unshares) return restart_unshared(site);
  if (!perform(record, va)) {
    if (record.mem.stack) cpu_.stack_access_faulted();
    return leave_at_instruction(site, ExitReason::Fault);
  }
  EMU_CHECK(site.point.resume != 0);
  return site.block->parts().at(site.point.resume);
}

/// The instruction again, and what follows it, in a block whose accesses do not share checks.
const u8* RuntimeVcpu::restart_unshared(Site& site) {
  ir::apply_recovery(site.point, shared_.translator->layout(), env_);
  env_.pc = site.block->key.pc + site.point.pc_delta;
  give_back(site, site.point.insn_index);
  statistics_.unshared_restarts.add();
  if (env_.exit_req.load(std::memory_order_relaxed) != 0) return exit_code(ExitReason::ExitRequest);
  in_code_ = false;
  const Lookup found = find_fitting(env_.pc, /*unshared=*/true);
  in_code_ = true;
  if (found.what == Lookup::What::Block) return found.block->entry();
  if (found.what == Lookup::What::Fault) return exit_code(ExitReason::Fault);
  step_alone_ = found.what != Lookup::What::Breakpoint;  // the run loop would come to the same block again
  return exit_code(ExitReason::Lookup);
}

bool RuntimeVcpu::perform(const ir::AccessRecord& record, u64 va) {
  const unsigned bytes = 1u << record.mem.log2_bytes;
  alignas(32) u8 data[kMaxAccess] = {};
  switch (record.opcode) {
    case ir::Opcode::Ld:
      if (!memory_.load(va, record.mem, data)) return false;
      if (record.mem.big_endian) std::reverse(data, data + bytes);
      break;
    case ir::Opcode::St:
      read_location(env_, record.value, data, bytes);
      if (record.mem.big_endian) std::reverse(data, data + bytes);
      return memory_.store(va, record.mem, data);
    case ir::Opcode::Probe:
      return memory_.probe(va, record.mem);
    case ir::Opcode::Rmw: {
      u64 old = 0;
      if (!memory_.rmw(record.rmw, va, record.mem, location_value(env_, record.value, bytes), old)) return false;
      std::memcpy(data, &old, 8);
      break;
    }
    case ir::Opcode::Cas: {
      u64 old = 0;
      if (!memory_.cas(va, record.mem, location_value(env_, record.expected, bytes),
                       location_value(env_, record.value, bytes), old)) {
        return false;
      }
      std::memcpy(data, &old, 8);
      break;
    }
    default:
      EMU_CHECK(!"a slow access that is none");
  }
  write_result(env_, record, data, bytes);
  return true;
}

// --- Helpers and traps ---

const u8* RuntimeVcpu::helper_left(EnvHeader& env) {
  RuntimeVcpu& vcpu = *env.runtime;
  switch (LeaveCode(env.leave)) {
    case kLeaveTransferred:
      if (vcpu.shared_.icount != nullptr) {
        Site& site = vcpu.site_at(env.return_site);
        vcpu.give_back(site, site.point.insn_index + 1);
      }
      return vcpu.go_on_after(ExitReason::Leave);
    case kLeaveAfterInsn: {
      Site& site = vcpu.site_at(env.return_site);
      ir::apply_recovery(site.point, vcpu.shared_.translator->layout(), env);
      env.pc = site.block->key.pc + site.point.next_pc_delta;
      vcpu.give_back(site, site.point.insn_index + 1);
      return vcpu.go_on_after(ExitReason::Leave);
    }
    case kLeaveNot:
    case kLeaveAtInsn:
      break;
  }
  return vcpu.leave_at_instruction(vcpu.site_at(env.return_site), ExitReason::Fault);
}

const u8* RuntimeVcpu::exit_request(EnvHeader& env) {
  const CodeBlock* block = env.runtime->shared_.code->find(reinterpret_cast<const u8*>(env.return_site));
  EMU_CHECK(block != nullptr);
  env.pc = block->key.pc;
  return env.runtime->exit_code(ExitReason::ExitRequest);
}

const u8* RuntimeVcpu::trap(EnvHeader& env) {
  RuntimeVcpu& vcpu = *env.runtime;
  return vcpu.leave_at_instruction(vcpu.site_at(env.return_site), ExitReason::Trap);
}

const u8* RuntimeVcpu::exit(EnvHeader& env) { return env.runtime->go_on_after(ExitReason(env.exit_reason)); }

const u8* RuntimeVcpu::mode_miss(EnvHeader& env) {
  RuntimeVcpu& vcpu = *env.runtime;
  vcpu.statistics_.mode_misses.add();
  vcpu.load_mode();
  EMU_CHECK(env.mode == env.slow_address);
  return reinterpret_cast<const u8*>(env.return_site);
}

// --- Between blocks ---

const u8* RuntimeVcpu::indirect_miss(EnvHeader& env) {
  RuntimeVcpu& vcpu = *env.runtime;
  vcpu.statistics_.jump_cache_misses.add();
  return vcpu.continue_at(env.pc, 0);
}

const u8* RuntimeVcpu::link_miss(EnvHeader& env) {
  RuntimeVcpu& vcpu = *env.runtime;
  vcpu.statistics_.link_misses.add();
  return vcpu.continue_at(env.pc, env.exit_arg);
}

/// The link that a link miss is about, by its key's address.
const Link& RuntimeVcpu::missed_link(u64 key) const {
  const u8* address = reinterpret_cast<const u8*>(key);
  const CodeBlock* from = shared_.code->find(address);
  EMU_CHECK(from != nullptr);
  const u32 offset = from->parts().offset_of(address);
  for (u32 i = 0; i < from->link_count; ++i) {
    if (from->links[i].key == offset) return from->links[i];
  }
  EMU_CHECK(!"a link miss that no link has");
}

const u8* RuntimeVcpu::continue_at(u64 pc, u64 link_key) {
  // Blocks that are not published yet have no exit check of their own on the way here.
  if (env_.exit_req.load(std::memory_order_relaxed) != 0) return exit_code(ExitReason::ExitRequest);
  if (mode_is_stale_ || log::enabled(log::Mask::Exec | log::Mask::Cpu)) return exit_code(ExitReason::Lookup);
  const Link* link = link_key != 0 ? &missed_link(link_key) : nullptr;
  // What one block met, its successors may: data across pages. Unshared blocks link to unshared ones, and return to the
  // others through indirect jumps.
  const bool unshared = link != nullptr && link->from->key.unshared;
  in_code_ = false;  // what walks for it does, nobody is in the middle of a block
  const Lookup found = find_block(pc, unshared);
  in_code_ = true;
  if (found.what == Lookup::What::Fault) return exit_code(ExitReason::Fault);
  if (found.what != Lookup::What::Block) return exit_code(ExitReason::Lookup);
  CodeBlock& block = *found.block;
  if (block.state.load(std::memory_order_acquire) == CodeBlock::State::Published && !log::enabled(log::Mask::NoChain)) {
    if (shared_.techniques.jump_cache && !unshared) tlb_.jump_cache().fill(pc, block.entry(), found.global);
    // Where the page was not known executable, a guard that failed for this reason brought us here, or the link is new
    // and its next use will make it: either way there is nothing to look up under the cache's lock.
    const bool was_executable = env_.view->exec[exec_tlb_index(pc)] == block.page_id;
    if (!was_executable && !block.straddles()) tlb_.install_exec(pc, view(), block.page_id, found.global);
    if (was_executable && link != nullptr && shared_.techniques.links &&
        shared_.blocks->link(link->from->site_of(*link), block, env_.mode, &participant_)) {
      statistics_.links_made.add();
    }
  }
  return block.entry();
}

}  // namespace emu::tcg
