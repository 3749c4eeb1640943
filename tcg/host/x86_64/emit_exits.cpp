// SPDX-License-Identifier: Apache-2.0
// Leaving a block: exits, traps, helper calls; and the cold part with all stubs.
#include "tcg/host/x86_64/compiler.h"
#include "util/check.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr i32 kPc = i32(offsetof(EnvHeader, pc)), kExitArg = i32(offsetof(EnvHeader, exit_arg)),
              kArgs = i32(offsetof(EnvHeader, helper_args)), kResult = i32(offsetof(EnvHeader, helper_result));
constexpr size_t kCrossLinkBytes = 22;  // guard, jump to the stub, jump: see patching.cpp

bool is_leaf(u32 effects) { return effects == ir::kHelperPure || (effects & ir::kHelperLeaf); }

void store_exit_arg(Assembler& a, u64 value, Reg t) {
  if (i64(value) == i64(i32(value))) {
    a.mov_imm(Width::q, ptr(kEnv, kExitArg), i32(value));
  } else {
    a.mov_imm(t, value);
    a.mov(Width::q, ptr(kEnv, kExitArg), t);
  }
}

}  // namespace

bool Compiler::emit_exit(u32 id, const Op& op) {
  switch (op.opcode) {
    case Opcode::Call:
      emit_call(id, op);
      return true;
    case Opcode::SideExit:
      emit_side_exit(op);
      return true;
    case Opcode::TrapIf:
      emit_trap_if(op);
      return true;
    case Opcode::Trap:
      settle_flags();
      emit_trap(hot_, op.c.bits(), new_recovery(nullptr));
      return true;
    case Opcode::ExitDirect:
      store_deferred();
      flags_home();
      count_exit(hot_, path_to_here());
      emit_direct(block_->constant_value(op.a));
      return true;
    case Opcode::ExitMode:
      store_deferred();
      flags_home();
      count_exit(hot_, path_to_here());
      emit_mode(block_->constant_value(op.a), op.c.bits());
      return true;
    case Opcode::ExitIndirect:
      emit_indirect(op);
      return true;
    case Opcode::ExitSystem:
      emit_system(op);
      return true;
    default:
      return false;
  }
}

u32 Compiler::offset_in(const Assembler& a, size_t position) const {
  return (&a == &cold_ ? ir::kColdOffset : 0) + u32(position);
}

/// env.pc := pc, which moves with the block. Overwrites r11 if the word does not fit an immediate.
void Compiler::store_pc(Assembler& a, u64 pc) {
  if (i64(pc) == i64(i32(pc))) {
    a.mov_imm(Width::q, slot(kPc), i32(pc));
    relocate(a, a.position() - 4, ir::Relocation::Form::Pc32);
  } else {
    a.mov_imm64(r11, pc);
    relocate(a, a.position() - 8, ir::Relocation::Form::Pc64);
    a.mov(Width::q, slot(kPc), r11);
  }
}

void Compiler::emit_side_exit(const Op& op) {
  store_deferred();
  const Cc cc = condition(op.a);
  const u64 pc = block_->constant_value(op.b);
  Stub stub;
  stub.kind = Stub::Side;
  stub.pc = pc;
  stub.flags = flags_.is_value() ? flags_state(flags_) : FlagsState{};
  const bool counts = request_->count || (request_->icount && insn_index_ != block_->guest_insns);
  if (is_own_loop(pc) && stub.flags.at_home && !counts) {
    hot_.jcc(cc, hot_.exec_base() + entry_);
    return;
  }
  stub.from = hot_.jcc_forward(cc);
  stub.path = path_to_here();
  stubs_.push_back(stub);
  ++basic_blocks_;
}

void Compiler::emit_trap_if(const Op& op) {
  settle_flags();
  const Cc cc = condition(op.a);
  Stub stub;
  stub.kind = Stub::TrapIf;
  stub.code = op.c.bits();
  stub.recovery = new_recovery(nullptr);
  stub.from = hot_.jcc_forward(cc);
  stubs_.push_back(stub);
}

void Compiler::emit_trap(Assembler& a, u32 code, u32 recovery) {
  // Flags may be in scratch registers, which the thunk saves: the code must not pass through one of them.
  a.mov_imm(i32(code) < 0 ? Width::d : Width::q, slot(kExitArg), i32(code));
  if (i32(code) < 0) a.mov_imm(Width::d, slot(kExitArg + 4), 0);
  a.call(request_->thunks->trap);
  ir::RecoveryPoint& p = recovery_[recovery];
  p.key = offset_in(a, a.position());
  side_table_.add(p);
}

/// The end of the hot part, or of a side exit in the cold part, with everything at home.
void Compiler::emit_direct(u64 pc) {
  if (is_own_loop(pc)) {
    hot_.jmp(hot_.exec_base() + entry_);
    finish_counted_exit(hot_);
  } else {
    emit_link(hot_, pc);
  }
}

/// The thunk loads the other mode's tables; the link's guard looks into its exec TLB.
void Compiler::emit_mode(u64 pc, u32 mode) {
  hot_.mov_imm32(kAddress, mode);
  hot_.call(request_->thunks->switch_mode);
  emit_link(hot_, pc, i64(mode));
}

void Compiler::emit_link(Assembler& a, u64 pc, i64 mode) {
  const bool same_page = mode < 0 && (pc ^ block_->pc) < kPageSize && request_->allow_same_page_links;
  const bool in_cold = &a == &cold_;
  a.align(8);
  const size_t site = a.position();
  const size_t from = a.jmp_forward();
  if (!same_page) a.fill(kCrossLinkBytes - (from - site), 0xcc);
  finish_counted_exit(a);
  const ir::LinkKind kind = same_page ? ir::LinkKind::SamePage : ir::LinkKind::CrossPage;
  result_->links.push_back({offset_in(a, site), pc, kind, mode});
  const u32 link = u32(result_->links.size()) - 1;
  if (in_cold) return emit_link_miss(pc, a, from, link);
  Stub stub;
  stub.kind = Stub::LinkMiss;
  stub.pc = pc;
  stub.from = from;
  stub.code = link;
  stubs_.push_back(stub);
}

/// A call whose return address says which link it is.
void Compiler::emit_link_miss(u64 pc, Assembler& a, size_t from, u32 link) {
  a.patch_imm32(from, u32(cold_.here() - (a.exec_base() + from)));  // no far jump: copies reset their links
  call_with_pc(request_->thunks->link_miss, pc);
  result_->links[link].key = offset_in(cold_, cold_.position() - sizeof pc);
}

/// In the cold part: a call with `pc`, which moves with the block, behind it. The thunk does not return there.
void Compiler::call_with_pc(const u8* thunk, u64 pc) {
  cold_.call(thunk);
  cold_.bytes(reinterpret_cast<const u8*>(&pc), 8);
  relocate(cold_, cold_.position() - 8, ir::Relocation::Form::Pc64);
}

/// The jump cache, inline: see jump_cache_index().
void Compiler::emit_indirect(const Op& op) {
  store_deferred();
  flags_home();
  count(hot_, offsetof(EnvHeader, executed_jumps));
  count_exit(hot_, path_to_here());
  static_assert(sizeof(JumpCacheEntry) == 16 && offsetof(JumpCacheEntry, host) == 8);
  const Operand pc = operand(op.a, Type::I64);
  take(kAddress);
  if (pc.kind != Operand::Gpr || pc.reg != kAddress) load(kAddress, operand(op.a, Type::I64), Width::q);
  hot_.rorx(Width::q, r9, r11, kPageBits);
  hot_.alu(Alu::Xor, Width::d, r9, r11);
  hot_.shift_imm(Shift::Shl, Width::d, r9, 4);
  hot_.alu_imm32(Alu::And, Width::d, r9, i32((kJumpCacheEntries - 1) << 4));
  hot_.alu(Alu::Add, Width::q, r9, slot(i32(offsetof(EnvHeader, jc))));
  hot_.alu(Alu::Cmp, Width::q, ptr(r9), r11);
  if (!ir::indirect_checks(op.c.bits())) {
    hot_.jcc(Cc::NotEqual, request_->thunks->indirect_miss);
  } else {  // what the cache never holds is looked for behind a miss
    Stub stub;
    stub.kind = Stub::IndirectMiss;
    stub.recovery = new_recovery(nullptr);
    stub.from = hot_.jcc_forward(Cc::NotEqual);
    stubs_.push_back(stub);
  }
  hot_.jmp(ptr(r9, 8));
  finish_counted_exit(hot_);
}

void Compiler::emit_system(const Op& op) {
  store_deferred();
  flags_home();
  count_exit(hot_, path_to_here());
  store_word(slot(kPc), operand(op.a, Type::I64), Type::I64);
  store_exit_arg(hot_, op.c.bits(), r11);
  hot_.jmp(request_->thunks->system);
  finish_counted_exit(hot_);
}

/// Before a helper that may change any field: values that live in pinned registers or at homes go to where only this
/// block looks.
void Compiler::forget_state() {
  for (unsigned r = 0; r < 16; ++r) {
    if (map_.gpr_field[r] == kNoField) continue;
    evict(Reg(r), now_);
    gpr_head_[r] = 0;
  }
  for (unsigned x = 0; x < 16; ++x) {
    if (map_.xmm_field[x] == kNoField) continue;
    evict_xmm(Xmm(x), now_);
    xmm_head_[x] = 0;
  }
  move_home_values(0, layout_->size, now_, 0);
  preserve_home_flags();
}

void Compiler::emit_call(u32 id, const Op& op) {
  const ir::HelperDesc& helper = request_->helpers->helpers[op.c.bits()];
  if (emit_host_vector(helper, op)) return;
  const bool leaf = is_leaf(helper.effects);
  ++result_->helper_calls;
  if (helper.effects & (ir::kHelperReadsState | ir::kHelperWritesState | ir::kHelperEndsBlock)) store_deferred();
  if (helper.effects & (ir::kHelperReadsState | ir::kHelperWritesState | ir::kHelperEndsBlock))
    flags_home();
  else if (!leaf)
    settle_flags();
  const std::span<const Ref> args = block_->call_args(op);
  for (size_t i = 0; i < args.size(); ++i) {
    const Type type = type_of(args[i], Type::I64);
    store_word(slot(kArgs + i32(i) * 8), operand(args[i], type), type);
  }
  take(kFunction);
  if (!leaf) {
    drop_windows();
    may_have_touched_device_ = true;
  }
  if (helper.effects & ir::kHelperWritesState) forget_state();
  u32 recovery = 0;
  if (!leaf) {
    recovery = new_recovery(nullptr);
    store_pc(hot_, block_->pc + insn_delta_);
  }
  count(hot_, offsetof(EnvHeader, executed_calls));
  const ThunkTable& thunks = *request_->thunks;
  if (helper.transfer != nullptr) {
    hot_.mov_imm(kFunction, reinterpret_cast<u64>(helper.transfer));
    hot_.call(thunks.transfer);
  } else if (helper.quick != nullptr) {
    hot_.mov_imm(kFunction, reinterpret_cast<u64>(helper.quick));
    hot_.call(thunks.quick_helper);
  } else {
    const bool general = leaf && helper.general != nullptr;
    hot_.mov_imm(kFunction, reinterpret_cast<u64>(general ? helper.general : helper.function));
    hot_.call(general ? thunks.general_leaf : leaf ? thunks.leaf_helper : thunks.helper);
  }
  if (!leaf) {
    ir::RecoveryPoint& p = recovery_[recovery];
    p.key = offset_in(hot_, hot_.position());
    p.resume = offset_in(hot_, hot_.position());
    side_table_.add(p);
  }
  if (helper.effects & ir::kHelperWritesState) home_flags_.clear();
  held_ = 0;
  if (!is_used(id)) return;
  const Reg d = dest(id);
  hot_.mov(Width::q, d, slot(kResult));
  define(id, d, true);
}

void Compiler::emit_access_stub(const Stub& stub) {
  if (stub.addend != kNoReg) {  // the check borrowed the address register
    Access access;
    access.addend = stub.addend;
    access.view = stub.view;
    cold_.alu(Alu::Xor, Width::q, stub.address,
              tlb_word(access, stub.write ? offsetof(TlbEntry, wr) : offsetof(TlbEntry, rd)));
  }
  if (stub.address != kAddress) cold_.mov(Width::q, kAddress, stub.address);
  cold_.call(stub.thunk);
  ir::RecoveryPoint& p = recovery_[stub.recovery];
  p.key = offset_in(cold_, cold_.position());
  cold_.jmp(hot_.exec_base() + stub.resume);
  side_table_.add(p);
}

void Compiler::emit_side_exit_stub(const Stub& stub) {
  const size_t begin = cold_.position();
  const u32 insns = cold_.instructions();
  Reg t = kNoReg;
  for (const Reg r : kScratch) {
    if (r != stub.flags.a.reg && r != stub.flags.b.reg) t = r;
  }
  store_flags(cold_, stub.flags, t);
  Path path = stub.path;
  path.host_insns += cold_.instructions() - insns;
  path.host_bytes += u32(cold_.position() - begin);
  count_exit(cold_, path);
  if (is_own_loop(stub.pc)) {
    cold_.jmp(hot_.exec_base() + entry_);
    finish_counted_exit(cold_);
  } else {
    emit_link(cold_, stub.pc);
  }
}

void Compiler::emit_cold() {
  for (const Stub& stub : stubs_) {
    if (stub.kind != Stub::LinkMiss) hot_.patch_rel32(stub.from, cold_.here());
    if (stub.other_from) hot_.patch_rel32(stub.other_from, cold_.here());
    switch (stub.kind) {
      case Stub::Access:
        emit_access_stub(stub);
        break;
      case Stub::Window:
        emit_window_stub(stub);
        break;
      case Stub::LeafCarry:
        emit_carry_stub(stub);
        break;
      case Stub::Side:
        emit_side_exit_stub(stub);
        break;
      case Stub::TrapIf:
        emit_trap(cold_, stub.code, stub.recovery);
        break;
      case Stub::IndirectMiss: {
        cold_.call(request_->thunks->checked_miss);
        ir::RecoveryPoint& p = recovery_[stub.recovery];
        p.key = offset_in(cold_, cold_.position());
        side_table_.add(p);
        break;
      }
      case Stub::LinkMiss:
        emit_link_miss(stub.pc, hot_, stub.from, stub.code);
        break;
      case Stub::ExitRequest:
        cold_.call(request_->thunks->exit_request);
        break;
      case Stub::Budget:
        give_back_budget(cold_, 0);
        cold_.call(request_->thunks->exit_request);
        break;
      case Stub::FpuLoad:
        store_pc(cold_, block_->pc);
        cold_.jmp(request_->thunks->fpu_load);
        break;
    }
  }
}

}  // namespace emu::tcg::x86_64
