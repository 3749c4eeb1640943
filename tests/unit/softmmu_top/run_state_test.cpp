// SPDX-License-Identifier: Apache-2.0
#include "softmmu/run_state.h"

#include <gtest/gtest.h>

#include "support/fake_machine.h"

namespace emu::softmmu {
namespace {

using Kind = RunEvent::Kind;

class RunStateTest : public ::testing::Test {
 protected:
  RunStateTest() { make({}); }
  ~RunStateTest() override { drop(); }

  /// The board holds RAM of the machine's.
  void drop() {
    if (board) board->drop_ram();
    machine.reset();
  }
  void make(RunActions actions) {
    drop();
    run = std::make_unique<RunState>(loop, actions);
    registry = std::make_unique<qom::TypeRegistry>();
    hw::register_core_types(*registry);
    machine = std::make_unique<hw::Machine>(*registry, loop, *run);
    hw::BoardConfig config;
    board = std::make_unique<test::FakeBoard>();
    mem::MachineLockScope guard(machine->memory().lock());
    ASSERT_TRUE(board->build(*machine, config).has_value());
    accelerator = std::make_unique<test::FakeAccelerator>();
    run->attach(*machine, *board, *accelerator);
    run->add_listener([this](const RunEvent& event) { events.push_back(event); });
    events.clear();
  }
  void serve() {
    while (loop.run_once(false)) {
    }
  }
  bool saw(Kind kind, std::string_view reason = "") const {
    for (const RunEvent& event : events) {
      if (event.kind == kind && (reason.empty() || event.reason == reason)) return true;
    }
    return false;
  }

  EventLoop loop;
  std::unique_ptr<qom::TypeRegistry> registry;
  std::unique_ptr<RunState> run;
  std::unique_ptr<hw::Machine> machine;
  std::unique_ptr<test::FakeBoard> board;
  std::unique_ptr<test::FakeAccelerator> accelerator;
  std::vector<RunEvent> events;
};

TEST_F(RunStateTest, WhatIsUnderWayEndsBeforeAReset) {
  run->launch(true);
  unsigned settled = 0;
  bool was_reset = false;
  run->before_reset([&] {
    settled++;
    was_reset = saw(Kind::Reset);
    EXPECT_FALSE(machine->memory().lock().held_by_me());
  });
  run->reset(hw::ResetCause::HostQmpSystemReset);
  serve();
  EXPECT_EQ(settled, 1u);
  EXPECT_FALSE(was_reset);
  EXPECT_TRUE(saw(Kind::Reset));
}

TEST_F(RunStateTest, LaunchResetsAndRuns) {
  run->launch(true);
  EXPECT_EQ(run->state(), State::Running);
  EXPECT_EQ(board->resets, 1u);
  EXPECT_FALSE(accelerator->paused);
  EXPECT_TRUE(machine->clock().is_running());
}

TEST_F(RunStateTest, FrozenMachineWaitsForCont) {
  run->launch(false);
  EXPECT_EQ(run->state(), State::Prelaunch);
  EXPECT_TRUE(accelerator->paused);
  ASSERT_TRUE(run->cont().has_value());
  EXPECT_EQ(run->state(), State::Running);
  EXPECT_TRUE(saw(Kind::Resume));
}

TEST_F(RunStateTest, StopPausesCpusBeforeTime) {
  run->launch(true);
  run->stop();
  EXPECT_EQ(run->state(), State::Paused);
  EXPECT_TRUE(accelerator->paused);
  EXPECT_FALSE(machine->clock().is_running());
  EXPECT_TRUE(saw(Kind::Stop));
}

TEST_F(RunStateTest, GuestResetStopsCpusAndGoesOn) {
  run->launch(true);
  machine->request_reset(hw::ResetCause::GuestReset);
  EXPECT_TRUE(accelerator->paused) << "the vCPU that asked does not run on";
  serve();
  EXPECT_EQ(board->resets, 2u);
  EXPECT_FALSE(accelerator->paused);
  EXPECT_TRUE(saw(Kind::Reset, "guest-reset"));
}

TEST_F(RunStateTest, ContDoesNotOvertakeARequestOnItsWay) {
  run->launch(true);
  run->stop();
  machine->request_reset(hw::ResetCause::GuestReset);
  ASSERT_TRUE(run->cont().has_value());
  EXPECT_TRUE(accelerator->paused) << "before the request was looked at";
  serve();
  EXPECT_FALSE(accelerator->paused);
}

TEST_F(RunStateTest, ABreakpointHoldsTheMachine) {
  std::vector<unsigned> told;
  run->on_debug_stop([&](unsigned vcpu, const accel::DebugStop&) { told.push_back(vcpu); });
  run->launch(true);
  run->stopped_for_debugger(*board->cpus()[1].cpu, {.why = accel::DebugStop::Why::Breakpoint, .address = 0x1000});
  EXPECT_TRUE(accelerator->paused);
  serve();
  EXPECT_EQ(run->state(), State::Debug);
  EXPECT_EQ(told, std::vector<unsigned>{1});
}

TEST_F(RunStateTest, ABreakpointReportedBeforeStopAndContIsOfThePast) {
  run->on_debug_stop([](unsigned, const accel::DebugStop&) { FAIL(); });
  run->launch(true);
  run->stopped_for_debugger(*board->cpus()[0].cpu, {.why = accel::DebugStop::Why::Breakpoint, .address = 0x1000});
  run->stop();  // a debugger was lost, and takes its breakpoints away
  ASSERT_TRUE(run->cont().has_value());
  serve();
  EXPECT_EQ(run->state(), State::Running);
  EXPECT_FALSE(accelerator->paused);
}

TEST_F(RunStateTest, NoRebootTurnsResetIntoShutdown) {
  make({.reboot = RebootAction::Shutdown});
  run->launch(true);
  machine->request_reset(hw::ResetCause::GuestReset);
  serve();
  EXPECT_TRUE(run->is_ending());
  EXPECT_EQ(run->exit_status(), kExitNormal);
  EXPECT_EQ(board->resets, 1u);
  EXPECT_TRUE(saw(Kind::Shutdown, "guest-reset"));
}

TEST_F(RunStateTest, NoShutdownKeepsAStoppedMachine) {
  make({.shutdown = ShutdownAction::Pause});
  run->launch(true);
  machine->request_shutdown(hw::ShutdownCause::GuestShutdown);
  serve();
  EXPECT_FALSE(run->is_ending());
  EXPECT_EQ(run->state(), State::Shutdown);
  const auto cont = run->cont();
  ASSERT_FALSE(cont.has_value());
  EXPECT_EQ(cont.error().message(), "Resetting the Virtual Machine is required");
  run->reset(hw::ResetCause::HostQmpSystemReset);
  serve();
  EXPECT_EQ(run->state(), State::Paused);
  EXPECT_TRUE(run->cont().has_value());
  EXPECT_TRUE(run->is_running());
  run->quit(hw::ShutdownCause::HostSignal);
  EXPECT_TRUE(run->is_ending()) << "a person's quit counts all the same";
}

TEST_F(RunStateTest, PanicEndsWithStatusThree) {
  run->launch(true);
  machine->report_panic(hw::PanicKind::Panicked);
  serve();
  EXPECT_TRUE(run->is_ending());
  EXPECT_EQ(run->exit_status(), kExitGuestPanic);
  EXPECT_TRUE(saw(Kind::GuestPanicked, "poweroff"));
}

TEST_F(RunStateTest, PanicActionsAreObeyed) {
  make({.panic = PanicAction::ExitFailure});
  run->launch(true);
  machine->report_panic(hw::PanicKind::Panicked);
  serve();
  EXPECT_EQ(run->exit_status(), 1);

  make({.panic = PanicAction::Pause});
  run->launch(true);
  machine->report_panic(hw::PanicKind::Panicked);
  serve();
  EXPECT_EQ(run->state(), State::GuestPanicked);
  EXPECT_FALSE(run->is_ending());

  make({.panic = PanicAction::None});
  run->launch(true);
  machine->report_panic(hw::PanicKind::Panicked);
  serve();
  EXPECT_TRUE(run->is_running());
  EXPECT_FALSE(accelerator->paused);
}

TEST_F(RunStateTest, DebugExitGivesItsStatus) {
  run->launch(true);
  machine->request_exit(33);
  serve();
  EXPECT_TRUE(run->is_ending());
  EXPECT_EQ(run->exit_status(), 33);
}

TEST_F(RunStateTest, SuspendedMachineWakesThroughReset) {
  run->launch(true);
  machine->request_suspend();
  serve();
  EXPECT_EQ(run->state(), State::Suspended);
  EXPECT_TRUE(accelerator->paused);
  EXPECT_TRUE(machine->clock().is_running()) << "the clock may be what wakes it";
  machine->request_wakeup(hw::WakeupReason::Rtc);
  serve();
  EXPECT_TRUE(run->is_running());
  EXPECT_EQ(board->resets, 2u);
  EXPECT_FALSE(accelerator->paused);
}

TEST_F(RunStateTest, TripleFaultResetsAndIsExplainedOnce) {
  run->launch(true);
  test::FakeCpu cpu(1);
  testing::internal::CaptureStderr();
  run->vcpu_shut_down(cpu, "vector 14 while delivering vector 8");
  run->vcpu_shut_down(cpu, "again");
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_NE(said.find("CPU 1"), std::string::npos);
  EXPECT_NE(said.find("vector 14 while delivering vector 8"), std::string::npos);
  EXPECT_EQ(said.find("again"), std::string::npos);
  serve();
  EXPECT_EQ(board->resets, 3u);
}

TEST(RunStateTable, HasNoWayOutOfShutdownButReset) {
  EXPECT_FALSE(is_legal_transition(State::Shutdown, State::Running));
  EXPECT_FALSE(is_legal_transition(State::InternalError, State::Running));
  EXPECT_TRUE(is_legal_transition(State::Shutdown, State::Paused));
  EXPECT_TRUE(is_legal_transition(State::Paused, State::Running));
  EXPECT_FALSE(is_legal_transition(State::Prelaunch, State::Suspended));
  EXPECT_EQ(state_name(State::GuestPanicked), "guest-panicked");
}

}  // namespace
}  // namespace emu::softmmu
