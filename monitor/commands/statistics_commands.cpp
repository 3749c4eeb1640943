// SPDX-License-Identifier: Apache-2.0
// query-stats: what the accelerator counts, for programs. Its provider is called as the accelerator, "tcg" or "kvm".
#include <cctype>

#include "monitor/commands.h"
#include "monitor/monitors.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

enum class StatsProvider : u8 { Kvm, Tcg };
constexpr EnumNames enum_names(StatsProvider) { return {"StatsProvider", {"kvm", "tcg"}}; }
enum class StatsTarget : u8 { Vm, Vcpu };
constexpr EnumNames enum_names(StatsTarget) { return {"StatsTarget", {"vm", "vcpu"}}; }
enum class StatsType : u8 { Cumulative, Instant };
constexpr EnumNames enum_names(StatsType) { return {"StatsType", {"cumulative", "instant"}}; }

struct StatsRequest {
  static constexpr const char* kName = "StatsRequest";
  StatsProvider provider = StatsProvider::Kvm;
  std::optional<std::vector<std::string>> names;
  void members(auto& m) {
    m("provider", provider);
    m("names", names);
  }
};
struct StatsVcpuFilter {
  static constexpr const char* kName = "StatsVCPUFilter";
  std::optional<std::vector<std::string>> vcpus;
  void members(auto& m) { m("vcpus", vcpus); }
};
struct StatsFilter {
  static constexpr const char* kName = "StatsFilter";
  StatsTarget target = StatsTarget::Vm;
  std::optional<std::vector<StatsRequest>> providers;
  StatsVcpuFilter vcpu;
  void members(auto& m) {
    m.tag("target", target);
    m("providers", providers);
    m.when(StatsTarget::Vcpu, vcpu);
  }
};
struct Stats {
  static constexpr const char* kName = "Stats";
  std::string name;
  Json value;
  void members(auto& m) {
    m("name", name);
    m("value", value);
  }
};
struct StatsResult {
  static constexpr const char* kName = "StatsResult";
  StatsProvider provider = StatsProvider::Tcg;
  std::optional<std::string> qom_path;
  std::vector<Stats> stats;
  void members(auto& m) {
    m("provider", provider);
    m("qom-path", qom_path);
    m("stats", stats);
  }
};

/// One "vCPU N" part of the accelerator's text, or what stands before the first.
struct Counters {
  std::optional<u64> vcpu;
  std::vector<Stats> values;
};

/// The accelerator's counters are lines of a name of several words and a number; programs get names with dashes.
std::vector<Counters> read_counters(const std::string& text) {
  std::vector<Counters> parts(1);
  for (const std::string_view line : split(text, '\n')) {
    const std::string_view words = trim(line);
    const std::size_t gap = words.rfind(' ');
    if (gap == std::string_view::npos) continue;
    const auto number = parse_u64(words.substr(gap + 1));
    if (!number) continue;
    std::string name(trim(words.substr(0, gap)));
    if (name == "vCPU") {
      parts.push_back({*number, {}});
      continue;
    }
    for (char& c : name) {
      if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '-';
    }
    parts.back().values.push_back({to_lower(name), *number});
  }
  return parts;
}

StatsProvider provider_of(CommandContext& context) {
  return context.control.accelerator().name() == "kvm" ? StatsProvider::Kvm : StatsProvider::Tcg;
}

Result<std::vector<StatsResult>> query_stats(CommandContext& context, const StatsFilter& filter) {
  std::vector<StatsResult> results;
  const StatsRequest* request = nullptr;
  if (filter.providers) {
    for (const StatsRequest& one : *filter.providers) {
      if (one.provider == provider_of(context)) request = &one;
    }
    if (request == nullptr) return results;
  }
  for (Counters& part : read_counters(context.control.accelerator().statistics())) {
    if (part.vcpu.has_value() != (filter.target == StatsTarget::Vcpu)) continue;
    StatsResult result{.provider = provider_of(context), .qom_path = {}, .stats = {}};
    if (part.vcpu) {
      result.qom_path = context.control.cpu_path(unsigned(*part.vcpu));
      const auto& wanted = filter.vcpu.vcpus;
      if (wanted && std::find(wanted->begin(), wanted->end(), *result.qom_path) == wanted->end()) continue;
    }
    for (Stats& value : part.values) {
      if (request != nullptr && request->names &&
          std::find(request->names->begin(), request->names->end(), value.name) == request->names->end()) {
        continue;
      }
      result.stats.push_back(std::move(value));
    }
    if (!result.stats.empty()) results.push_back(std::move(result));
  }
  return results;
}

struct SchemasArguments {
  static constexpr const char* kName = "StatsSchemasArguments";
  std::optional<StatsProvider> provider;
  void members(auto& m) { m("provider", provider); }
};
struct StatsSchemaValue {
  static constexpr const char* kName = "StatsSchemaValue";
  std::string name;
  StatsType type = StatsType::Cumulative;
  int exponent = 0;
  void members(auto& m) {
    m("name", name);
    m("type", type);
    m("exponent", exponent);
  }
};
struct StatsSchema {
  static constexpr const char* kName = "StatsSchema";
  StatsProvider provider = StatsProvider::Tcg;
  StatsTarget target = StatsTarget::Vm;
  std::vector<StatsSchemaValue> stats;
  void members(auto& m) {
    m("provider", provider);
    m("target", target);
    m("stats", stats);
  }
};
Result<std::vector<StatsSchema>> query_stats_schemas(CommandContext& context, const SchemasArguments& arguments) {
  std::vector<StatsSchema> schemas;
  const StatsProvider provider = provider_of(context);
  if (arguments.provider.value_or(provider) != provider) return schemas;
  StatsSchema vm{.provider = provider, .target = StatsTarget::Vm, .stats = {}};
  StatsSchema vcpu{.provider = provider, .target = StatsTarget::Vcpu, .stats = {}};
  for (const Counters& part : read_counters(context.control.accelerator().statistics())) {
    StatsSchema& schema = part.vcpu ? vcpu : vm;
    for (const Stats& value : part.values) {
      const auto same = [&](const StatsSchemaValue& known) { return known.name == value.name; };
      if (std::any_of(schema.stats.begin(), schema.stats.end(), same)) continue;
      schema.stats.push_back(
          {value.name, value.name.ends_with("in-use") ? StatsType::Instant : StatsType::Cumulative, 0});
    }
  }
  for (StatsSchema* schema : {&vm, &vcpu}) {
    if (!schema->stats.empty()) schemas.push_back(std::move(*schema));
  }
  return schemas;
}

}  // namespace

void register_statistics_commands(CommandRegistry& registry) {
  registry.add(qmp("query-stats", query_stats));
  registry.add(qmp("query-stats-schemas", query_stats_schemas));
}

}  // namespace emu::monitor
