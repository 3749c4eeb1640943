// SPDX-License-Identifier: Apache-2.0
// What the machine that runs is made of: CPUs, memory, PCI. What there is none of is an empty list.
#include "hw/pci/pci_bus.h"
#include "monitor/commands.h"
#include "monitor/monitors.h"
#include "monitor/property_json.h"

namespace emu::monitor {
namespace {

struct CpuProperties {
  static constexpr const char* kName = "CpuInstanceProperties";
  std::optional<u64> socket_id, die_id, core_id, thread_id;
  void members(auto& m) {
    m("socket-id", socket_id);
    m("die-id", die_id);
    m("core-id", core_id);
    m("thread-id", thread_id);
  }
};

CpuProperties place_of(const hw::CpuTopology& topology, u64 index) {
  CpuProperties place;
  place.thread_id = index % topology.threads;
  place.core_id = index / topology.threads % topology.cores;
  if (topology.dies > 1) place.die_id = index / topology.threads / topology.cores % topology.dies;
  place.socket_id = index / topology.threads / topology.cores / topology.dies;
  return place;
}

struct CpuInfoFast {
  static constexpr const char* kName = "CpuInfoFast";
  u64 cpu_index = 0;
  std::string qom_path;
  i64 thread_id = 0;
  std::optional<CpuProperties> props;
  std::string target;
  void members(auto& m) {
    m("cpu-index", cpu_index);
    m("qom-path", qom_path);
    m("thread-id", thread_id);
    m("props", props);
    m("target", target);
  }
};
Result<std::vector<CpuInfoFast>> query_cpus_fast(CommandContext& context) {
  MachineControl& control = context.control;
  std::vector<CpuInfoFast> list;
  for (u64 i = 0; i < control.board().cpus().size(); i++) {
    list.push_back({i, control.cpu_path(unsigned(i)), control.accelerator().thread_id(unsigned(i)),
                    place_of(control.topology(), i), std::string(control.target())});
  }
  return list;
}

struct HotpluggableCpu {
  static constexpr const char* kName = "HotpluggableCPU";
  std::string type;
  i64 vcpus_count = 1;
  CpuProperties props;
  std::optional<std::string> qom_path;
  void members(auto& m) {
    m("type", type);
    m("vcpus-count", vcpus_count);
    m("props", props);
    m("qom-path", qom_path);
  }
};
/// CPUs cannot be plugged in: those there are fill every place.
Result<std::vector<HotpluggableCpu>> query_hotpluggable_cpus(CommandContext& context) {
  MachineControl& control = context.control;
  const u64 count = control.board().cpus().size();
  if (count == 0) return error("The feature 'query-hotpluggable-cpus' is not enabled");
  std::vector<HotpluggableCpu> list;
  for (u64 i = count; i-- > 0;) {
    const std::string path = control.cpu_path(unsigned(i));
    const qom::Object* object = control.machine().tree().find(path);
    list.push_back({object == nullptr ? "" : object->type().name(), 1, place_of(control.topology(), i), path});
  }
  return list;
}

struct MemoryInfo {
  static constexpr const char* kName = "MemoryInfo";
  u64 base_memory = 0;
  std::optional<u64> plugged_memory;
  void members(auto& m) {
    m("base-memory", base_memory);
    m("plugged-memory", plugged_memory);
  }
};
Result<MemoryInfo> query_memory_size_summary(CommandContext& context) {
  return MemoryInfo{context.control.ram_bytes(), 0};
}

enum class HostMemPolicy : u8 { Default, Preferred, Bind, Interleave };
constexpr EnumNames enum_names(HostMemPolicy) {
  return {"HostMemPolicy", {"default", "preferred", "bind", "interleave"}};
}
struct Memdev {
  static constexpr const char* kName = "Memdev";
  std::optional<std::string> id;
  u64 size = 0;
  bool merge = false, dump = true, prealloc = false, share = false;
  std::vector<u16> host_nodes;
  HostMemPolicy policy = HostMemPolicy::Default;
  void members(auto& m) {
    m("id", id);
    m("size", size);
    m("merge", merge);
    m("dump", dump);
    m("prealloc", prealloc);
    m("share", share);
    m("host-nodes", host_nodes);
    m("policy", policy);
  }
};
Result<std::vector<Memdev>> query_memdev(CommandContext& context) {
  std::vector<Memdev> list;
  const auto read = [](const qom::Object& object, const char* name) {
    const auto value = object.get(name);
    return value ? to_json(*value) : Json();
  };
  for (const auto& child : context.control.machine().tree().container("/objects").children()) {
    if (!child->type().name().starts_with("memory-backend-")) continue;
    Memdev memdev{.id = child->name()};
    if (const Json size = read(*child, "size"); size.is_number_integer()) memdev.size = size.get<u64>();
    memdev.prealloc = read(*child, "prealloc") == Json(true);
    memdev.share = read(*child, "share") == Json(true);
    list.push_back(std::move(memdev));
  }
  return list;
}

// ---- PCI

struct PciDeviceClass {
  static constexpr const char* kName = "PciDeviceClass";
  std::optional<std::string> desc;
  u16 class_code = 0;
  void members(auto& m) {
    m("desc", desc);
    m("class", class_code);
  }
};
struct PciDeviceId {
  static constexpr const char* kName = "PciDeviceId";
  u16 device = 0, vendor = 0;
  std::optional<u16> subsystem, subsystem_vendor;
  void members(auto& m) {
    m("device", device);
    m("vendor", vendor);
    m("subsystem", subsystem);
    m("subsystem-vendor", subsystem_vendor);
  }
};
struct PciMemoryRegion {
  static constexpr const char* kName = "PciMemoryRegion";
  unsigned bar = 0;
  std::string type;
  i64 address = -1;  ///< -1: not mapped
  u64 size = 0;
  std::optional<bool> prefetch, mem_type_64;
  void members(auto& m) {
    m("bar", bar);
    m("type", type);
    m("address", address);
    m("size", size);
    m("prefetch", prefetch);
    m("mem_type_64", mem_type_64);
  }
};
struct PciMemoryRange {
  static constexpr const char* kName = "PciMemoryRange";
  i64 base = 0, limit = 0;
  void members(auto& m) {
    m("base", base);
    m("limit", limit);
  }
};
struct PciBusInfo {
  static constexpr const char* kName = "PciBusInfo";
  unsigned number = 0, secondary = 0, subordinate = 0;
  PciMemoryRange io_range, memory_range, prefetchable_range;
  void members(auto& m) {
    m("number", number);
    m("secondary", secondary);
    m("subordinate", subordinate);
    m("io_range", io_range);
    m("memory_range", memory_range);
    m("prefetchable_range", prefetchable_range);
  }
};
struct PciDeviceInfo;
struct PciBridgeInfo {
  static constexpr const char* kName = "PciBridgeInfo";
  PciBusInfo bus;
  std::optional<std::vector<PciDeviceInfo>> devices;
  void members(auto& m) {
    m("bus", bus);
    m("devices", devices);
  }
};
struct PciDeviceInfo {
  static constexpr const char* kName = "PciDeviceInfo";
  unsigned bus = 0, slot = 0, function = 0;
  PciDeviceClass class_info;
  PciDeviceId id;
  std::optional<unsigned> irq;
  unsigned irq_pin = 0;
  std::string qdev_id;
  std::optional<PciBridgeInfo> bridge;
  std::vector<PciMemoryRegion> regions;
  void members(auto& m) {
    m("bus", bus);
    m("slot", slot);
    m("function", function);
    m("class_info", class_info);
    m("id", id);
    m("irq", irq);
    m("irq_pin", irq_pin);
    m("qdev_id", qdev_id);
    m("pci_bridge", bridge);
    m("regions", regions);
  }
};
struct PciInfo {
  static constexpr const char* kName = "PciInfo";
  unsigned bus = 0;
  std::vector<PciDeviceInfo> devices;
  void members(auto& m) {
    m("bus", bus);
    m("devices", devices);
  }
};

PciDeviceInfo describe_function(const hw::PciFunctionInfo& f) {
  PciDeviceInfo info{.bus = f.bus, .slot = f.slot, .function = f.function};
  info.class_info = {hw::pci_class_title(f.class_code), f.class_code};
  info.id = {f.device, f.vendor, f.subsystem, f.subsystem_vendor};
  if (f.bridge) {
    const auto range = [](const auto& window) { return PciMemoryRange{i64(window.base), i64(window.limit)}; };
    const auto& b = *f.bridge;
    info.id.subsystem.reset();
    info.id.subsystem_vendor.reset();
    info.bridge = PciBridgeInfo{
        {b.primary, b.secondary, b.subordinate, range(b.io), range(b.memory), range(b.prefetchable)}, {}};
    if (b.secondary != 0) {
      info.bridge->devices.emplace();
      for (const hw::PciFunctionInfo& behind : f.behind) info.bridge->devices->push_back(describe_function(behind));
    }
  }
  if (f.irq_pin != 0) info.irq = f.irq_line;
  info.irq_pin = f.irq_pin;
  info.qdev_id = f.id;
  for (const auto& region : f.regions) {
    PciMemoryRegion out{region.bar, region.io ? "io" : "memory", region.address ? i64(*region.address) : -1,
                        region.size, {}, {}};
    if (!region.io) {
      out.prefetch = region.prefetchable;
      out.mem_type_64 = region.is_64bit;
    }
    info.regions.push_back(std::move(out));
  }
  return info;
}

/// The PCI buses that hang on no other.
std::vector<hw::PciBus*> pci_roots(CommandContext& context) {
  std::vector<hw::PciBus*> roots;
  context.control.machine().tree().root().visit([&](qom::Object& object) {
    auto* bus = dynamic_cast<hw::PciBus*>(&object);
    if (bus != nullptr && dynamic_cast<hw::PciDevice*>(bus->owner()) == nullptr) roots.push_back(bus);
  });
  return roots;
}

Result<std::vector<PciInfo>> query_pci(CommandContext& context) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  std::vector<PciInfo> list;
  for (const hw::PciBus* root : pci_roots(context)) {
    list.push_back({root->number(), {}});
    for (const hw::PciFunctionInfo& f : hw::enumerate_pci(*root)) list.back().devices.push_back(describe_function(f));
  }
  return list;
}

Result<Reply> info_pci(CommandContext& context, const Arguments&) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  const auto roots = pci_roots(context);
  if (roots.empty()) return Reply{"PCI devices not available\n"};
  std::string text;
  for (const hw::PciBus* root : roots) text += hw::describe_pci(*root);
  return Reply{std::move(text)};
}

// ---- what there is none of yet

struct NamedThing {
  static constexpr const char* kName = "NamedThing";
  std::string id;
  void members(auto& m) { m("id", id); }
};
Result<std::vector<NamedThing>> query_none(CommandContext&) { return std::vector<NamedThing>(); }

enum class DisplayKind : u8 { Default, None };
constexpr EnumNames enum_names(DisplayKind) { return {"DisplayType", {"default", "none"}}; }
struct DisplayOptions {
  static constexpr const char* kName = "DisplayOptions";
  DisplayKind type = DisplayKind::None;
  void members(auto& m) { m("type", type); }
};
Result<DisplayOptions> query_display_options(CommandContext&) { return DisplayOptions{}; }

Result<Reply> info_memdev(CommandContext& context, const Arguments&) {
  std::string text;
  for (const Memdev& memdev : EMU_TRY(query_memdev(context))) {
    text += fmt::format("memory backend: {}\n  size:  {}\n  prealloc: {}\n", memdev.id.value_or(""), memdev.size,
                        memdev.prealloc);
  }
  return Reply{std::move(text)};
}

}  // namespace

void register_machine_commands(CommandRegistry& registry) {
  registry.add(qmp("query-cpus-fast", query_cpus_fast));
  registry.add(qmp("query-hotpluggable-cpus", query_hotpluggable_cpus, {.before_machine = true}));
  registry.add(qmp("query-memory-size-summary", query_memory_size_summary));
  registry.add(qmp("query-memdev", query_memdev, {.before_machine = true}));
  registry.add(qmp("query-pci", query_pci));
  registry.add(qmp("query-memory-devices", query_none));
  registry.add(qmp("query-display-options", query_display_options));

  registry.add({.name = "info pci", .help = "show PCI info", .run = info_pci});
  registry.add({.name = "info memdev", .help = "show memory backends", .run = info_memdev});
}

}  // namespace emu::monitor
