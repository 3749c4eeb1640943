// SPDX-License-Identifier: Apache-2.0
// Rewind over the translator's vCPUs and their instruction counter.
#pragma once

#include "accel/rewind.h"
#include "accel/tcg/runtime_vcpu.h"
#include "accel/vcpu_crew.h"

namespace emu::accel {

class TcgRewind final : public Rewind {
 public:
  /// Both outlive it. `shared` counts instructions.
  TcgRewind(TcgShared& shared, VcpuCrew<tcg::RuntimeVcpu>& vcpus) : shared_(shared), vcpus_(vcpus) {}

  void start_recording() override { icount().log().start(); }
  void stop_recording() override { icount().log().stop(); }
  bool is_recording() const override { return icount().log().is_recording(); }
  void run_due_timers() override { icount().run_due_timers(); }
  Moment now() const override { return icount().now(); }
  CounterState save() const override;
  void restore(const CounterState& state) override;
  bool is_in_past() const override { return icount().is_replaying(); }
  Result<RerunResult> rerun(const Rerun& how) override;
  std::optional<i64> last_instruction_of(unsigned vcpu, const Moment& before, const CounterState& since) const override;
  std::optional<i64> next_turn_of(unsigned vcpu) const override;
  void return_to_present(const CounterState& end) override;
  void cut() override { icount().cut(); }

 private:
  Icount& icount() const { return *shared_.icount; }

  TcgShared& shared_;
  VcpuCrew<tcg::RuntimeVcpu>& vcpus_;
};

}  // namespace emu::accel
