// SPDX-License-Identifier: Apache-2.0
// x86 VMs under KVM: what the kernel is told about the machine, which CPUs it can give, and its interrupt chips.
#pragma once

#include <memory>
#include <vector>

#include "accel/kvm/kvm_target.h"
#include "target/x86/kvm/interrupt_chips.h"
#include "target/x86/kvm/kvm_cpu.h"

namespace emu::x86 {

class KvmX86Target final : public accel::KvmTarget, public target::Acceleration {
 public:
  Result<void> set_up(const accel::KvmDevice& device, accel::KvmFd& vm, const accel::KvmOptions& options) override;
  accel::KernelChips kernel_chips() const override { return chips_.kind(); }
  target::Acceleration& acceleration() override { return *this; }
  void use(target::DeviceWrites& writes) override { writes_ = &writes; }
  Result<std::unique_ptr<accel::KvmCpu>> make_cpu(const accel::KvmVcpuParts& parts) override;
  void stopped() override;
  void resumed() override;
  unsigned hardware_points() const override { return hardware_points_; }

  // target::Acceleration
  std::array<u32, 4> host_cpuid(u32 leaf, u32 subleaf) const override;
  u64 host_feature_msr(u32 index) const override;
  target::InterruptChips& chips() override { return chips_; }
  target::DeviceWrites* device_writes() override { return writes_; }

 private:
  Result<void> choose_chips(const accel::KvmDevice& device, const accel::KvmOptions& options);

  accel::KvmFd* vm_ = nullptr;
  const accel::KvmFd* device_ = nullptr;
  target::DeviceWrites* writes_ = nullptr;
  KvmMachine machine_;
  KvmInterruptChips chips_{machine_};
  std::vector<kvm_cpuid_entry2> supported_;
  unsigned hardware_points_ = 0;
  bool has_clock_ = false, has_deadline_ = false;
  std::optional<u64> clock_ns_;  ///< the guest's kvmclock while the machine is stopped
};

/// -accel kvm for x86 guests. Errors: see KvmAccelerator::create.
Result<std::unique_ptr<accel::Accelerator>> make_kvm_accelerator(const accel::KvmOptions& options,
                                                                 accel::AccelClient& client);

}  // namespace emu::x86
