// SPDX-License-Identifier: Apache-2.0
// Segment registers and descriptor tables: SDM vol. 3, chapter 3, and the instruction pages of vol. 2.
#include "target/x86/cpu.h"
#include "target/x86/eflags.h"

namespace emu::x86 {

namespace {

constexpr bool is_null(u16 selector) { return (selector & ~3) == 0; }
constexpr u32 error_code(u16 selector) { return selector & ~3u; }

}  // namespace

void X86Cpu::set_segment(Seg seg, u16 selector, u64 base, u32 limit, u32 attributes) {
  load_segment(*s_, seg, selector, base, limit, attributes);
}

void X86Cpu::set_null_segment(Seg seg, u16 selector, unsigned dpl) {
  set_segment(seg, selector, 0, 0, u32(dpl) << 13);  // the DPL of SS is the CPL, even when SS is null
}

void X86Cpu::set_real_segment(Seg seg, u16 selector) {
  if (is_vm86()) {
    set_segment(seg, selector, u64(selector) << 4, 0xffff, 0xf300);
    return;
  }
  // Real mode loads selector and base alone: limit and size stay as protected mode left them ("unreal mode").
  const Segment& old = s_->seg[seg];
  const u32 attributes = (old.attributes & 0x00d00000) |
                         (old.attributes & kAttrExpandDown && !(old.attributes & kAttrCode) ? 0x9700 : 0x9300);
  set_segment(seg, selector, u64(selector) << 4, old.limit, attributes);
}

void X86Cpu::set_descriptor_segment(Seg seg, u16 selector, const Descriptor& d) {
  set_segment(seg, selector, d.base(), d.limit(), d.attributes());
}

/// Where `bytes` bytes of the descriptor are. False: outside its table.
bool X86Cpu::descriptor_address(u16 selector, unsigned bytes, u64& linear) const {
  const u64 offset = selector & ~7u;
  u64 base = s_->gdt.base;
  u32 limit = s_->gdt.limit;
  if (selector & 4) {
    if (!(s_->seg[LDTR].attributes & kAttrPresent)) return false;
    base = s_->seg_base[LDTR];
    limit = s_->seg[LDTR].limit;
  }
  if (offset + bytes - 1 > limit) return false;
  linear = base + offset;
  return true;
}

bool X86Cpu::read_descriptor(u16 selector, Descriptor& d, Vector fault) {
  u64 linear = 0, raw = 0;
  if (!descriptor_address(selector, 8, linear)) return raise(fault, error_code(selector));
  if (!read_system(linear, 8, raw)) return false;
  d = {u32(raw), u32(raw >> 32), 0};
  return true;
}

/// The second half of a 16-byte system descriptor; its type field must be 0.
bool X86Cpu::read_upper_half(u16 selector, Descriptor& d) {
  u64 linear = 0, raw = 0;
  if (!descriptor_address(selector, 16, linear)) return raise_gp(error_code(selector));
  if (!read_system(linear + 8, 8, raw)) return false;
  if (raw >> 40 & 0x1f) return raise_gp(error_code(selector));
  d.upper = u32(raw);
  return true;
}

bool X86Cpu::set_descriptor_type(u16 selector, const Descriptor& d, unsigned type) {
  u64 linear = 0;
  if (!descriptor_address(selector, 8, linear)) return raise_gp(error_code(selector));
  const u8 byte5 = u8((d.high >> 8 & 0xf0) | type);
  return write(linear + 5, 1, kViewKernel, byte5);
}

bool X86Cpu::mark_accessed(u16 selector, Descriptor& d) {
  if (d.high & kAttrAccessed) return true;
  if (!set_descriptor_type(selector, d, d.type() | 1)) return false;
  d.high |= kAttrAccessed;
  return true;
}

/// Checks a selector for SS at privilege `cpl`; `fault` is what a bad one raises (#GP, or #TS from a task). Marks the
/// descriptor accessed but loads nothing.
bool X86Cpu::load_stack_segment(u16 selector, unsigned cpl, Vector fault, Descriptor& d) {
  if (is_null(selector)) return raise(fault, 0);
  if (!read_descriptor(selector, d, fault)) return false;
  if ((selector & 3u) != cpl || d.dpl() != cpl || !d.is_writable_data()) return raise(fault, error_code(selector));
  if (!d.is_present()) return raise(kSS, error_code(selector));
  return mark_accessed(selector, d);
}

bool X86Cpu::load_data_segment(Seg seg, u16 selector) {
  if (is_null(selector)) {
    set_null_segment(seg, selector);
    return true;
  }
  Descriptor d;
  if (!read_descriptor(selector, d)) return false;
  const unsigned rpl = selector & 3, cpl = s_->cpl();
  if (!d.is_readable()) return raise_gp(error_code(selector));
  if (!(d.is_code() && d.is_conforming()) && (rpl > d.dpl() || cpl > d.dpl())) return raise_gp(error_code(selector));
  if (!d.is_present()) return raise(kNP, error_code(selector));
  if (!mark_accessed(selector, d)) return false;
  set_descriptor_segment(seg, selector, d);
  return true;
}

u64 X86Cpu::helper_load_segment(const u64* args) {
  const Seg seg = Seg(args[0]);
  const u16 selector = u16(args[1]);
  if (!is_protected()) {
    set_real_segment(seg, selector);
    update_mode();
    return 0;
  }
  if (seg != SS) {
    if (load_data_segment(seg, selector)) update_mode();
    return 0;
  }
  const unsigned cpl = s_->cpl();
  if (is_null(selector) && is_code64() && cpl < 3 && (selector & 3u) == cpl) {
    set_null_segment(SS, selector, cpl);
    update_mode();
    return 0;
  }
  Descriptor d;
  if (!load_stack_segment(selector, cpl, kGP, d)) return 0;
  set_descriptor_segment(SS, selector, d);
  update_mode();
  return 0;
}

/// After a return to less privilege: segments that the new level may not use become null.
void X86Cpu::drop_outer_segments(unsigned cpl) {
  for (Seg seg : {ES, DS, FS, GS}) {
    if (!outlives_return(s_->seg[seg], cpl)) {
      set_null_segment(seg, 0);
    } else if (!(s_->seg[seg].attributes & kAttrPresent)) {
      s_->seg[seg].selector = 0;  // a null selector loses its RPL; the base stays
    }
  }
}

u64 X86Cpu::helper_load_ldtr(const u64* args) {
  const u16 selector = u16(args[0]);
  if (!require_cpl0()) return 0;
  if (is_null(selector)) {
    set_segment(LDTR, selector, 0, 0, 0);
    return 0;
  }
  Descriptor d;
  if (selector & 4) return raise_gp(error_code(selector));
  if (!read_descriptor(selector, d)) return 0;
  if (d.is_segment() || d.type() != 2) return raise_gp(error_code(selector));
  if (!d.is_present()) return raise(kNP, error_code(selector));
  if (is_long_mode() && !read_upper_half(selector, d)) return 0;
  if (is_long_mode() && !is_canonical(d.base())) return raise_gp(error_code(selector));
  set_descriptor_segment(LDTR, selector, d);
  return 0;
}

u64 X86Cpu::helper_load_tr(const u64* args) {
  const u16 selector = u16(args[0]);
  if (!require_cpl0()) return 0;
  Descriptor d;
  if (is_null(selector)) return raise_gp();
  if (selector & 4) return raise_gp(error_code(selector));
  if (!read_descriptor(selector, d)) return 0;
  const bool available = d.type() == 9 || (d.type() == 1 && !is_long_mode());
  if (d.is_segment() || !available) return raise_gp(error_code(selector));
  if (!d.is_present()) return raise(kNP, error_code(selector));
  if (is_long_mode() && !read_upper_half(selector, d)) return 0;
  if (is_long_mode() && !is_canonical(d.base())) return raise_gp(error_code(selector));
  if (!set_descriptor_type(selector, d, d.type() | 2)) return 0;
  d.high |= bit(9);
  set_descriptor_segment(TR, selector, d);
  return 0;
}

u64 X86Cpu::helper_load_gdtr(const u64* args) {
  if (!require_cpl0()) return 0;
  if (is_code64() && !is_canonical(args[0])) return raise_gp();
  s_->gdt = {args[0], u16(args[1])};
  return 0;
}

u64 X86Cpu::helper_load_idtr(const u64* args) {
  if (!require_cpl0()) return 0;
  if (is_code64() && !is_canonical(args[0])) return raise_gp();
  s_->idt = {args[0], u16(args[1])};
  return 0;
}

u64 X86Cpu::helper_store_table(const u64* args) {
  switch (args[0]) {
    case 0:
      return s_->gdt.base;
    case 1:
      return s_->gdt.limit;
    case 2:
      return s_->idt.base;
    case 3:
      return s_->idt.limit;
    case 4:
      return s_->seg[LDTR].selector;
    default:
      return s_->seg[TR].selector;
  }
}

/// For LAR and LSL: whether the selector names something this privilege may ask about. Faults stay pending; they are
/// only those of reading the table.
bool X86Cpu::is_visible(u16 selector, Descriptor& d, bool is_limit) {
  u64 linear = 0, raw = 0;
  if (is_null(selector) || !descriptor_address(selector, 8, linear)) return false;
  if (!read_system(linear, 8, raw)) return false;
  d = {u32(raw), u32(raw >> 32), 0};
  if (!d.is_segment()) {
    constexpr u32 kLsl = bit(1) | bit(2) | bit(3) | bit(9) | bit(11), kLslLong = bit(2) | bit(9) | bit(11);
    constexpr u32 kLar = kLsl | bit(4) | bit(5) | bit(12), kLarLong = kLslLong | bit(12);
    const u32 types = is_limit ? (is_long_mode() ? kLslLong : kLsl) : (is_long_mode() ? kLarLong : kLar);
    if (!(types >> d.type() & 1)) return false;
  } else if (d.is_code() && d.is_conforming()) {
    return true;
  }
  return d.dpl() >= s_->cpl() && d.dpl() >= (selector & 3u);
}

u64 X86Cpu::helper_lar(const u64* args) {
  Descriptor d;
  return is_visible(u16(args[0]), d, false) ? d.attributes() | bit64(32) : 0;
}

u64 X86Cpu::helper_lsl(const u64* args) {
  Descriptor d;
  return is_visible(u16(args[0]), d, true) ? d.limit() | bit64(32) : 0;
}

u64 X86Cpu::helper_verify_segment(const u64* args) {
  const u16 selector = u16(args[0]);
  Descriptor d;
  u64 linear = 0, raw = 0;
  if (is_null(selector) || !descriptor_address(selector, 8, linear)) return 0;
  if (!read_system(linear, 8, raw)) return 0;
  d = {u32(raw), u32(raw >> 32), 0};
  if (!d.is_segment()) return 0;
  const bool privileged = d.dpl() >= s_->cpl() && d.dpl() >= (selector & 3u);
  if (args[1] != 0) return privileged && d.is_writable_data();
  return d.is_readable() && (privileged || (d.is_code() && d.is_conforming()));
}

u64 X86Cpu::helper_arpl_store(const u64* args) {
  if (args[2] & 1) write(args[0], 2, current_view(), args[1] & 0xffff);
  return 0;
}

u64 X86Cpu::helper_write_fs_gs_base(const u64* args) {
  if (!is_canonical(args[1])) return raise_gp();
  s_->segment_base(Seg(args[0])) = args[1];
  return 0;
}

}  // namespace emu::x86
