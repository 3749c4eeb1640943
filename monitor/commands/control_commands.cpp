// SPDX-License-Identifier: Apache-2.0
// Commands that start, stop and end the machine, for programs and people.
#include "block/block_store.h"
#include "monitor/commands.h"
#include "monitor/monitors.h"
#include "monitor/qmp/json_stream.h"
#include "util/log.h"

namespace emu::monitor {
namespace {

Result<void> stop(CommandContext& context) {
  context.control.stop();
  // As in QEMU: when the answer comes nothing is under way, and the images are written out.
  if (auto flushed = context.control.disks().flush_all(); !flushed) log::error(flushed.error());
  return {};
}
Result<void> cont(CommandContext& context) { return context.control.cont(); }
Result<void> system_reset(CommandContext& context) {
  context.control.reset();
  return {};
}
Result<void> system_powerdown(CommandContext& context) {
  context.control.powerdown();
  return {};
}
Result<void> system_wakeup(CommandContext& context) { return context.control.wakeup(); }
Result<void> quit(CommandContext& context) {
  context.control.quit();
  return {};
}
Result<void> inject_nmi(CommandContext& context) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  context.control.board().inject_nmi();
  return {};
}
Result<void> exit_preconfig(CommandContext& context) { return context.control.exit_preconfig(); }

Result<void> set_action(CommandContext& context, const SetActionArguments& arguments) {
  context.control.set_actions(arguments);
  return {};
}

/// Answered by the session, which is the one that negotiates; here for the schema.
Result<void> qmp_capabilities(CommandContext&, const QmpCapabilitiesArguments&) {
  return error(Error("Capabilities negotiation is already complete, command ignored", ErrorClass::CommandNotFound));
}

struct HumanMonitorArguments {
  static constexpr const char* kName = "HumanMonitorCommandArguments";
  std::string command_line;
  std::optional<i64> cpu_index;
  void members(auto& m) {
    m("command-line", command_line);
    m("cpu-index", cpu_index);
  }
};

Result<std::string> human_monitor_command(CommandContext& context, const HumanMonitorArguments& arguments) {
  Session session;
  if (arguments.cpu_index) {
    if (*arguments.cpu_index < 0 || u64(*arguments.cpu_index) >= context.control.board().cpus().size()) {
      return error("Parameter 'cpu-index' expects a CPU number");
    }
    session.cpu = unsigned(*arguments.cpu_index);
  }
  // Programs get what a terminal would.
  std::string text;
  for (const char c : context.monitors.run_line(session, arguments.command_line)) {
    if (c == '\n') text += '\r';
    text += c;
  }
  return text;
}

Result<Reply> gdbserver(CommandContext& context, const Arguments& arguments) {
  const std::string where = arguments.has("device") ? arguments.text("device") : "tcp::1234";
  EMU_TRY(context.control.set_debugger(where));
  return Reply{where == "none" ? "Disabled gdbserver\n"
                               : fmt::format("Waiting for gdb connection on device '{}'\n", where)};
}

/// softmmu's states, by their names.
enum class RunStateName : u8 {
  Prelaunch, Running, Paused, Shutdown, Suspended, GuestPanicked, InternalError, Watchdog, Debug, IoError
};
constexpr EnumNames enum_names(RunStateName) {
  return {"RunState",
          {"prelaunch", "running", "paused", "shutdown", "suspended", "guest-panicked", "internal-error", "watchdog",
           "debug", "io-error"}};
}

struct StatusInfo {
  static constexpr const char* kName = "StatusInfo";
  bool running = false, singlestep = false;
  RunStateName status = RunStateName::Prelaunch;
  void members(auto& m) {
    m("running", running);
    m("singlestep", singlestep);
    m("status", status);
  }
};

Result<StatusInfo> query_status(CommandContext& context) {
  StatusInfo info{context.control.is_running(), false, {}};
  info.status = EMU_TRY(from_json<RunStateName>(std::string(context.control.status()), "status"));
  return info;
}

Result<Reply> info_status(CommandContext& context, const Arguments&) {
  const StatusInfo info = EMU_TRY(query_status(context));
  std::string text = info.running ? "VM status: running" : "VM status: paused";
  if (info.status != RunStateName::Running && info.status != RunStateName::Paused) {
    text += fmt::format(" ({})", context.control.status());
  }
  return Reply{text + "\n"};
}

Result<Reply> set_log(CommandContext&, const Arguments& arguments) {
  const auto mask = log::parse_mask(arguments.text("items"));
  if (!mask) return Reply{log::help()};
  log::set_mask(*mask);
  return Reply{};
}

Result<Reply> set_cpu(CommandContext& context, const Arguments& arguments) {
  const u64 index = *arguments.number("index");
  if (index >= context.control.board().cpus().size()) return error("invalid CPU index");
  context.session.cpu = unsigned(index);
  return Reply{};
}

Result<Reply> help(CommandContext& context, const Arguments& arguments) {
  const std::string about = arguments.text("name");
  if (about == "log") return Reply{log::help()};
  std::string text;
  if (about.empty() || about == "info") {
    for (const Command& command : context.registry.commands()) {
      if (command.name.starts_with("info ") == (about == "info")) text += help_line(command);
    }
    return Reply{std::move(text)};
  }
  const Command* command = context.registry.find(about);
  if (command == nullptr) return error("unknown command: '{}'", about);
  return Reply{help_line(*command)};
}

/// A command without arguments and reply, as people type it.
template <Result<void> (*Handler)(CommandContext&)>
Result<Reply> plain(CommandContext& context, const Arguments&) {
  EMU_TRY(Handler(context));
  return Reply{};
}

}  // namespace

void register_control_commands(CommandRegistry& registry) {
  registry.add(qmp("qmp_capabilities", qmp_capabilities, {.before_machine = true}));
  registry.add(qmp("quit", quit, {.before_machine = true}));
  registry.add(qmp("stop", stop));
  registry.add(qmp("cont", cont));
  registry.add(qmp("system_reset", system_reset));
  registry.add(qmp("system_powerdown", system_powerdown));
  registry.add(qmp("system_wakeup", system_wakeup));
  registry.add(qmp("inject-nmi", inject_nmi));
  registry.add(qmp("set-action", set_action, {.before_machine = true}));
  registry.add(qmp("x-exit-preconfig", exit_preconfig, {.before_machine = true, .features = {"unstable"}}));
  registry.add(qmp("human-monitor-command", human_monitor_command));
  registry.add(qmp("query-status", query_status, {.before_machine = true}));

  registry.add({.name = "help",
                .aliases = {"?"},
                .arguments = {{"name", ArgKind::Rest, Need::Optional}},
                .syntax = "[cmd]",
                .help = "show the help",
                .run = help,
                .before_machine = true});
  registry.add({.name = "quit",
                .aliases = {"q"},
                .help = "quit the emulator",
                .run = plain<quit>,
                .before_machine = true});
  registry.add({.name = "stop", .aliases = {"s"}, .help = "stop emulation", .run = plain<stop>});
  registry.add({.name = "cont", .aliases = {"c"}, .help = "resume emulation", .run = plain<cont>});
  registry.add({.name = "system_reset", .help = "reset the system", .run = plain<system_reset>});
  registry.add({.name = "system_powerdown", .help = "send system power down event", .run = plain<system_powerdown>});
  registry.add({.name = "system_wakeup", .help = "wakeup guest from suspend", .run = plain<system_wakeup>});
  registry.add({.name = "nmi", .help = "inject an NMI", .run = plain<inject_nmi>});
  registry.add({.name = "exit_preconfig",
                .help = "exit the preconfig state",
                .run = plain<exit_preconfig>,
                .before_machine = true});
  registry.add({.name = "gdbserver",
                .arguments = {{"device", ArgKind::String, Need::Optional}},
                .syntax = "[device]",
                .help = "wait for a debugger there (tcp::1234 by default), or for none with 'none'",
                .run = gdbserver});
  registry.add({.name = "log",
                .arguments = {{"items", ArgKind::String}},
                .syntax = "item1[,...]",
                .help = "activate logging of the specified items ('help log' lists them, 'none' ends it)",
                .run = set_log,
                .before_machine = true});
  registry.add({.name = "cpu",
                .arguments = {{"index", ArgKind::Expression}},
                .syntax = "index",
                .help = "set the default CPU",
                .run = set_cpu});
  registry.add({.name = "info status", .help = "show the current VM status (running|paused)", .run = info_status});
}

}  // namespace emu::monitor
