// SPDX-License-Identifier: Apache-2.0
#include "monitor/command.h"

#include <algorithm>

namespace emu::monitor {

std::string Arguments::text(std::string_view name) const {
  const auto at = texts_.find(name);
  return at == texts_.end() ? std::string() : at->second;
}

std::optional<u64> Arguments::number(std::string_view name) const {
  const auto at = numbers_.find(name);
  if (at == numbers_.end()) return std::nullopt;
  return at->second;
}

void CommandRegistry::add(Command command) {
  EMU_CHECK(find(command.name) == nullptr);
  commands_.push_back(std::move(command));
}

const Command* CommandRegistry::find(std::string_view name) const {
  for (const Command& command : commands_) {
    if (command.name == name) return &command;
    if (std::find(command.aliases.begin(), command.aliases.end(), name) != command.aliases.end()) return &command;
  }
  return nullptr;
}

const Command* CommandRegistry::find_qmp(std::string_view name) const {
  for (const Command& command : commands_) {
    if (!command.qmp_name.empty() && command.qmp_name == name) return &command;
  }
  return nullptr;
}

std::vector<std::string> CommandRegistry::complete(std::string_view prefix) const {
  std::vector<std::string> names;
  for (const Command& command : commands_) {
    if (command.name.starts_with(prefix)) names.push_back(command.name);
    for (const std::string& alias : command.aliases) {
      if (alias.starts_with(prefix)) names.push_back(alias);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string help_line(const Command& command) {
  std::string names = command.name;
  for (const std::string& alias : command.aliases) names += "|" + alias;
  return fmt::format("{}{}{} -- {}\n", names, command.syntax.empty() ? "" : " ",
                     command.syntax + (command.syntax.empty() ? " " : ""), command.help);
}

}  // namespace emu::monitor
