// SPDX-License-Identifier: Apache-2.0
// An x86 vCPU under KVM: when its state goes to the kernel and back, and how events reach it.
//
// Interrupts, by -machine kernel-irqchip=:
//   off    our LAPIC raises X86Cpu's request line; when the guest is ready the vector goes in by KVM_INTERRUPT
//   split  the kernel's LAPIC; the request line is the 8259 pair's alone, in the same way
//   on     the kernel does it all
#pragma once

#include "accel/kvm/kvm_target.h"
#include "target/x86/kvm/nested_state.h"
#include "target/x86/kvm/state_access.h"

namespace emu::x86 {

/// What this host's KVM offers of optional things.
struct KvmFeatures {
  bool xsave = false, xcrs = false, debug_registers = false, guest_debug = false, block_events = false,
       clock_control = false;
  bool tsc_rate = false, tsc_scaling = false;  ///< of the time stamp counter: it is known; it can be another
  u32 nested_bytes = 0;   ///< of a guest hypervisor's state at most; 0: the kernel has none
  std::vector<u32> msrs;  ///< those of X86Cpu's that the kernel has
  std::vector<u32> kernels_msrs;  ///< those that X86Cpu has not: 0 after a reset
  u32 kvm_features = 0;   ///< CPUID.40000001:EAX
};

/// What a machine's vCPUs share.
struct KvmMachine {
  KvmFeatures features;
  std::function<void(u8 vector)> end_of_interrupt;
  bool virtual_wire = false;  ///< the boot CPU's APIC as firmware leaves it
};

class KvmX86Cpu final : public accel::KvmCpu {
 public:
  KvmX86Cpu(X86Cpu& cpu, const accel::KvmVcpuParts& parts, KvmMachine& machine)
      : state_(cpu), cpu_(cpu), fd_(parts.fd), run_(parts.run), chips_(parts.chips), features_(machine.features),
        machine_(machine), nested_(machine.features.nested_bytes) {}

  /// Of a guest that is a hypervisor. What is loaded into it goes to the kernel with the next put_state().
  NestedState& nested() { return nested_; }

  Result<void> set_up() override;
  Result<void> put_state() override;
  Result<void> get_state() override;
  Ready before_run() override;
  void after_run() override;
  bool wakeup_pending() const override;
  void halted() override { state_.halt() = target::Halt::Halted; }
  void time_was_lost() override;
  std::string shutdown_reason() override;
  bool handle_exit() override;
  std::span<const u8> breakpoint_instruction() const override;
  Result<void> set_debugging(const Debugging& wanted) override;
  std::optional<accel::DebugStop> debug_stop(const accel::DebugPoints& points, bool stepping) override;

 private:
  bool has_kernel_apic() const { return chips_ != accel::KernelChips::Off; }
  void find_msrs();
  Result<void> set_tsc_rate();
  Result<void> put_vectors();
  Result<void> put_msrs(bool fresh);
  Result<void> put_events();
  Result<void> put_apic();
  Result<void> get_msrs();
  bool take_init_and_startup(u32 signals);
  bool deliver_interrupt();

  KvmStateAccess state_;
  X86Cpu& cpu_;
  accel::KvmFd& fd_;
  kvm_run& run_;
  const accel::KernelChips chips_;
  KvmFeatures& features_;
  KvmMachine& machine_;
  u64 resets_seen_ = ~u64(0);
  kvm_sregs sregs_{};        ///< as last fetched: what X86Cpu has no place for
  kvm_vcpu_events events_{};
  NestedState nested_;
  u8 task_priority_ = 0;     ///< as given to the kernel
  u64 apic_base_ = 0;
  kvm_guest_debug debug_{};
};

}  // namespace emu::x86
