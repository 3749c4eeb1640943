// SPDX-License-Identifier: Apache-2.0
// Control transfer to where a selector points: far JMP and CALL, call gates, SYSCALL and SYSENTER. SDM vol. 2, the
// pages of these instructions; vol. 3, "Privilege checking when transferring program control".
#include "target/x86/cpu.h"
#include "target/x86/eflags.h"

namespace emu::x86 {

namespace {
constexpr u32 error_code(u16 selector) { return selector & ~3u; }
constexpr bool is_null(u16 selector) { return (selector & ~3) == 0; }
}  // namespace

// --- Stacks ---------------------------------------------------------------------------------------------------------

StackCursor X86Cpu::make_long_stack(u64 sp, u8 view) { return {.sp = sp, .is_long = true, .view = view}; }

StackCursor X86Cpu::make_stack(u64 base, const Descriptor& d, u64 sp, unsigned cpl, u32 fault_code) const {
  return {.base = base,
          .sp = sp,
          .mask = d.is_big() ? 0xffffffff : 0xffff,
          .range = make_range(d.limit(), d.attributes()),
          .view = view_for(cpl),
          .fault_code = fault_code};
}

StackCursor X86Cpu::current_stack() const {
  const u8 view = current_view();
  if (is_code64()) return make_long_stack(s_->gpr(RSP), view);
  const u64 mask = s_->seg[SS].attributes & bit(22) ? 0xffffffff : 0xffff;
  return {.base = s_->seg_base[SS], .sp = s_->gpr(RSP) & mask, .mask = mask, .range = s_->seg_range[SS], .view = view};
}

bool X86Cpu::push(StackCursor& stack, unsigned bytes, u64 value) {
  const u64 sp = (stack.sp - bytes) & stack.mask;
  if (stack.is_long) {
    if (!is_canonical(sp)) return raise(kSS, stack.fault_code);
    if (!write(sp, bytes, stack.view, value)) return false;
  } else {
    if (sp < stack.range.write_low || sp + bytes - 1 > stack.range.write_high) return raise(kSS, stack.fault_code);
    if (!write(u32(stack.base + sp), bytes, stack.view, value)) return false;
  }
  stack.sp = sp;
  return true;
}

bool X86Cpu::pop(StackCursor& stack, unsigned bytes, u64& value) {
  const u64 sp = stack.sp & stack.mask;
  if (stack.is_long) {
    if (!is_canonical(sp)) return raise(kSS, stack.fault_code);
    if (!read(sp, bytes, stack.view, value)) return false;
  } else {
    if (sp < stack.range.read_low || sp + bytes - 1 > stack.range.read_high) return raise(kSS, stack.fault_code);
    if (!read(u32(stack.base + sp), bytes, stack.view, value)) return false;
  }
  stack.sp = (sp + bytes) & stack.mask;
  return true;
}

/// Pops a slot of `bytes` that holds a selector.
bool X86Cpu::pop16(StackCursor& stack, unsigned bytes, u16& value) {
  u64 wide = 0;
  if (!pop(stack, bytes, wide)) return false;
  value = u16(wide);
  return true;
}

void X86Cpu::set_sp(const StackCursor& stack) {
  u64& rsp = s_->gpr(RSP);
  rsp = stack.mask == 0xffff ? (rsp & ~u64(0xffff)) | (stack.sp & 0xffff) : stack.sp & stack.mask;
}

// --- Code segments --------------------------------------------------------------------------------------------------

bool X86Cpu::check_target(u64 offset, const Descriptor& cs) {
  if (is_long_mode() && cs.is_long()) return is_canonical(offset) || raise_gp();
  return offset <= cs.limit() || raise_gp();
}

void X86Cpu::enter_code(u16 selector, const Descriptor& d, unsigned cpl, u64 ip) {
  set_descriptor_segment(CS, u16((selector & ~3) | cpl), d);
  set_ip(ip);
}

/// The checks of a direct transfer (no gate) to a code segment.
bool X86Cpu::check_code(u16 selector, const Descriptor& d, unsigned rpl, unsigned cpl) {
  if (!d.is_code()) return raise_gp(error_code(selector));
  if (is_long_mode() && d.is_long() && d.is_big()) return raise_gp(error_code(selector));
  if (d.is_conforming() ? d.dpl() > cpl : (rpl > cpl || d.dpl() != cpl)) return raise_gp(error_code(selector));
  if (!d.is_present()) return raise(kNP, error_code(selector));
  return true;
}

// --- Jumps ----------------------------------------------------------------------------------------------------------

bool X86Cpu::far_jump_real(u16 selector, u64 offset) {
  if (offset > s_->seg[CS].limit) return raise_gp();
  set_real_segment(CS, selector);
  set_ip(offset);
  return true;
}

bool X86Cpu::far_jump_protected(u16 selector, u64 offset) {
  if (is_null(selector)) return raise_gp();
  Descriptor d;
  if (!read_descriptor(selector, d)) return false;
  const unsigned cpl = s_->cpl(), rpl = selector & 3;
  if (d.is_segment()) {
    if (!check_code(selector, d, rpl, cpl) || !check_target(offset, d) || !mark_accessed(selector, d)) return false;
    enter_code(selector, d, cpl, offset);
    return true;
  }
  const unsigned type = d.type();
  if (type == 12 || (type == 4 && !is_long_mode())) return call_gate(selector, d, false, 0);
  if (is_long_mode() || (type != 1 && type != 9 && type != 5)) return raise_gp(error_code(selector));
  if (d.dpl() < cpl || d.dpl() < rpl) return raise_gp(error_code(selector));
  // The old task resumes behind the jump, and only the accelerator can tell where that is: it commits there, and the
  // switch is the first event after that. Deviation: a fault of the switch names that address, not the jump.
  task_jump_ = selector;
  signal(kSignalTaskJump);
  s_->hdr.leave = tcg::kLeaveAfterInsn;
  return false;
}

/// The second half of a JMP to a task.
void X86Cpu::take_task_jump() {
  Descriptor d;
  const u16 selector = task_jump_;
  if (!is_protected() || is_long_mode()) return;
  if (read_descriptor(selector, d) && switch_task(selector, d, TaskSwitch::Jump, s_->hdr.pc)) {
    update_mode();
  } else {
    deliver_pending();
  }
}

u64 X86Cpu::helper_far_jump(const u64* args) {
  const u16 selector = u16(args[0]);
  const u64 offset = args[1] & low_mask(unsigned(args[2]) * 8);
  const bool ok = is_protected() ? far_jump_protected(selector, offset) : far_jump_real(selector, offset);
  return ok ? transfer() : 0;
}

u64 X86Cpu::helper_far_call(const u64* args) {
  const u16 selector = u16(args[0]);
  const unsigned bytes = unsigned(args[2]);
  const u64 offset = args[1] & low_mask(bytes * 8), next = args[3];
  if (is_protected()) return far_call_protected(selector, offset, bytes, next) ? transfer() : 0;
  StackCursor stack = current_stack();
  const u64 return_ip = next - s_->seg_base[CS];
  if (offset > s_->seg[CS].limit) return raise_gp();
  if (!push(stack, bytes, s_->seg[CS].selector) || !push(stack, bytes, return_ip)) return 0;
  set_sp(stack);
  set_real_segment(CS, selector);
  set_ip(offset);
  return transfer();
}

bool X86Cpu::far_call_protected(u16 selector, u64 offset, unsigned bytes, u64 next) {
  if (is_null(selector)) return raise_gp();
  Descriptor d;
  if (!read_descriptor(selector, d)) return false;
  const unsigned cpl = s_->cpl(), rpl = selector & 3;
  if (d.is_segment()) {
    if (!check_code(selector, d, rpl, cpl)) return false;
    StackCursor stack = current_stack();
    const u64 return_ip = is_code64() ? next : next - s_->seg_base[CS];
    if (!push(stack, bytes, s_->seg[CS].selector) || !push(stack, bytes, return_ip)) return false;
    if (!check_target(offset, d) || !mark_accessed(selector, d)) return false;
    set_sp(stack);
    enter_code(selector, d, cpl, offset);
    return true;
  }
  const unsigned type = d.type();
  if (type == 12 || (type == 4 && !is_long_mode())) return call_gate(selector, d, true, next);
  if (is_long_mode() || (type != 1 && type != 9 && type != 5)) return raise_gp(error_code(selector));
  if (d.dpl() < cpl || d.dpl() < rpl) return raise_gp(error_code(selector));
  return switch_task(selector, d, TaskSwitch::Call, next);
}

// --- Call gates -----------------------------------------------------------------------------------------------------

bool X86Cpu::call_gate(u16 selector, Descriptor gate, bool is_call, u64 next) {
  const unsigned cpl = s_->cpl();
  if (gate.dpl() < cpl || gate.dpl() < (selector & 3u)) return raise_gp(error_code(selector));
  if (!gate.is_present()) return raise(kNP, error_code(selector));
  if (is_long_mode() && !read_upper_half(selector, gate)) return false;
  const u16 target = gate.gate_selector();
  if (is_null(target)) return raise_gp();
  Descriptor cs;
  if (!read_descriptor(target, cs)) return false;
  if (!cs.is_code() || cs.dpl() > cpl) return raise_gp(error_code(target));
  if (is_long_mode() && (!cs.is_long() || cs.is_big())) return raise_gp(error_code(target));
  if (!cs.is_present()) return raise(kNP, error_code(target));
  if (!cs.is_conforming() && cs.dpl() < cpl) {
    return is_call ? call_gate_inner(target, cs, gate, next) : raise_gp(error_code(target));
  }
  const u64 offset = gate.type() == 4 ? gate.gate_offset() & 0xffff : gate.gate_offset();
  if (!check_target(offset, cs)) return false;
  if (is_call) {
    const unsigned bytes = is_long_mode() ? 8 : gate.type() == 4 ? 2 : 4;
    StackCursor stack = current_stack();
    const u64 return_ip = is_code64() ? next : next - s_->seg_base[CS];
    if (!push(stack, bytes, s_->seg[CS].selector) || !push(stack, bytes, return_ip)) return false;
    if (!mark_accessed(target, cs)) return false;
    set_sp(stack);
  } else if (!mark_accessed(target, cs)) {
    return false;
  }
  enter_code(target, cs, cpl, offset);
  return true;
}

bool X86Cpu::call_gate_inner(u16 cs_selector, Descriptor& cs, const Descriptor& gate, u64 next) {
  const unsigned cpl = cs.dpl();
  const u64 return_ip = is_code64() ? next : next - s_->seg_base[CS];
  const u64 old_sp = current_stack().sp;
  const u16 old_ss = s_->seg[SS].selector, old_cs = s_->seg[CS].selector;
  const u64 offset = gate.type() == 4 ? gate.gate_offset() & 0xffff : gate.gate_offset();
  if (is_long_mode()) {
    u64 rsp = 0;
    if (!long_stack_pointer(4 + 8 * cpl, rsp) || !check_target(offset, cs)) return false;
    StackCursor stack = make_long_stack(rsp, view_for(cpl));
    if (!push(stack, 8, old_ss) || !push(stack, 8, old_sp) || !push(stack, 8, old_cs) || !push(stack, 8, return_ip) ||
        !mark_accessed(cs_selector, cs)) {
      return false;
    }
    set_null_segment(SS, u16(cpl), cpl);
    set_sp(stack);
    enter_code(cs_selector, cs, cpl, offset);
    return true;
  }
  const unsigned bytes = gate.type() == 4 ? 2 : 4;
  u16 ss_selector = 0;
  u64 esp = 0;
  Descriptor ss;
  if (!inner_stack_pointer(cpl, ss_selector, esp) || !load_stack_segment(ss_selector, cpl, kTS, ss)) return false;
  u64 parameters[32] = {};
  StackCursor old = current_stack();
  const unsigned count = gate.gate_parameters();
  for (unsigned i = 0; i < count; ++i) {
    if (!pop(old, bytes, parameters[i])) return false;
  }
  StackCursor stack = make_stack(ss.base(), ss, esp, cpl, error_code(ss_selector));
  if (!push(stack, bytes, old_ss) || !push(stack, bytes, old_sp)) return false;
  for (unsigned i = count; i-- > 0;) {
    if (!push(stack, bytes, parameters[i])) return false;
  }
  if (!push(stack, bytes, old_cs) || !push(stack, bytes, return_ip)) return false;
  if (!check_target(offset, cs) || !mark_accessed(cs_selector, cs)) return false;
  set_descriptor_segment(SS, ss_selector, ss);
  set_sp(stack);
  enter_code(cs_selector, cs, cpl, offset);
  return true;
}

/// Stack pointer and segment of privilege `dpl` from a 16- or 32-bit TSS.
bool X86Cpu::inner_stack_pointer(unsigned dpl, u16& ss, u64& esp) {
  const bool is_32 = s_->seg[TR].attributes & bit(11);
  const u64 offset = is_32 ? 4 + dpl * 8 : 2 + dpl * 4;
  const unsigned bytes = is_32 ? 4 : 2;
  if (offset + bytes + 1 > s_->seg[TR].limit) return raise(kTS, error_code(s_->seg[TR].selector));
  u64 selector = 0;
  const u64 at = s_->seg_base[TR] + offset;
  if (!read_system(at, bytes, esp) || !read_system(at + bytes, 2, selector)) return false;
  ss = u16(selector);
  return true;
}

/// RSPn or ISTn, at `offset` of the 64-bit TSS.
bool X86Cpu::long_stack_pointer(unsigned offset, u64& rsp) {
  if (offset + 7 > s_->seg[TR].limit) return raise(kTS, error_code(s_->seg[TR].selector));
  if (!read_system(s_->seg_base[TR] + offset, 8, rsp)) return false;
  return is_canonical(rsp) || raise(kSS, 0);
}

// --- SYSCALL, SYSENTER and their returns ----------------------------------------------------------------------------

void X86Cpu::set_flat_code(u16 selector, unsigned dpl, bool is_long) { load_flat_code(*s_, selector, dpl, is_long); }
void X86Cpu::set_flat_stack(u16 selector, unsigned dpl) { load_flat_stack(*s_, selector, dpl); }

u64 X86Cpu::helper_syscall(const u64* args) {
  X86State& s = *s_;
  if (!(s.efer & kEferSCE)) return raise(kUD);
  const u16 selector = u16(s.star >> 32);
  if (is_long_mode()) {
    const u64 target = is_code64() ? s.lstar : s.cstar;
    s.gpr(RCX) = is_code64() ? args[0] : u32(args[0] - s.seg_base[CS]);
    s.gpr(R11) = read_rflags(s) & ~u64(kRF);
    write_rflags(s, 0, (s.sfmask & kAllFlags & ~u64(kVM)) | kRF);
    set_flat_code(selector, 0, true);
    set_flat_stack(u16(selector + 8), 0);
    s.hdr.pc = target;
  } else {
    s.gpr(RCX) = u32(args[0] - s.seg_base[CS]);
    write_rflags(s, 0, kVM | kIF | kRF);
    set_flat_code(selector, 0, false);
    set_flat_stack(u16(selector + 8), 0);
    s.hdr.pc = u32(s.star);
  }
  return transfer();
}

u64 X86Cpu::helper_sysret(const u64* args) {
  X86State& s = *s_;
  if (!(s.efer & kEferSCE)) return raise(kUD);
  if (!is_protected() || !require_cpl0()) return raise_gp();
  const bool to_64 = args[0] == 8;
  const u64 target = s.gpr(RCX);
  // Before anything changes, as Intel's parts do; a fault after the switch would run at CPL 3 with the kernel's stack.
  if (to_64 && !is_canonical(target)) return raise_gp();
  const u16 selector = u16(s.star >> 48);
  if (is_long_mode()) {
    write_rflags(s, s.gpr(R11), kAllFlags & ~u64(kRF | kVM));
  } else {
    write_rflags(s, kIF, kIF);
  }
  s.rflags_system &= ~u64(kRF);
  set_flat_code(to_64 ? u16(selector + 16) : selector, 3, to_64);
  set_flat_stack(u16(selector + 8), 3);
  s.hdr.pc = to_64 ? target : u32(target);
  return transfer();
}

u64 X86Cpu::helper_sysenter(const u64*) {
  X86State& s = *s_;
  const u16 selector = u16(s.sysenter_cs);
  if (!(s.cr0 & kCr0PE) || is_null(selector)) return raise_gp();
  const bool long_mode = is_long_mode();
  write_rflags(s, 0, kVM | kIF | kRF);
  set_flat_code(selector, 0, long_mode);
  set_flat_stack(u16((selector & ~3) + 8), 0);
  s.gpr(RSP) = long_mode ? s.sysenter_esp : u32(s.sysenter_esp);
  s.hdr.pc = long_mode ? s.sysenter_eip : u32(s.sysenter_eip);
  return transfer();
}

u64 X86Cpu::helper_sysexit(const u64* args) {
  X86State& s = *s_;
  const u16 selector = u16(s.sysenter_cs & ~u64(3));
  if (!is_protected() || s.cpl() != 0 || is_null(selector)) return raise_gp();
  const bool to_64 = args[0] == 8;
  if (to_64 && (!is_canonical(s.gpr(RCX)) || !is_canonical(s.gpr(RDX)))) return raise_gp();
  set_flat_code(u16(selector + (to_64 ? 32 : 16)), 3, to_64);
  set_flat_stack(u16(selector + (to_64 ? 40 : 24)), 3);
  s.gpr(RSP) = to_64 ? s.gpr(RCX) : u32(s.gpr(RCX));
  s.hdr.pc = to_64 ? s.gpr(RDX) : u32(s.gpr(RDX));
  return transfer();
}

}  // namespace emu::x86
