// SPDX-License-Identifier: Apache-2.0
// What the program is and could be: version, commands, schema, machine types, CPU models, options. A management
// program reads these once, before it starts guests.
#include <cstdio>

#include "monitor/commands.h"
#include "monitor/monitors.h"
#include "monitor/version.h"

namespace emu::monitor {
namespace {

constexpr const char* kNilUuid = "00000000-0000-0000-0000-000000000000";

struct VersionTriple {
  static constexpr const char* kName = "VersionTriple";
  unsigned major = 0, minor = 0, micro = 0;
  void members(auto& m) {
    m("major", major);
    m("minor", minor);
    m("micro", micro);
  }
};
struct VersionInfo {
  static constexpr const char* kName = "VersionInfo";
  VersionTriple qemu;
  std::string package;
  void members(auto& m) {
    m("qemu", qemu);
    m("package", package);
  }
};
Result<VersionInfo> query_version(CommandContext&) {
  VersionInfo info{{}, fmt::format("system-emu {}", kVersion)};
  std::sscanf(std::string(kCompatibleVersion).c_str(), "%u.%u.%u", &info.qemu.major, &info.qemu.minor,
              &info.qemu.micro);
  return info;
}

struct CommandInfo {
  static constexpr const char* kName = "CommandInfo";
  std::string name;
  void members(auto& m) { m("name", name); }
};
Result<std::vector<CommandInfo>> query_commands(CommandContext& context) {
  std::vector<CommandInfo> list;
  for (const auto& [name, command] : context.registry.qmp_commands()) list.push_back({name});
  return list;
}

Result<std::vector<Json>> query_qmp_schema(CommandContext& context) {
  return context.registry.schema(&context.control.machine().tree().registry()).get<std::vector<Json>>();
}

struct NameInfo {
  static constexpr const char* kName = "NameInfo";
  std::optional<std::string> name;
  void members(auto& m) { m("name", name); }
};
Result<NameInfo> query_name(CommandContext& context) {
  const std::string name = context.control.guest_name();
  return name.empty() ? NameInfo{} : NameInfo{name};
}

struct UuidInfo {
  static constexpr const char* kName = "UuidInfo";
  std::string uuid;
  void members(auto& m) { m("UUID", uuid); }
};
Result<UuidInfo> query_uuid(CommandContext& context) {
  const std::string uuid = context.control.guest_uuid();
  return UuidInfo{uuid.empty() ? kNilUuid : uuid};
}

struct TargetInfo {
  static constexpr const char* kName = "TargetInfo";
  std::string arch;
  void members(auto& m) { m("arch", arch); }
};
Result<TargetInfo> query_target(CommandContext& context) { return TargetInfo{std::string(context.control.target())}; }

struct KvmInfo {
  static constexpr const char* kName = "KvmInfo";
  bool enabled = false, present = false;
  void members(auto& m) {
    m("enabled", enabled);
    m("present", present);
  }
};
Result<KvmInfo> query_kvm(CommandContext& context) {
  return KvmInfo{.enabled = context.control.accelerator().name() == "kvm", .present = true};
}

struct MachineInfo {
  static constexpr const char* kName = "MachineInfo";
  std::string name;
  std::optional<std::string> alias;
  std::optional<bool> is_default;
  unsigned cpu_max = 1;
  bool hotpluggable_cpus = false, numa_mem_supported = false, deprecated = false;
  std::optional<std::string> default_cpu_type, default_ram_id;
  void members(auto& m) {
    m("name", name);
    m("alias", alias);
    m("is-default", is_default);
    m("cpu-max", cpu_max);
    m("hotpluggable-cpus", hotpluggable_cpus);
    m("numa-mem-supported", numa_mem_supported);
    m("deprecated", deprecated);
    m("default-cpu-type", default_cpu_type);
    m("default-ram-id", default_ram_id);
  }
};
Result<std::vector<MachineInfo>> query_machines(CommandContext& context) {
  std::vector<MachineInfo> list;
  qom::ObjectTree& tree = context.control.machine().tree();
  for (const hw::MachineTypeInfo& type : hw::machine_types()) {
    MachineInfo info{.name = type.name};
    if (!type.alias.empty()) info.alias = type.alias;
    if (type.is_default) info.is_default = true;
    // A board that nothing was built on says what it would take.
    const auto object = EMU_TRY(tree.create(type.name + "-machine", "machine"));
    if (const auto* board = dynamic_cast<const hw::Board*>(object.get())) {
      info.cpu_max = board->max_cpus();
      if (!board->default_cpu().empty()) {
        info.default_cpu_type = fmt::format("{}-{}-cpu", board->default_cpu(), context.control.target());
      }
      if (!board->ram_id().empty()) info.default_ram_id = board->ram_id();
    }
    list.push_back(std::move(info));
  }
  return list;
}

struct CurrentMachine {
  static constexpr const char* kName = "CurrentMachineParams";
  bool wakeup_suspend_support = false;
  void members(auto& m) { m("wakeup-suspend-support", wakeup_suspend_support); }
};
Result<CurrentMachine> query_current_machine(CommandContext& context) {
  return CurrentMachine{!context.control.board().cpus().empty()};
}

Result<std::vector<CpuDefinition>> query_cpu_definitions(CommandContext& context) {
  return context.control.cpu_definitions();
}

enum class ExpansionType : u8 { Static, Full };
constexpr EnumNames enum_names(ExpansionType) { return {"CpuModelExpansionType", {"static", "full"}}; }
struct ExpansionArguments {
  static constexpr const char* kName = "CpuModelExpansionArguments";
  ExpansionType type = ExpansionType::Static;
  CpuModelInfo model;
  void members(auto& m) {
    m("type", type);
    m("model", model);
  }
};
struct ExpansionInfo {
  static constexpr const char* kName = "CpuModelExpansionInfo";
  CpuModelInfo model;
  void members(auto& m) { m("model", model); }
};
Result<ExpansionInfo> query_cpu_model_expansion(CommandContext& context, const ExpansionArguments& arguments) {
  const bool full = arguments.type == ExpansionType::Full;
  return ExpansionInfo{EMU_TRY(context.control.expand_cpu_model(arguments.model, full))};
}

struct OptionsArguments {
  static constexpr const char* kName = "CommandLineOptionsArguments";
  std::optional<std::string> option;
  void members(auto& m) { m("option", option); }
};
Result<std::vector<OptionInfo>> query_command_line_options(CommandContext& context, const OptionsArguments& arguments) {
  std::vector<OptionInfo> list = context.control.command_line_options();
  if (!arguments.option) return list;
  std::erase_if(list, [&](const OptionInfo& info) { return info.option != *arguments.option; });
  if (list.empty()) return error("invalid option name: {}", *arguments.option);
  return list;
}

enum class MigrationCapability : u8 { Events };
constexpr EnumNames enum_names(MigrationCapability) { return {"MigrationCapability", {"events"}}; }
struct MigrationCapabilityStatus {
  static constexpr const char* kName = "MigrationCapabilityStatus";
  MigrationCapability capability = MigrationCapability::Events;
  bool state = false;
  void members(auto& m) {
    m("capability", capability);
    m("state", state);
  }
};
/// There is no migration yet. Whether it would be told of is all that can be said about it; libvirt insists on saying
/// so.
Result<std::vector<MigrationCapabilityStatus>> query_migrate_capabilities(CommandContext& context) {
  return std::vector<MigrationCapabilityStatus>{{MigrationCapability::Events, context.monitors.migration_events}};
}

struct SetCapabilitiesArguments {
  static constexpr const char* kName = "MigrateSetCapabilitiesArguments";
  std::vector<MigrationCapabilityStatus> capabilities;
  void members(auto& m) { m("capabilities", capabilities); }
};
Result<void> migrate_set_capabilities(CommandContext& context, const SetCapabilitiesArguments& arguments) {
  for (const MigrationCapabilityStatus& one : arguments.capabilities) context.monitors.migration_events = one.state;
  return {};
}

Result<std::vector<std::string>> query_nothing(CommandContext&) { return std::vector<std::string>(); }

Result<Reply> info_name(CommandContext& context, const Arguments&) {
  const std::string name = context.control.guest_name();
  return Reply{name.empty() ? "" : name + "\n"};
}
Result<Reply> info_uuid(CommandContext& context, const Arguments&) {
  return Reply{EMU_TRY(query_uuid(context)).uuid + "\n"};
}
Result<Reply> info_version(CommandContext&, const Arguments&) { return Reply{fmt::format("{}\n", kVersionLine)}; }

}  // namespace

void register_identity_commands(CommandRegistry& registry) {
  const QmpTraits early{.before_machine = true};
  registry.add(qmp("query-version", query_version, early));
  registry.add(qmp("query-commands", query_commands, early));
  registry.add(qmp("query-qmp-schema", query_qmp_schema, early));
  registry.add(qmp("query-name", query_name, early));
  registry.add(qmp("query-uuid", query_uuid, early));
  registry.add(qmp("query-target", query_target, early));
  registry.add(qmp("query-kvm", query_kvm));
  registry.add(qmp("query-machines", query_machines, early));
  registry.add(qmp("query-current-machine", query_current_machine));
  registry.add(qmp("query-cpu-definitions", query_cpu_definitions, early));
  registry.add(qmp("query-cpu-model-expansion", query_cpu_model_expansion, early));
  registry.add(qmp("query-command-line-options", query_command_line_options, early));
  registry.add(qmp("query-migrate-capabilities", query_migrate_capabilities));
  registry.add(qmp("migrate-set-capabilities", migrate_set_capabilities));
  registry.add(qmp("query-tpm-models", query_nothing));
  registry.add(qmp("query-tpm-types", query_nothing));

  registry.add({.name = "info name", .help = "show the current VM name", .run = info_name});
  registry.add({.name = "info uuid", .help = "show the current VM UUID", .run = info_uuid});
  registry.add({.name = "info version", .help = "show the version", .run = info_version});
}

}  // namespace emu::monitor
