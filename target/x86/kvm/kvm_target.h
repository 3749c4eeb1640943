// SPDX-License-Identifier: Apache-2.0
// x86 VMs under KVM: what the kernel is told about the machine, which CPUs it can give, and its interrupt chips.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "accel/kvm/kvm_target.h"
#include "target/x86/kvm/kvm_cpu.h"

namespace emu::x86 {

/// The kernel's interrupt chips, for boards. Any thread.
class KvmInterruptChips final : public target::InterruptChips {
 public:
  explicit KvmInterruptChips(KvmMachine& machine) : machine_(machine) {}
  bool has_local_apics() const override { return kind_ != accel::KernelChips::Off; }
  bool has_board_chips() const override { return kind_ == accel::KernelChips::On; }
  void send_msi(u64 address, u32 data) override;
  void set_gsi(unsigned gsi, bool level) override;
  void set_ioapic_routes(const std::array<Route, 24>& routes) override;
  void reset() override;
  void configure_as_firmware(u16 level_triggered) override;
  void on_end_of_interrupt(std::function<void(u8 vector)> ended) override { machine_.end_of_interrupt = std::move(ended); }

  Result<void> create(accel::KvmFd& vm, accel::KernelChips kind);
  accel::KernelChips kind() const { return kind_; }

 private:
  Result<void> route_pins();

  accel::KvmFd* vm_ = nullptr;
  accel::KernelChips kind_ = accel::KernelChips::Off;
  KvmMachine& machine_;
  std::mutex mutex_;  // leaf lock: routes_
  std::array<Route, 24> routes_{};
  // As they were when new.
  kvm_irqchip fresh_chips_[3] = {};
  kvm_pit_state2 fresh_pit_{};
};

class KvmX86Target final : public accel::KvmTarget, public target::Acceleration {
 public:
  Result<void> set_up(const accel::KvmDevice& device, accel::KvmFd& vm, const accel::KvmOptions& options) override;
  accel::KernelChips kernel_chips() const override { return chips_.kind(); }
  target::Acceleration& acceleration() override { return *this; }
  Result<std::unique_ptr<accel::KvmCpu>> make_cpu(const accel::KvmVcpuParts& parts) override;
  void stopped() override;
  void resumed() override;
  unsigned hardware_points() const override { return hardware_points_; }

  // target::Acceleration
  std::array<u32, 4> host_cpuid(u32 leaf, u32 subleaf) const override;
  u64 host_feature_msr(u32 index) const override;
  target::InterruptChips& chips() override { return chips_; }

 private:
  Result<void> choose_chips(const accel::KvmDevice& device, const accel::KvmOptions& options);

  accel::KvmFd* vm_ = nullptr;
  const accel::KvmFd* device_ = nullptr;
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
