// SPDX-License-Identifier: Apache-2.0
// Control and debug registers, EFER, and the flags that privilege guards. SDM vol. 3, chapter 2, and vol. 2.
#include "target/x86/cpu.h"
#include "target/x86/eflags.h"
#include "util/log.h"

namespace emu::x86 {

// --- CR0, CR3, CR4, EFER --------------------------------------------------------------------------------------------

bool X86Cpu::write_cr0(u64 value) {
  constexpr u64 kDefined =
      kCr0PE | kCr0MP | kCr0EM | kCr0TS | kCr0ET | kCr0NE | kCr0WP | kCr0AM | kCr0NW | kCr0CD | kCr0PG;
  X86State& s = *s_;
  if (value >> 32) return raise_gp();
  value = (value & kDefined) | kCr0ET;
  if ((value & kCr0PG) && !(value & kCr0PE)) return raise_gp();
  if ((value & kCr0NW) && !(value & kCr0CD)) return raise_gp();
  const u64 changed = value ^ s.cr0;
  if ((changed & kCr0PG) && (value & kCr0PG)) {
    if (s.efer & kEferLME) {
      const bool tss_16 = (s.seg[TR].attributes >> 8 & 13) == 1;  // types 1 and 3
      if (!(s.cr4 & kCr4PAE) || (s.seg[CS].attributes & bit(21)) || tss_16) return raise_gp();
      s.efer |= kEferLMA;
    } else if ((s.cr4 & kCr4PAE) && !load_pdptes(s.cr3)) {
      return false;
    }
  } else if (changed & kCr0PG) {
    if (is_code64() || (s.cr4 & kCr4PCIDE)) return raise_gp();
    s.efer &= ~u64(kEferLMA);
  }
  s.cr0 = value;
  if (changed & (kCr0PG | kCr0WP | kCr0PE)) services_->flush_all();
  update_mode();
  return true;
}

bool X86Cpu::write_cr3(u64 value) {
  X86State& s = *s_;
  bool keep = false;
  if (is_long_mode()) {
    if (s.cr4 & kCr4PCIDE) {
      keep = value >> 63;
      value &= ~bit64(63);
    }
    if (value >> config_.model.phys_bits) return raise_gp();
  } else {
    value = u32(value);
    if ((s.cr4 & kCr4PAE) && (s.cr0 & kCr0PG) && !load_pdptes(value)) return false;
  }
  const u64 old_context = context_id();
  s.cr3 = value;
  if (context_id() != old_context) {
    services_->switch_context(context_id(), keep);
  } else if (!keep) {
    services_->flush_non_global();
  }
  return true;
}

u64 X86Cpu::cr4_valid_bits() const {
  constexpr struct {
    Cpuid feature;
    u64 bits;
  } kGuarded[] = {{Cpuid::Vme, kCr4VME | kCr4PVI}, {Cpuid::Tsc, kCr4TSD},       {Cpuid::De, kCr4DE},
                  {Cpuid::Pse, kCr4PSE},           {Cpuid::Pae, kCr4PAE},       {Cpuid::Mce, kCr4MCE},
                  {Cpuid::Pge, kCr4PGE},           {Cpuid::Fxsr, kCr4OSFXSR},   {Cpuid::Sse, kCr4OSXMMEXCPT},
                  {Cpuid::Umip, kCr4UMIP},         {Cpuid::La57, kCr4LA57},     {Cpuid::Fsgsbase, kCr4FSGSBASE},
                  {Cpuid::Pcid, kCr4PCIDE},        {Cpuid::Xsave, kCr4OSXSAVE}, {Cpuid::Smep, kCr4SMEP},
                  {Cpuid::Smap, kCr4SMAP},         {Cpuid::Pku, kCr4PKE}};
  u64 valid = kCr4PCE;
  for (const auto& guarded : kGuarded) {
    if (has(guarded.feature)) valid |= guarded.bits;
  }
  return valid;
}

bool X86Cpu::write_cr4(u64 value) {
  X86State& s = *s_;
  const u64 changed = value ^ s.cr4;
  if (value & ~cr4_valid_bits()) return raise_gp();
  if (is_long_mode() && (changed & (kCr4LA57))) return raise_gp();
  if (is_long_mode() && !(value & kCr4PAE)) return raise_gp();
  if ((changed & value & kCr4PCIDE) && (!is_long_mode() || (s.cr3 & 0xfff))) return raise_gp();
  constexpr u64 kReloadsPdptes = kCr4PAE | kCr4PSE | kCr4PGE | kCr4SMEP;
  if ((changed & kReloadsPdptes) && (value & kCr4PAE) && (s.cr0 & kCr0PG) && !is_long_mode() && !load_pdptes(s.cr3))
    return false;
  s.cr4 = value;
  constexpr u64 kFlushing = kCr4PSE | kCr4PAE | kCr4PGE | kCr4PCIDE | kCr4SMEP | kCr4SMAP | kCr4LA57 | kCr4PKE;
  if (changed & kCr4PCIDE) services_->switch_context(context_id(), false);
  if (changed & kFlushing) services_->flush_all();
  update_mode();
  return true;
}

bool X86Cpu::write_efer(u64 value) {
  X86State& s = *s_;
  u64 valid = kEferLMA;
  if (has(Cpuid::Syscall)) valid |= kEferSCE;
  if (has(Cpuid::Lm)) valid |= kEferLME;
  if (has(Cpuid::Nx)) valid |= kEferNXE;
  if (value & ~valid) return raise_gp();
  const u64 changed = value ^ s.efer;
  if ((changed & kEferLME) && (s.cr0 & kCr0PG)) return raise_gp();
  s.efer = (value & ~u64(kEferLMA)) | (s.efer & kEferLMA);
  if (changed & kEferNXE) services_->flush_all();
  update_mode();
  return true;
}

u64 X86Cpu::helper_read_cr(const u64* args) {
  if (!require_cpl0()) return 0;
  switch (args[0]) {
    case 0:
      return s_->cr0;
    case 2:
      return s_->cr2;
    case 3:
      return s_->cr3;
    case 4:
      return s_->cr4;
    case 8:
      return port_ ? port_->task_priority() : 0;
    default:
      return raise(kUD);
  }
}

u64 X86Cpu::helper_write_cr(const u64* args) {
  if (!require_cpl0()) return 0;
  const u64 value = args[1];
  switch (args[0]) {
    case 0:
      write_cr0(value);
      break;
    case 2:
      s_->cr2 = value;
      break;
    case 3:
      write_cr3(value);
      break;
    case 4:
      write_cr4(value);
      break;
    case 8:
      if (value > 15) return raise_gp();
      if (port_) port_->set_task_priority(u8(value));
      break;
    default:
      raise(kUD);
  }
  return 0;
}

u64 X86Cpu::helper_clts(const u64*) {
  if (!require_cpl0()) return 0;
  s_->cr0 &= ~u64(kCr0TS);
  update_mode();
  return 0;
}

u64 X86Cpu::helper_lmsw(const u64* args) {
  if (!require_cpl0()) return 0;
  // LMSW can set PE but not clear it.
  write_cr0((s_->cr0 & ~u64(kCr0MP | kCr0EM | kCr0TS)) | (args[0] & (kCr0PE | kCr0MP | kCr0EM | kCr0TS)));
  return 0;
}

// --- Debug registers ------------------------------------------------------------------------------------------------

bool X86Cpu::check_debug_access(unsigned& number) {
  if (!require_cpl0()) return false;
  if (number == 4 || number == 5) {
    if (s_->cr4 & kCr4DE) return raise(kUD);
    number += 2;
  }
  if (number > 7) return raise(kUD);
  if (s_->dr[7] & bit64(13)) {  // GD
    s_->dr[6] |= bit64(13);
    s_->dr[7] &= ~bit64(13);
    return raise(kDB);
  }
  return true;
}

u64 X86Cpu::helper_read_dr(const u64* args) {
  unsigned number = unsigned(args[0]);
  return check_debug_access(number) ? s_->dr[number] : 0;
}

u64 X86Cpu::helper_write_dr(const u64* args) {
  unsigned number = unsigned(args[0]);
  const u64 value = args[1];
  if (!check_debug_access(number)) return 0;
  const bool was_armed = has_breakpoints();
  if (number < 4) {
    s_->dr[number] = value;
    debug_registers_written(was_armed);
    return 0;
  }
  if (value >> 32) return raise_gp();
  if (number == 6) {
    s_->dr[6] = (value & 0xe00f) | 0xffff0ff0;
  } else {
    s_->dr[7] = (value & 0xffff2bff) | 0x400;
    debug_registers_written(was_armed);
  }
  return 0;
}

// --- Flags ----------------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_read_flags(const u64*) { return read_rflags(*s_) & ~u64(kVM | kRF); }

u64 X86Cpu::helper_write_flags(const u64* args) {
  u64 value = args[0];
  const unsigned bytes = unsigned(args[1]), cpl = s_->cpl();
  const u64 iopl = bits(s_->rflags_system, 13, 12);
  u64 mask = kArithmetic | kTF | kDF | kNT;
  if (bytes > 2) mask |= kAC | kID;
  if (is_vm86() && iopl < 3) {
    if (!(s_->cr4 & kCr4VME) || bytes != 2) return raise_gp();
    if ((value & kTF) || ((value & kIF) && (s_->rflags_system & kVIP))) return raise_gp();
    value = value & kIF ? value | kVIF : value & ~u64(kVIF);
    mask |= kVIF;
  } else {
    if (cpl <= iopl) mask |= kIF;
    if (cpl == 0) mask |= kIOPL;
  }
  write_rflags(*s_, value & ~u64(kRF), mask | (bytes > 2 ? u64(kRF) : 0));
  if (services_) services_->mode_changed();
  recheck_events();
  return 0;
}

u64 X86Cpu::helper_cli(const u64*) {
  const u64 iopl = bits(s_->rflags_system, 13, 12);
  if (s_->cpl() <= iopl) {
    s_->rflags_system &= ~u64(kIF);
  } else if (is_vm86() ? (s_->cr4 & kCr4VME) : (s_->cpl() == 3 && (s_->cr4 & kCr4PVI))) {
    s_->rflags_system &= ~u64(kVIF);
  } else {
    raise_gp();
  }
  return 0;
}

u64 X86Cpu::helper_sti(const u64*) {
  const u64 iopl = bits(s_->rflags_system, 13, 12);
  if (s_->cpl() <= iopl) {
    if (!(s_->rflags_system & kIF)) {
      s_->inhibit_interrupts = 1;
      if (services_) services_->mode_changed();
    }
    s_->rflags_system |= kIF;
    return 0;
  }
  const bool virtual_flag = is_vm86() ? (s_->cr4 & kCr4VME) : (s_->cpl() == 3 && (s_->cr4 & kCr4PVI));
  if (!virtual_flag || (s_->rflags_system & kVIP)) return raise_gp();
  s_->rflags_system |= kVIF;
  return 0;
}

// --- Counters ------------------------------------------------------------------------------------------------------

u64 X86Cpu::helper_rdpmc(const u64*) {
  raise_gp();  // there are no counters
  return 0;
}

}  // namespace emu::x86
