// SPDX-License-Identifier: Apache-2.0
// -accel kvm: vCPUs on the host's own processors.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "accel/accel.h"
#include "accel/kvm/device_writes.h"
#include "accel/kvm/kernel_statistics.h"
#include "accel/kvm/slots.h"
#include "accel/kvm/vcpu.h"
#include "accel/vcpu_crew.h"

namespace emu::accel {

class KvmAccelerator final : public Accelerator {
 public:
  /// Errors: no KVM, no rights, too old, or it lacks what `options` ask for; each says what to do.
  static Result<std::unique_ptr<KvmAccelerator>> create(std::unique_ptr<KvmApi> api, std::unique_ptr<KvmTarget> target,
                                                        const KvmOptions& options, AccelClient& client);
  ~KvmAccelerator() override;

  std::string name() const override { return "kvm"; }
  Result<void> add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) override;
  void start() override { vcpus_.start(); }
  void resume_all() override;
  void pause_all() override;
  void request_pause_all() override;
  bool is_paused() const override { return shared_.run.is_still(); }
  void shut_down() override { vcpus_.shut_down(machine_lock()); }
  void run_exclusive(const std::function<void()>& work) override;
  Result<void> set_debug_points(DebugPoints points) override;
  void set_debug_run(unsigned vcpu, DebugRun run, StepEvents events) override;
  i64 thread_id(unsigned index) const override { return vcpus_.thread_id(index); }
  target::Acceleration* acceleration() override { return &target_->acceleration(); }
  std::string statistics() const override;
  std::string dump_tlb(unsigned vcpu) const override;

  const SlotTable& slots() const { return *slots_; }

 private:
  KvmAccelerator(std::unique_ptr<KvmApi> api, KvmDevice device, KvmFd vm, std::unique_ptr<KvmTarget> target,
                 AccelClient& client);
  Result<void> set_up_ring(u32 entries);
  void outside_of_kernel(const std::function<void()>& work);
  mem::MachineLock* machine_lock() const;  ///< null before the first vCPU
  void place_breakpoints();
  void remove_breakpoints();

  // Order matters: what is below uses what is above, to the end.
  std::unique_ptr<KvmApi> api_;
  KvmDevice device_;
  KvmFd vm_;
  const KernelStatistics vm_statistics_;
  std::unique_ptr<KvmTarget> target_;
  KvmShared shared_;
  std::unique_ptr<SlotTable> slots_;
  std::unique_ptr<KvmDeviceWrites> writes_;
  VcpuCrew<KvmVcpu> vcpus_{shared_.run};
  mem::AddressSpace* memory_ = nullptr;  ///< of the first vCPU: where RAM lies is the same for all
  std::mutex outside_mutex_;             ///< one at a time keeps vCPUs out. Lock order: this → SlotTable
  bool clocks_stopped_ = true;

  /// A breakpoint in the guest's code, and what it stands for.
  struct Patch {
    u64 physical;
    std::vector<u8> before;
  };
  std::vector<Patch> patches_;
};

}  // namespace emu::accel
