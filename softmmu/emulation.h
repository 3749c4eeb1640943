// SPDX-License-Identifier: Apache-2.0
// Emulation: everything that lives while a guest does, made in order and taken down in reverse.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "block/block_store.h"
#include "chardev/backends.h"
#include "monitor/control.h"
#include "monitor/gdb/server.h"
#include "monitor/hmp/session.h"
#include "monitor/monitors.h"
#include "monitor/qmp/session.h"
#include "softmmu/console.h"
#include "softmmu/deadline.h"
#include "softmmu/parts.h"
#include "softmmu/qtest/qtest.h"
#include "softmmu/reverse/history.h"
#include "softmmu/run_state.h"
#include "softmmu/start_options.h"

namespace emu::softmmu {

/// Main thread throughout.
class Emulation final : public monitor::MachineControl, private block::BlockErrorListener {
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
  std::string_view target() const override { return parts_.target; }
  std::string_view status() const override { return state_name(run_state_.state()); }
  bool is_running() const override { return run_state_.is_running(); }
  Result<void> cont() override;
  void stop() override { run_state_.stop(); }
  void reset() override { run_state_.reset(hw::ResetCause::HostQmpSystemReset); }
  void powerdown() override {
    loop_.post([this] { run_state_.powerdown(); });
  }
  Result<void> wakeup() override;
  /// Once the monitor has answered.
  void quit() override {
    loop_.post([this] { run_state_.quit(hw::ShutdownCause::HostQmpQuit); });
  }
  void set_actions(const monitor::SetActionArguments& actions) override;
  bool is_preconfig() const override { return preconfig_; }
  Result<void> exit_preconfig() override;
  std::string guest_name() const override { return options_.name; }
  std::string guest_uuid() const override { return options_.uuid; }
  u64 ram_bytes() const override { return ram_bytes_; }
  hw::CpuTopology topology() const override { return options_.cpus; }
  std::string cpu_path(unsigned index) const override;
  std::vector<monitor::CpuDefinition> cpu_definitions() const override;
  Result<monitor::CpuModelInfo> expand_cpu_model(const monitor::CpuModelInfo& model, bool full) const override;
  std::vector<monitor::OptionInfo> command_line_options() const override;
  block::BlockStore& disks() override { return *disks_; }
  Result<std::string> add_chardev(const chardev::ChardevOptions& options) override;
  Result<void> set_debugger(const std::string& where) override;
  net::ProgramRights program_rights() const override;
  monitor::TimeTravel* time_travel() override { return history_.get(); }

 private:
  /// That there are here: with the host's own where it runs the guest.
  std::vector<std::string> cpu_models() const;
  Result<std::vector<AccelRequest>> accelerators_to_try() const;
  Result<accel::AccelOptions> translation_options(const AccelRequest& request) const;
  Result<accel::KvmOptions> kvm_options(const AccelRequest& request) const;
  Result<void> make_accelerator();
  Clock::Drive clock_drive() const;
  Result<u64> choose_ram(const std::string& machine_type) const;
  enum class Stage : u8 { Early, WithNetwork };
  Result<void> make_objects(Stage stage);
  Result<void> make_cpu_objects();
  Result<chardev::Chardev*> make_stream(const chardev::ChardevOptions& options, EventLoop& loop);
  void stop_monitor_thread();
  void report(const RunEvent& event);
  Result<void> take_descriptors();
  Result<void> make_streams();
  Result<void> make_nodes();
  Result<void> make_drives(hw::Board& board);
  void io_error(const block::BlockIoError& failure) override;
  void image_corrupted(const block::BlockCorruption& corruption) override;
  void tray_moved(const std::string& drive, const std::string& device, bool open) override;
  std::string drive_over(const std::string& node_name) const;
  Result<void> make_network();
  net::StreamOpener forward_opener();
  Result<std::vector<DeviceRequest>> network_cards() const;
  Result<void> make_folders();
  void note_unused_netdevs();
  Result<void> make_board();
  Result<void> plug_devices();
  bool is_served_elsewhere(const DeviceRequest& device) const;
  Result<void> check_served_device(const DeviceRequest& device);
  Result<void> make_monitors();
  Result<void> make_debugger(const std::string& chardev);
  void remove_debugger_stream();
  Result<void> make_qtest();
  void start_deadline();
  void time_out();
  void say_where_cpus_stand();
  Result<void> set_globals();
  hw::BoardConfig board_config();
  hw::ChardevObject* stream(const std::string& id) const;
  void add_notes(const hw::BoardConfig& config);
  Result<void> watch_signals();
  void flush_streams();

  const StartOptions options_;
  const Parts& parts_;
  EventLoop loop_;
  EventLoop monitor_loop_;  ///< streams of monitors for programs, which answer while the main thread is busy
  qom::TypeRegistry registry_;
  RunState run_state_;
  std::unique_ptr<hw::Machine> machine_;
  std::unique_ptr<block::BlockStore> disks_;
  std::vector<DeviceRequest> drive_devices_;  ///< of -drive, -hda...
  hw::Board* board_ = nullptr;
  ConsolePlan consoles_;
  NetworkOptions network_;
  std::unique_ptr<accel::Accelerator> accelerator_;
  std::unique_ptr<History> history_;
  std::unique_ptr<monitor::Monitors> monitors_;
  std::vector<std::unique_ptr<monitor::HmpSession>> people_;
  std::vector<std::unique_ptr<monitor::QmpSession>> programs_;
  std::unique_ptr<monitor::gdb::Server> debugger_;
  std::string debugger_stream_;  ///< id of the stream that was made for the debugger; empty: it has been lent one
  std::unique_ptr<Qtest> qtest_;
  std::thread monitor_thread_;
  std::vector<qom::Object*> cpu_objects_;
  u64 ram_bytes_ = 0;
  bool preconfig_ = false, is_built_ = false;
  std::vector<std::string> notes_;
  FdWatch signal_watch_;
  std::vector<chardev::Reservation> reserved_;  ///< what a dry run found free
  std::vector<Fd> reserved_sockets_;
  std::unique_ptr<Deadline> deadline_;  ///< to the very end: also taking things down may take too long
};

}  // namespace emu::softmmu
