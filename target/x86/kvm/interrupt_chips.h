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
///
/// The kernel's table of routes says what a global system interrupt (GSI) does. 0..23 are the board's pins; those above
/// send the messages of event interrupts (KVM_IRQFD).
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
  void on_end_of_interrupt(std::function<void(u8 vector)> ended) override {
    machine_.end_of_interrupt = std::move(ended);
  }
  Result<std::unique_ptr<target::EventInterrupt>> on_event_send(int event_fd, u64 address, u32 data) override;
  Result<std::unique_ptr<target::EventInterrupt>> on_event_raise(int event_fd, int resample_fd, unsigned gsi) override;

  Result<void> create(accel::KvmFd& vm, accel::KernelChips kind);
  accel::KernelChips kind() const { return kind_; }

 private:
  class Event;
  /// What goes from an eventfd by KVM_IRQFD to a GSI.
  struct Wire {
    int event_fd, resample_fd;
    u32 gsi;
    u32 flags;
  };
  struct Message {
    bool used = false;
    u64 address = 0;
    u32 data = 0;
  };
  using RouteList = accel::KvmList<accel::KvmRoutingHeader, kvm_irq_routing_entry>;

  static constexpr u32 kPins = 24;
  static constexpr u32 kMostMessages = 1000;  ///< of the 4096 routes a kernel has

  Result<void> set_routes_locked();
  void add_pins(RouteList& list) const;
  Result<void> connect(const Wire& wire) const;
  Result<void> set_message(u32 gsi, u64 address, u32 data);
  void forget_message(u32 gsi);

  accel::KvmFd* vm_ = nullptr;
  accel::KernelChips kind_ = accel::KernelChips::Off;
  KvmMachine& machine_;
  std::mutex mutex_;  // leaf lock: the next two
  std::array<Route, kPins> routes_{};
  std::vector<Message> messages_;  ///< of GSI 24 and up
  // As they were when new.
  kvm_irqchip fresh_chips_[3] = {};
  kvm_pit_state2 fresh_pit_{};
};

}  // namespace emu::x86
