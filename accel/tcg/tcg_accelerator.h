// SPDX-License-Identifier: Apache-2.0
// -accel tcg: vCPUs, what they share, and what the rest of the machine asks of them.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "accel/accel.h"
#include "accel/tcg/runtime_vcpu.h"
#include "accel/tcg/shared.h"
#include "accel/tcg/tcg_rewind.h"
#include "accel/vcpu_crew.h"

namespace emu::accel {

class TcgAccelerator final : public Accelerator,
                             public mem::MemoryListener,
                             public mem::RamListener,
                             public TlbBroadcast {
 public:
  /// `backend` null: every block is interpreted.
  static Result<std::unique_ptr<TcgAccelerator>> create(const AccelOptions& options, AccelClient& client,
                                                        std::unique_ptr<ir::HostBackend> backend);
  ~TcgAccelerator() override;

  std::string name() const override { return "tcg"; }
  Result<void> add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) override;
  void start() override { vcpus_.start(); }
  void resume_all() override;
  /// The machine lock may be held: it is let go while waiting, as a vCPU may want it to come to rest.
  void pause_all() override;
  void request_pause_all() override;
  bool is_paused() const override { return shared_.run.is_still(); }
  void shut_down() override { vcpus_.shut_down(machine_lock()); }
  void run_exclusive(const std::function<void()>& work) override;
  Result<void> set_debug_points(DebugPoints points) override;
  void set_debug_run(unsigned vcpu, DebugRun run, StepEvents events) override;
  i64 thread_id(unsigned index) const override { return vcpus_.thread_id(index); }
  std::string statistics() const override;
  std::string dump_tlb(unsigned vcpu) const override;
  ClockCounter* counter() override { return shared_.icount.get(); }
  Rewind* rewind() override { return rewind_ ? &*rewind_ : nullptr; }

  const tcg::RuntimeVcpu& vcpu(unsigned index) const { return vcpus_[index]; }
  const BlockCache& blocks() const { return *shared_.blocks; }
  BlockCache& blocks() { return *shared_.blocks; }

 private:
  TcgAccelerator(const AccelOptions& options, AccelClient& client) : shared_{.client = client, .options = options} {}
  Result<void> prepare(target::Vcpu& first, mem::Memory& memory);
  Result<void> refuse_huge_pages();
  void stop_vcpus();  ///< asks them to; any thread
  mem::MachineLock* machine_lock() const;  ///< null before the first vCPU

  // MemoryListener: a new flat view was published
  void commit() override;
  // RamListener
  void code_page_written(mem::RamPage page, u32 offset, u32 length) override;
  void write_tracking_restarted(mem::RamPage first, u64 count) override;
  // TlbBroadcast
  void request_others(const TlbRequest& request, const Quiescence::Participant* except) override;

  TcgShared shared_;
  bool refused_huge_pages_ = false;  ///< and they are allowed again at the end
  std::vector<mem::AddressSpace*> spaces_;  ///< listened to
  VcpuCrew<tcg::RuntimeVcpu> vcpus_{shared_.run};
  std::optional<TcgRewind> rewind_;
};

}  // namespace emu::accel
