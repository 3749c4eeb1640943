// SPDX-License-Identifier: Apache-2.0
// Branches, calls, returns, interrupts: everything that chooses the next block.
//
// pc is linear. Code with a flat CS has IP = pc and constant targets; elsewhere IP = pc - CS.base is computed where it
// is visible, and targets are tested against the CS limit and the 64 KiB wrap at run time.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

using ir::Cond;

namespace {
enum Hint : unsigned { kJump = 0, kCall = 1, kReturn = 2 };
static_assert(kTrapBadTarget == ir::kBadTargetTrap);

}  // namespace

// ---- Leaving
// ---------------------------------------------------------------------------------------------------------

void Emitter::go(u64 pc) {
  if (is_single())
    b_.exit_system(b_.pc_constant(pc), single_reason());
  else
    b_.exit_direct(pc);
}

void Emitter::go_indirect(Value pc, unsigned hint) {
  if (is_single())
    b_.exit_system(pc, single_reason());
  else
    b_.exit_indirect(pc, hint, code64());
}

/// After a helper that may have changed the mode, or has transferred control (then this is never reached).
void Emitter::leave_to_system(u64 next, u32 reason) {
  if (b_.is_ended()) return;
  b_.exit_system(b_.pc_constant(next), stepped(reason));
}

Emitter::Value Emitter::ip_value(u64 linear_pc, unsigned log2) {
  if (code64() || is_flat(CS)) return fit(type_of(log2), b_.pc_constant(linear_pc));
  return fit(type_of(log2), b_.sub(b_.pc_constant(linear_pc), b_.get(field_at(F_SEG_BASE, CS))));
}

/// The linear pc of a near IP (I64, zero-extended), after the limit check.
Emitter::Value Emitter::checked_target(Value ip) {
  if (code64() && is_single()) call(H_check_target, {ip});  // elsewhere go_indirect() sees to it
  if (code64() || is_flat(CS)) return ip;
  raise_if(b_.compare(Cond::Above, ip, b_.zext(Type::I64, b_.get(F_CS_LIMIT))), trap_code(kGP, 0));
  return b_.zext(Type::I64, b_.trunc(Type::I32, b_.add(ip, b_.get(field_at(F_SEG_BASE, CS)))));
}

/// Raises #GP if the branch is taken and its target lies beyond the CS limit, or is not canonical. Flat code has no
/// limit.
void Emitter::check_branch_limit(const Insn& insn, Value taken) {
  if (code64()) {
    const u64 target = wrap_pc(next_pc(insn) + insn.imm);
    if (is_canonical_48(target)) return;
    b_.block().movable = false;
    const Value there = b_.i64(target);
    call(H_check_target, {taken.type == Type::Void ? there : b_.select(taken, there, b_.pc_constant(next_pc(insn)))});
    return;
  }
  if (is_flat(CS)) return;
  const Value next_ip = ip_value(next_pc(insn), 3);
  const u64 mask = insn.size == 1 ? 0xffff : 0xffff'ffff;
  const Value ip = b_.and_(b_.add(next_ip, b_.i64(insn.imm)), b_.i64(mask));
  Value beyond = b_.compare(Cond::Above, ip, b_.zext(Type::I64, b_.get(F_CS_LIMIT)));
  if (taken.type != Type::Void) beyond = b_.and_(beyond, taken);
  raise_if(beyond, trap_code(kGP, 0));
}

/// Near branch by displacement after check_branch_limit(), if `taken` (Void: always). The block goes on behind a
/// conditional branch.
void Emitter::branch_relative(const Insn& insn, Value taken) {
  const bool always = taken.type == Type::Void;
  const bool is_16 = !code64() && insn.size == 1;
  const u64 next = next_pc(insn);
  u64 target = wrap_pc(next + insn.imm);
  if (is_16 && is_flat(CS)) target &= 0xffff;

  if (is_16 && !is_flat(CS)) {
    // At most one wrap, in the displacement's direction; then the target is 64 KiB away from `target`.
    const bool up = i64(insn.imm) >= 0;
    const Value next_ip = b_.zext(Type::I64, b_.trunc(Type::I32, ip_value(next, 3)));
    const Value ip = b_.add(next_ip, b_.i64(insn.imm));
    Value wraps = up ? b_.compare(Cond::Above, ip, b_.i64(0xffff)) : b_.compare(Cond::Less, ip, b_.i64(0));
    const u64 wrapped = wrap_pc(target + (up ? -u64(0x10000) : u64(0x10000)));
    if (is_single()) {
      const Value there = b_.select(wraps, b_.pc_constant(wrapped), b_.pc_constant(target));
      return go_indirect(always ? there : b_.select(taken, there, b_.pc_constant(next)), kJump);
    }
    b_.side_exit(always ? wraps : b_.and_(wraps, taken), wrapped);
    ++exits_;
  }
  if (always) return go(target);
  if (is_single()) return go_indirect(b_.select(taken, b_.pc_constant(target), b_.pc_constant(next)), kJump);
  b_.side_exit(taken, target);
  ++exits_;
}

// ---- Near branches
// ---------------------------------------------------------------------------------------------------

void Emitter::jcc(const Insn& insn) {
  const Value taken = condition(insn.opcode);
  check_branch_limit(insn, taken);
  branch_relative(insn, taken);
}

/// LOOPNE, LOOPE, LOOP, JCXZ: by address size.
void Emitter::loop(const Insn& insn) {
  const unsigned kind = insn.row->arg;
  const Value zero = constant(insn.address, 0);
  const Value count = get_gpr(RCX, insn.address);
  const Value left = b_.sub(count, constant(insn.address, 1));
  Value taken = kind == 3 ? b_.compare(Cond::Equal, count, zero) : b_.compare(Cond::NotEqual, left, zero);
  if (kind < 2) taken = b_.and_(taken, condition(kind == 1 ? 4 : 5));
  check_branch_limit(insn, taken);
  if (kind != 3) set_gpr(RCX, insn.address, left);
  branch_relative(insn, taken);
}

void Emitter::jmp_rel(const Insn& insn) {
  check_branch_limit(insn, {});
  branch_relative(insn, {});
}

void Emitter::jmp_indirect(const Insn& insn) { go_indirect(checked_target(to_i64(read(insn, 0))), kJump); }

void Emitter::call_rel(const Insn& insn) {
  const Value return_ip = ip_value(next_pc(insn), insn.size);
  check_branch_limit(insn, {});
  set_stack_pointer(push_store(stack_pointer(), -(i64(1) << insn.size), return_ip));
  branch_relative(insn, {});
}

/// 64-bit code: a target that is not canonical is #GP, after the faults of the push and before anything is pushed. A
/// suspicious one is looked at again, with the instruction alone in a block.
void Emitter::check_call_target(const Insn& insn, Value target) {
  if (!is_alone_) {
    const Value top = b_.add(b_.sar(target, b_.i8(47)), b_.i64(1));
    return raise_if(b_.compare(Cond::Above, top, b_.i64(1)), kTrapCodeLimit);
  }
  const u64 bytes = u64(1) << insn.size;
  const Linear slot = stack_address(stack_pointer(), -i32(bytes), bytes, AccessKind::Write);
  b_.probe(slot.address, mem_info(insn.size, slot));
  call(H_check_target, {target});
}

void Emitter::call_indirect(const Insn& insn) {
  Value target = to_i64(read(insn, 0));
  if (code64()) {
    check_call_target(insn, target);
  } else {
    target = checked_target(target);
  }
  set_stack_pointer(push_store(stack_pointer(), -(i64(1) << insn.size), ip_value(next_pc(insn), insn.size)));
  go_indirect(target, kCall);
}

void Emitter::ret(const Insn& insn) {
  const Value sp = stack_pointer();
  const Value ip = pop_load(sp, 0, insn.size);
  const Value target = checked_target(to_i64(ip));
  set_stack_pointer(stack_offset(sp, (i64(1) << insn.size) + i64(insn.imm)));
  go_indirect(target, kReturn);
}

// ---- Far transfers and events: helpers set env.pc and leave
// ------------------------------------------------------------

/// Selector and offset of an immediate or memory far pointer.
Emitter::Value Emitter::far_selector(const Insn& insn, Value& offset) {
  if (!insn.is_memory) {
    offset = b_.i64(u32(insn.imm));
    return b_.i64(insn.imm >> 32);
  }
  const unsigned bytes = 1u << insn.size;
  const Linear l = linear(effective(insn), bytes + 2, AccessKind::Read);
  offset = to_i64(load_at(l, insn.size));
  if (l.disp <= 0x7fff'ff00) return to_i64(load_at({l.address, l.disp + i32(bytes), l.is_stack}, 1));
  return to_i64(load_at({b_.add(linear_value(l), b_.i64(bytes)), 0, l.is_stack}, 1));
}

void Emitter::jmp_far(const Insn& insn) {
  Value offset;
  const Value selector = far_selector(insn, offset);
  call(H_far_jump, {selector, offset, b_.i64(1u << insn.size)});
  leave_to_system(next_pc(insn));
}

void Emitter::call_far(const Insn& insn) {
  Value offset;
  const Value selector = far_selector(insn, offset);
  call(H_far_call, {selector, offset, b_.i64(1u << insn.size), b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::ret_far(const Insn& insn) {
  call(H_far_return, {b_.i64(1u << insn.size), b_.i64(insn.imm)});
  leave_to_system(next_pc(insn));
}

void Emitter::int_n(const Insn& insn) {
  call(H_software_int, {b_.i64(insn.imm), b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::int3(const Insn& insn) {
  call(H_int3, {b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::int1(const Insn& insn) {
  call(H_int1, {b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

/// INTO: the helper is called only when OF is set, so the block leaves first when it is not; under the trap flag the
/// helper looks itself.
void Emitter::into(const Insn& insn) {
  if (!is_single()) {
    b_.side_exit(condition(1), next_pc(insn));
    ++exits_;
  }
  call(H_into, {b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::iret(const Insn& insn) {
  call(H_iret, {b_.i64(1u << insn.size), b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::syscall(const Insn& insn) {
  call(H_syscall, {b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::sysret(const Insn& insn) {
  call(H_sysret, {b_.i64(insn.rex_w() ? 8 : 4)});
  leave_to_system(next_pc(insn));
}

void Emitter::sysenter(const Insn& insn) {
  call(H_sysenter, {b_.pc_constant(next_pc(insn))});
  leave_to_system(next_pc(insn));
}

void Emitter::sysexit(const Insn& insn) {
  call(H_sysexit, {b_.i64(insn.rex_w() ? 8 : 4)});
  leave_to_system(next_pc(insn));
}

void Emitter::rsm(const Insn& insn) {
  call(H_rsm, {});
  leave_to_system(next_pc(insn));
}

}  // namespace emu::x86
