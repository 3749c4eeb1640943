// SPDX-License-Identifier: Apache-2.0
// What events tell, for Monitors::emit(). Names and members are QEMU's.
#pragma once

#include <optional>
#include <string>

#include "monitor/commands/socket_address.h"
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

enum class IoOperation : u8 { Read, Write };
constexpr EnumNames enum_names(IoOperation) { return {"IoOperationType", {"read", "write"}}; }
enum class IoErrorAction : u8 { Ignore, Report, Stop };
constexpr EnumNames enum_names(IoErrorAction) { return {"BlockErrorAction", {"ignore", "report", "stop"}}; }
/// BLOCK_IO_ERROR: a disk failed, and what was done about it.
struct BlockIoErrorEvent {
  static constexpr const char* kName = "BlockIoErrorEvent";
  std::string device;
  std::optional<std::string> node_name;
  IoOperation operation = IoOperation::Read;
  IoErrorAction action = IoErrorAction::Report;
  std::optional<bool> nospace;
  std::string reason;
  void members(auto& m) {
    m("device", device);
    m("node-name", node_name);
    m("operation", operation);
    m("action", action);
    m("nospace", nospace);
    m("reason", reason);
  }
};

/// BLOCK_IMAGE_CORRUPTED: tables of an image contradict each other.
struct BlockImageCorruptedEvent {
  static constexpr const char* kName = "BlockImageCorruptedEvent";
  std::string device;
  std::optional<std::string> node_name;
  std::string msg;
  std::optional<i64> offset, size;
  bool fatal = false;
  void members(auto& m) {
    m("device", device);
    m("node-name", node_name);
    m("msg", msg);
    m("offset", offset);
    m("size", size);
    m("fatal", fatal);
  }
};

/// DEVICE_TRAY_MOVED.
struct TrayMovedEvent {
  static constexpr const char* kName = "DeviceTrayMovedEvent";
  std::string device, id;
  bool tray_open = false;
  void members(auto& m) {
    m("device", device);
    m("id", id);
    m("tray-open", tray_open);
  }
};

/// BALLOON_CHANGE: the guest has this much memory now.
struct BalloonChangeEvent {
  static constexpr const char* kName = "BalloonChangeEvent";
  u64 actual = 0;
  void members(auto& m) { m("actual", actual); }
};

/// NIC_RX_FILTER_CHANGED: the driver wants other frames than before; told once until query-rx-filter.
struct NicRxFilterChangedEvent {
  static constexpr const char* kName = "NicRxFilterChangedEvent";
  std::optional<std::string> name;
  std::string path;
  void members(auto& m) {
    m("name", name);
    m("path", path);
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

/// NETDEV_STREAM_CONNECTED: the other end of a -netdev stream has come, or has been reached.
struct NetdevStreamConnectedEvent {
  static constexpr const char* kName = "NetdevStreamConnectedEvent";
  std::string netdev_id;
  SocketAddressInfo addr;
  void members(auto& m) {
    m("netdev-id", netdev_id);
    m("addr", addr);
  }
};
struct NetdevStreamDisconnectedEvent {
  static constexpr const char* kName = "NetdevStreamDisconnectedEvent";
  std::string netdev_id;
  void members(auto& m) { m("netdev-id", netdev_id); }
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
