// SPDX-License-Identifier: Apache-2.0
// Commands that start, stop and end the machine, and change the log.
#include "monitor/commands.h"
#include "util/log.h"

namespace emu::monitor {
namespace {

Result<Reply> stop(CommandContext& context, const Arguments&) {
  context.control.stop();
  return Reply{};
}

Result<Reply> cont(CommandContext& context, const Arguments&) {
  EMU_TRY(context.control.cont());
  return Reply{};
}

Result<Reply> system_reset(CommandContext& context, const Arguments&) {
  context.control.reset();
  return Reply{};
}

Result<Reply> system_powerdown(CommandContext& context, const Arguments&) {
  context.control.powerdown();
  return Reply{};
}

Result<Reply> quit(CommandContext& context, const Arguments&) {
  context.control.quit();
  return Reply{};
}

Result<Reply> nmi(CommandContext& context, const Arguments&) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  context.control.board().inject_nmi();
  return Reply{};
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

}  // namespace

void register_run_commands(CommandRegistry& registry) {
  registry.add({.name = "help",
                .aliases = {"?"},
                .arguments = {{"name", ArgKind::Rest, Need::Optional}},
                .syntax = "[cmd]",
                .help = "show the help",
                .run = help});
  registry.add({.name = "quit", .aliases = {"q"}, .qmp_name = "quit", .help = "quit the emulator", .run = quit});
  registry.add({.name = "stop", .aliases = {"s"}, .qmp_name = "stop", .help = "stop emulation", .run = stop});
  registry.add({.name = "cont", .aliases = {"c"}, .qmp_name = "cont", .help = "resume emulation", .run = cont});
  registry.add({.name = "system_reset", .qmp_name = "system_reset", .help = "reset the system", .run = system_reset});
  registry.add({.name = "system_powerdown",
                .qmp_name = "system_powerdown",
                .help = "send system power down event",
                .run = system_powerdown});
  registry.add({.name = "nmi", .qmp_name = "inject-nmi", .help = "inject an NMI", .run = nmi});
  registry.add({.name = "log",
                .arguments = {{"items", ArgKind::String}},
                .syntax = "item1[,...]",
                .help = "activate logging of the specified items ('help log' lists them, 'none' ends it)",
                .run = set_log});
  registry.add({.name = "cpu",
                .arguments = {{"index", ArgKind::Expression}},
                .syntax = "index",
                .help = "set the default CPU",
                .run = set_cpu});
}

void register_commands(CommandRegistry& registry) {
  register_run_commands(registry);
  register_memory_commands(registry);
  register_info_commands(registry);
}

}  // namespace emu::monitor
