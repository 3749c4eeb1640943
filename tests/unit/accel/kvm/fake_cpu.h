// SPDX-License-Identifier: Apache-2.0
// x86 CPUs for tests of their KVM half.
#pragma once

#include "target/x86/kvm/kvm_cpu.h"
#include "target/x86/translate.h"
#include "unit/accel/kvm/fake_kvm.h"

namespace emu::test {

struct Cpu {
  explicit Cpu(std::string_view option, const x86::HostCpu* host = nullptr)
      : model(*x86::parse_cpu_option(option, host)) {}
  x86::CpuModel model;
  x86::X86Translator translator{x86::make_helper_table(), x86::insn_features(model.features)};
  x86::X86Cpu cpu{x86::CpuConfig{.index = 0, .apic_id = 0, .topology = {}, .model = model}, translator};
};

/// Has the kernel take a vCPU's state, whatever that is, and give back zeros.
inline void take_vcpu_state(FakeKvm& kvm) {
  kvm.take({KVM_SET_SREGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_GET_REGS, KVM_SET_FPU, KVM_GET_FPU, KVM_SET_VCPU_EVENTS,
            KVM_GET_VCPU_EVENTS, accel::kGetMsrs, accel::kSetCpuid2});
  kvm.on(accel::kSetMsrs,
         [](u64 argument) { return int(reinterpret_cast<const accel::KvmMsrsHeader*>(argument)->nmsrs); });
}

/// A vCPU over the fake kernel.
struct FakeCpu {
  explicit FakeCpu(FakeKvm& fake, std::string_view option = "qemu64", const x86::HostCpu* host = nullptr)
      : kvm(fake), cpu(option, host) {
    take_vcpu_state(kvm);
    kvm.take({KVM_KVMCLOCK_CTRL});
  }
  accel::KvmVcpuParts parts() {
    return {cpu.cpu, fd, *reinterpret_cast<kvm_run*>(area.data()), accel::KernelChips::Off};
  }

  FakeKvm& kvm;
  Cpu cpu;
  accel::KvmFd fd{kvm, 102};
  std::vector<u64> area = std::vector<u64>(sizeof(kvm_run) / 8 + 1);
  x86::KvmMachine machine;
};

}  // namespace emu::test
