// SPDX-License-Identifier: Apache-2.0
// PUSH, POP and their relatives. The stack pointer moves after the last access that can fault.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

Emitter::Value Emitter::stack_pointer() { return wrap_offset(b_.get(gpr_field(RSP)), stack_log2()); }

Emitter::Value Emitter::stack_offset(Value sp, i64 delta) {
  return delta == 0 ? sp : wrap_offset(b_.add(sp, b_.i64(u64(delta))), stack_log2());
}

void Emitter::set_stack_pointer(Value sp64) { set_gpr(RSP, stack_log2(), fit(type_of(stack_log2()), sp64)); }

Emitter::Linear Emitter::stack_address(Value offset, i32 disp, u64 bytes, AccessKind kind) {
  if (!code64()) {  // wraps at the stack width, so the displacement cannot wait
    offset = stack_offset(offset, disp);
    disp = 0;
  }
  return linear(Effective{offset, disp, SS, true}, bytes, kind);
}

Emitter::Value Emitter::push_store(Value sp, i64 delta, Value v) {
  store_at(stack_address(sp, i32(delta), width(v.type) / 8, AccessKind::Write), v);
  return stack_offset(sp, delta);
}

Emitter::Value Emitter::pop_load(Value sp, i64 delta, unsigned log2) {
  return load_at(stack_address(sp, i32(delta), u64(1) << log2, AccessKind::Read), log2);
}

void Emitter::push(const Insn& insn) {
  const Value v = fit(type_of(insn.size), read(insn, 0));
  set_stack_pointer(push_store(stack_pointer(), -(i64(1) << insn.size), v));
}

void Emitter::pop(const Insn& insn) {
  const i64 bytes = i64(1) << insn.size;
  const Value sp = stack_pointer();
  const Value v = pop_load(sp, 0, insn.size);
  const Value after = stack_offset(sp, bytes);
  if (!insn.is_memory) {
    set_stack_pointer(after);
    store(place(insn, 0, AccessKind::Write), v);  // POP rSP keeps the popped value
    return;
  }
  // The address is computed with the incremented stack pointer.
  Effective e;
  if (insn.base == RSP) {
    Value sum = b_.add(b_.get(gpr_field(RSP)), b_.i64(u64(bytes + insn.disp)));
    if (insn.index != kNoReg) sum = b_.add_shl(sum, b_.get(gpr_field(insn.index)), insn.scale);
    e = Effective{wrap_offset(sum, insn.address), 0, insn.segment, true};
  } else {
    e = effective(insn);
  }
  store_at(linear(e, u64(bytes), AccessKind::Write), v);
  set_stack_pointer(after);
}

void Emitter::pusha(const Insn& insn) {
  const i64 bytes = i64(1) << insn.size;
  const Value sp = stack_pointer();
  for (unsigned i = 0; i < 8; ++i) push_store(sp, -bytes * i64(i + 1), get_gpr(i, insn.size));
  set_stack_pointer(stack_offset(sp, -8 * bytes));
}

void Emitter::popa(const Insn& insn) {
  const i64 bytes = i64(1) << insn.size;
  const Value sp = stack_pointer();
  Value values[8];
  for (unsigned i = 0; i < 8; ++i) {
    const unsigned reg = 7 - i;
    if (reg != RSP) values[reg] = pop_load(sp, bytes * i, insn.size);  // the stored rSP is skipped
  }
  set_stack_pointer(stack_offset(sp, 8 * bytes));
  for (unsigned reg = 0; reg < 8; ++reg)
    if (reg != RSP) set_gpr(reg, insn.size, values[reg]);
}

void Emitter::pushf(const Insn& insn) {
  // Virtual-8086 mode with IOPL < 3 faults, but for the 16-bit form with VME (which the helper knows).
  if (mode_.has(Mode::kVM86) && !mode_.has(Mode::kIopl) && !(mode_.has(Mode::kVme) && insn.size == 1))
    return raise_gp();
  Value flags = call(H_read_flags, {});
  if (mode_.has(Mode::kVM86) && !mode_.has(Mode::kIopl)) {  // the image has VIF as IF, and IOPL 3
    const Value vif = b_.and_(b_.shr(flags, b_.i8(10)), b_.i64(kIF));
    flags = b_.or_(b_.or_(b_.and_(flags, b_.i64(~u64(kIF))), vif), b_.i64(kIOPL));
  }
  set_stack_pointer(push_store(stack_pointer(), -(i64(1) << insn.size), fit(type_of(insn.size), flags)));
}

void Emitter::popf(const Insn& insn) {
  if (mode_.has(Mode::kVM86) && !mode_.has(Mode::kIopl) && !(mode_.has(Mode::kVme) && insn.size == 1))
    return raise_gp();
  const Value sp = stack_pointer();
  const Value v = pop_load(sp, 0, insn.size);
  call(H_write_flags, {to_i64(v), b_.i64(1u << insn.size)});
  set_stack_pointer(stack_offset(sp, i64(1) << insn.size));
  leave_to_system(next_pc(insn), kSysInterruptWindow);  // TF, IF, AC or IOPL may have changed
}

void Emitter::push_segment(const Insn& insn) {
  const Value selector = b_.get(field_at(F_SELECTOR, insn.row->arg));
  const Value v = fit(type_of(insn.size), selector);
  set_stack_pointer(push_store(stack_pointer(), -(i64(1) << insn.size), v));
}

void Emitter::pop_segment(const Insn& insn) {
  const Value sp = stack_pointer();
  const Value v = pop_load(sp, 0, insn.size);
  call(H_load_segment, {b_.i64(insn.row->arg), b_.and_(to_i64(v), b_.i64(0xffff))});
  set_stack_pointer(stack_offset(sp, i64(1) << insn.size));
  after_segment_load(insn, insn.row->arg);
}

void Emitter::enter(const Insn& insn) {
  const unsigned size = insn.imm & 0xffff, level = (insn.imm >> 16) & 31;
  if (level != 0) {
    call(H_enter, {b_.i64(size), b_.i64(level), b_.i64(1u << insn.size), b_.i64(1u << stack_log2())});
    return;
  }
  const Value sp = stack_pointer();
  const Value frame = push_store(sp, -(i64(1) << insn.size), get_gpr(RBP, insn.size));
  const Value after = stack_offset(frame, -i64(size));
  // The new top must be writable: the manual's last check of ENTER.
  const Linear top = linear(Effective{after, 0, SS, true}, u64(1) << insn.size, AccessKind::Write);
  b_.probe(top.address, mem_info(insn.size, top));
  set_gpr(RBP, insn.size, fit(type_of(insn.size), frame));
  set_stack_pointer(after);
}

void Emitter::leave(const Insn& insn) {
  const Value frame = wrap_offset(b_.get(gpr_field(RBP)), stack_log2());
  const Value v = pop_load(frame, 0, insn.size);
  set_stack_pointer(stack_offset(frame, i64(1) << insn.size));
  set_gpr(RBP, insn.size, v);
}

}  // namespace emu::x86
