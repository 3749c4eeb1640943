// SPDX-License-Identifier: Apache-2.0
// Emulation: everything that lives while a guest does, made in order and taken down in reverse.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "monitor/command.h"
#include "monitor/control.h"
#include "monitor/hmp/session.h"
#include "softmmu/console.h"
#include "softmmu/parts.h"
#include "softmmu/run_state.h"
#include "softmmu/start_options.h"

namespace emu::softmmu {

/// Main thread throughout.
class Emulation final : public monitor::MachineControl {
 public:
  Emulation(const StartOptions& options, const Parts& parts);
  ~Emulation() override;

  /// Makes streams, board, devices, accelerator and monitors. The vCPUs stand still. Errors are for the user.
  Result<void> build();
  /// Resets, starts unless -S, and serves until the end; returns the exit status.
  int run();
  /// What to say to the person once all is built.
  const std::vector<std::string>& notes() const { return notes_; }

  // monitor::MachineControl
  hw::Machine& machine() override { return *machine_; }
  hw::Board& board() override { return *board_; }
  accel::Accelerator& accelerator() override { return *accelerator_; }
  std::string_view status() const override { return state_name(run_state_.state()); }
  bool is_running() const override { return run_state_.is_running(); }
  Result<void> cont() override { return run_state_.cont(); }
  void stop() override { run_state_.stop(); }
  void reset() override { run_state_.reset(hw::ResetCause::HostQmpSystemReset); }
  void powerdown() override { run_state_.powerdown(); }
  void quit() override { run_state_.quit(hw::ShutdownCause::HostQmpQuit); }
  std::string guest_name() const override { return options_.name; }
  std::string guest_uuid() const override { return options_.uuid; }

 private:
  Result<accel::AccelOptions> choose_accelerator() const;
  Result<u64> ram_bytes(const std::string& machine_type) const;
  Result<void> make_streams();
  Result<void> make_board();
  Result<void> plug_devices();
  Result<void> make_accelerator();
  Result<void> make_monitors();
  Result<void> set_globals();
  hw::BoardConfig board_config();
  hw::ChardevObject* stream(const std::string& id) const;
  void add_notes(const hw::BoardConfig& config);
  Result<void> watch_signals();
  void flush_streams();

  const StartOptions options_;
  const Parts& parts_;
  EventLoop loop_;
  qom::TypeRegistry registry_;
  RunState run_state_;
  std::unique_ptr<hw::Machine> machine_;
  hw::Board* board_ = nullptr;
  ConsolePlan consoles_;
  std::unique_ptr<accel::Accelerator> accelerator_;
  monitor::CommandRegistry commands_;
  std::vector<std::unique_ptr<monitor::HmpSession>> monitors_;
  std::vector<std::string> notes_;
  FdWatch signal_watch_;
};

}  // namespace emu::softmmu
