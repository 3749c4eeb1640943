// SPDX-License-Identifier: Apache-2.0
// Far RET and IRET in every mode. SDM vol. 2, the pages of RET and IRET.
#include "target/x86/cpu.h"
#include "target/x86/eflags.h"

namespace emu::x86 {

namespace {
constexpr u32 error_code(u16 selector) { return selector & ~3u; }
constexpr bool is_null(u16 selector) { return (selector & ~3) == 0; }
}  // namespace

u64 X86Cpu::helper_far_return(const u64* args) {
  const unsigned bytes = unsigned(args[0]);
  const bool ok = is_protected() ? far_return_protected(bytes, args[1]) : far_return_real(bytes, args[1]);
  return ok ? transfer() : 0;
}

bool X86Cpu::far_return_real(unsigned bytes, u64 adjust) {
  StackCursor stack = current_stack();
  u64 ip = 0;
  u16 cs = 0;
  if (!pop(stack, bytes, ip) || !pop16(stack, bytes, cs)) return false;
  if (ip > s_->seg[CS].limit) return raise_gp();
  stack.sp = (stack.sp + adjust) & stack.mask;
  set_sp(stack);
  set_real_segment(CS, cs);
  set_ip(ip);
  return true;
}

/// The checks that RET and IRET share, with the RPL of `selector` as the privilege returned to.
bool X86Cpu::check_return_code(u16 selector, Descriptor& cs) {
  if (is_null(selector)) return raise_gp();
  if (!read_descriptor(selector, cs)) return false;
  const unsigned rpl = selector & 3;
  if (rpl < s_->cpl() || !cs.is_code()) return raise_gp(error_code(selector));
  if (cs.is_conforming() ? cs.dpl() > rpl : cs.dpl() != rpl) return raise_gp(error_code(selector));
  if (is_long_mode() && cs.is_long() && cs.is_big()) return raise_gp(error_code(selector));
  if (!cs.is_present()) return raise(kNP, error_code(selector));
  return true;
}

bool X86Cpu::far_return_protected(unsigned bytes, u64 adjust) {
  StackCursor stack = current_stack();
  u64 ip = 0;
  u16 selector = 0;
  Descriptor cs;
  if (!pop(stack, bytes, ip) || !pop16(stack, bytes, selector) || !check_return_code(selector, cs)) return false;
  if ((selector & 3u) > s_->cpl()) return return_outer(stack, bytes, selector, cs, ip, adjust, false);
  if (!check_target(ip, cs) || !mark_accessed(selector, cs)) return false;
  stack.sp = (stack.sp + adjust) & stack.mask;
  set_sp(stack);
  enter_code(selector, cs, selector & 3, ip);
  return true;
}

/// The rest of a return that also pops SS:rSP; `stack` is behind CS (RET) or the flags (IRET).
bool X86Cpu::return_outer(StackCursor& stack, unsigned bytes, u16 cs_selector, const Descriptor& cs_in, u64 ip,
                          u64 adjust, bool is_iret) {
  Descriptor cs = cs_in;
  const unsigned cpl = cs_selector & 3;
  const bool to_long = is_long_mode() && cs.is_long();
  u64 sp = 0;
  u16 ss_selector = 0;
  stack.sp = (stack.sp + adjust) & stack.mask;
  if (!pop(stack, bytes, sp) || !pop16(stack, bytes, ss_selector)) return false;
  Descriptor ss;
  const bool null_ss = is_null(ss_selector);
  if (null_ss) {
    if (!to_long || cpl == 3 || (ss_selector & 3u) != cpl) return raise_gp();
  } else if (!load_stack_segment(ss_selector, cpl, kGP, ss)) {
    if (is_iret && pending_.vector == kSS) pending_.vector = kNP;  // so the pages of RET and IRET differ
    return false;
  }
  if (!check_target(ip, cs) || !mark_accessed(cs_selector, cs)) return false;
  const bool outer = cpl > s_->cpl();
  if (null_ss) {
    set_null_segment(SS, ss_selector, cpl);
  } else {
    set_descriptor_segment(SS, ss_selector, ss);
  }
  StackCursor next{.sp = sp, .mask = to_long ? ~u64(0) : ss.is_big() ? 0xffffffff : 0xffff};
  if (!is_iret) next.sp += adjust;
  set_sp(next);
  enter_code(cs_selector, cs, cpl, ip);
  if (outer) drop_outer_segments(cpl);
  return true;
}

// --- IRET -----------------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_iret(const u64* args) {
  const unsigned bytes = unsigned(args[0]);
  bool ok = false;
  if (!(s_->cr0 & kCr0PE)) {
    ok = iret_real(bytes);
  } else if (is_vm86()) {
    ok = iret_vm86(bytes);
  } else if (s_->rflags_system & kNT) {
    u64 link = 0;
    Descriptor d;
    if (is_long_mode()) return raise_gp();
    if (!read_system(s_->seg_base[TR], 2, link)) return 0;
    const u16 selector = u16(link);
    if (selector & 4) return raise(kTS, error_code(selector));
    if (!read_descriptor(selector, d, kTS)) return 0;
    if (d.is_segment() || (d.type() & ~8u) != 3) return raise(kTS, error_code(selector));
    ok = switch_task(selector, d, TaskSwitch::Iret, args[1]);
  } else {
    ok = iret_protected(bytes);
  }
  if (!ok) return 0;
  s_->nmi_blocked = 0;
  // RF lasts until the next instruction is complete: nobody can tell where there are no breakpoints for it to hold off.
  if (!has_breakpoints()) s_->rflags_system &= ~u64(kRF);
  return transfer();
}

u64 X86Cpu::iret_flag_mask(unsigned bytes, unsigned cpl) const {
  u64 mask = kArithmetic | kTF | kDF | kNT;
  if (bytes > 2) mask |= kRF | kAC | kID;
  if (cpl <= bits(s_->rflags_system, 13, 12)) mask |= kIF;
  if (cpl == 0) mask |= kIOPL | (bytes > 2 ? kVIF | kVIP : 0);
  return mask;
}

bool X86Cpu::iret_real(unsigned bytes) {
  StackCursor stack = current_stack();
  u64 ip = 0, flags = 0;
  u16 cs = 0;
  if (!pop(stack, bytes, ip) || !pop16(stack, bytes, cs) || !pop(stack, bytes, flags)) return false;
  if (ip > s_->seg[CS].limit) return raise_gp();
  set_sp(stack);
  set_real_segment(CS, cs);
  set_ip(ip);
  write_rflags(*s_, flags, iret_flag_mask(bytes, 0) & ~u64(kVIF | kVIP));
  return true;
}

bool X86Cpu::iret_vm86(unsigned bytes) {
  const bool full = (s_->rflags_system & kIOPL) == kIOPL;
  const bool virtual_interrupts = !full && (s_->cr4 & kCr4VME) && bytes == 2;
  if (!full && !virtual_interrupts) return raise_gp();
  StackCursor stack = current_stack();
  u64 ip = 0, flags = 0;
  u16 cs = 0;
  if (!pop(stack, bytes, ip) || !pop16(stack, bytes, cs) || !pop(stack, bytes, flags)) return false;
  if (ip > s_->seg[CS].limit) return raise_gp();
  u64 mask = iret_flag_mask(bytes, 3);
  if (virtual_interrupts) {
    if ((flags & kTF) || ((flags & kIF) && (s_->rflags_system & kVIP))) return raise_gp();
    flags = flags & kIF ? flags | kVIF : flags & ~u64(kVIF);
    mask |= kVIF;
  }
  set_sp(stack);
  set_real_segment(CS, cs);
  set_ip(ip);
  write_rflags(*s_, flags, mask);
  return true;
}

bool X86Cpu::iret_protected(unsigned bytes) {
  const unsigned cpl = s_->cpl();
  StackCursor stack = current_stack();
  u64 ip = 0, flags = 0;
  u16 selector = 0;
  if (!pop(stack, bytes, ip) || !pop16(stack, bytes, selector) || !pop(stack, bytes, flags)) return false;
  if (!is_long_mode() && bytes == 4 && (flags & kVM) && cpl == 0) return iret_to_vm86(stack, ip, selector, flags);
  const u64 mask = iret_flag_mask(bytes, cpl);
  Descriptor cs;
  if (!check_return_code(selector, cs)) return false;
  // 64-bit mode always pops SS:RSP.
  if ((selector & 3u) > cpl || is_code64()) {
    if (!return_outer(stack, bytes, selector, cs, ip, 0, true)) return false;
  } else {
    if (!check_target(ip, cs) || !mark_accessed(selector, cs)) return false;
    set_sp(stack);
    enter_code(selector, cs, cpl, ip);
  }
  write_rflags(*s_, flags, mask);
  return true;
}

bool X86Cpu::iret_to_vm86(StackCursor& stack, u64 ip, u16 cs, u64 flags) {
  u64 sp = 0;
  u16 selectors[5] = {};
  constexpr Seg kOrder[5] = {SS, ES, DS, FS, GS};
  if (!pop(stack, 4, sp)) return false;
  for (u16& selector : selectors) {
    if (!pop16(stack, 4, selector)) return false;
  }
  if (ip > 0xffff) return raise_gp();
  write_rflags(*s_, flags, kAllFlags);
  for (unsigned i = 0; i < 5; ++i) set_real_segment(kOrder[i], selectors[i]);
  set_real_segment(CS, cs);
  s_->gpr(RSP) = u32(sp);
  set_ip(ip);
  return true;
}

}  // namespace emu::x86
