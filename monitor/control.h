// SPDX-License-Identifier: Apache-2.0
// The machine as monitors see it. Implemented by softmmu.
#pragma once

#include <string>
#include <string_view>

#include "accel/accel.h"
#include "hw/machine/board.h"
#include "hw/machine/machine.h"

namespace emu::monitor {

/// Main thread, machine lock not held.
class MachineControl {
 public:
  virtual ~MachineControl() = default;

  virtual hw::Machine& machine() = 0;
  virtual hw::Board& board() = 0;
  virtual accel::Accelerator& accelerator() = 0;

  /// As query-status says it: "running", "paused".
  virtual std::string_view status() const = 0;
  virtual bool is_running() const = 0;
  virtual Result<void> cont() = 0;
  virtual void stop() = 0;
  virtual void reset() = 0;
  virtual void powerdown() = 0;
  virtual void quit() = 0;
  /// -name and -uuid.
  virtual std::string guest_name() const = 0;
  virtual std::string guest_uuid() const = 0;

  /// Runs `work` while no vCPU does, machine lock not held; what they did before goes on afterwards.
  template <typename Work>
  void with_cpus_stopped(Work&& work) {
    if (accelerator().is_paused()) {
      work();
    } else {
      accelerator().run_exclusive([&work] { work(); });
    }
  }
};

}  // namespace emu::monitor
