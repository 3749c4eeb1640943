// SPDX-License-Identifier: Apache-2.0
// Hardware task switches: SDM vol. 3, chapter 8, "Task management".
#include "target/x86/cpu.h"
#include "target/x86/eflags.h"

namespace emu::x86 {

namespace {

constexpr u32 error_code(u16 selector) { return selector & ~3u; }
constexpr bool is_null(u16 selector) { return (selector & ~3) == 0; }

/// Where the fields of a TSS are. Registers follow in encoding order.
struct TssLayout {
  unsigned bytes;  ///< of IP, flags and registers
  unsigned ip, flags, registers;
  unsigned selectors;  ///< ES CS SS DS (FS GS)
  unsigned selector_stride;
  unsigned selector_count;
  unsigned ldt;
  unsigned minimum_limit;
};
constexpr TssLayout kTss32{4, 0x20, 0x24, 0x28, 0x48, 4, 6, 0x60, 0x67};
constexpr TssLayout kTss16{2, 0x0e, 0x10, 0x12, 0x22, 2, 4, 0x2a, 0x2b};

const TssLayout& layout_of(u32 type) { return type & 8 ? kTss32 : kTss16; }

}  // namespace

/// Switches to the task whose TSS descriptor is `d`; the caller has checked its privilege. Faults before the old state
/// is saved leave the old task running; later ones are those of the new task, as the manual says.
bool X86Cpu::switch_task(u16 selector, Descriptor d, TaskSwitch kind, u64 next, bool push_error, u32 error,
                         bool is_fault) {
  if (d.type() == 5 && !d.is_segment()) {  // a task gate names the TSS
    if (!d.is_present()) return raise(kNP, error_code(selector));
    selector = d.gate_selector();
    if (selector & 4 || is_null(selector)) return raise_gp(error_code(selector));
    if (!read_descriptor(selector, d)) return false;
    if (d.is_segment() || (d.type() & ~8u) != 1) return raise_gp(error_code(selector));
  }
  const bool busy = d.type() & 2;
  if (busy != (kind == TaskSwitch::Iret)) return raise(kind == TaskSwitch::Iret ? kTS : kGP, error_code(selector));
  if (!d.is_present()) return raise(kNP, error_code(selector));
  const TssLayout& to = layout_of(d.type());
  if (d.limit() < to.minimum_limit) return raise(kTS, error_code(selector));

  // Read everything of the new task first: page faults there still belong to the old one.
  const u64 base = d.base();
  u64 ip = 0, flags = 0, cr3 = 0, ldt = 0, trap = 0, registers[8] = {}, selectors[6] = {};
  if (!read_system(base + to.ip, to.bytes, ip) || !read_system(base + to.flags, to.bytes, flags) ||
      !read_system(base + to.ldt, 2, ldt)) {
    return false;
  }
  if (to.bytes == 4 && (!read_system(base + 0x1c, 4, cr3) || !read_system(base + 0x64, 2, trap))) return false;
  for (unsigned i = 0; i < 8; ++i) {
    if (!read_system(base + to.registers + i * to.bytes, to.bytes, registers[i])) return false;
  }
  for (unsigned i = 0; i < to.selector_count; ++i) {
    if (!read_system(base + to.selectors + i * to.selector_stride, 2, selectors[i])) return false;
  }

  // Save the old task.
  const Segment old_tr = s_->seg[TR];
  const u64 old_base = s_->seg_base[TR];
  const TssLayout& from = layout_of(old_tr.attributes >> 8 & 15);
  u64 old_flags = read_rflags(*s_);
  if (kind == TaskSwitch::Iret) old_flags &= ~u64(kNT);
  if (is_fault) old_flags |= kRF;
  const u64 old_ip = next - s_->seg_base[CS];
  if (memory_->probe(wrap_linear(old_base + from.ip), from.ldt - from.ip, target::Access::Store, kViewKernel) !=
      target::AccessStatus::Ok) {
    return false;
  }
  if (!write(old_base + from.ip, from.bytes, kViewKernel, old_ip) ||
      !write(old_base + from.flags, from.bytes, kViewKernel, old_flags)) {
    return false;
  }
  for (unsigned i = 0; i < 8; ++i) {
    if (!write(old_base + from.registers + i * from.bytes, from.bytes, kViewKernel, s_->gpr(i))) return false;
  }
  for (unsigned i = 0; i < from.selector_count; ++i) {
    if (!write(old_base + from.selectors + i * from.selector_stride, 2, kViewKernel, s_->seg[i].selector)) return false;
  }
  if (kind == TaskSwitch::Jump || kind == TaskSwitch::Iret) {
    Descriptor old;
    if (!is_null(old_tr.selector)) {
      if (!read_descriptor(old_tr.selector, old) || !set_descriptor_type(old_tr.selector, old, old.type() & ~2u))
        return false;
    }
  } else if (!write(base, 2, kViewKernel, old_tr.selector)) {
    return false;
  }
  if (kind != TaskSwitch::Iret && !set_descriptor_type(selector, d, d.type() | 2)) return false;

  // From here on the new task runs.
  d.high |= bit(9);
  set_descriptor_segment(TR, selector, d);
  s_->cr0 |= kCr0TS;
  const bool was_armed = has_breakpoints();
  s_->dr[7] &= ~u64(0x155);  // local breakpoints
  if (was_armed) debug_registers_written(true);
  if (to.bytes == 4 && (s_->cr0 & kCr0PG) && cr3 != s_->cr3 && !write_cr3(cr3)) return false;
  if (kind == TaskSwitch::Call || kind == TaskSwitch::Interrupt) flags |= kNT;
  write_rflags(*s_, flags, to.bytes == 4 ? kAllFlags : kAllFlags & 0xffff);
  for (unsigned i = 0; i < 8; ++i) s_->gpr(i) = to.bytes == 2 ? registers[i] | 0xffff0000 : registers[i];
  u16 loaded[6] = {};
  for (unsigned i = 0; i < 6; ++i) loaded[i] = u16(selectors[i]);
  // All selectors first, unusable: a fault while they are loaded shows the guest a consistent task.
  const bool to_vm86 = is_vm86();
  const unsigned cpl = to_vm86 ? 3 : loaded[CS] & 3;
  for (Seg seg : {ES, CS, SS, DS, FS, GS}) set_null_segment(seg, loaded[seg], seg == SS ? cpl : 0);
  set_null_segment(LDTR, u16(ldt));
  s_->hdr.pc = u32(ip);
  if (to_vm86) {
    for (Seg seg : {ES, CS, SS, DS, FS, GS}) set_real_segment(seg, loaded[seg]);
  }
  if (!load_task_segments(loaded, u16(ldt), cpl)) {
    if (pending_.valid) update_mode();
    return false;
  }
  set_ip(ip);
  if (push_error) {
    StackCursor stack = current_stack();
    if (!push(stack, to.bytes, error)) return false;
    set_sp(stack);
  }
  if (ip > s_->seg[CS].limit) return raise_gp();
  if (trap & 1) debug_hits(bit(15));  // BT: before its first instruction
  return true;
}

bool X86Cpu::load_task_segments(const u16 (&selectors)[6], u16 ldt, unsigned cpl) {
  if (!is_null(ldt)) {
    Descriptor d;
    if (ldt & 4) return raise(kTS, error_code(ldt));
    if (!read_descriptor(ldt, d, kTS)) return false;
    if (d.is_segment() || d.type() != 2 || !d.is_present()) return raise(kTS, error_code(ldt));
    set_descriptor_segment(LDTR, ldt, d);
  }
  if (is_vm86()) return true;
  Descriptor cs, ss;
  if (is_null(selectors[CS])) return raise(kTS, 0);
  if (!read_descriptor(selectors[CS], cs, kTS)) return false;
  if (!cs.is_code() || (cs.is_conforming() ? cs.dpl() > cpl : cs.dpl() != cpl))
    return raise(kTS, error_code(selectors[CS]));
  if (!cs.is_present()) return raise(kNP, error_code(selectors[CS]));
  if (!mark_accessed(selectors[CS], cs)) return false;
  set_descriptor_segment(CS, selectors[CS], cs);
  if (!load_stack_segment(selectors[SS], cpl, kTS, ss)) return false;
  set_descriptor_segment(SS, selectors[SS], ss);
  for (Seg seg : {DS, ES, FS, GS}) {
    if (load_data_segment(seg, selectors[seg])) continue;
    if (pending_.vector == kGP) pending_.vector = kTS;  // in a task switch, a bad selector is the TSS's fault
    return false;
  }
  return true;
}

}  // namespace emu::x86
