// SPDX-License-Identifier: Apache-2.0
// X86Cpu's state in the shapes that KVM has for it. The one place that reaches into X86Cpu for KVM.
#pragma once

#include <linux/kvm.h>

#include <array>
#include <optional>
#include <span>

#include "accel/kvm/kvm_api.h"
#include "target/x86/cpu.h"

namespace emu::x86 {

/// 4096 bytes in the standard format of XSAVE.
using XsaveArea = accel::KvmXsave;

/// A view of one CPU, on its thread or with it standing still.
struct KvmStateAccess {
  X86Cpu& cpu;
  X86State& s;
  explicit KvmStateAccess(X86Cpu& c) : cpu(c), s(c.state()) {}

  kvm_regs regs() const;
  /// Segments, tables, control registers and EFER; the rest of `sregs` stays as it is.
  void fill(kvm_sregs& sregs) const;
  void load(const kvm_regs& regs, const kvm_sregs& sregs);
  void fill(XsaveArea& area) const;
  void load(const XsaveArea& area);
  kvm_fpu fpu() const;
  void load(const kvm_fpu& fpu);
  kvm_debugregs debug_registers() const;
  void load(const kvm_debugregs& registers);
  /// Where the MSR is kept; null: not in the CPU's state.
  u64* msr(u32 index);

  u64 resets() const { return cpu.resets_; }
  target::Halt& halt() { return cpu.halt_; }
  target::CpuInterruptPort* port() { return cpu.port_; }
  std::string& shutdown_reason() { return cpu.shutdown_reason_; }
  void take_init() { cpu.take_init(); }
  void take_startup() { cpu.take_startup(); }

  // Signals
  static constexpr u32 kInterrupt = X86Cpu::kSignalInterrupt, kNmi = X86Cpu::kSignalNmi, kSmi = X86Cpu::kSignalSmi,
                       kInit = X86Cpu::kSignalInit, kStartup = X86Cpu::kSignalStartup,
                       kForTranslation = X86Cpu::kSignalA20 | X86Cpu::kSignalTaskJump;
  u32 signals() const { return s.signals.load(); }
  bool take(u32 which) { return (s.signals.fetch_and(~which) & which) != 0; }
};

/// A leaf's registers as the model and topology have it, limited to what this host offers, for KVM_SET_CPUID2.
std::vector<kvm_cpuid_entry2> guest_cpuid(const X86Cpu& cpu, u32 kvm_features);
/// The kernel's list for the leaf and subleaf; nothing: zeros.
std::array<u32, 4> find_leaf(std::span<const kvm_cpuid_entry2> entries, u32 leaf, u32 subleaf);

}  // namespace emu::x86
