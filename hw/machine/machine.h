// SPDX-License-Identifier: Apache-2.0
// Machine: the object tree, memory, clocks and wires that devices live in. One a process, or one a test.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "hw/core/plug.h"
#include "hw/core/services.h"
#include "hw/core/sysbus.h"
#include "util/event_loop.h"

namespace emu::hw {

/// Hears what devices ask of their machine. Called on the main loop with the machine lock held.
class MachineEvents {
 public:
  virtual ~MachineEvents() = default;
  virtual void shutdown_requested(ShutdownCause cause) = 0;
  virtual void reset_requested(ResetCause cause) = 0;
  virtual void exit_requested(int status) = 0;
  virtual void panicked(PanicKind kind) = 0;
  virtual void suspend_requested() = 0;
  virtual void wakeup_requested(WakeupReason reason) = 0;
  /// The guest set its real-time clock: by how many seconds it now differs from the host's.
  virtual void rtc_changed(i64 offset_s, const std::string& path) {
    static_cast<void>(offset_s);
    static_cast<void>(path);
  }
  /// The guest's balloon holds this much of its memory now.
  virtual void balloon_changed(u64 balloon_bytes) { static_cast<void>(balloon_bytes); }
  /// A device that was unplugged is gone; `id` may be empty.
  virtual void device_deleted(const std::string& id, const std::string& path) {
    static_cast<void>(id);
    static_cast<void>(path);
  }
  /// Any thread: the vCPUs shall stop before their next instruction, until the request above was looked at.
  virtual void stop_vcpus_soon() = 0;
};

class Machine final : public MachineServices {
 public:
  /// `drive`: of the virtual clock, which qtest moves by hand.
  Machine(const qom::TypeRegistry& registry, EventLoop& loop, MachineEvents& events,
          Clock::Drive drive = Clock::Drive::Automatic);
  ~Machine() override;

  qom::ObjectTree& tree() override { return tree_; }
  mem::Memory& memory() override { return memory_; }
  mem::AddressSpace& system_memory() override { return *system_memory_; }
  mem::AddressSpace& io_ports() override { return *io_ports_; }
  const mem::RegionRef& system_root() const { return system_memory_->root(); }
  const mem::RegionRef& io_root() const { return io_ports_->root(); }
  Bus& system_bus() override { return *system_bus_; }
  Clock& clock() override { return virtual_clock_; }
  Clock& host_clock() override { return host_clock_; }
  Clock& realtime_clock() override { return realtime_clock_; }
  EventLoop& loop() { return loop_; }

  void request_shutdown(ShutdownCause cause) override;
  void request_reset(ResetCause cause) override;
  void request_exit(int status) override;
  void request_suspend() override;
  void request_wakeup(WakeupReason reason) override;
  void report_panic(PanicKind kind) override;
  std::string find_data_file(const std::string& name) const override;
  /// Where that looks, in order. Before devices are made.
  void set_data_dirs(std::vector<std::string> dirs) { data_dirs_ = std::move(dirs); }
  void report_rtc_change(i64 offset_s, const std::string& path) override;
  void report_balloon_change(u64 balloon_bytes) override;
  void report_device_deleted(const std::string& id, const std::string& path) override;
  void add_power_listener(PowerListener& listener) override { listeners_.push_back(&listener); }
  void remove_power_listener(PowerListener& listener) override { std::erase(listeners_, &listener); }
  unsigned vcpu_count() const override { return vcpu_count_; }
  /// By the board, before devices are made.
  void set_vcpu_count(unsigned count) { vcpu_count_ = count; }
  EventLoop* main_event_loop() override { return &loop_; }
  /// Something that does not follow from the state of CPUs and devices is about to change it. Main thread.
  void note_outside() { ++outside_; }
  u64 outside_count() const { return outside_; }
  /// While the machine does again what it did before, what it asks for has been granted already. vCPUs stand still.
  void set_repeating(bool repeating) { repeats_ = repeating; }
  void run_on_main_loop(std::function<void()> work) override;

  /// Starts or stops the virtual clock and tells listeners. Machine lock.
  void set_running(bool running);
  /// The power button. Machine lock.
  void press_power_button();
  void wake_up(WakeupReason reason);

 private:
  void poll_grace();
  void tell(std::function<void()> work);
  void stop_and_tell(std::function<void()> work);

  EventLoop& loop_;
  MachineEvents& events_;
  mem::Memory memory_;
  Clock virtual_clock_;
  Clock host_clock_{Clock::Kind::Host};
  Clock realtime_clock_{Clock::Kind::Realtime};
  qom::ObjectTree tree_;
  std::unique_ptr<mem::AddressSpace> system_memory_;
  std::unique_ptr<mem::AddressSpace> io_ports_;
  Bus* system_bus_ = nullptr;
  std::vector<std::string> data_dirs_;
  unsigned vcpu_count_ = 1;
  u64 outside_ = 0;
  std::atomic<bool> repeats_{false};
  std::vector<PowerListener*> listeners_;
  std::vector<TimerAttachment> timers_;  ///< each clock's, run with the machine lock held
  std::atomic<bool> grace_poll_posted_{false};
  Timer grace_timer_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  ///< posted work checks it; main loop only
};

}  // namespace emu::hw
