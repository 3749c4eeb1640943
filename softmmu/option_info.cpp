// SPDX-License-Identifier: Apache-2.0
#include "softmmu/option_info.h"

#include <algorithm>
#include <cctype>

#include "hw/machine/board.h"
#include "softmmu/machine_options.h"
#include "softmmu/option_table.h"

namespace emu::softmmu {
namespace {

using Type = monitor::OptionParameterType;

Type type_of(std::string_view value) {
  if (value.starts_with("on|off") || value.starts_with("off") || value == "on") return Type::Boolean;
  if (value.starts_with("SIZE") || value.starts_with("MiB")) return Type::Size;
  return value == "N" || value == "NUMBER" ? Type::Number : Type::String;
}

void add(monitor::OptionInfo& info, std::string name, Type type) {
  const auto same = [&](const monitor::OptionParameter& known) { return known.name == name; };
  if (std::none_of(info.parameters.begin(), info.parameters.end(), same))
    info.parameters.push_back({std::move(name), type});
}

/// "[size=]SIZE[,slots=N]": the words before '=' that are spelled in small letters.
void read_syntax(std::string_view syntax, monitor::OptionInfo& info) {
  const auto is_key = [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; };
  for (std::size_t at = syntax.find('='); at != std::string_view::npos; at = syntax.find('=', at + 1)) {
    std::size_t start = at;
    while (start > 0 && is_key(syntax[start - 1])) start--;
    if (start == at) continue;
    std::string_view value = syntax.substr(at + 1);
    if (value.starts_with(']')) value.remove_prefix(1);
    add(info, std::string(syntax.substr(start, at - start)), type_of(value.substr(0, value.find_first_of("[],"))));
  }
}

/// What programs call those options whose keys QEMU keeps under another name.
std::string group_name(std::string_view option) {
  if (option == "m") return "memory";
  if (option == "smp") return "smp-opts";
  if (option == "boot") return "boot-opts";
  return std::string(option);
}

}  // namespace

std::vector<monitor::OptionInfo> option_infos(const qom::TypeRegistry& types) {
  std::vector<monitor::OptionInfo> list;
  for (const OptionRow& row : option_rows()) {
    if (row.argument == TakesArgument::No || row.name == "M") continue;
    monitor::OptionInfo info{group_name(row.name), {}};
    read_syntax(row.syntax, info);
    if (row.opt == Opt::Machine) {
      for (const char* own : {"accel", "kernel", "initrd", "append", "memory-backend"}) add(info, own, Type::String);
      for (const std::string_view name : common_machine_properties()) add(info, std::string(name), Type::Boolean);
      for (const qom::Type* type : types.list(hw::Board::kTypeName)) {
        for (const qom::Property* property : type->properties()) {
          add(info, property->name(), property->type_name() == "bool" ? Type::Boolean : Type::String);
        }
      }
    }
    if (!info.parameters.empty()) list.push_back(std::move(info));
  }
  return list;
}

}  // namespace emu::softmmu
