// SPDX-License-Identifier: Apache-2.0
// What events tell, for Monitors::emit(). Names and members are QEMU's.
#pragma once

#include <optional>
#include <string>

#include "monitor/control.h"
#include "monitor/schema/schema.h"

namespace emu::monitor {

enum class CauseName : u8 {
  None,
  HostError,
  HostQmpQuit,
  HostQmpSystemReset,
  HostSignal,
  HostUi,
  GuestShutdown,
  GuestReset,
  GuestPanic,
  SubsystemReset
};
constexpr EnumNames enum_names(CauseName) {
  return {"ShutdownCause",
          {"none", "host-error", "host-qmp-quit", "host-qmp-system-reset", "host-signal", "host-ui", "guest-shutdown",
           "guest-reset", "guest-panic", "subsystem-reset"}};
}

/// SHUTDOWN and RESET.
struct ShutdownEvent {
  static constexpr const char* kName = "ShutdownEvent";
  bool guest = false;
  CauseName reason = CauseName::None;
  void members(auto& m) {
    m("guest", guest);
    m("reason", reason);
  }
};

enum class GuestPanicAction : u8 { Pause, Poweroff, Run };
constexpr EnumNames enum_names(GuestPanicAction) { return {"GuestPanicAction", {"pause", "poweroff", "run"}}; }
/// GUEST_PANICKED and GUEST_CRASHLOADED.
struct GuestPanickedEvent {
  static constexpr const char* kName = "GuestPanickedEvent";
  GuestPanicAction action = GuestPanicAction::Run;
  void members(auto& m) { m("action", action); }
};

/// RTC_CHANGE: seconds that the guest's clock now differs from the host's.
struct RtcChangeEvent {
  static constexpr const char* kName = "RtcChangeEvent";
  i64 offset = 0;
  std::string qom_path;
  void members(auto& m) {
    m("offset", offset);
    m("qom-path", qom_path);
  }
};

/// DEVICE_DELETED: an unplugged device is gone.
struct DeviceDeletedEvent {
  static constexpr const char* kName = "DeviceDeletedEvent";
  std::optional<std::string> device;
  std::string path;
  void members(auto& m) {
    m("device", device);
    m("path", path);
  }
};

enum class DumpStatus : u8 { None, Active, Completed, Failed };
constexpr EnumNames enum_names(DumpStatus) { return {"DumpStatus", {"none", "active", "completed", "failed"}}; }
struct DumpQueryResult {
  static constexpr const char* kName = "DumpQueryResult";
  DumpStatus status = DumpStatus::None;
  u64 completed = 0, total = 0;
  void members(auto& m) {
    m("status", status);
    m("completed", completed);
    m("total", total);
  }
};
struct DumpCompletedEvent {
  static constexpr const char* kName = "DumpCompletedEvent";
  DumpQueryResult result;
  std::optional<std::string> failure;
  void members(auto& m) {
    m("result", result);
    m("error", failure);
  }
};

}  // namespace emu::monitor
