// SPDX-License-Identifier: Apache-2.0
#include "hw/machine/machine.h"

#include <unistd.h>

#include "util/check.h"

namespace emu::hw {
namespace {

constexpr auto kGracePollInterval = std::chrono::milliseconds(5);

}  // namespace

Machine::Machine(const qom::TypeRegistry& registry, EventLoop& loop, MachineEvents& events, Clock::Drive drive)
    : loop_(loop), events_(events), virtual_clock_(Clock::Kind::Virtual, drive), tree_(registry) {
  system_memory_ = std::make_unique<mem::AddressSpace>(
      memory_, "memory", mem::Region::container(memory_, "system", mem::kWholeAddressSpace));
  io_ports_ = std::make_unique<mem::AddressSpace>(memory_, "I/O", mem::Region::container(memory_, "io", 0x10000));
  auto bus = tree_.make<SystemBus>();
  system_bus_ = bus.get();
  EMU_CHECK(tree_.container("/machine/unattached").add_child("sysbus", std::move(bus)).has_value());
  for (Clock* clock : {&virtual_clock_, &host_clock_, &realtime_clock_}) {
    auto timers = loop.attach(clock->main_queue(), [this, clock] {
      mem::MachineLockScope guard(memory_.lock());
      clock->main_queue().run_due();
    });
    EMU_CHECK(timers.has_value());  // without a single descriptor left nothing can run
    timers_.push_back(std::move(*timers));
  }
  grace_timer_ = realtime_clock_.make_timer([this] { poll_grace(); });
  memory_.grace().set_kick([this, alive = alive_] {
    if (grace_poll_posted_.exchange(true)) return;
    loop_.post([this, alive] {
      if (!*alive) return;
      grace_poll_posted_ = false;
      poll_grace();
    });
  });
}

Machine::~Machine() {
  *alive_ = false;
  memory_.grace().set_kick({});
}

void Machine::poll_grace() {
  if (memory_.grace().poll()) grace_timer_.arm_after(kGracePollInterval);
}

void Machine::run_on_main_loop(std::function<void()> work) {
  tell([this, work = std::move(work)] {
    note_outside();  // when that is, is the host's affair
    work();
  });
}

/// On the main loop, with the machine lock; what changes no device.
void Machine::tell(std::function<void()> work) {
  if (repeats_) return;
  loop_.post([this, alive = alive_, work = std::move(work)] {
    if (!*alive) return;
    mem::MachineLockScope guard(memory_.lock());
    work();
  });
}

/// Requests for which no vCPU shall execute another instruction before they are looked at.
void Machine::stop_and_tell(std::function<void()> work) {
  if (repeats_) return;
  events_.stop_vcpus_soon();
  tell(std::move(work));
}

void Machine::request_shutdown(ShutdownCause cause) {
  stop_and_tell([this, cause] { events_.shutdown_requested(cause); });
}

void Machine::request_reset(ResetCause cause) {
  stop_and_tell([this, cause] { events_.reset_requested(cause); });
}

void Machine::request_exit(int status) {
  stop_and_tell([this, status] { events_.exit_requested(status); });
}

void Machine::request_suspend() {
  stop_and_tell([this] { events_.suspend_requested(); });
}

void Machine::request_wakeup(WakeupReason reason) {
  tell([this, reason] { events_.wakeup_requested(reason); });
}

void Machine::report_rtc_change(i64 offset_s, const std::string& path) {
  tell([this, offset_s, path] { events_.rtc_changed(offset_s, path); });
}

void Machine::report_balloon_change(u64 balloon_bytes) {
  tell([this, balloon_bytes] { events_.balloon_changed(balloon_bytes); });
}

void Machine::report_device_deleted(const std::string& id, const std::string& path) {
  tell([this, id, path] { events_.device_deleted(id, path); });
}

void Machine::report_panic(PanicKind kind) {
  stop_and_tell([this, kind] { events_.panicked(kind); });
}

/// As QEMU: a file of that name as it stands wins over the folders.
std::string Machine::find_data_file(const std::string& name) const {
  if (name.find('/') != std::string::npos || access(name.c_str(), R_OK) == 0) return name;
  for (const std::string& dir : data_dirs_) {
    if (std::string path = dir + "/" + name; access(path.c_str(), R_OK) == 0) return path;
  }
  return name;
}

void Machine::set_running(bool running) {
  if (running)
    virtual_clock_.start();
  else
    virtual_clock_.stop();
  for (PowerListener* listener : listeners_) listener->run_state_changed(running);
}

void Machine::press_power_button() {
  note_outside();
  for (PowerListener* listener : listeners_) listener->powerdown_requested();
}

void Machine::wake_up(WakeupReason reason) {
  note_outside();
  for (PowerListener* listener : listeners_) listener->woken_up(reason);
}

}  // namespace emu::hw
