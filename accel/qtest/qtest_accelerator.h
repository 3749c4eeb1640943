// SPDX-License-Identifier: Apache-2.0
// -accel qtest: vCPUs that stand still, for tests that talk to devices themselves.
#pragma once

#include <memory>

#include "accel/accel.h"

namespace emu::accel {

/// CPUs are there, with registers and caches of translations that debuggers may look at; no instruction is executed and
/// no thread exists. Main thread.
class QtestAccelerator final : public Accelerator {
 public:
  static Result<std::unique_ptr<Accelerator>> create(AccelClient& client);

  std::string name() const override { return "qtest"; }
  Result<void> add_vcpu(target::Vcpu& cpu, mem::AddressSpace& memory, mem::AddressSpace* ports) override {
    return idle_->add_vcpu(cpu, memory, ports);
  }
  void resume_all() override {}
  void pause_all() override {}
  void request_pause_all() override {}
  bool is_paused() const override { return true; }
  void shut_down() override { idle_->shut_down(); }
  void run_exclusive(const std::function<void()>& work) override { work(); }
  std::string statistics() const override { return "no instructions are executed\n"; }
  std::string dump_tlb(unsigned vcpu) const override { return idle_->dump_tlb(vcpu); }

 private:
  explicit QtestAccelerator(std::unique_ptr<Accelerator> idle) : idle_(std::move(idle)) {}
  const std::unique_ptr<Accelerator> idle_;  ///< connects CPUs with memory; never resumed
};

}  // namespace emu::accel
