// SPDX-License-Identifier: Apache-2.0
// RunState: whether the machine runs, why not, and what becomes of requests to reset, power off, suspend or end.
//
// Requests arrive from devices (hw::MachineEvents, machine lock held), vCPU threads (accel::AccelClient) and people
// (monitor, signals). They are queued, and looked at on the main loop without the machine lock: only there may one wait
// for vCPUs to stand still.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "accel/accel.h"
#include "hw/machine/board.h"
#include "hw/machine/machine.h"
#include "softmmu/run_options.h"

namespace emu::softmmu {

/// As QMP's query-status names them.
enum class State : u8 {
  Prelaunch,
  Running,
  Paused,
  Shutdown,
  Suspended,
  GuestPanicked,
  InternalError,
  Watchdog,
  Debug,
  IoError
};
std::string_view state_name(State state);
/// Whether the table of legal transitions has this one.
bool is_legal_transition(State from, State to);

/// What happened, for monitors to report: QMP's events of the same name.
struct RunEvent {
  enum class Kind : u8 {
    Stop,
    Resume,
    Reset,
    Shutdown,
    Powerdown,
    Suspend,
    Wakeup,
    GuestPanicked,
    GuestCrashloaded,
    RtcChange,
    DeviceDeleted,
    BalloonChange
  };
  Kind kind;
  std::string_view reason = {};  ///< Reset, Shutdown: "guest-reset"; panic: what was done, "pause"
  bool by_guest = false;
  i64 offset_s = 0;      ///< RtcChange: from the host's time
  std::string path = {};  ///< RtcChange, DeviceDeleted: of the clock or device
  std::string id = {};    ///< DeviceDeleted: the user's, if there is one
  u64 bytes = 0;          ///< BalloonChange: in the balloon
};

/// Exit statuses of the program.
inline constexpr int kExitNormal = 0;
inline constexpr int kExitRefused = 1;     ///< did not start; or -action panic=exit-failure
inline constexpr int kExitTimeout = 124;  ///< --timeout: as timeout(1)
inline constexpr int kExitGuestPanic = 3;  ///< the guest's kernel panicked, and that ended us

/// Main thread, machine lock not held, unless said otherwise.
class RunState final : public hw::MachineEvents, public accel::AccelClient {
 public:
  RunState(EventLoop& loop, RunActions actions) : loop_(loop), actions_(actions) {}

  /// What it rules over; before anything below is called. All three outlive its last call.
  void attach(hw::Machine& machine, hw::Board& board, accel::Accelerator& accelerator);

  State state() const { return state_; }
  bool is_running() const { return state_ == State::Running; }
  const RunActions& actions() const { return actions_; }
  void set_actions(RunActions actions) { actions_ = actions; }

  /// The first reset, and the start unless it shall wait for cont.
  void launch(bool start);
  /// The monitor's cont and stop. Errors: the guest has shut down and must be reset first.
  Result<void> cont();
  void stop();
  /// The machine stands at an earlier moment, from which it shall go on: it has not shut down, or panicked, any more.
  void went_back();
  /// Stops vCPUs and time and enters `state`, unless the table forbids it. Running is entered by cont().
  void stop_as(State state);
  void reset(hw::ResetCause cause) { enqueue(ResetRequest{cause}); }
  void powerdown();
  /// Ends the program, whatever -no-shutdown says.
  void quit(hw::ShutdownCause cause);
  /// Ends the program with that status, as an error of the host.
  void time_out(int status);
  void wakeup(hw::WakeupReason reason) { enqueue(WakeupRequest{reason}); }

  /// The status that the program shall end with, once the loop has ended.
  int exit_status() const { return exit_status_; }
  bool is_ending() const { return ending_; }
  void add_listener(std::function<void(const RunEvent&)> listener) { listeners_.push_back(std::move(listener)); }
  /// Told on the main loop, with everything stopped, that a vCPU stands where the debugger wanted it to.
  void on_debug_stop(std::function<void(unsigned vcpu, const accel::DebugStop&)> told) {
    debug_stop_ = std::move(told);
  }
  /// Where names of guest addresses come from; before anything runs. Any thread calls it.
  void name_addresses_by(std::function<std::string(u64)> describe) { describe_ = std::move(describe); }
  /// Called before the machine is reset, with everything stopped and no lock held: what devices have under way is
  /// ended.
  void before_reset(std::function<void()> settle) { before_reset_ = std::move(settle); }
  /// Looks at all requests now, as the loop would.
  void process();

  // hw::MachineEvents: main loop, machine lock held; stop_vcpus_soon on any thread.
  void shutdown_requested(hw::ShutdownCause cause) override { looked_at(ShutdownRequest{cause}); }
  void reset_requested(hw::ResetCause cause) override { looked_at(ResetRequest{cause}); }
  void exit_requested(int status) override { looked_at(ExitRequest{status}); }
  void panicked(hw::PanicKind kind) override { looked_at(PanicRequest{kind}); }
  void suspend_requested() override { looked_at(SuspendRequest{}); }
  void wakeup_requested(hw::WakeupReason reason) override { enqueue(WakeupRequest{reason}); }
  void rtc_changed(i64 offset_s, const std::string& path) override {
    emit({.kind = RunEvent::Kind::RtcChange, .by_guest = true, .offset_s = offset_s, .path = path});
  }
  void balloon_changed(u64 balloon_bytes) override {
    emit({.kind = RunEvent::Kind::BalloonChange, .by_guest = true, .bytes = balloon_bytes});
  }
  void device_deleted(const std::string& id, const std::string& path) override {
    emit({.kind = RunEvent::Kind::DeviceDeleted, .path = path, .id = id});
  }
  void stop_vcpus_soon() override;

  // accel::AccelClient: vCPU threads.
  void vcpu_shut_down(target::Vcpu& cpu, const std::string& why) override;
  void vcpu_failed(target::Vcpu& cpu, const std::string& why) override;
  void stopped_for_debugger(target::Vcpu& cpu, const accel::DebugStop& stop) override;
  std::string describe_address(u64 address) override { return describe_ ? describe_(address) : std::string(); }
  u64 guest_ns() override { return u64(machine_->clock().now().count()); }
  std::optional<ClockNs> next_timer() override { return machine_->clock().main_queue().deadline(); }
  void run_timers() override {
    mem::MachineLockScope guard(machine_->memory().lock());
    machine_->clock().main_queue().run_due();
  }

 private:
  struct ShutdownRequest {
    hw::ShutdownCause cause;
  };
  struct ResetRequest {
    hw::ResetCause cause;
  };
  struct ExitRequest {
    int status;
  };
  struct PanicRequest {
    hw::PanicKind kind;
  };
  struct SuspendRequest {};
  struct WakeupRequest {
    hw::WakeupReason reason;
  };
  using Request = std::variant<ShutdownRequest, ResetRequest, ExitRequest, PanicRequest, SuspendRequest, WakeupRequest>;

  void enqueue(Request request);
  void debug_stopped(unsigned vcpu, const accel::DebugStop& stop, unsigned run);
  /// A request for which vCPUs were asked to stop.
  void looked_at(Request request);
  void handle(const ShutdownRequest& request);
  void handle(const ResetRequest& request);
  void handle(const ExitRequest& request) { end(request.status); }
  void handle(const PanicRequest& request);
  void handle(const SuspendRequest& request);
  void handle(const WakeupRequest& request);
  void shut_down(std::string_view reason, bool by_guest, bool regardless, int status);
  void end(int status);
  void enter(State state);
  void run();
  void reset_machine();
  void resume_vcpus();
  void emit(RunEvent event);

  EventLoop& loop_;
  RunActions actions_;
  hw::Machine* machine_ = nullptr;
  hw::Board* board_ = nullptr;
  accel::Accelerator* accelerator_ = nullptr;
  State state_ = State::Prelaunch;
  int exit_status_ = kExitNormal;
  bool ending_ = false;
  std::deque<Request> requests_;
  std::atomic<unsigned> stops_wanted_{0};  ///< stop_vcpus_soon() calls whose request was not looked at yet
  std::atomic<unsigned> runs_{0};          ///< how often it was let run
  std::atomic<unsigned> cpu_shutdowns_{0};
  std::vector<std::function<void(const RunEvent&)>> listeners_;
  std::function<void(unsigned, const accel::DebugStop&)> debug_stop_;
  std::function<void()> before_reset_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  ///< posted work checks it
  std::function<std::string(u64)> describe_;
};

}  // namespace emu::softmmu
