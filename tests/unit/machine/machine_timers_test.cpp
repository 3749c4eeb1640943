// SPDX-License-Identifier: Apache-2.0
// A machine's timers: set by vCPU threads, run by the main loop.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "hw/machine/machine.h"
#include "util/thread.h"

namespace emu::hw {
namespace {

using namespace std::chrono_literals;

struct NobodyListens final : MachineEvents {
  void shutdown_requested(ShutdownCause) override {}
  void reset_requested(ResetCause) override {}
  void exit_requested(int) override {}
  void panicked(PanicKind) override {}
  void suspend_requested() override {}
  void wakeup_requested(WakeupReason) override {}
  void stop_vcpus_soon() override {}
};

// A guest's timer interrupt makes it set the next one while the main loop still looks for what comes after the first.
// More vCPUs than processors, so that threads lose theirs at every point.
TEST(MachineTimers, WhatVcpusSetWhileTimersRunIsNotLost) {
  constexpr unsigned kVcpus = 4, kRounds = 10'000;
  qom::TypeRegistry registry;
  register_core_types(registry);
  EventLoop loop(EventLoop::Context::Own);
  NobodyListens events;
  Machine machine(registry, loop, events);
  {
    mem::MachineLockScope guard(machine.memory().lock());
    machine.set_running(true);
  }
  std::atomic<unsigned> left = kVcpus, lost = 0;
  const auto run_vcpu = [&] {
    std::atomic<unsigned> fired = 0;
    Timer timer = machine.clock().make_timer([&] { fired++; });
    for (unsigned round = 0; round < kRounds && lost == 0; ++round) {
      const unsigned before = fired;
      timer.arm_after(ClockNs(round % 8 * 1000));
      const auto patience = std::chrono::steady_clock::now() + 10s;
      while (fired == before && std::chrono::steady_clock::now() < patience) std::this_thread::yield();
      lost += fired == before;
    }
    if (--left == 0) loop.quit();
  };
  std::vector<std::thread> vcpus;
  for (unsigned i = 0; i < kVcpus; ++i) vcpus.push_back(start_thread("vcpu", run_vcpu));
  loop.run();
  for (std::thread& vcpu : vcpus) vcpu.join();
  EXPECT_EQ(lost, 0u);
}

}  // namespace
}  // namespace emu::hw
