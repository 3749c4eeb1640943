// SPDX-License-Identifier: Apache-2.0
// The interrupt controllers that the kernel has of a machine, and how interrupts get there.
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

}  // namespace emu::x86
