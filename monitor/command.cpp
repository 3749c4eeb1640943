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

void CommandRegistry::add(QmpCommand command) {
  EMU_CHECK(find_qmp(command.name) == nullptr);
  std::string name = command.name;
  qmp_.emplace(std::move(name), std::move(command));
}

const QmpCommand* CommandRegistry::find_qmp(std::string_view name) const {
  const auto at = qmp_.find(name);
  return at == qmp_.end() ? nullptr : &at->second;
}

const QmpEvent* CommandRegistry::find_event(std::string_view name) const {
  const auto at = std::find_if(events_.begin(), events_.end(), [&](const QmpEvent& e) { return e.name == name; });
  return at == events_.end() ? nullptr : &*at;
}

Json CommandRegistry::schema(const qom::TypeRegistry* types) const {
  SchemaBuilder builder(types);
  for (const auto& [name, command] : qmp_) {
    Json entity = {{"name", name},
                   {"meta-type", "command"},
                   {"arg-type", command.describe_arguments(builder)},
                   {"ret-type", command.describe_reply(builder)}};
    if (command.traits.out_of_band) entity["allow-oob"] = true;
    if (!command.traits.features.empty()) entity["features"] = command.traits.features;
    builder.add(std::move(entity));
  }
  for (const QmpEvent& event : events_) {
    builder.add({{"name", event.name}, {"meta-type", "event"}, {"arg-type", event.describe_data(builder)}});
  }
  return builder.take();
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
