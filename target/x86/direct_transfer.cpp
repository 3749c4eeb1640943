// SPDX-License-Identifier: Apache-2.0
#include "target/x86/direct_transfer.h"

#include <atomic>

#include "target/x86/descriptor.h"
#include "target/x86/eflags.h"
#include "target/x86/first_level.h"
#include "target/x86/mode_key.h"

namespace emu::x86 {
namespace {

X86State& state_of(tcg::EnvHeader& env) { return reinterpret_cast<X86State&>(env); }

bool is_possible(const X86State& s) {
  return s.hdr.view != nullptr && s.hdr.no_direct_entry == 0 && s.hdr.guest_debug == 0 && is_code64(s) &&
         !(s.rflags_system & (kTF | kVM));
}

bool is_canonical(const X86State& s, u64 linear) {
  const unsigned width = s.cr4 & kCr4LA57 ? 57 : 48;
  return u64(sign_extend(linear, width)) == linear;
}

/// New flags that make a waiting signal deliverable are for the run loop to see.
bool opens_window(const X86State& s, u64 flags) {
  return (flags & kIF) && s.signals.load(std::memory_order_relaxed) != 0;
}

template <typename Word>
Word load_word(u8* host) {
  return std::atomic_ref(*reinterpret_cast<Word*>(host)).load(std::memory_order_relaxed);
}
void store_word(u8* host, u64 value) {
  std::atomic_ref(*reinterpret_cast<u64*>(host)).store(value, std::memory_order_relaxed);
}

/// A descriptor of the GDT that needs no update.
bool load_descriptor(const X86State& s, u16 selector, Descriptor& d) {
  const u64 offset = selector & ~7u;
  if ((selector & 4) || offset == 0 || offset + 7 > s.gdt.limit) return false;
  u8* host = host_memory(s, kViewKernel, s.gdt.base + offset, 8, false);
  if (host == nullptr) return false;
  const u64 raw = load_word<u64>(host);
  d = {u32(raw), u32(raw >> 32), 0};
  return d.is_segment() && d.is_present() && (d.high & kAttrAccessed);
}

bool is_plain_code64(const Descriptor& d) { return d.is_code() && !d.is_conforming() && d.is_long() && !d.is_big(); }

void load_descriptor_segment(X86State& s, Seg seg, u16 selector, const Descriptor& d) {
  load_segment(s, seg, selector, d.base(), d.limit(), d.attributes());
}

/// Enters 64-bit code of privilege `cpl` under `flags`: the last step that may fail.
bool enter_mode64(X86State& s, unsigned cpl, u64 flags) {
  const u32 static_mode = make_static_mode64(s, cpl);
  if (!tcg::enter_mode(s.hdr, make_mode_key(s, static_mode, flags, false))) return false;
  s.static_mode = static_mode;
  s.inhibit_interrupts = 0;
  return true;
}

void set_flags(X86State& s, u64 flags) {
  set_arithmetic_flags(s, flags);
  s.df = flags & kDF ? -1 : 1;
  s.rflags_system = (flags & kSystemFlags) | 2;
}

}  // namespace

// SDM vol. 1, 8.1.8 and 8.1.9. Translated code says where the last instruction and its operand were, as linear address
// and offset. Their selectors are looked at when somebody asks, or before one changes; whether the instruction left an
// exception unmasked, likewise: none that would change the pointers runs while one is pending. Here, since transfers
// change selectors.
void settle_fpu_pointers(X86State& s) {
  if (s.fpu_ip == kFpuSettled) return;
  FpuPointers& p = s.fpu_pointers;
  p.ip = is_code64(s) ? s.fpu_ip : u32(s.fpu_ip - s.segment_base(CS));
  p.cs = s.seg[CS].selector;
  p.opcode = u16(s.fpu_opcode);
  if (s.fpu_data_segment != kFpuNoData) {
    p.dp = s.fpu_dp;
    p.ds = s.seg[s.fpu_data_segment].selector;
  }
  s.fpu_ip = kFpuSettled;
  s.fpu_data_segment = kFpuNoData;
  constexpr u32 kExceptionFlags = 0x3f;
  const u32 status = s.hdr.fpu_image[2];  // its low byte
  if (status & ~s.hdr.fpu_control & kExceptionFlags) s.fpu_trapped = p;
}

bool direct_syscall(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  if (!is_possible(s) || !(s.efer & kEferSCE)) return false;
  const u64 image = read_rflags(s) & ~u64(kRF);
  const u64 flags = image & ~(s.sfmask & kAllFlags & ~u64(kVM));
  if (opens_window(s, flags) || !enter_mode64(s, 0, flags)) return false;
  s.gpr(RCX) = args[0];
  s.gpr(R11) = image;
  set_flags(s, flags);
  const u16 selector = u16(s.star >> 32);
  load_flat_code(s, selector, 0, true);
  load_flat_stack(s, u16(selector + 8), 0);
  s.hdr.pc = s.lstar;
  return true;
}

bool direct_sysret(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  if (!is_possible(s) || args[0] != 8 || !(s.efer & kEferSCE) || s.cpl() != 0) return false;
  const u64 target = s.gpr(RCX);
  const u64 flags = (s.gpr(R11) & kAllFlags & ~u64(kRF | kVM)) | 2;
  if (!is_canonical(s, target) || (flags & kTF) || opens_window(s, flags) || !enter_mode64(s, 3, flags)) return false;
  set_flags(s, flags);
  const u16 selector = u16(s.star >> 48);
  load_flat_code(s, u16(selector + 16), 3, true);
  load_flat_stack(s, u16(selector + 8), 3);
  s.hdr.pc = target;
  return true;
}

bool direct_iret(tcg::EnvHeader& env, const u64* args) {
  X86State& s = state_of(env);
  if (!is_possible(s) || args[0] != 8 || (s.rflags_system & kNT) || s.nmi_blocked) return false;
  const unsigned old_cpl = s.cpl();
  u8* frame = host_memory(s, view_of(s, old_cpl, s.rflags_system), s.gpr(RSP), 40, false);
  if (frame == nullptr) return false;
  const u64 ip = load_word<u64>(frame), image = load_word<u64>(frame + 16), sp = load_word<u64>(frame + 24);
  const u16 cs_selector = u16(load_word<u64>(frame + 8)), ss_selector = u16(load_word<u64>(frame + 32));

  Descriptor cs, ss;
  const unsigned cpl = cs_selector & 3;
  if (cpl < old_cpl || !load_descriptor(s, cs_selector, cs) || !is_plain_code64(cs) || cs.dpl() != cpl) return false;
  const bool null_ss = (ss_selector & ~3) == 0;
  if ((ss_selector & 3u) != cpl || (null_ss && cpl == 3)) return false;
  if (!null_ss && (!load_descriptor(s, ss_selector, ss) || ss.dpl() != cpl || !ss.is_writable_data())) return false;
  if (!is_canonical(s, ip)) return false;
  if (cpl > old_cpl) {
    for (Seg seg : {ES, DS, FS, GS}) {
      const bool loses_rpl = !(s.seg[seg].attributes & kAttrPresent) && s.seg[seg].selector != 0;
      if (!outlives_return(s.seg[seg], cpl) || loses_rpl) return false;
    }
  }
  u64 mask = kArithmetic | kTF | kDF | kNT | kAC | kID;
  if (old_cpl <= bits(s.rflags_system, 13, 12)) mask |= kIF;
  if (old_cpl == 0) mask |= kIOPL | kVIF | kVIP;
  const u64 flags = (image & mask) | (s.rflags_system & kSystemFlags & ~mask & ~u64(kRF)) | 2;  // RF: see helper_iret
  if ((flags & kTF) || opens_window(s, flags) || !enter_mode64(s, cpl, flags)) return false;

  if (null_ss) {
    load_segment(s, SS, ss_selector, 0, 0, u32(cpl) << 13);
  } else {
    load_descriptor_segment(s, SS, ss_selector, ss);
  }
  s.gpr(RSP) = sp;
  load_descriptor_segment(s, CS, cs_selector, cs);
  s.hdr.pc = ip;
  set_flags(s, flags);
  return true;
}

bool direct_software_int(tcg::EnvHeader& env, const u64* args) {
  return direct_deliver(state_of(env), {.vector = u8(args[0]), .from_software = true, .return_pc = args[1]});
}

bool direct_deliver(X86State& s, const DirectEvent& event) {
  if (!is_possible(s)) return false;
  const u64 slot = u64(event.vector) * 16;
  if (slot + 15 > s.idt.limit) return false;
  u8* const gate_at = host_memory(s, kViewKernel, s.idt.base + slot, 16, false);
  if (gate_at == nullptr) return false;
  const u64 raw = load_word<u64>(gate_at), upper = load_word<u64>(gate_at + 8);
  const Descriptor gate{u32(raw), u32(raw >> 32), u32(upper)};
  const unsigned old_cpl = s.cpl();
  if (gate.is_segment() || (gate.type() | 1) != 15 || !gate.is_present()) return false;
  if (event.from_software && gate.dpl() < old_cpl) return false;
  const u64 offset = gate.gate_offset();
  const u16 selector = gate.gate_selector();
  Descriptor cs;
  if (!is_canonical(s, offset) || !load_descriptor(s, selector, cs) || !is_plain_code64(cs)) return false;
  const unsigned cpl = cs.dpl();
  if (cpl > old_cpl) return false;

  u64 rsp = s.gpr(RSP);
  if (gate.gate_ist() != 0 || cpl != old_cpl) {
    const unsigned at = gate.gate_ist() != 0 ? 0x24 + 8 * (gate.gate_ist() - 1) : 4 + 8 * cpl;
    // RSPn and ISTn lie at four modulo eight in the task-state segment.
    u8* const stack_at = host_memory(s, kViewKernel, s.seg_base[TR] + at, 8, false, 4);
    if (at + 7 > s.seg[TR].limit || stack_at == nullptr) return false;
    rsp = load_word<u32>(stack_at) | u64(load_word<u32>(stack_at + 4)) << 32;
    if (!is_canonical(s, rsp)) return false;
  }
  const unsigned bytes = event.has_error ? 48 : 40;
  const u64 sp = (rsp & ~u64(15)) - bytes;
  u8* frame = host_memory(s, view_of(s, cpl, s.rflags_system), sp, bytes, true);
  if (frame == nullptr) return false;

  const u64 old_flags = read_rflags(s);
  const u64 flags = old_flags & ~(kTF | kNT | kRF | kVM | ((gate.type() & 1) == 0 ? u64(kIF) : 0));
  const u64 old_cs = s.seg[CS].selector, old_ss = s.seg[SS].selector;
  if (!enter_mode64(s, cpl, flags)) return false;
  if (event.has_error) {
    store_word(frame, event.error);
    frame += 8;
  }
  store_word(frame, event.return_pc);
  store_word(frame + 8, old_cs);
  store_word(frame + 16, event.is_fault ? old_flags | kRF : old_flags);
  store_word(frame + 24, s.gpr(RSP));
  store_word(frame + 32, old_ss);
  set_flags(s, flags);
  if (cpl != old_cpl) load_segment(s, SS, u16(cpl), 0, 0, u32(cpl) << 13);
  s.gpr(RSP) = sp;
  load_descriptor_segment(s, CS, u16((selector & ~3) | cpl), cs);
  s.hdr.pc = offset;
  return true;
}

}  // namespace emu::x86
