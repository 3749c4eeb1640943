// SPDX-License-Identifier: Apache-2.0
// Commands from outside: one registry with typed arguments, for people (HMP) and, by the same handlers, programs (QMP).
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/control.h"
#include "monitor/schema/schema.h"
#include "util/fd.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::monitor {

/// One connection's own state. Main thread.
struct Session {
  unsigned cpu = 0;  ///< which vCPU commands look at
  std::map<std::string, Fd, std::less<>> named_fds;  ///< getfd
  std::vector<Fd> received_fds;                      ///< those that came with the command that runs now
  // What a format leaves out is as it was last.
  char format = 'x';
  char unit = 'w';
};

/// How many, in which notation and size: "/10xb".
struct DisplayFormat {
  u64 count = 1;
  char format = 'x';  ///< x d u o c s i
  char unit = 'w';    ///< b h w g
};

enum class ArgKind : u8 {
  String,      ///< a word, or text in quotes
  Rest,        ///< everything to the end of the line
  Expression,  ///< a number, computed by a person's expression: "$rip + 4*2"
  Flag,        ///< "-a", there or not
  Format,      ///< "/FMT" behind the command's name; HMP only
};
enum class Need : u8 { Required, Optional };

struct ArgSpec {
  std::string name;
  ArgKind kind = ArgKind::String;
  Need need = Need::Required;
};

/// Arguments after checking against the command's specification.
class Arguments {
 public:
  void set(std::string name, std::string text) { texts_[std::move(name)] = std::move(text); }
  void set(std::string name, u64 number) { numbers_[std::move(name)] = number; }
  void set_format(DisplayFormat format) { format_ = format; }

  bool has(std::string_view name) const { return texts_.contains(name) || numbers_.contains(name); }
  std::string text(std::string_view name) const;
  std::optional<u64> number(std::string_view name) const;
  bool flag(std::string_view name) const { return number(name).value_or(0) != 0; }
  const DisplayFormat& format() const { return format_; }

 private:
  std::map<std::string, std::string, std::less<>> texts_;
  std::map<std::string, u64, std::less<>> numbers_;
  DisplayFormat format_;
};

/// What a person reads.
struct Reply {
  std::string text = {};
};

class CommandRegistry;
class Monitors;

struct CommandContext {
  MachineControl& control;
  Session& session;
  const CommandRegistry& registry;
  Monitors& monitors;
};

/// A command as people type it. What it does is done by the same functions that programs call.
struct Command {
  std::string name;  ///< "info status" is one name
  std::vector<std::string> aliases = {};
  std::vector<ArgSpec> arguments = {};
  std::string syntax = {};  ///< of the arguments, for help
  std::string help = {};
  std::function<Result<Reply>(CommandContext&, const Arguments&)> run;
  bool before_machine = false;  ///< also while -preconfig waits, as all `info` is
};

/// What a program must know beside arguments and reply.
struct QmpTraits {
  /// May run on the monitor's own thread, while the machine is busy: touches only what is safe.
  bool out_of_band = false;
  bool before_machine = false;  ///< also while -preconfig waits
  std::vector<std::string> features = {};
};

/// A command for programs: name, typed arguments and reply, and the function that does it.
struct QmpCommand {
  std::string name;
  QmpTraits traits;
  std::function<std::string(SchemaBuilder&)> describe_arguments, describe_reply;
  std::function<Result<Json>(CommandContext&, const Json& arguments)> run;
};

template <typename R>
std::function<std::string(SchemaBuilder&)> reply_describer() {
  if constexpr (std::is_void_v<R>) {
    return schema_type<Empty>;
  } else {
    return schema_type<R>;
  }
}
template <typename R>
Result<Json> reply_json(Result<R>&& result) {
  if (!result) return error(std::move(result).error());
  if constexpr (std::is_void_v<R>) {
    return Json::object();
  } else {
    return to_json_value(*result);
  }
}

/// `registry.add(qmp("memsave", memsave))`, with Result<R> memsave(CommandContext&, const MemsaveArguments&).
template <typename R, typename A>
QmpCommand qmp(std::string name, Result<R> (*handler)(CommandContext&, const A&), QmpTraits traits = {}) {
  return {std::move(name), std::move(traits), schema_type<A>, reply_describer<R>(),
          [handler](CommandContext& context, const Json& json) -> Result<Json> {
            const A arguments = EMU_TRY(from_json<A>(json, ""));
            return reply_json(handler(context, arguments));
          }};
}
template <typename R>
QmpCommand qmp(std::string name, Result<R> (*handler)(CommandContext&), QmpTraits traits = {}) {
  return {std::move(name), std::move(traits), schema_type<Empty>, reply_describer<R>(),
          [handler](CommandContext& context, const Json& json) -> Result<Json> {
            EMU_TRY(from_json<Empty>(json, ""));
            return reply_json(handler(context));
          }};
}

enum class QmpCapability : u8 { Oob };
constexpr EnumNames enum_names(QmpCapability) { return {"QMPCapability", {"oob"}}; }
struct QmpCapabilitiesArguments {
  static constexpr const char* kName = "QmpCapabilitiesArguments";
  std::optional<std::vector<QmpCapability>> enable;
  void members(auto& m) { m("enable", enable); }
};

/// Something that happens by itself, with its data.
struct QmpEvent {
  std::string name;
  std::function<std::string(SchemaBuilder&)> describe_data;
  std::chrono::milliseconds least_distance{0};  ///< at most one in that time: the last one counts
};

class CommandRegistry {
 public:
  void add(Command command);
  void add(QmpCommand command);
  template <typename Data>
  void add_event(std::string name, std::chrono::milliseconds least_distance = {}) {
    events_.push_back({std::move(name), schema_type<Data>, least_distance});
  }
  /// By name or alias; null when unknown.
  const Command* find(std::string_view name) const;
  const QmpCommand* find_qmp(std::string_view name) const;
  const QmpEvent* find_event(std::string_view name) const;
  const std::vector<Command>& commands() const { return commands_; }
  const std::map<std::string, QmpCommand, std::less<>>& qmp_commands() const { return qmp_; }
  /// What query-qmp-schema answers. `types` gives those commands their arguments that take objects' properties.
  Json schema(const qom::TypeRegistry* types) const;
  /// Names and aliases that begin with `prefix`, sorted.
  std::vector<std::string> complete(std::string_view prefix) const;

 private:
  std::vector<Command> commands_;
  std::map<std::string, QmpCommand, std::less<>> qmp_;
  std::vector<QmpEvent> events_;
};

/// "stop|s  -- stop emulation".
std::string help_line(const Command& command);

}  // namespace emu::monitor
