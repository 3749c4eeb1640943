// SPDX-License-Identifier: Apache-2.0
// One vCPU that the host's processor runs: its thread, KVM_RUN, and what it leaves that for.
//
//   loop:  requests → events (KvmCpu::before_run) → sleep, or KVM_RUN → exit: ports, memory, halt, debug, the end
//
// While a vCPU stands still its state is in the Vcpu; while it runs the kernel has it.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "accel/kvm/device_writes.h"
#include "accel/kvm/guest_access.h"
#include "accel/kvm/kernel_statistics.h"
#include "accel/kvm/kvm_target.h"
#include "accel/kvm/slots.h"
#include "accel/run_control.h"

namespace emu::accel {

/// What the vCPUs of a machine share.
struct KvmShared {
  AccelClient& client;
  RunControl run;
  DebugPoints points;                    ///< changes while all stand still
  unsigned hardware_points = 0;
  std::atomic<bool> slots_change{false};  ///< no vCPU enters KVM_RUN
  SlotTable* slots = nullptr;
  KvmDeviceWrites* writes = nullptr;
  u32 ring_entries = 0;  ///< of each vCPU's dirty ring; 0: there are none
};

/// Exits by their reason, and what else is counted. Read by any thread, written by one.
struct KvmStatistics {
  static constexpr unsigned kReasons = 40;
  std::array<std::atomic<u64>, kReasons> exits{};
  std::atomic<u64> kicked{0}, sleeps{0};
  static void add(std::atomic<u64>& counter) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
};

class KvmVcpu final : public target::CpuServices {
 public:
  /// `fd` is the vCPU's; `memory` its view; `ports` may be null.
  static Result<std::unique_ptr<KvmVcpu>> create(KvmShared& shared, const KvmDevice& device, KvmFd fd,
                                                 KvmTarget& target, target::Vcpu& cpu, mem::AddressSpace& memory,
                                                 mem::AddressSpace* ports);
  ~KvmVcpu() override;

  // Main thread
  void start();
  void wait_until_started() const { thread_id_.wait(0); }
  void join();
  i64 thread_id() const { return thread_id_.load(std::memory_order_relaxed); }
  target::Vcpu& cpu() { return cpu_; }
  const KvmStatistics& statistics() const { return statistics_; }
  DebugRun debug_run() const { return run_as_; }
  std::span<const u8> breakpoint_instruction() const { return arch_->breakpoint_instruction(); }
  std::span<u8> run_area() const { return {run_area_, run_bytes_}; }
  const KernelStatistics& kernel_statistics() const { return kernel_statistics_; }
  void time_was_lost() { arch_->time_was_lost(); }  ///< standing still
  void set_debug_run(DebugRun run, StepEvents events);  ///< standing still

  // Any thread
  void kick(u32 exit_request_bits) override;
  /// Out of KVM_RUN it comes, and does not enter it while KvmShared::slots_change.
  void expel();
  bool is_in_kernel() const { return in_kernel_.load(std::memory_order_seq_cst); }

  // CpuServices: what a translated CPU's instructions would ask for. Only resets and debuggers get here.
  void leave_block() override {}
  void flush_all() override {}
  void flush_non_global() override {}
  void flush_page(u64) override {}
  void flush_context(u64, std::optional<u64>) override {}
  void switch_context(u64, bool) override {}
  void mode_changed() override {}
  u64 ticks() override { return shared_.client.guest_ns(); }

 private:
  KvmVcpu(KvmShared& shared, KvmFd fd, u8* run, size_t run_bytes, target::Vcpu& cpu, mem::AddressSpace& memory,
          mem::AddressSpace* ports);
  enum class Next : u8 { GoOn, Stop };

  Result<void> map_ring();
  void thread_main();
  bool begin();
  void end();
  void serve();
  void sleep();
  Next enter();
  int run_kernel();
  void finish_instruction();
  Next handle_exit();
  void handle_port();
  void handle_memory();
  Next handle_debug();
  Next stop_for_debugger(const DebugStop& stop);
  bool stands_at_breakpoint();
  Next fail(const std::string& why);
  std::string describe_place() const;
  std::string describe_failure();
  bool read_code(u64 linear, std::span<u8> bytes) const;
  void wait_until_stopped();

  KvmShared& shared_;
  KvmFd fd_;
  u8* const run_area_;
  const size_t run_bytes_;
  kvm_run& run_;
  std::span<kvm_dirty_gfn> ring_;
  target::Vcpu& cpu_;
  tcg::EnvHeader& env_;
  mem::AddressSpace& memory_;
  mem::AddressSpace* const ports_;
  KvmGuestAccess access_;
  std::unique_ptr<KvmCpu> arch_;
  KvmStatistics statistics_;
  const KernelStatistics kernel_statistics_;

  std::thread thread_;
  std::atomic<i64> thread_id_{0};
  std::atomic<bool> in_kernel_{false};  ///< about to call KVM_RUN, or in it: a signal is needed
  std::atomic<bool> asleep_{false};
  std::atomic<bool> held_{false};
  DebugRun run_as_ = DebugRun::Continue;
  bool defer_events_ = false;
  bool unfinished_ = false;   ///< the kernel will complete an access when it is next entered
  bool shutdown_reported_ = false;
  bool stands_ = false;  ///< failed, or at a debugger's point: until the main thread has stopped all
};

/// Installs the signal that takes a thread out of KVM_RUN. Once a process.
void install_kick_signal();

}  // namespace emu::accel
