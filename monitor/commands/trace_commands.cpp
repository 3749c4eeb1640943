// SPDX-License-Identifier: Apache-2.0
// Trace events, for programs and people.
#include "monitor/commands.h"
#include "util/trace.h"

namespace emu::monitor {
namespace {

enum class TraceEventState : u8 { Unavailable, Disabled, Enabled };
constexpr EnumNames enum_names(TraceEventState) { return {"TraceEventState", {"unavailable", "disabled", "enabled"}}; }

struct TraceEventInfo {
  static constexpr const char* kName = "TraceEventInfo";
  std::string name;
  TraceEventState state = TraceEventState::Disabled;
  bool vcpu = false;  ///< whether it may be switched for one CPU alone: none may
  void members(auto& m) {
    m("name", name);
    m("state", state);
    m("vcpu", vcpu);
  }
};

struct TraceGetArguments {
  static constexpr const char* kName = "TraceEventGetStateArguments";
  std::string name;
  std::optional<i64> vcpu;
  void members(auto& m) {
    m("name", name);
    m("vcpu", vcpu);
  }
};

struct TraceSetArguments {
  static constexpr const char* kName = "TraceEventSetStateArguments";
  std::string name;
  bool enable = false;
  std::optional<bool> ignore_unavailable;
  std::optional<i64> vcpu;
  void members(auto& m) {
    m("name", name);
    m("enable", enable);
    m("ignore-unavailable", ignore_unavailable);
    m("vcpu", vcpu);
  }
};

bool is_pattern(std::string_view name) { return name.find_first_of("*?") != std::string_view::npos; }

/// Events that `name` means. Errors: no such event; one CPU's alone is asked for.
Result<std::vector<std::string>> chosen(const std::string& name, std::optional<i64> vcpu) {
  std::vector<std::string> found;
  for (std::string& one : trace::names()) {
    if (trace::matches(name, one)) found.push_back(std::move(one));
  }
  if (found.empty() && !is_pattern(name)) return error("unknown event \"{}\"", name);
  if (vcpu && !found.empty() && !is_pattern(name)) return error("event \"{}\" is not vCPU-specific", name);
  if (vcpu) found.clear();
  return found;
}

Result<std::vector<TraceEventInfo>> get_state(CommandContext&, const TraceGetArguments& arguments) {
  std::vector<TraceEventInfo> list;
  for (std::string& name : EMU_TRY(chosen(arguments.name, arguments.vcpu))) {
    const TraceEventState state = trace::is_enabled(name) ? TraceEventState::Enabled : TraceEventState::Disabled;
    list.push_back({std::move(name), state});
  }
  return list;
}

Result<void> set_state(CommandContext&, const TraceSetArguments& arguments) {
  for (const std::string& name : EMU_TRY(chosen(arguments.name, arguments.vcpu))) trace::enable(name, arguments.enable);
  return {};
}

Result<Reply> trace_event(CommandContext& context, const Arguments& arguments) {
  const std::string how = arguments.text("option");
  if (how != "on" && how != "off") return error("write 'on' or 'off' behind the event's name");
  EMU_TRY(set_state(context, {.name = arguments.text("name"), .enable = how == "on"}));
  return Reply{};
}

Result<Reply> info_trace_events(CommandContext& context, const Arguments& arguments) {
  Reply reply;
  const std::string names = arguments.has("name") ? arguments.text("name") : "*";
  for (const TraceEventInfo& event : EMU_TRY(get_state(context, {.name = names}))) {
    reply.text += fmt::format("{} : state {}\n", event.name, unsigned(event.state == TraceEventState::Enabled));
  }
  return reply;
}

}  // namespace

void register_trace_commands(CommandRegistry& registry) {
  registry.add(qmp("trace-event-get-state", get_state));
  registry.add(qmp("trace-event-set-state", set_state));
  registry.add({.name = "trace-event",
                .arguments = {{"name"}, {"option"}},
                .syntax = "name on|off",
                .help = "changes status of a specific trace event; * and ? stand for others",
                .run = trace_event,
                .before_machine = true});
  registry.add({.name = "info trace-events",
                .arguments = {{"name", ArgKind::String, Need::Optional}},
                .syntax = "[name]",
                .help = "show available trace-events and their state",
                .run = info_trace_events});
}

}  // namespace emu::monitor
