// SPDX-License-Identifier: Apache-2.0
// The real machine for a debugger.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "monitor/gdb/target.h"
#include "monitor/monitors.h"

namespace emu::monitor::gdb {

using MakeRegisters = std::function<std::unique_ptr<target::DebugRegisters>(target::Vcpu&)>;

class MachineTarget final : public Target {
 public:
  /// Errors: a machine without CPUs.
  static Result<std::unique_ptr<MachineTarget>> create(Monitors& monitors, const MakeRegisters& make_registers);

  unsigned cpu_count() const override { return unsigned(registers_.size()); }
  target::DebugRegisters& registers(unsigned cpu) override { return *registers_[cpu]; }
  std::string cpu_state(unsigned cpu) const override;
  bool read_memory(unsigned cpu, u64 address, AddressKind kind, std::span<u8> to) override;
  bool write_memory(unsigned cpu, u64 address, AddressKind kind, std::span<const u8> from) override;
  TimeTravel* time_travel() override;
  Result<void> set_points(const accel::DebugPoints& points) override {
    return control_.accelerator().set_debug_points(points);
  }
  bool is_running() const override { return control_.is_running(); }
  Result<void> resume(std::span<const accel::DebugRun> runs, accel::StepEvents events) override;
  void stop() override;
  std::string run_line(std::string_view line) override { return monitors_.run_line_alone(session_, line); }
  void quit() override { control_.quit(); }
  /// The machine stopped, for whatever reason: who lets it go on next lets all go on.
  void stopped();

 private:
  MachineTarget(Monitors& monitors) : monitors_(monitors), control_(monitors.control()) {}

  Monitors& monitors_;
  MachineControl& control_;
  Session session_;
  std::vector<std::unique_ptr<target::DebugRegisters>> registers_;
};

}  // namespace emu::monitor::gdb
