// SPDX-License-Identifier: Apache-2.0
#include "softmmu/run_state.h"

#include "util/log.h"
#include "util/trace.h"

namespace emu::softmmu {
namespace {

struct Transition {
  State from, to;
};
using S = State;

// Who may follow whom. A state may always be entered again.
constexpr Transition kTransitions[] = {
    {S::Prelaunch, S::Running},      // launch, cont
    {S::Prelaunch, S::Shutdown},     // quit with -no-shutdown's pause never gets here; a host shutdown may
    {S::Running, S::Paused},         // stop
    {S::Running, S::Shutdown},       // power-off with shutdown=pause
    {S::Running, S::Suspended},      // ACPI S3
    {S::Running, S::GuestPanicked},  // panic=pause
    {S::Running, S::InternalError},  {S::Running, S::Watchdog},
    {S::Paused, S::Running},         {S::Paused, S::Shutdown},  // requests of the moment before the stop
    {S::Paused, S::Suspended},       {S::Paused, S::GuestPanicked},
    {S::Shutdown, S::Paused},    // reset: then cont
    {S::Suspended, S::Running},  // wakeup
    {S::Suspended, S::Paused},       {S::Suspended, S::Shutdown},
    {S::GuestPanicked, S::Running},  // cont: the kernel goes on with what it does after a panic
    {S::GuestPanicked, S::Paused},   {S::GuestPanicked, S::Shutdown},
    {S::InternalError, S::Paused},  // reset
    {S::InternalError, S::Shutdown}, {S::Watchdog, S::Running},
    {S::Watchdog, S::Paused},        {S::Watchdog, S::Shutdown},
    {S::Running, S::Debug},  // breakpoint
    {S::Debug, S::Running},          {S::Debug, S::Paused},
    {S::Debug, S::Shutdown},         {S::Debug, S::Suspended},
    {S::Debug, S::GuestPanicked},
    {S::Running, S::IoError},  // a disk with werror=stop
    {S::IoError, S::Running},        {S::IoError, S::Paused},
    {S::IoError, S::Shutdown},       {S::Paused, S::IoError},
};

std::string_view cause_name(hw::ShutdownCause cause) {
  switch (cause) {
    case hw::ShutdownCause::HostError:
      return "host-error";
    case hw::ShutdownCause::HostQmpQuit:
      return "host-qmp-quit";
    case hw::ShutdownCause::HostSignal:
      return "host-signal";
    case hw::ShutdownCause::HostUi:
      return "host-ui";
    case hw::ShutdownCause::GuestShutdown:
      return "guest-shutdown";
    case hw::ShutdownCause::GuestPanic:
      return "guest-panic";
  }
  return "";
}

std::string_view cause_name(hw::ResetCause cause) {
  switch (cause) {
    case hw::ResetCause::HostQmpSystemReset:
      return "host-qmp-system-reset";
    case hw::ResetCause::GuestReset:
      return "guest-reset";
    case hw::ResetCause::SubsystemReset:
      return "subsystem-reset";
  }
  return "";
}

bool is_by_guest(hw::ShutdownCause cause) {
  return cause == hw::ShutdownCause::GuestShutdown || cause == hw::ShutdownCause::GuestPanic;
}

}  // namespace

std::string_view state_name(State state) {
  constexpr std::string_view kNames[] = {"prelaunch", "running",        "paused",         "shutdown",
                                         "suspended", "guest-panicked", "internal-error", "watchdog", "debug",
                                         "io-error"};
  return kNames[std::size_t(state)];
}

bool is_legal_transition(State from, State to) {
  if (from == to) return true;
  for (const Transition& t : kTransitions) {
    if (t.from == from && t.to == to) return true;
  }
  return false;
}

void RunState::attach(hw::Machine& machine, hw::Board& board, accel::Accelerator& accelerator) {
  machine_ = &machine;
  board_ = &board;
  accelerator_ = &accelerator;
}

void RunState::emit(RunEvent event) {
  for (const auto& listener : listeners_) listener(event);
}

void RunState::enqueue(Request request) {
  requests_.push_back(request);
  loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.lock()) process();
  });
}

void RunState::looked_at(Request request) {
  if (stops_wanted_.load() != 0) stops_wanted_.fetch_sub(1);
  enqueue(request);
}

void RunState::stop_vcpus_soon() {
  stops_wanted_.fetch_add(1);
  if (accelerator_ != nullptr) accelerator_->request_pause_all();
}

void RunState::process() {
  while (!requests_.empty() && !ending_) {
    const Request request = requests_.front();
    requests_.pop_front();
    std::visit([this](const auto& r) { handle(r); }, request);
  }
  // Whoever asked has been heard: those that go on go on.
  if (!ending_ && is_running() && stops_wanted_.load() == 0) resume_vcpus();
}

void RunState::resume_vcpus() {
  accelerator_->resume_all();
  // A device may have asked for a stop just before that.
  if (stops_wanted_.load() != 0) accelerator_->request_pause_all();
}

void RunState::run() {
  runs_.fetch_add(1);
  enter(State::Running);
  {
    mem::MachineLockScope guard(machine_->memory().lock());
    machine_->set_running(true);
  }
  emit({RunEvent::Kind::Resume});
  if (stops_wanted_.load() == 0) resume_vcpus();
}

void RunState::enter(State state) {
  EMU_CHECK(is_legal_transition(state_, state));
  EMU_TRACE("runstate_set", "from {} to {}", state_name(state_), state_name(state));
  state_ = state;
}

void RunState::stop_as(State state) {
  if (!is_legal_transition(state_, state)) return;
  const bool was_running = is_running() || state_ == State::Suspended;  // guest time passes in both
  accelerator_->pause_all();
  if (was_running) {
    mem::MachineLockScope guard(machine_->memory().lock());
    machine_->set_running(false);
  }
  enter(state);
  if (was_running) emit({RunEvent::Kind::Stop});
}

void RunState::launch(bool start) {
  reset_machine();
  accelerator_->start();  // clients place the threads of a stopped machine
  if (start) run();
}

Result<void> RunState::cont() {
  if (is_running() || state_ == State::Suspended || ending_) return {};
  if (!is_legal_transition(state_, State::Running)) {
    return error(Error("Resetting the Virtual Machine is required").with_hint("system_reset does"));
  }
  run();
  return {};
}

void RunState::went_back() {
  if (!is_running() && is_legal_transition(state_, State::Paused)) enter(State::Paused);
}

void RunState::stop() {
  if (is_running() || state_ == State::Suspended) stop_as(State::Paused);
}

void RunState::powerdown() {
  emit({RunEvent::Kind::Powerdown});
  mem::MachineLockScope guard(machine_->memory().lock());
  machine_->press_power_button();
}

void RunState::quit(hw::ShutdownCause cause) {
  shut_down(cause_name(cause), is_by_guest(cause), /*regardless=*/true, kExitNormal);
}

void RunState::time_out(int status) {
  if (!ending_) shut_down(cause_name(hw::ShutdownCause::HostError), false, /*regardless=*/true, status);
}

void RunState::reset_machine() {
  EMU_TRACE("system_reset", "state {}", state_name(state_));
  accelerator_->pause_all();
  if (before_reset_) {
    before_reset_();
    accelerator_->pause_all();  // it ran the loop: somebody may have said cont
  }
  mem::MachineLockScope guard(machine_->memory().lock());
  machine_->note_outside();
  board_->reset();
}

void RunState::handle(const ResetRequest& request) {
  const bool by_guest = request.cause != hw::ResetCause::HostQmpSystemReset;
  if (actions_.reboot == RebootAction::Shutdown && request.cause != hw::ResetCause::SubsystemReset) {
    shut_down(cause_name(request.cause), by_guest, false, kExitNormal);
    return;
  }
  reset_machine();
  emit({RunEvent::Kind::Reset, cause_name(request.cause), by_guest});
  if (state_ == State::Suspended) {
    enter(State::Running);
  } else if (!is_running() && state_ != State::Prelaunch) {
    enter(State::Paused);
  }
}

void RunState::handle(const ShutdownRequest& request) {
  const bool by_person = request.cause == hw::ShutdownCause::HostQmpQuit ||
                         request.cause == hw::ShutdownCause::HostSignal || request.cause == hw::ShutdownCause::HostUi;
  shut_down(cause_name(request.cause), is_by_guest(request.cause), by_person,
            request.cause == hw::ShutdownCause::HostError ? kExitRefused : kExitNormal);
}

void RunState::shut_down(std::string_view reason, bool by_guest, bool regardless, int status) {
  emit({RunEvent::Kind::Shutdown, reason, by_guest});
  if (actions_.shutdown == ShutdownAction::Pause && !regardless) {
    stop_as(State::Shutdown);
    return;
  }
  end(status);
}

void RunState::end(int status) {
  if (ending_) return;
  ending_ = true;
  exit_status_ = status;
  loop_.quit();
}

void RunState::handle(const PanicRequest& request) {
  if (request.kind == hw::PanicKind::CrashLoaded) {
    emit({RunEvent::Kind::GuestCrashloaded, "run", true});
    return;
  }
  if (request.kind == hw::PanicKind::Shutdown) {
    handle(ShutdownRequest{hw::ShutdownCause::GuestShutdown});
    return;
  }
  if (actions_.panic == PanicAction::None) {
    emit({RunEvent::Kind::GuestPanicked, "run", true});
    return;
  }
  if (actions_.panic == PanicAction::Pause ||
      (actions_.panic == PanicAction::Shutdown && actions_.shutdown == ShutdownAction::Pause)) {
    emit({RunEvent::Kind::GuestPanicked, "pause", true});
    stop_as(State::GuestPanicked);
    return;
  }
  emit({RunEvent::Kind::GuestPanicked, "poweroff", true});
  log::info("the guest's kernel panicked");
  shut_down(cause_name(hw::ShutdownCause::GuestPanic), true, false,
            actions_.panic == PanicAction::ExitFailure ? kExitRefused : kExitGuestPanic);
}

void RunState::handle(const SuspendRequest&) {
  if (!is_running()) return;
  // Guest time goes on while the machine sleeps: its clock is one of the things that wake it.
  accelerator_->pause_all();
  enter(State::Suspended);
  emit({RunEvent::Kind::Suspend});
}

void RunState::handle(const WakeupRequest& request) {
  if (state_ != State::Suspended) return;
  accelerator_->pause_all();
  {
    mem::MachineLockScope guard(machine_->memory().lock());
    board_->wake();
    machine_->wake_up(request.reason);
  }
  enter(State::Running);
  emit({RunEvent::Kind::Wakeup});
}

/// Several vCPUs may report, each has wanted a stop of its own. The first one's is told; breakpoints of the others are
/// met again when they go on. A report that the machine was stopped and continued behind is of the past: its breakpoint
/// may be gone, with the debugger.
void RunState::stopped_for_debugger(target::Vcpu& cpu, const accel::DebugStop& stop) {
  stop_vcpus_soon();
  loop_.post([this, alive = std::weak_ptr<bool>(alive_), index = cpu.index(), stop, run = runs_.load()] {
    if (alive.lock()) debug_stopped(index, stop, run);
  });
}

void RunState::debug_stopped(unsigned vcpu, const accel::DebugStop& stop, unsigned run) {
  if (stops_wanted_.load() != 0) stops_wanted_.fetch_sub(1);
  if (ending_ || !is_running()) return;
  if (run != runs_.load()) return process();  // whoever was asked to stop for it goes on
  stop_as(State::Debug);
  if (debug_stop_) debug_stop_(vcpu, stop);
}

/// Nothing can be done but look at it; a reset may help.
void RunState::vcpu_failed(target::Vcpu& cpu, const std::string& why) {
  log::error("CPU {} cannot go on: {}", cpu.index(), why);
  stop_vcpus_soon();
  loop_.post([this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.lock()) return;
    if (stops_wanted_.load() != 0) stops_wanted_.fetch_sub(1);
    if (!ending_ && is_running()) stop_as(State::InternalError);
  });
}

void RunState::vcpu_shut_down(target::Vcpu& cpu, const std::string& why) {
  // An operating system may reboot that way, so it is told once in full.
  if (cpu_shutdowns_.fetch_add(1) == 0) {
    log::info("CPU {} stopped for good; the machine resets. {}", cpu.index(), why);
  } else {
    log::write_if(log::Mask::CpuReset | log::Mask::Int, "CPU {} stopped for good; the machine resets. {}\n",
                  cpu.index(), why);
  }
  machine_->request_reset(hw::ResetCause::GuestReset);
}

}  // namespace emu::softmmu
