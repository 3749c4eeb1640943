// SPDX-License-Identifier: Apache-2.0
// Commands from outside: one registry with typed arguments, for people (HMP) and, by the same handlers, programs (QMP).
#pragma once

#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/control.h"
#include "util/result.h"
#include "util/types.h"

namespace emu::monitor {

/// One connection's own state.
struct Session {
  unsigned cpu = 0;  ///< which vCPU commands look at
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

/// What a command gives back: text for people, JSON for programs.
struct Reply {
  std::string text = {};
  nlohmann::json value = nlohmann::json::object();
};

class CommandRegistry;

struct CommandContext {
  MachineControl& control;
  Session& session;
  const CommandRegistry& registry;
};

struct Command {
  std::string name;  ///< as people type it; "info status" is one name
  std::vector<std::string> aliases = {};
  std::string qmp_name = {};  ///< empty: not for programs
  std::vector<ArgSpec> arguments = {};
  std::string syntax = {};  ///< of the arguments, for help
  std::string help = {};
  std::function<Result<Reply>(CommandContext&, const Arguments&)> run;
};

class CommandRegistry {
 public:
  void add(Command command);
  /// By name or alias; null when unknown.
  const Command* find(std::string_view name) const;
  const Command* find_qmp(std::string_view name) const;
  const std::vector<Command>& commands() const { return commands_; }
  /// Names and aliases that begin with `prefix`, sorted.
  std::vector<std::string> complete(std::string_view prefix) const;

 private:
  std::vector<Command> commands_;
};

/// "stop|s  -- stop emulation".
std::string help_line(const Command& command);

}  // namespace emu::monitor
