// SPDX-License-Identifier: Apache-2.0
#include "monitor/gdb/machine_target.h"

namespace emu::monitor::gdb {

Result<std::unique_ptr<MachineTarget>> MachineTarget::create(Monitors& monitors, const MakeRegisters& make_registers) {
  std::unique_ptr<MachineTarget> target(new MachineTarget(monitors));
  if (make_registers) {
    for (const hw::BoardCpu& cpu : target->control_.board().cpus())
      target->registers_.push_back(make_registers(*cpu.cpu));
  }
  if (target->registers_.empty()) return error("this machine has no CPU to debug");
  return target;
}

std::string MachineTarget::cpu_state(unsigned cpu) const {
  switch (control_.board().cpus()[cpu].cpu->halt_state()) {
    case target::Halt::Running:
      return "running";
    case target::Halt::Halted:
      return "halted ";
    case target::Halt::WaitForStartup:
      return "waits for startup";
    case target::Halt::Shutdown:
      return "shut down";
  }
  return "";
}

bool MachineTarget::read_memory(unsigned cpu, u64 address, AddressKind kind, std::span<u8> to) {
  return CpuView(control_.board().cpus()[cpu]).read(address, kind, to);
}

bool MachineTarget::write_memory(unsigned cpu, u64 address, AddressKind kind, std::span<const u8> from) {
  const hw::BoardCpu board_cpu = control_.board().cpus()[cpu];
  const mem::MemTxAttrs attrs{.requester = mem::MemTxAttrs::Requester::Host, .debug = true};
  // Looked up before anything is written.
  std::vector<std::pair<u64, std::size_t>> pieces;
  for (std::size_t done = 0; done < from.size();) {
    const u64 at = address + done;
    const std::size_t size = std::min<u64>(from.size() - done, mem::kPageSize - (at & (mem::kPageSize - 1)));
    u64 physical = at;
    if (kind == AddressKind::Virtual) {
      const auto found = board_cpu.cpu->debug_translate(at);
      if (!found) return false;
      physical = board_cpu.cpu->wrap_physical(*found);
    }
    pieces.emplace_back(physical, size);
    done += size;
  }
  for (const auto& [physical, size] : pieces) {
    if (board_cpu.memory->write(physical, from.first(size), attrs) != mem::MemTxResult::Ok) return false;
    from = from.subspan(size);
  }
  return true;
}

TimeTravel* MachineTarget::time_travel() {
  TimeTravel* const past = control_.time_travel();
  return past != nullptr && !past->obstacle() ? past : nullptr;
}

Result<void> MachineTarget::resume(std::span<const accel::DebugRun> runs, accel::StepEvents events) {
  for (unsigned cpu = 0; cpu < runs.size(); ++cpu) control_.accelerator().set_debug_run(cpu, runs[cpu], events);
  auto resumed = control_.cont();
  if (!resumed) stopped();
  return resumed;
}

void MachineTarget::stop() {
  control_.stop();
  // Before the first cont nothing runs, and a machine whose guest has stopped it stays as it is.
  if (!control_.accelerator().is_paused()) control_.accelerator().pause_all();
}

void MachineTarget::stopped() {
  if (!control_.accelerator().is_paused()) return;
  for (unsigned cpu = 0; cpu < cpu_count(); ++cpu) {
    control_.accelerator().set_debug_run(cpu, accel::DebugRun::Continue, accel::StepEvents::Taken);
  }
}

}  // namespace emu::monitor::gdb
