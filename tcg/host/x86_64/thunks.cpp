// SPDX-License-Identifier: Apache-2.0
// The routines between generated code and C++: tcg/abi/thunks.h says what each does.
//
// Generated code runs with rsp = EnvHeader, r15 = View. A thunk that is called finds its return address just below the
// EnvHeader. Every host register goes to its save slot before C++ looks and comes back from there, so that a callback
// changes a register by changing its slot. C++ runs on the thread's own stack.
#include <iterator>

#include "tcg/host/x86_64/backend.h"
#include "tcg/host/x86_64/event_thunks.h"
#include "tcg/host/x86_64/refill_thunks.h"
#include "tcg/ir/op.h"

namespace emu::tcg::x86_64 {
namespace {

constexpr i64 off_leave = offsetof(EnvHeader, leave), off_pc = offsetof(EnvHeader, pc),
              off_host_sp = offsetof(EnvHeader, host_sp), off_view = offsetof(EnvHeader, view),
              off_args = offsetof(EnvHeader, helper_args), off_result = offsetof(EnvHeader, helper_result),
              off_site = offsetof(EnvHeader, return_site), off_slow = offsetof(EnvHeader, slow_address),
              off_mxcsr = offsetof(EnvHeader, fp_control), off_mxcsr_host = offsetof(EnvHeader, fp_control_host),
              off_fpu_live = offsetof(EnvHeader, fpu_live), off_fpu_image = offsetof(EnvHeader, fpu_image),
              off_arg = offsetof(EnvHeader, exit_arg), off_wide = offsetof(EnvHeader, wide_vectors),
              off_reason = offsetof(EnvHeader, exit_reason);

constexpr Reg kCalleeSaved[] = {rbx, rbp, r12, r13, r14, r15};

bool is_callee_saved(Reg r) { return r == rbx || r == rbp || r >= r12; }

class ThunkEmitter {
 public:
  ThunkEmitter(Assembler& a, const RegisterMap& map) : a_(a), map_(map) {}

  void enter();
  const u8* exit();
  const u8* call_out(const u8* (*callback)(EnvHeader&));
  const u8* helper(const u8* (*left)(EnvHeader&));
  const u8* leaf_helper();
  const u8* general_leaf();
  const u8* quick_helper_full(const u8* helper);
  const u8* quick_helper(const u8* full);
  /// Jumped to, with env.pc (and exit_arg) set.
  const u8* callback_from_jump(const u8* (*callback)(EnvHeader&));
  /// Jumped to, with the pc in r11.
  const u8* indirect_miss(const u8* in_cpp);
  /// Called, with the pc in r11.
  const u8* checked_miss(const u8* next, const u8* trap);
  const u8* link_miss(const u8* (*callback)(EnvHeader&));
  /// Called, with the pc behind the call.
  const u8* called_with_pc(const u8* next);
  const u8* called_for_block(const u8* (*callback)(EnvHeader&));
  const u8* leave_with(ExitReason reason, const u8* exit);

 private:
  const u8* begin() {
    a_.align(16);
    return a_.here();
  }
  /// Pinned registers and scratch registers, each to its own slot.
  void save_integers() {
    for (unsigned r = 0; r < 16; r++) {
      if (map_.gpr_home[r] >= 0) a_.mov(Width::q, ptr(rsp, map_.gpr_home[r]), Reg(r));
    }
  }
  void load_integers() {
    for (unsigned r = 0; r < 16; r++) {
      if (map_.gpr_home[r] >= 0) a_.mov(Width::q, Reg(r), ptr(rsp, map_.gpr_home[r]));
    }
    a_.mov(Width::q, r15, ptr(rsp, off_view));
  }
  void save_vectors();
  void load_vectors();
  void to_host_fp();
  void to_guest_fp();
  void call_cpp(const u8* function) {
    a_.mov(Width::q, rbx, rsp);
    a_.mov(Width::q, rsp, ptr(rbx, off_host_sp));
    a_.mov(Width::q, rdi, rbx);
    a_.mov_imm(rax, reinterpret_cast<u64>(function));
    a_.call(rax);
    a_.mov(Width::q, rsp, rbx);
  }
  void save_all() {
    save_integers();
    save_vectors();
    to_host_fp();
  }
  void load_all_and_go() {
    to_guest_fp();
    load_vectors();
    load_integers();
    a_.jmp(ptr(rsp, off_site));
  }

  Assembler& a_;
  const RegisterMap& map_;
};

/// As wide as the guest's are now: a guest that has not enabled AVX pays nothing for it.
void ThunkEmitter::save_vectors() {
  const Label wide = a_.new_label(), done = a_.new_label();
  a_.alu_imm(Alu::Cmp, Width::d, ptr(rsp, off_wide), 0);
  a_.jcc(Cond::NotEqual, wide);
  for (unsigned x = 0; x < 32; x++) {
    if (map_.xmm_home[x] >= 0) a_.movaps(ptr(rsp, map_.xmm_home[x]), Xmm(x));
  }
  a_.jmp(done);
  a_.bind(wide);
  for (unsigned x = 0; x < 32; x++) {
    if (map_.xmm_home[x] >= 0) a_.vmovups(5, ptr(rsp, map_.xmm_home[x]), Xmm(x));
  }
  a_.vzeroupper();  // C++ may use legacy SSE
  a_.bind(done);
}

void ThunkEmitter::load_vectors() {
  const Label wide = a_.new_label(), done = a_.new_label();
  a_.alu_imm(Alu::Cmp, Width::d, ptr(rsp, off_wide), 0);
  a_.jcc(Cond::NotEqual, wide);
  for (unsigned x = 0; x < 32; x++) {
    if (map_.xmm_home[x] >= 0) a_.movaps(Xmm(x), ptr(rsp, map_.xmm_home[x]));
  }
  a_.jmp(done);
  a_.bind(wide);
  for (unsigned x = 0; x < 32; x++) {
    if (map_.xmm_home[x] >= 0) a_.vmovups(5, Xmm(x), ptr(rsp, map_.xmm_home[x]));
  }
  a_.bind(done);
}

/// Parks a live x87 unit and leaves the guest's rounding mode; sticky exception bits stay in env.fp_control.
void ThunkEmitter::to_host_fp() {
  const Label idle = a_.new_label();
  a_.stmxcsr(ptr(rsp, off_mxcsr));
  a_.ldmxcsr(ptr(rsp, off_mxcsr_host));
  a_.alu_imm(Alu::Cmp, Width::d, ptr(rsp, off_fpu_live), 0);
  a_.jcc(Cond::Equal, idle);
  a_.fxsave64(ptr(rsp, off_fpu_image));
  a_.x87(0xdb, 0xe3);  // fninit
  a_.bind(idle);
}

/// Before the vectors are loaded: FXRSTOR loads those too.
void ThunkEmitter::to_guest_fp() {
  const Label idle = a_.new_label();
  a_.alu_imm(Alu::Cmp, Width::d, ptr(rsp, off_fpu_live), 0);
  a_.jcc(Cond::Equal, idle);
  a_.fxrstor64(ptr(rsp, off_fpu_image));
  a_.bind(idle);
  a_.ldmxcsr(ptr(rsp, off_mxcsr));
  a_.vzeroupper();  // C++ may have left upper halves dirty, which slows legacy SSE
}

/// void enter(EnvHeader* env, const u8* host)
void ThunkEmitter::enter() {
  for (const Reg r : kCalleeSaved) a_.push(r);
  a_.alu_imm(Alu::Sub, Width::q, rsp, 8);  // 16-byte alignment for the calls that start from host_sp
  a_.mov(Width::q, ptr(rdi, off_host_sp), rsp);
  a_.mov(Width::q, rsp, rdi);
  a_.mov(Width::q, ptr(rsp, off_site), rsi);
  to_guest_fp();
  load_vectors();
  load_integers();
  a_.jmp(ptr(rsp, off_site));
}

const u8* ThunkEmitter::exit() {
  const u8* start = begin();
  save_integers();
  save_vectors();
  to_host_fp();
  a_.mov(Width::q, rsp, ptr(rsp, off_host_sp));
  a_.alu_imm(Alu::Add, Width::q, rsp, 8);
  for (auto r = std::rbegin(kCalleeSaved); r != std::rend(kCalleeSaved); ++r) a_.pop(*r);
  a_.vzeroupper();
  a_.ret();
  return start;
}

/// Called from a cold stub; for an access the guest address is in r11 (a trap's r11 means nothing, and is kept alike).
const u8* ThunkEmitter::call_out(const u8* (*callback)(EnvHeader&)) {
  const u8* start = begin();
  a_.pop(ptr(rsp, off_site));
  a_.mov(Width::q, ptr(rsp, off_slow), r11);
  save_all();
  call_cpp(reinterpret_cast<const u8*>(callback));
  a_.mov(Width::q, ptr(rsp, off_site), rax);
  load_all_and_go();
  return start;
}

/// Called with the function's address in r11.
const u8* ThunkEmitter::helper(const u8* (*left)(EnvHeader&)) {
  const u8* start = begin();
  a_.pop(ptr(rsp, off_site));
  save_all();
  a_.mov(Width::q, rbx, rsp);
  a_.mov(Width::q, rax, r11);
  a_.mov(Width::q, rsp, ptr(rbx, off_host_sp));
  a_.mov(Width::q, rdi, rbx);
  a_.lea(Width::q, rsi, ptr(rbx, off_args));
  a_.call(rax);
  a_.mov(Width::q, rsp, rbx);
  a_.mov(Width::q, ptr(rsp, off_result), rax);
  const Label stays = a_.new_label();
  a_.alu_imm(Alu::Cmp, Width::d, ptr(rsp, off_leave), 0);
  a_.jcc(Cond::Equal, stays);
  call_cpp(reinterpret_cast<const u8*>(left));
  a_.mov(Width::q, ptr(rsp, off_site), rax);
  a_.bind(stays);
  load_all_and_go();
  return start;
}

/// Called with the function's address in r11. Only what a leaf may change is saved; vectors too, because nothing keeps
/// a compiler from using them.
const u8* ThunkEmitter::leaf_helper() {
  const u8* start = begin();
  a_.pop(ptr(rsp, off_site));
  save_integers();
  save_vectors();
  a_.mov(Width::q, rbx, rsp);
  a_.mov(Width::q, rax, r11);
  a_.mov(Width::q, rsp, ptr(rbx, off_host_sp));
  a_.mov(Width::q, rdi, rbx);
  a_.lea(Width::q, rsi, ptr(rbx, off_args));
  a_.call(rax);
  a_.mov(Width::q, rsp, rbx);
  a_.mov(Width::q, ptr(rsp, off_result), rax);
  load_vectors();
  for (unsigned r = 0; r < 16; r++) {
    const bool kept = is_callee_saved(Reg(r)) && r != rbx;
    if (map_.gpr_home[r] >= 0 && !kept) a_.mov(Width::q, Reg(r), ptr(rsp, map_.gpr_home[r]));
  }
  a_.jmp(ptr(rsp, off_site));
  return start;
}

/// The same for a leaf that touches general registers only.
const u8* ThunkEmitter::general_leaf() {
  const auto is_kept = [this](unsigned r) { return map_.gpr_home[r] < 0 || (is_callee_saved(Reg(r)) && r != rbx); };
  const u8* start = begin();
  a_.pop(ptr(rsp, off_site));
  for (unsigned r = 0; r < 16; r++) {
    if (!is_kept(r)) a_.mov(Width::q, ptr(rsp, map_.gpr_home[r]), Reg(r));
  }
  a_.mov(Width::q, rbx, rsp);
  a_.mov(Width::q, rsp, ptr(rbx, off_host_sp));
  a_.mov(Width::q, rdi, rbx);
  a_.lea(Width::q, rsi, ptr(rbx, off_args));
  a_.call(r11);
  a_.mov(Width::q, rsp, rbx);
  a_.mov(Width::q, ptr(rsp, off_result), rax);
  for (unsigned r = 0; r < 16; r++) {
    if (!is_kept(r)) a_.mov(Width::q, Reg(r), ptr(rsp, map_.gpr_home[r]));
  }
  a_.jmp(ptr(rsp, off_site));
  return start;
}

/// Called with the QuickHelper in r11.
const u8* ThunkEmitter::quick_helper_full(const u8* helper) {
  const u8* start = begin();
  a_.mov(Width::q, r11, ptr(r11, offsetof(QuickHelper, full)));
  a_.jmp(helper);
  return start;
}

/// Called likewise. Vectors, MXCSR and the x87 unit stay as they are: the leaf uses none of them.
const u8* ThunkEmitter::quick_helper(const u8* full) {
  const u8* start = begin();
  const Label refused = a_.new_label();
  a_.pop(ptr(rsp, off_site));
  save_integers();
  a_.mov(Width::q, rbx, rsp);
  a_.mov(Width::q, rsp, ptr(rbx, off_host_sp));
  a_.mov(Width::q, rdi, rbx);
  a_.lea(Width::q, rsi, ptr(rbx, off_args));
  a_.call(ptr(r11, offsetof(QuickHelper, quick)));
  a_.mov(Width::q, rsp, rbx);
  a_.test(Width::b, rax, rax);
  load_integers();  // any of them may have changed
  a_.jcc(Cond::Equal, refused);
  a_.jmp(ptr(rsp, off_site));

  a_.bind(refused);
  a_.push(ptr(rsp, off_site));
  a_.jmp(full);
  return start;
}

const u8* ThunkEmitter::callback_from_jump(const u8* (*callback)(EnvHeader&)) {
  const u8* start = begin();
  save_integers();
  save_vectors();
  to_host_fp();
  call_cpp(reinterpret_cast<const u8*>(callback));
  a_.mov(Width::q, ptr(rsp, off_site), rax);
  to_guest_fp();
  load_vectors();
  load_integers();
  a_.jmp(ptr(rsp, off_site));
  return start;
}

/// The pc's own entry is another's: perhaps it is among the victims.
const u8* ThunkEmitter::indirect_miss(const u8* in_cpp) {
  constexpr i64 kVictims = i64(kJumpCacheEntries) * i64(sizeof(JumpCacheEntry));
  const u8* start = begin();
  const Label miss = a_.new_label();
  a_.rorx(Width::q, r9, r11, kVictimShift);
  a_.alu(Alu::Xor, Width::d, r9, r11);
  a_.alu_imm(Alu::And, Width::d, r9, kJumpCacheVictims - 1);
  a_.shift_imm(Shift::Shl, Width::d, r9, 4);
  a_.alu(Alu::Add, Width::q, r9, ptr(rsp, offsetof(EnvHeader, jc)));
  a_.alu(Alu::Cmp, Width::q, r11, ptr(r9, kVictims + i64(offsetof(JumpCacheEntry, pc))));
  a_.jcc(Cond::NotEqual, miss, true);
  a_.alu_imm(Alu::Add, Width::q, ptr(rsp, offsetof(EnvHeader, victim_jumps)), 1);
  a_.jmp(ptr(r9, kVictims + i64(offsetof(JumpCacheEntry, host))));
  a_.bind(miss);
  a_.mov(Width::q, ptr(rsp, off_pc), r11);
  a_.jmp(in_cpp);
  return start;
}

const u8* ThunkEmitter::checked_miss(const u8* next, const u8* trap) {
  const u8* start = begin();
  const Label bad = a_.new_label();
  a_.mov(Width::q, r9, r11);
  a_.shift_imm(Shift::Shl, Width::q, r9, 16);
  a_.shift_imm(Shift::Sar, Width::q, r9, 16);
  a_.alu(Alu::Cmp, Width::q, r9, r11);
  a_.jcc(Cond::NotEqual, bad);
  a_.pop(r9);
  a_.jmp(next);
  a_.bind(bad);
  a_.pop(r9);
  a_.mov(Width::q, ptr(rsp, off_slow), r11);
  a_.mov_imm(Width::q, ptr(rsp, off_arg), i32(ir::kBadTargetTrap));
  a_.push(r9);
  a_.jmp(trap);
  return start;
}

const u8* ThunkEmitter::called_with_pc(const u8* next) {
  const u8* start = begin();
  a_.pop(r11);
  a_.mov(Width::q, r11, ptr(r11));
  a_.mov(Width::q, ptr(rsp, off_pc), r11);
  a_.jmp(next);
  return start;
}

/// The callback learns the block from the return address.
const u8* ThunkEmitter::called_for_block(const u8* (*callback)(EnvHeader&)) {
  const u8* next = callback_from_jump(callback);
  const u8* start = begin();
  a_.pop(r11);
  a_.mov(Width::q, ptr(rsp, off_site), r11);
  a_.jmp(next);
  return start;
}

/// A link that is not made yet, or must not be: for the latter kind the jump cache knows the way.
const u8* ThunkEmitter::link_miss(const u8* (*callback)(EnvHeader&)) {
  const u8* in_cpp = callback_from_jump(callback);
  const u8* start = begin();
  a_.pop(r10);
  a_.mov(Width::q, r11, ptr(r10));
  a_.mov(Width::q, ptr(rsp, off_pc), r11);
  a_.mov(Width::q, ptr(rsp, off_arg), r10);
  a_.rorx(Width::q, r9, r11, kPageBits);
  a_.alu(Alu::Xor, Width::q, r9, r11);
  a_.alu_imm(Alu::And, Width::d, r9, kJumpCacheEntries - 1);
  a_.shift_imm(Shift::Shl, Width::d, r9, 4);
  a_.alu(Alu::Add, Width::q, r9, ptr(rsp, offsetof(EnvHeader, jc)));
  a_.alu(Alu::Cmp, Width::q, r11, ptr(r9, offsetof(JumpCacheEntry, pc)));
  a_.jcc(Cond::NotEqual, in_cpp);
  a_.mov(Width::q, r9, ptr(r9, offsetof(JumpCacheEntry, host)));
  a_.test_imm(Width::d, r9, kUnlinkableEntry);
  a_.jcc(Cond::Equal, in_cpp);
  a_.jmp(r9);
  return start;
}

const u8* ThunkEmitter::leave_with(ExitReason reason, const u8* exit) {
  const u8* start = begin();
  a_.mov_imm(Width::d, ptr(rsp, off_reason), i32(reason));
  a_.jmp(exit);
  return start;
}

}  // namespace

Result<ThunkTable> X64Backend::emit_thunks(ir::CodeSpan room, const ir::StateLayout&, const RuntimeCallbacks& callbacks,
                                           size_t& used) {
  Assembler a(room.write, room.exec, room.size);
  ThunkEmitter emit(a, registers_);
  ThunkTable table;
  table.enter = reinterpret_cast<void (*)(EnvHeader*, const u8*)>(reinterpret_cast<uintptr_t>(a.here()));
  emit.enter();
  table.exit = emit.exit();
  table.exit_from_callback = table.exit;  // what was just reloaded is stored once more, which is harmless and rare
  table.access_slow = emit.call_out(callbacks.slow_access);
  emit_refill_thunks(a, registers_, table);
  table.helper = emit.helper(callbacks.helper_left);
  table.leaf_helper = emit.leaf_helper();
  table.general_leaf = emit.general_leaf();
  table.quick_helper_full = emit.quick_helper_full(table.helper);
  table.quick_helper = emit.quick_helper(table.quick_helper_full);
  const u8* lookup = emit.callback_from_jump(callbacks.indirect_miss);
  table.lookup = emit.called_with_pc(lookup);
  table.indirect_miss = emit.indirect_miss(lookup);
  table.link_miss = emit.link_miss(callbacks.link_miss);
  table.trap = emit.call_out(callbacks.trap);
  table.exit_request = emit.called_for_block(callbacks.exit_request);
  const u8* handled = callbacks.exit == nullptr ? table.exit : emit.callback_from_jump(callbacks.exit);
  table.checked_miss = emit.checked_miss(table.indirect_miss, table.trap);
  table.system = emit.leave_with(ExitReason::System, handled);
  table.checked = emit.leave_with(ExitReason::Checked, table.exit);
  table.fpu_load = emit.leave_with(ExitReason::FpuLoad, handled);
  table.switch_mode = emit_switch_mode(a, emit.call_out(callbacks.mode_miss));
  table.transfer = emit_transfer(a, registers_, table.helper, table.indirect_miss);
  if (a.overflowed()) return error("the code cache has no room for its entry routines ({} bytes)", room.size);
  used = a.position();
  return table;
}

}  // namespace emu::tcg::x86_64
