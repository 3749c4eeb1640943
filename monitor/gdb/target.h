// SPDX-License-Identifier: Apache-2.0
// The machine as a debugger on a wire sees it. Implemented by MachineTarget; tests have their own.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "accel/accel.h"
#include "monitor/cpu_view.h"
#include "monitor/time_travel.h"
#include "target/debug_registers.h"
#include "util/result.h"

namespace emu::monitor::gdb {

/// Main thread. Everything but is_running(), stop() and quit() with the machine stopped.
class Target {
 public:
  virtual ~Target() = default;
  /// At least one.
  virtual unsigned cpu_count() const = 0;
  virtual target::DebugRegisters& registers(unsigned cpu) = 0;
  /// For people: "running", "halted".
  virtual std::string cpu_state(unsigned cpu) const = 0;
  /// False when any byte of it is not there; nothing is written then.
  virtual bool read_memory(unsigned cpu, u64 address, AddressKind kind, std::span<u8> to) = 0;
  virtual bool write_memory(unsigned cpu, u64 address, AddressKind kind, std::span<const u8> from) = 0;

  /// For going back; null: there is no way.
  virtual TimeTravel* time_travel() { return nullptr; }

  virtual Result<void> set_points(const accel::DebugPoints& points) = 0;
  virtual bool is_running() const = 0;
  /// What each vCPU does, by index.
  virtual Result<void> resume(std::span<const accel::DebugRun> runs, accel::StepEvents events) = 0;
  /// All vCPUs stand still on return.
  virtual void stop() = 0;
  /// A line of the human monitor; gives what it says.
  virtual std::string run_line(std::string_view line) = 0;
  /// Ends the emulator, soon.
  virtual void quit() = 0;
};

}  // namespace emu::monitor::gdb
