// SPDX-License-Identifier: Apache-2.0
// Runs IR blocks of the test guest as host code: thunks, a TLB, and the callbacks that accel/tcg would supply.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <functional>
#include <memory>
#include <random>

#include "tcg/abi/env_storage.h"
#include "tcg/ir/backend.h"
#include "tcg/ir/verify.h"
#include "unit/tcg/random_block.h"
#include "util/bits.h"
#include "util/check.h"

namespace emu::test {

using tcg::EnvHeader;
using tcg::ExitReason;

class JitBench {
 public:
  static constexpr size_t kHotBytes = 64 * 1024, kCodeBytes = 256 * 1024, kHotAt = 16 * 1024;

  explicit JitBench(bool avx512) : storage_(sizeof(GuestState)), view_(std::make_unique<tcg::View>()) {
    backend = std::move(*ir::make_host_backend({.avx512 = avx512}));
    EMU_CHECK(backend->configure(layout).has_value());
    code_ = static_cast<u8*>(
        mmap(nullptr, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    EMU_CHECK(code_ != MAP_FAILED);
    tcg::RuntimeCallbacks callbacks;
    callbacks.slow_access = &slow_access;
    callbacks.helper_left = &helper_left;
    callbacks.indirect_miss = &to_lookup;
    callbacks.link_miss = &to_lookup;
    callbacks.exit_request = &exit_request;
    callbacks.trap = &trap;
    callbacks.mode_miss = &mode_miss;
    size_t used = 0;
    thunks = *backend->emit_thunks({code_, code_, kHotAt}, layout, callbacks, used);
    jump_cache_ = std::make_unique<tcg::JumpCacheEntry[]>(tcg::kJumpCacheSlots);
  }
  ~JitBench() { munmap(code_, kCodeBytes); }

  ir::CompileStatus compile(const ir::Block& b, size_t hot_bytes = kHotBytes, size_t cold_bytes = 0,
                            bool share_checks = true) {
    block_ = &b;
    const size_t cold_room = kCodeBytes - kHotAt - kHotBytes;
    const ir::CompileRequest request{
        .block = &b,
        .layout = &layout,
        .helpers = &helpers,
        .thunks = &thunks,
        .hot = {code_ + kHotAt, code_ + kHotAt, hot_bytes},
        .cold = {code_ + kHotAt + kHotBytes, code_ + kHotAt + kHotBytes, cold_bytes ? cold_bytes : cold_room},
        .share_checks = share_checks,
        .fuse_flags = fuse_flags,
        .relocatable = true};
    return backend->compile(request, compiled);
  }

  ir::CodeParts parts() const { return {code_ + kHotAt, code_ + kHotAt + kHotBytes, compiled.hot_size}; }
  u8* hot() { return code_ + kHotAt; }
  u8* cold() { return hot() + kHotBytes; }
  tcg::View& view() { return *view_; }
  tcg::JumpCacheEntry* jump_cache() { return jump_cache_.get(); }
  GuestState& state() { return *static_cast<GuestState*>(storage_.state()); }

  /// Where the block asks to be gone on with unshared, it is run again so, from the beginning: random IR cannot be
  /// entered in the middle.
  ir::InterpretResult run(GuestMemory& memory, u64 seed) {
    const GuestMemory memory_before = memory;
    const u8* bytes = reinterpret_cast<const u8*>(&state());
    const std::vector<u8> state_before(bytes, bytes + sizeof(GuestState));
    ir::InterpretResult result = run_once(memory, seed);
    if (!unshares_) return result;
    ++unshared;
    memory = memory_before;
    std::memcpy(static_cast<void*>(&state()), state_before.data(), state_before.size());
    EMU_CHECK(compile(*block_, kHotBytes, 0, /*share_checks=*/false) == ir::CompileStatus::Ok);
    result = run_once(memory, seed);
    EMU_CHECK(!unshares_);
    return result;
  }

  ir::InterpretResult run_once(GuestMemory& memory, u64 seed) {
    unshares_ = false;
    memory_ = &memory;
    random_.seed(seed);
    EnvHeader& env = state().hdr;
    env.runtime = reinterpret_cast<tcg::RuntimeVcpu*>(this);
    env.view = view_.get();
    for (auto*& v : env.views) v = view_.get();
    env.jc = jump_cache_.get();
    for (const unsigned slot : {0u, tcg::kJumpCacheEntries}) env.jc[slot].pc = tcg::jump_cache_empty(slot);
    env.fp_control_host = 0x1f80;
    flush();
    result_ = {};
    mode_entered_ = false;
    thunks.enter(&env, code_ + kHotAt + compiled.entry);
    const auto reason = ExitReason(env.exit_reason);
    result_.reason = reason == ExitReason::LinkMiss ? ExitReason::Lookup : reason;
    if (mode_entered_ && result_.reason == ExitReason::Lookup) result_.reason = ExitReason::Leave;  // as interpreted
    result_.pc = env.pc;
    if (reason == ExitReason::System || reason == ExitReason::Trap) result_.arg = env.exit_arg;
    return result_;
  }

  std::string listing() const {
    const u8* hot = code_ + kHotAt;
    const u8* cold = hot + kHotBytes;
    return backend->disassemble({hot, compiled.hot_size}, reinterpret_cast<u64>(hot)) + "cold:\n" +
           backend->disassemble({cold, compiled.cold_size}, reinterpret_cast<u64>(cold));
  }

  ir::StateLayout layout = guest_layout();
  ir::HelperTable helpers = guest_helpers();
  tcg::ThunkTable thunks;
  std::unique_ptr<ir::HostBackend> backend;
  bool fuse_flags = true;
  ir::CompiledBlock compiled;
  u64 slow_accesses = 0, refills = 0, unshared = 0;
  // The second level, for the refill thunks. `prepare` fills it, if set, before each run; else it is random.
  std::function<void()> prepare;
  std::vector<tcg::L2Entry> l2{tcg::kL2Sets * tcg::kL2Ways};
  std::vector<tcg::WriteOwner> owners{tcg::kWriteOwners};
  tcg::PageTracking tracking{};
  u8 page_flags = 0;

 private:
  static JitBench& of(EnvHeader& env) { return *reinterpret_cast<JitBench*>(env.runtime); }
  void flush() {
    for (unsigned i = 0; i < tcg::kTlbEntries; ++i) view_->l1[i] = {tcg::tlb_invalid(i), tcg::tlb_invalid(i), 0, 0};
    // A second level that knows some of the pages, in any way of their sets.
    for (const u64 page : {kGuestPage, kReadOnlyPage}) {
      std::fill_n(l2.begin() + tcg::l2_set(page) * tcg::kL2Ways, tcg::kL2Ways, tcg::L2Entry{});
    }
    std::fill(owners.begin(), owners.end(), tcg::WriteOwner{});
    for (unsigned g = 0; g < 2; ++g) {
      view_->live_for_load[g] = (1 + g) << tcg::kL2GenerationShift | tcg::kLoadFlags;
      view_->live_for_store[g] = (1 + g) << tcg::kL2GenerationShift | tcg::kStoreFlags;
    }
    view_->l2 = l2.data();
    view_->l2_tag = 1;
    view_->write_owners = owners.data();
    tracking = {reinterpret_cast<u64>(&page_flags), 0};
    page_flags = 0;
    if (prepare) return prepare();
    know(kGuestPage, memory_->page, true);
    know(kReadOnlyPage, memory_->read_only, false);
  }
  void know(u64 page, const void* host, bool writable) {
    if (random_() % 2) return;
    const unsigned global = random_() % 2;
    u32 flags = tcg::kL2Ram | tcg::kL2Readable | (global ? u32(tcg::kL2Global) : 0u);
    if (writable) flags |= tcg::kStoreFlags;
    l2[tcg::l2_set(page) * tcg::kL2Ways + random_() % tcg::kL2Ways] = {
        page | 1, reinterpret_cast<u64>(host) - page, reinterpret_cast<u64>(&tracking),
        (1 + global) << tcg::kL2GenerationShift | flags, 0};
  }
  const u8* leave(ExitReason reason) {
    state().hdr.exit_reason = u32(reason);
    state().hdr.leave = 0;
    return thunks.exit_from_callback;
  }
  ir::RecoveryPoint point() {
    const u32 key = parts().offset_of(reinterpret_cast<const u8*>(state().hdr.return_site));
    auto found = ir::find_recovery_point(compiled.side_table, key, block_->pc);
    EMU_CHECK(found.has_value());
    return *found;
  }
  const u8* leave_at(const ir::RecoveryPoint& p, u32 delta, ExitReason reason) {
    ir::apply_recovery(p, layout, state().hdr);
    state().hdr.pc = block_->pc + delta;
    result_.insns_done = p.insn_index;
    return leave(reason);
  }

  static const u8* to_lookup(EnvHeader& env) { return of(env).leave(ExitReason::Lookup); }
  static const u8* mode_miss(EnvHeader& env) {
    of(env).mode_entered_ = true;
    return reinterpret_cast<const u8*>(env.return_site);
  }
  static const u8* exit_request(EnvHeader& env) {
    env.pc = of(env).block_->pc;
    return of(env).leave(ExitReason::ExitRequest);
  }
  static const u8* trap(EnvHeader& env) {
    const ir::RecoveryPoint p = of(env).point();
    return of(env).leave_at(p, p.pc_delta, ExitReason::Trap);
  }
  static const u8* helper_left(EnvHeader& env) {
    const ir::RecoveryPoint p = of(env).point();
    if (env.leave == tcg::kLeaveTransferred) return of(env).leave(ExitReason::Leave);
    return of(env).leave_at(p, p.pc_delta, ExitReason::Fault);
  }
  static const u8* slow_access(EnvHeader& env) { return of(env).access(); }

  u64 value(const ir::Location& at, unsigned bytes) {
    u64 v = at.value;
    if (at.where == ir::Location::Where::State) std::memcpy(&v, reinterpret_cast<u8*>(&state()) + at.value, 8);
    return v & low_mask(bytes * 8);
  }

  const u8* access() {
    ++slow_accesses;
    const ir::RecoveryPoint p = point();
    const ir::AccessRecord& r = p.access;
    const u64 va = state().hdr.slow_address;
    const unsigned bytes = 1u << r.mem.log2_bytes;
    const bool atomic = r.opcode == ir::Opcode::Rmw || r.opcode == ir::Opcode::Cas;
    const u64 align = atomic ? bytes - 1 : low_mask(r.mem.align_log2);
    const bool inside = (va & 0xfff) + bytes <= 0x1000 && !(va & align);
    const u64 page = va & ~u64(0xfff);
    tcg::TlbEntry& e = view_->l1[tcg::tlb_index(va)];
    const bool writes = r.opcode != ir::Opcode::Ld || r.mem.write_intent;
    const bool is_there = (writes ? e.wr : e.rd) == page;
    if (p.retry && inside && !is_there && random_() % 4) {
      if (page == kGuestPage) {
        e = {page, page, reinterpret_cast<u64>(memory_->page) - page, 0};
        return ++refills, parts().at(p.retry);
      }
      if (page == kReadOnlyPage && !writes) {
        e = {page, tcg::tlb_invalid(tcg::tlb_index(va)), reinterpret_cast<u64>(memory_->read_only) - page, 0};
        return ++refills, parts().at(p.retry);
      }
    }
    if (r.unshares) {
      unshares_ = true;
      return leave(ExitReason::Handled);
    }
    u8 data[32] = {};
    bool ok = true;
    u64 old = 0;
    switch (r.opcode) {
      case ir::Opcode::Ld:
        ok = memory_->load(va, r.mem, data);
        if (r.mem.big_endian) std::reverse(data, data + bytes);
        break;
      case ir::Opcode::St:
        if (r.value.where == ir::Location::Where::State) {
          std::memcpy(data, reinterpret_cast<u8*>(&state()) + r.value.value, bytes);
        } else {
          std::memcpy(data, &r.value.value, std::min(bytes, 8u));
        }
        if (r.mem.big_endian) std::reverse(data, data + bytes);
        ok = memory_->store(va, r.mem, data);
        break;
      case ir::Opcode::Probe:
        ok = memory_->probe(va, r.mem);
        break;
      case ir::Opcode::Rmw:
        ok = memory_->rmw(r.rmw, va, r.mem, value(r.value, bytes), old);
        std::memcpy(data, &old, 8);
        break;
      default:
        ok = memory_->cas(va, r.mem, value(r.expected, bytes), value(r.value, bytes), old);
        std::memcpy(data, &old, 8);
        break;
    }
    if (!ok) return leave_at(p, p.pc_delta, ExitReason::Fault);
    if (r.result.where == ir::Location::Where::State) {
      u8* to = reinterpret_cast<u8*>(&state()) + r.result.value;
      if (ir::is_vector(r.type)) {
        std::memcpy(to, data, ir::width(r.type) / 8);
      } else {
        u64 v;
        std::memcpy(&v, data, 8);
        v &= low_mask(bytes * 8);
        if (r.mem.extend == ir::Extend::Sign) v = u64(sign_extend(v, bytes * 8));
        v &= low_mask(ir::width(r.type));
        std::memcpy(to, &v, 8);
      }
    }
    return parts().at(p.resume);
  }

  tcg::EnvStorage storage_;
  std::unique_ptr<tcg::View> view_;
  std::unique_ptr<tcg::JumpCacheEntry[]> jump_cache_;
  u8* code_ = nullptr;
  const ir::Block* block_ = nullptr;
  GuestMemory* memory_ = nullptr;
  bool mode_entered_ = false;
  ir::InterpretResult result_;
  std::mt19937_64 random_;
  bool unshares_ = false;
};

}  // namespace emu::test
