// SPDX-License-Identifier: Apache-2.0
// The machine as monitors see it. Implemented by softmmu.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "accel/accel.h"
#include "chardev/chardev_options.h"
#include "hw/machine/board.h"
#include "hw/machine/machine.h"
#include "monitor/schema/schema.h"
#include "net/program_rights.h"

namespace emu::block {
class BlockStore;
}

namespace emu::monitor {

// -action and set-action.
enum class RebootChoice : u8 { Reset, Shutdown };
constexpr EnumNames enum_names(RebootChoice) { return {"RebootAction", {"reset", "shutdown"}}; }
enum class ShutdownChoice : u8 { Poweroff, Pause };
constexpr EnumNames enum_names(ShutdownChoice) { return {"ShutdownAction", {"poweroff", "pause"}}; }
enum class PanicChoice : u8 { Pause, Shutdown, ExitFailure, None };
constexpr EnumNames enum_names(PanicChoice) {
  return {"PanicAction", {"pause", "shutdown", "exit-failure", "none"}};
}
enum class WatchdogChoice : u8 { Reset, Shutdown, Poweroff, InjectNmi, Pause, Debug, None };
constexpr EnumNames enum_names(WatchdogChoice) {
  return {"WatchdogAction", {"reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"}};
}

struct SetActionArguments {
  static constexpr const char* kName = "SetActionArguments";
  std::optional<RebootChoice> reboot;
  std::optional<ShutdownChoice> shutdown;
  std::optional<PanicChoice> panic;
  std::optional<WatchdogChoice> watchdog;
  void members(auto& m) {
    m("reboot", reboot);
    m("shutdown", shutdown);
    m("panic", panic);
    m("watchdog", watchdog);
  }
};

/// One row of query-cpu-definitions.
struct CpuDefinition {
  static constexpr const char* kName = "CpuDefinitionInfo";
  std::string name;
  std::optional<bool> migration_safe;
  bool is_static = false;
  std::optional<std::vector<std::string>> unavailable_features;
  std::string type_name;
  bool deprecated = false;
  void members(auto& m) {
    m("name", name);
    m("migration-safe", migration_safe);
    m("static", is_static);
    m("unavailable-features", unavailable_features);
    m("typename", type_name);
    m("deprecated", deprecated);
  }
};

struct CpuModelInfo {
  static constexpr const char* kName = "CpuModelInfo";
  std::string name;
  std::optional<Json> props;
  void members(auto& m) {
    m("name", name);
    m("props", props);
  }
};

enum class OptionParameterType : u8 { String, Boolean, Number, Size };
constexpr EnumNames enum_names(OptionParameterType) {
  return {"CommandLineParameterType", {"string", "boolean", "number", "size"}};
}
struct OptionParameter {
  static constexpr const char* kName = "CommandLineParameterInfo";
  std::string name;
  OptionParameterType type = OptionParameterType::String;
  void members(auto& m) {
    m("name", name);
    m("type", type);
  }
};
/// One option of the command line and the keys it takes.
struct OptionInfo {
  static constexpr const char* kName = "CommandLineOptionInfo";
  std::string option;
  std::vector<OptionParameter> parameters;
  void members(auto& m) {
    m("option", option);
    m("parameters", parameters);
  }
};

class TimeTravel;

/// Main thread, machine lock not held.
class MachineControl {
 public:
  virtual ~MachineControl() = default;

  virtual hw::Machine& machine() = 0;
  virtual hw::Board& board() = 0;
  virtual accel::Accelerator& accelerator() = 0;
  /// "x86_64".
  virtual std::string_view target() const = 0;

  /// As query-status says it: "running", "paused".
  virtual std::string_view status() const = 0;
  virtual bool is_running() const = 0;
  virtual Result<void> cont() = 0;
  virtual void stop() = 0;
  virtual void reset() = 0;
  virtual void powerdown() = 0;
  /// Errors: the guest does not sleep.
  virtual Result<void> wakeup() = 0;
  virtual void quit() = 0;
  virtual void set_actions(const SetActionArguments& actions) = 0;
  /// -preconfig waits for x-exit-preconfig.
  virtual bool is_preconfig() const { return false; }
  virtual Result<void> exit_preconfig() = 0;

  /// -name and -uuid.
  virtual std::string guest_name() const = 0;
  virtual std::string guest_uuid() const = 0;
  virtual u64 ram_bytes() const = 0;
  virtual hw::CpuTopology topology() const = 0;
  /// Where a vCPU's object is: "/machine/unattached/device[7]".
  virtual std::string cpu_path(unsigned index) const = 0;

  virtual std::vector<CpuDefinition> cpu_definitions() const = 0;
  /// The model with all its properties; `full` asks for those that can change, too.
  virtual Result<CpuModelInfo> expand_cpu_model(const CpuModelInfo& model, bool full) const = 0;
  virtual std::vector<OptionInfo> command_line_options() const = 0;

  /// All disks.
  virtual block::BlockStore& disks() = 0;

  /// Makes a byte stream at /chardevs/ID; gives the path of a pty.
  virtual Result<std::string> add_chardev(const chardev::ChardevOptions& options) = 0;

  /// What -sandbox leaves to programs that back ends start.
  virtual net::ProgramRights program_rights() const { return {}; }

  /// A server for debuggers there: "tcp::1234", "chardev:ID", "none"; in place of the one there was.
  virtual Result<void> set_debugger(const std::string& where) {
    return error("no debugger can be attached: {}", where);
  }

  /// Earlier moments of the guest; null: this machine knows of none.
  virtual TimeTravel* time_travel() { return nullptr; }

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
