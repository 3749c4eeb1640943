// SPDX-License-Identifier: Apache-2.0
// The guest architecture's half of KVM: state to and from the kernel, events, and exits of its own. In
// target/<isa>/kvm.
#pragma once

#include <memory>
#include <string>

#include "accel/accel.h"
#include "accel/kvm/kvm_api.h"
#include "target/acceleration.h"

namespace emu::accel {

/// Who holds the interrupt controllers: -machine kernel-irqchip=.
enum class KernelChips : u8 { Off, Split, On };

struct KvmOptions {
  std::optional<KernelChips> chips;  ///< empty: the best that is there
  u32 dirty_ring_entries = 0;        ///< a vCPU; 0: bitmaps
};

/// What a vCPU is made of, for its architecture.
struct KvmVcpuParts {
  target::Vcpu& cpu;
  KvmFd& fd;
  kvm_run& run;
  KernelChips chips;
};

/// One vCPU. On its thread, or with it standing still; outside of KVM_RUN.
class KvmCpu {
 public:
  virtual ~KvmCpu() = default;
  /// Once, before the first run: what the guest may see of its processor.
  virtual Result<void> set_up() = 0;
  /// The Vcpu's state to the kernel and back, whole.
  virtual Result<void> put_state() = 0;
  virtual Result<void> get_state() = 0;

  enum class Ready : u8 { Run, Sleep, Shutdown, Failed };
  /// Hands pending events to the kernel.
  virtual Ready before_run() = 0;
  virtual void after_run() = 0;
  /// Would an event wake it out of Sleep?
  virtual bool wakeup_pending() const = 0;
  /// KVM_EXIT_HLT.
  virtual void halted() = 0;
  /// The machine was stopped: the guest is told that it missed time.
  virtual void time_was_lost() {}
  /// The kernel says that the vCPU ended in shutdown state; state was fetched.
  virtual std::string shutdown_reason() = 0;
  /// An exit that only this architecture has. False: unknown.
  virtual bool handle_exit() = 0;

  // Guest debugging
  /// What stops execution at an instruction, as bytes to put there.
  virtual std::span<const u8> breakpoint_instruction() const = 0;
  struct Debugging {
    bool step = false;
    bool block_events = false;             ///< while stepping
    bool breakpoints = false;              ///< in the code
    std::span<const Watchpoint> watchpoints;  ///< as many as hardware_points()
  };
  virtual Result<void> set_debugging(const Debugging& wanted) = 0;
  /// KVM_EXIT_DEBUG. Empty: the guest's own, handed on to it.
  virtual std::optional<DebugStop> debug_stop(const DebugPoints& points, bool stepping) = 0;
};

/// The architecture's part of a VM. Made with the VM, outlives the vCPUs.
class KvmTarget {
 public:
  virtual ~KvmTarget() = default;
  /// Once, on the fresh VM: addresses the kernel wants to use and the like. Decides which chips the kernel holds.
  virtual Result<void> set_up(const KvmDevice& device, KvmFd& vm, const KvmOptions& options) = 0;
  virtual KernelChips kernel_chips() const = 0;
  /// What its Acceleration offers boards besides. Once; outlives it.
  virtual void use(target::DeviceWrites& writes) = 0;
  virtual target::Acceleration& acceleration() = 0;
  virtual Result<std::unique_ptr<KvmCpu>> make_cpu(const KvmVcpuParts& parts) = 0;
  /// The machine was stopped, or goes on: clocks of the guest's that the kernel holds.
  virtual void stopped() = 0;
  virtual void resumed() = 0;
  virtual unsigned hardware_points() const = 0;
};

}  // namespace emu::accel
