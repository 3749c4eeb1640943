// SPDX-License-Identifier: Apache-2.0
// What a device may ask its machine for. Implemented by the machine, and by DeviceBench in tests.
#pragma once

#include <functional>
#include <string>

#include "qom/object.h"
#include "softmmu/memory/memory.h"
#include "util/clock.h"

namespace emu {
class EventLoop;
}

namespace emu::hw {

class Bus;

/// Why the machine stops or resets: the `reason` of QMP's SHUTDOWN and RESET events.
enum class ShutdownCause { HostError, HostQmpQuit, HostSignal, HostUi, GuestShutdown, GuestPanic };
enum class ResetCause { HostQmpSystemReset, GuestReset, SubsystemReset };
enum class PanicKind { Panicked, CrashLoaded, Shutdown };
enum class WakeupReason { Rtc, PmTimer, Other };

/// Hears what a person or the machine does to power. Machine lock held.
class PowerListener {
 public:
  virtual ~PowerListener() = default;
  /// The power button (system_powerdown).
  virtual void powerdown_requested() {}
  virtual void woken_up(WakeupReason reason) { static_cast<void>(reason); }
  /// The virtual clock starts or has stopped.
  virtual void run_state_changed(bool running) { static_cast<void>(running); }
};

/// The machine as a device sees it. request_* and report_* may come from any thread, return at once and take effect on
/// the main loop; the vCPU that asked stops before its next instruction where that matters.
class MachineServices {
 public:
  virtual ~MachineServices() = default;

  virtual qom::ObjectTree& tree() = 0;
  virtual mem::Memory& memory() = 0;
  /// What a CPU without any private mappings sees; also the bus-master space of devices that are not on PCI.
  virtual mem::AddressSpace& system_memory() = 0;
  /// The 64 KiB of x86 I/O ports. Machines without ports have an empty one.
  virtual mem::AddressSpace& io_ports() = 0;
  virtual Bus& system_bus() = 0;

  /// Guest time: stands still while the machine is stopped. Its timers fire with the machine lock held.
  virtual Clock& clock() = 0;
  /// The host's wall clock, for RTCs with base=utc.
  virtual Clock& host_clock() = 0;
  virtual Clock& realtime_clock() = 0;

  virtual void request_shutdown(ShutdownCause cause) = 0;
  virtual void request_reset(ResetCause cause) = 0;
  /// Ends the program with this status (isa-debug-exit).
  virtual void request_exit(int status) = 0;
  virtual void request_suspend() = 0;
  virtual void request_wakeup(WakeupReason reason) = 0;
  virtual void report_panic(PanicKind kind) = 0;
  /// The guest set its real-time clock.
  virtual void report_rtc_change(i64 offset_s, const std::string& path) {
    static_cast<void>(offset_s);
    static_cast<void>(path);
  }

  /// The guest's balloon holds this much of its memory now.
  virtual void report_balloon_change(u64 balloon_bytes) { static_cast<void>(balloon_bytes); }
  /// A device that was taken out is gone for good; `id` is empty when the user gave it none.
  virtual void report_device_deleted(const std::string& id, const std::string& path) {
    static_cast<void>(id);
    static_cast<void>(path);
  }

  /// Full path of a firmware file by its name (the -L folders); the name itself when it is a path or not found there.
  virtual std::string find_data_file(const std::string& name) const { return name; }

  virtual void add_power_listener(PowerListener& listener) = 0;
  virtual void remove_power_listener(PowerListener& listener) = 0;

  /// True after the machine's first reset: a device plugged from then on is reset by itself.
  virtual bool was_reset() const { return false; }

  /// How many vCPUs there are: what devices with "auto" queues go by.
  virtual unsigned vcpu_count() const { return 1; }
  /// The main loop, for queues that are served there without the machine lock; null where there is none (tests).
  virtual EventLoop* main_event_loop() { return nullptr; }
  /// Runs `work` on the main loop with the machine lock held; from any thread.
  virtual void run_on_main_loop(std::function<void()> work) = 0;
};

}  // namespace emu::hw
