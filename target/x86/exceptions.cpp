// SPDX-License-Identifier: Apache-2.0
// Interrupts and exceptions through the IDT: SDM vol. 3, chapters 6 and 22 (virtual-8086), and the page of INT n.
#include "target/x86/cpu.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "target/x86/decode.h"
#include "target/x86/direct_transfer.h"
#include "target/x86/eflags.h"
#include "util/log.h"

namespace emu::x86 {

namespace {

constexpr u32 error_code(u16 selector) { return selector & ~3u; }
constexpr bool is_null(u16 selector) { return (selector & ~3) == 0; }
constexpr u32 gate_error(u8 vector) { return u32(vector) * 8 + 2; }

const char* vector_name(u8 vector) {
  constexpr const char* kNames[] = {"divide error",
                                    "debug",
                                    "NMI",
                                    "breakpoint",
                                    "overflow",
                                    "bound range",
                                    "invalid opcode",
                                    "device not available",
                                    "double fault",
                                    "coprocessor overrun",
                                    "invalid TSS",
                                    "segment not present",
                                    "stack fault",
                                    "general protection",
                                    "page fault",
                                    "reserved",
                                    "x87 error",
                                    "alignment check",
                                    "machine check",
                                    "SIMD error"};
  return vector < 20 ? kNames[vector] : "interrupt";
}

const char* event_name(const Event& event) {
  return event.kind == Event::Kind::External && event.vector != kNMI ? "interrupt" : vector_name(event.vector);
}

/// SDM vol. 3, table 6-5.
enum class FaultClass { Benign, Contributory, PageFault };
FaultClass classify(u8 vector) {
  if (vector == kPFv) return FaultClass::PageFault;
  return vector == kDE || (vector >= kTS && vector <= kGP) ? FaultClass::Contributory : FaultClass::Benign;
}

bool becomes_double_fault(u8 first, u8 second) {
  const FaultClass a = classify(first), b = classify(second);
  return (a == FaultClass::Contributory && b == FaultClass::Contributory) ||
         (a == FaultClass::PageFault && b != FaultClass::Benign);
}

bool is_interrupt_gate(const Descriptor& gate) { return (gate.type() & 1) == 0; }

}  // namespace

// --- Entry points ---------------------------------------------------------------------------------------------------

/// #GP for an address that is not canonical, or behind the segment, is #SS if SS is the segment, which only the
/// instruction at pc can tell.
void X86Cpu::settle_pending() {
  const bool is_outside = !pending_.is_in_segment || (!pending_.is_canonical && is_code64());
  if (pending_.vector == kGP && is_outside && operand_is_on_stack()) pending_.vector = kSS;
}

void X86Cpu::deliver_pending() {
  if (!pending_.valid) return;
  settle_pending();
  const Pending p = pending_;
  pending_ = {};
  instruction_faulted();
  fault_chain_.clear();
  if (p.vector == kPFv) s_->cr2 = p.address;
  deliver_with_nesting({.vector = p.vector,
                        .kind = Event::Kind::Fault,  // #DB, too: general detect
                        .has_error = p.has_error,
                        .error = p.error,
                        .return_pc = s_->hdr.pc});
}

/// The instruction at pc. False: it cannot be read any more.
bool X86Cpu::decode_at_pc(Insn& insn) const {
  std::array<u8, 15> bytes{};
  for (unsigned i = 0; i < bytes.size(); ++i) {
    const std::optional<u64> at = const_cast<X86Cpu*>(this)->debug_translate(s_->hdr.pc + i);
    u64 word = 0;
    if (!at || !memory_->load_physical(*at & ~u64(7), 8, word)) break;
    bytes[i] = u8(word >> (*at & 7) * 8);
  }
  return decode(bytes, Mode{mode_key()}, kAllFeatures, insn) == DecodeStatus::Ok;
}

/// Whether SS is the segment of the memory operand at pc, or of what the instruction there does besides. Helpers get
/// linear addresses; only a fault needs to know.
bool X86Cpu::operand_is_on_stack() const {
  Insn insn;
  if (!decode_at_pc(insn)) return false;
  if (insn.is_memory) return insn.segment == SS;
  const std::string_view name = insn.row->name;
  constexpr std::string_view kOfStack[] = {"PUSH", "POP", "ENTER", "LEAVE", "CALL", "RET"};
  return std::any_of(std::begin(kOfStack), std::end(kOfStack), [name](auto start) { return name.starts_with(start); });
}

void X86Cpu::raise_now(u8 vector, bool has_error, u32 error, Event::Kind kind) {
  fault_chain_.clear();
  deliver_with_nesting(
      {.vector = vector, .kind = kind, .has_error = has_error, .error = error, .return_pc = s_->hdr.pc});
}

/// Delivers an event that software did not ask for, and whatever faults that causes, down to the shutdown.
void X86Cpu::deliver_with_nesting(Event event) {
  if (direct_deliver(*s_, {.vector = event.vector,
                           .is_fault = event.kind == Event::Kind::Fault,
                           .has_error = event.has_error,
                           .error = event.error,
                           .return_pc = event.return_pc})) {
    if (services_) services_->mode_changed();
    return;
  }
  if (event.kind == Event::Kind::External) fault_chain_.clear();
  for (unsigned attempt = 0;; ++attempt) {
    log_event(event);
    fault_chain_.push_back({.event = event, .second = {}});
    external_ = 1;
    const bool delivered = deliver(event);
    external_ = 0;
    s_->hdr.leave = tcg::kLeaveNot;
    if (delivered) {
      s_->inhibit_interrupts = 0;
      update_mode();
      return;
    }
    const Pending second = pending_;
    pending_ = {};
    if (!second.valid && attempt < 8) continue;  // the memory wants another attempt: code was written over
    if (!second.valid) return shut_down("its delivery never ended");
    if (second.vector == kPFv) s_->cr2 = second.address;
    const bool first_is_exception = event.kind != Event::Kind::External;
    if (event.vector == kDFv && first_is_exception && classify(second.vector) != FaultClass::Benign) {
      shut_down(fmt::format("{} while the double fault was delivered", vector_name(second.vector)));
      return;
    }
    if (first_is_exception && becomes_double_fault(event.vector, second.vector)) {
      fault_chain_.push_back({.event = event, .second = second, .cr2 = s_->cr2});
      event = {.vector = kDFv, .kind = Event::Kind::Fault, .has_error = true, .error = 0, .return_pc = s_->hdr.pc};
      continue;
    }
    event = {.vector = second.vector,
             .kind = Event::Kind::Fault,
             .has_error = second.has_error,
             .error = second.error,
             .return_pc = s_->hdr.pc};
  }
}

void X86Cpu::shut_down(const std::string& why) {
  halt_ = target::Halt::Shutdown;
  std::string chain;
  for (const FaultLink& link : fault_chain_) {
    if (!chain.empty()) chain += " -> ";
    if (link.second.valid) {
      chain += fmt::format("then {} ({:#x}, error {:#x}, CR2 {:#x})", vector_name(link.second.vector),
                           link.second.vector, link.second.error, link.cr2);
    } else {
      chain += fmt::format("{} ({:#x}", event_name(link.event), link.event.vector);
      chain += link.event.has_error ? fmt::format(", error {:#x})", link.event.error) : ")";
    }
  }
  shutdown_reason_ = fmt::format("triple fault on CPU {}: {} -> {}; CR2 {:#x}\n{}", config_.index, chain, why, s_->cr2,
                                 dump_registers());
  log::write_if(log::Mask::Int | log::Mask::CpuReset, "{}\n", shutdown_reason_);
}

void X86Cpu::log_event(const Event& event) const {
  if (!log::enabled(log::Mask::Int)) return;
  const bool is_exception = event.kind != Event::Kind::External && event.kind != Event::Kind::SoftwareInt;
  log::write("v={:02x} e={:04x} {} cpl={} IP={:04x}:{:016x} SP={:04x}:{:016x} CR2={:016x} rax={:016x} ({})\n",
             event.vector, event.error,
             event.kind == Event::Kind::External      ? "ext"
             : event.kind == Event::Kind::SoftwareInt ? "int"
                                                      : "exc",
             s_->cpl(), s_->seg[CS].selector, event.return_pc - s_->seg_base[CS], s_->seg[SS].selector, s_->gpr(RSP),
             s_->cr2, s_->gpr(RAX), is_exception ? vector_name(event.vector) : "interrupt");
}

bool X86Cpu::deliver(const Event& event) {
  if (!(s_->cr0 & kCr0PE)) return deliver_real(event);
  return is_long_mode() ? deliver_long(event) : deliver_protected(event);
}

u64 X86Cpu::pushed_flags(const Event& event) const {
  u64 flags = read_rflags(*s_);
  // RF is set in the image that a fault saves, so that the instruction does not hit its own instruction breakpoint
  // again. That breakpoint itself is Kind::Trap here: the handler has to set RF.
  if (event.kind == Event::Kind::Fault) flags |= kRF;
  const bool is_instruction = event.kind == Event::Kind::SoftwareInt || event.kind == Event::Kind::SoftwareException;
  if (is_instruction) flags &= ~u64(kRF);
  return flags;
}

// --- Real mode, and interrupts redirected in virtual-8086 mode ------------------------------------------------------

bool X86Cpu::deliver_real(const Event& event) {
  if (u32(event.vector) * 4 + 3 > s_->idt.limit)
    return raise(event.vector == kDFv ? kSS : kGP, gate_error(event.vector));
  return deliver_real_at(event, s_->idt.base, read_rflags(*s_));
}

bool X86Cpu::deliver_real_at(const Event& event, u64 table, u64 flags_image) {
  u64 entry = 0;
  const u8 table_view = is_vm86() ? kViewUser : kViewKernel;
  if (!read(u32(table + event.vector * 4), 4, table_view, entry)) return false;
  StackCursor stack = current_stack();
  const u64 ip = event.return_pc - s_->seg_base[CS];
  if (!push(stack, 2, flags_image) || !push(stack, 2, s_->seg[CS].selector) || !push(stack, 2, ip)) return false;
  set_sp(stack);
  set_real_segment(CS, u16(entry >> 16));
  set_ip(u16(entry));
  write_rflags(*s_, 0, kTF | kRF | (is_vm86() ? 0 : kIF | kAC));
  return true;
}

// --- Protected mode -------------------------------------------------------------------------------------------------

/// Reads and checks the gate: everything before its target.
bool X86Cpu::read_gate(const Event& event, Descriptor& gate) {
  const unsigned size = is_long_mode() ? 16 : 8;
  const u32 code = gate_error(event.vector);
  const u64 offset = u64(event.vector) * size;
  if (offset + size - 1 > s_->idt.limit) return raise_gp(code);
  u64 raw = 0, upper = 0;
  if (!read_system(s_->idt.base + offset, 8, raw)) return false;
  if (size == 16 && !read_system(s_->idt.base + offset + 8, 8, upper)) return false;
  gate = {u32(raw), u32(raw >> 32), u32(upper)};
  const bool from_software = event.kind == Event::Kind::SoftwareInt || event.kind == Event::Kind::SoftwareException;
  const u32 types = is_long_mode() ? bit(14) | bit(15) : bit(5) | bit(6) | bit(7) | bit(14) | bit(15);
  if (gate.is_segment() || !(types >> gate.type() & 1)) return raise_gp(code);
  if (from_software && gate.dpl() < s_->cpl()) return raise_gp(code);
  if (!gate.is_present()) return raise(kNP, code);
  return true;
}

bool X86Cpu::deliver_protected(const Event& event) {
  Descriptor gate, cs;
  if (!read_gate(event, gate)) return false;
  const u16 selector = gate.gate_selector();
  if (gate.type() == 5) {
    if (selector & 4) return raise_gp(error_code(selector));
    if (!read_descriptor(selector, cs)) return false;
    if (cs.is_segment() || (cs.type() & ~8u) != 1) return raise_gp(error_code(selector));
    return switch_task(selector, cs, TaskSwitch::Interrupt, event.return_pc, event.has_error, event.error,
                       event.kind == Event::Kind::Fault);
  }
  if (is_null(selector)) return raise_gp();
  if (!read_descriptor(selector, cs)) return false;
  const unsigned cpl = s_->cpl();
  if (!cs.is_code() || cs.dpl() > cpl) return raise_gp(error_code(selector));
  if (!cs.is_present()) return raise(kNP, error_code(selector));
  if (is_vm86() && (cs.is_conforming() || cs.dpl() != 0)) return raise_gp(error_code(selector));
  if (!cs.is_conforming() && cs.dpl() < cpl) return deliver_inner(event, gate, selector, cs);
  return deliver_same(event, gate, selector, cs);
}

bool X86Cpu::deliver_same(const Event& event, const Descriptor& gate, u16 cs_selector, const Descriptor& cs_in) {
  Descriptor cs = cs_in;
  const unsigned bytes = gate.type() & 8 ? 4 : 2;
  const u64 offset = bytes == 2 ? gate.gate_offset() & 0xffff : gate.gate_offset();
  StackCursor stack = current_stack();
  if (!push(stack, bytes, pushed_flags(event)) || !push(stack, bytes, s_->seg[CS].selector) ||
      !push(stack, bytes, event.return_pc - s_->seg_base[CS]) ||
      (event.has_error && !push(stack, bytes, event.error)) || !check_target(offset, cs) ||
      !mark_accessed(cs_selector, cs)) {
    return false;
  }
  set_sp(stack);
  write_rflags(*s_, 0, kTF | kNT | kRF | kVM | (is_interrupt_gate(gate) ? u64(kIF) : 0));
  enter_code(cs_selector, cs, s_->cpl(), offset);
  return true;
}

bool X86Cpu::deliver_inner(const Event& event, const Descriptor& gate, u16 cs_selector, const Descriptor& cs_in) {
  Descriptor cs = cs_in, ss;
  const unsigned cpl = cs.dpl();
  const unsigned bytes = gate.type() & 8 ? 4 : 2;
  const u64 offset = bytes == 2 ? gate.gate_offset() & 0xffff : gate.gate_offset();
  const bool from_vm86 = is_vm86();
  u16 ss_selector = 0;
  u64 esp = 0;
  if (!inner_stack_pointer(cpl, ss_selector, esp)) return false;
  if (!load_stack_segment(ss_selector, cpl, kTS, ss)) return false;
  StackCursor stack = make_stack(ss.base(), ss, esp, cpl, error_code(ss_selector) | external_);
  if (from_vm86) {
    for (Seg seg : {GS, FS, DS, ES}) {
      if (!push(stack, bytes, s_->seg[seg].selector)) return false;
    }
  }
  if (!push(stack, bytes, s_->seg[SS].selector) || !push(stack, bytes, s_->gpr(RSP)) ||
      !push(stack, bytes, pushed_flags(event)) || !push(stack, bytes, s_->seg[CS].selector) ||
      !push(stack, bytes, event.return_pc - s_->seg_base[CS]) ||
      (event.has_error && !push(stack, bytes, event.error)) || !check_target(offset, cs) ||
      !mark_accessed(cs_selector, cs)) {
    return false;
  }
  write_rflags(*s_, 0, kTF | kNT | kRF | kVM | (is_interrupt_gate(gate) ? u64(kIF) : 0));
  set_descriptor_segment(SS, ss_selector, ss);
  set_sp(stack);
  enter_code(cs_selector, cs, cpl, offset);
  if (from_vm86) {
    for (Seg seg : {GS, FS, DS, ES}) set_null_segment(seg, 0);
  }
  return true;
}

// --- Long mode ------------------------------------------------------------------------------------------------------

bool X86Cpu::deliver_long(const Event& event) {
  Descriptor gate, cs;
  if (!read_gate(event, gate)) return false;
  const u16 selector = gate.gate_selector();
  if (is_null(selector)) return raise_gp();
  if (!read_descriptor(selector, cs)) return false;
  const unsigned old_cpl = s_->cpl();
  if (!cs.is_code() || cs.dpl() > old_cpl || !cs.is_long() || cs.is_big()) return raise_gp(error_code(selector));
  if (!cs.is_present()) return raise(kNP, error_code(selector));
  const unsigned cpl = cs.is_conforming() ? old_cpl : cs.dpl();
  const u64 offset = gate.gate_offset();
  if (!is_canonical(offset)) return raise_gp();

  u64 rsp = s_->gpr(RSP);
  if (gate.gate_ist() != 0) {
    if (!long_stack_pointer(0x24 + 8 * (gate.gate_ist() - 1), rsp)) return false;
  } else if (cpl != old_cpl) {
    if (!long_stack_pointer(4 + 8 * cpl, rsp)) return false;
  }
  StackCursor stack = make_long_stack(rsp & ~u64(15), view_for(cpl));
  const u64 return_ip = is_code64() ? event.return_pc : event.return_pc - s_->seg_base[CS];
  if (!push(stack, 8, s_->seg[SS].selector) || !push(stack, 8, s_->gpr(RSP)) || !push(stack, 8, pushed_flags(event)) ||
      !push(stack, 8, s_->seg[CS].selector) || !push(stack, 8, return_ip) ||
      (event.has_error && !push(stack, 8, event.error)) || !mark_accessed(selector, cs)) {
    return false;
  }
  write_rflags(*s_, 0, kTF | kNT | kRF | kVM | (is_interrupt_gate(gate) ? u64(kIF) : 0));
  if (cpl != old_cpl) set_null_segment(SS, u16(cpl), cpl);
  set_sp(stack);
  enter_code(selector, cs, cpl, offset);
  return true;
}

// --- INT n and its kin ----------------------------------------------------------------------------------------------

/// CR4.VME: whether the TSS's map sends this INT n of virtual-8086 code to its own vector table.
bool X86Cpu::redirected_by_bitmap(u8 vector, bool& redirected) {
  redirected = false;
  if (!(s_->cr4 & kCr4VME)) return true;
  u64 map_base = 0, byte = 0;
  if (s_->seg[TR].limit < 0x67 || !(s_->seg[TR].attributes & bit(11))) return raise_gp();
  if (!read_system(s_->seg_base[TR] + 0x66, 2, map_base)) return false;
  // The 32-byte redirection map lies right below the I/O permission map.
  const u64 at = map_base - 32 + vector / 8;
  if (map_base < 32 || at > s_->seg[TR].limit) return raise_gp();
  if (!read_system(s_->seg_base[TR] + at, 1, byte)) return false;
  redirected = !(byte >> (vector & 7) & 1);
  return true;
}

bool X86Cpu::vm86_software_int(u8 vector, u64 next) {
  bool redirected = false;
  if (!redirected_by_bitmap(vector, redirected)) return false;
  const u64 iopl = bits(s_->rflags_system, 13, 12);
  const Event event{.vector = vector, .kind = Event::Kind::SoftwareInt, .return_pc = next};
  if (!redirected) {
    if (iopl < 3) return raise_gp();
    return deliver_protected(event);
  }
  u64 image = read_rflags(*s_);
  if (iopl < 3) {
    // The handler sees VIF as IF, and IOPL as 3.
    image = deposit(image, 13, 12, 3) & ~u64(kIF);
    if (s_->rflags_system & kVIF) image |= kIF;
  }
  if (!deliver_real_at(event, 0, image)) return false;
  s_->rflags_system &= ~u64(iopl < 3 ? kVIF : kIF);
  return true;
}

u64 X86Cpu::helper_software_int(const u64* args) {
  const u8 vector = u8(args[0]);
  const Event event{.vector = vector, .kind = Event::Kind::SoftwareInt, .return_pc = args[1]};
  log_event(event);
  const bool ok = is_vm86() ? vm86_software_int(vector, args[1]) : deliver(event);
  return ok ? transfer() : 0;
}

u64 X86Cpu::helper_int3(const u64* args) {
  const Event event{.vector = kBP, .kind = Event::Kind::SoftwareException, .return_pc = args[0]};
  log_event(event);
  return deliver(event) ? transfer() : 0;
}

u64 X86Cpu::helper_into(const u64* args) {
  if (!(read_rflags(*s_) & kOF)) return 0;
  return deliver({.vector = kOFv, .kind = Event::Kind::SoftwareException, .return_pc = args[0]}) ? transfer() : 0;
}

u64 X86Cpu::helper_int1(const u64* args) {
  external_ = 1;  // the manual counts it among the events that are
  const bool delivered = deliver({.vector = kDB, .kind = Event::Kind::Trap, .return_pc = args[0]});
  external_ = 0;
  s_->dr[7] &= delivered ? ~bit64(13) : ~u64(0);
  return delivered ? transfer() : 0;
}

}  // namespace emu::x86
