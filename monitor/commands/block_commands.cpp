// SPDX-License-Identifier: Apache-2.0
// Disks at run time: nodes, media, sizes and limits. What they are is told in block_queries.cpp.
#include <algorithm>

#include "block/block_store.h"
#include "monitor/commands.h"
#include "monitor/commands/block_schema.h"
#include "monitor/events.h"
#include "monitor/monitors.h"
#include "util/string.h"

namespace emu::monitor {
namespace {

using block::BlockStore;
using block::DiskBackend;

BlockStore& disks(CommandContext& context) { return context.control.disks(); }

/// The drive that `id` (of a device) or `device` (its own id, older) names.
Result<DiskBackend*> find_drive(CommandContext& context, const std::optional<std::string>& id,
                                const std::optional<std::string>& device) {
  if (id && device) return error("Need exactly one of 'device' and 'id'");
  if (!id && !device) return error("Need exactly one of 'device' and 'id'");
  DiskBackend* const found = id ? disks(context).find_by_device(*id) : disks(context).find_drive(*device);
  if (found != nullptr) return found;
  return error(Error(fmt::format("Device '{}' not found", id ? *id : *device), ErrorClass::DeviceNotFound));
}

Result<block::NodeRef> find_node(CommandContext& context, const std::optional<std::string>& device,
                                 const std::optional<std::string>& node_name) {
  if (device.has_value() == node_name.has_value()) return error("Need exactly one of 'device' and 'node-name'");
  if (device) {
    DiskBackend* const drive = disks(context).find_drive(*device);
    if (drive == nullptr) {
      return error(Error(fmt::format("Device '{}' not found", *device), ErrorClass::DeviceNotFound));
    }
    if (!drive->root()) return error("Device '{}' has no medium", *device);
    return drive->root();
  }
  if (auto node = disks(context).graph().find(*node_name)) return node;
  return error("Cannot find device='' nor node-name='{}'", *node_name);
}

template <typename T>
T wait_for(CommandContext& context, Task<T> task) {
  return run_sync(context.monitors.loop(), std::move(task));
}

// ---- Nodes

Result<void> blockdev_add(CommandContext& context, const BlockdevAddArguments& arguments) {
  auto pairs = EMU_TRY(block::flatten_json(arguments.description()));
  EMU_TRY(disks(context).add_node(Options(std::move(pairs))));
  return {};
}

struct NodeNameArguments {
  static constexpr const char* kName = "BlockdevDelArguments";
  std::string node_name;
  void members(auto& m) { m("node-name", node_name); }
};
Result<void> blockdev_del(CommandContext& context, const NodeNameArguments& arguments) {
  return disks(context).remove_node(arguments.node_name);
}

struct ReopenArguments {
  static constexpr const char* kName = "BlockdevReopenArguments";
  std::vector<BlockdevAddArguments> options;
  void members(auto& m) { m("options", options); }
};

/// Another child, by name: "file" or "backing". What it is given in full must be what it is.
Result<void> reopen_child(CommandContext& context, const block::NodeRef& node, const std::string& role,
                          const std::string& name) {
  const auto children = node->children();
  const auto now = std::ranges::find(children, role, &block::Child::role);
  const bool none = role == "backing" && (name.empty() || name == "null");
  if (now == children.end()) {
    if (none) return {};
    return error("node '{}' has no child '{}' that could be replaced", node->name(), role);
  }
  if (none) return error("node '{}': its backing image cannot be taken away", node->name());
  if (now->node->name() == name) return {};
  block::NodeRef child = disks(context).graph().find(name);
  if (!child) return error("Cannot find device='' nor node-name='{}'", name);
  return wait_for(context, disks(context).graph().replace_child(node, role, std::move(child)));
}

Result<void> reopen_one(CommandContext& context, const BlockdevAddArguments& given) {
  block::NodeGraph& graph = disks(context).graph();
  if (!given.node_name) return error("node-name not specified");
  block::NodeRef node = graph.find(*given.node_name);
  if (!node) return error("Failed to find node with node-name='{}'", *given.node_name);
  if (given.driver != node->driver()) return error("Cannot change the option 'driver'");
  Options options(EMU_TRY(block::flatten_json(given.description())));
  options.take("driver");
  options.take("node-name");
  const block::NodeSettings before = graph.settings(*node);
  // As when it was opened: what is not said is the default.
  const bool read_only = EMU_TRY(options.take_bool_or("read-only", false));
  EMU_TRY(options.take_bool_or("auto-read-only", false));
  if (EMU_TRY(options.take_bool_or("cache.direct", false)) != before.direct) {
    return error("Cannot change the option 'cache.direct'");
  }
  if (EMU_TRY(options.take_bool_or("cache.no-flush", false)) != before.no_flush) {
    return error("Cannot change the option 'cache.no-flush'");
  }
  const auto discard = EMU_TRY(options.take_enum("discard", {"ignore", "unmap"}));
  const auto detect = EMU_TRY(options.take_enum("detect-zeroes", {"off", "on", "unmap"}));
  if (detect.value_or(0) == 2 && discard.value_or(0) != 1) {
    return error("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  }
  std::vector<std::pair<std::string, std::string>> children;
  for (const char* role : {"file", "backing", "data-file"}) {
    if (auto name = options.take(role)) children.emplace_back(role, std::move(*name));
  }
  for (const auto& [key, value] : options.take_rest()) {
    const auto& old = graph.options(*node);
    const bool same = std::ranges::any_of(old, [&name = key, &wanted = value](const auto& pair) {
      return pair.first == name && pair.second == wanted;
    });
    if (!same) return error("Cannot change the option '{}'", key);
  }
  for (const auto& [role, name] : children) EMU_TRY(reopen_child(context, node, role, name));
  if (read_only != node->is_read_only()) EMU_TRY(wait_for(context, graph.set_read_only(node, read_only)));
  graph.settings(*node).unmap = discard.value_or(0) == 1;
  graph.settings(*node).detect_zeroes = block::DetectZeroes(detect.value_or(0));
  for (DiskBackend* drive : disks(context).backends()) {
    if (drive->root() == node) drive->settings_changed();
  }
  return {};
}

Result<void> blockdev_reopen(CommandContext& context, const ReopenArguments& arguments) {
  for (const BlockdevAddArguments& one : arguments.options) EMU_TRY(reopen_one(context, one));
  return {};
}

struct ResizeArguments {
  static constexpr const char* kName = "BlockResizeArguments";
  std::optional<std::string> device, node_name;
  i64 size = 0;
  void members(auto& m) {
    m("device", device);
    m("node-name", node_name);
    m("size", size);
  }
};
Result<void> block_resize(CommandContext& context, const ResizeArguments& arguments) {
  block::NodeRef node = EMU_TRY(find_node(context, arguments.device, arguments.node_name));
  if (arguments.size < 0) return error("Parameter 'size' expects a >0 size");
  if (node->is_read_only()) return error("Block node '{}' is read-only", node->name());
  return wait_for(context,
                  disks(context).graph().truncate(node, u64(arguments.size), block::Preallocation::Off));
}

// ---- Media

struct TrayArguments {
  static constexpr const char* kName = "BlockdevOpenTrayArguments";
  std::optional<std::string> device, id;
  std::optional<bool> force;
  void members(auto& m) {
    m("device", device);
    m("id", id);
    m("force", force);
  }
};
struct DriveArguments {
  static constexpr const char* kName = "BlockdevDriveArguments";
  std::optional<std::string> device, id;
  void members(auto& m) {
    m("device", device);
    m("id", id);
  }
};
struct InsertArguments {
  static constexpr const char* kName = "BlockdevInsertMediumArguments";
  std::string id, node_name;
  void members(auto& m) {
    m("id", id);
    m("node-name", node_name);
  }
};

std::string name_of(const DiskBackend& drive) {
  if (!drive.settings().id.empty()) return drive.settings().id;
  const std::string device = drive.device_name();
  return device.empty() ? drive.name() : device;
}

void tell_tray(CommandContext& context, DiskBackend& drive, bool open) {
  context.monitors.emit("DEVICE_TRAY_MOVED", TrayMovedEvent{drive.settings().id, drive.device_name(), open});
}

/// `loads`: the medium is in (the tray closes over it), or comes out (the tray opens).
void tell_device(CommandContext& context, DiskBackend& drive, bool loads, bool was_open) {
  if (drive.frontend() == nullptr) return;
  {
    mem::MachineLockScope guard(context.control.machine().memory().lock());
    drive.frontend()->medium_changed(loads);
  }
  if (drive.is_tray_open() != was_open) tell_tray(context, drive, drive.is_tray_open());
}

Result<void> require_removable(const DiskBackend& drive) {
  if (drive.is_removable()) return {};
  return error("Device '{}' is not removable", name_of(drive));
}

Result<void> open_tray(CommandContext& context, DiskBackend& drive, bool force) {
  EMU_TRY(require_removable(drive));
  if (drive.frontend() == nullptr || drive.is_tray_open()) return {};
  bool locked = false;
  {
    mem::MachineLockScope guard(context.control.machine().memory().lock());
    locked = drive.frontend()->is_medium_locked();
    if (locked) drive.frontend()->eject_requested(force);
  }
  if (locked && !force) {
    return error("Device '{}' is locked and force was not specified, wait for tray to open and try again",
                 name_of(drive));
  }
  tell_device(context, drive, false, /*was_open=*/false);  // a drive that was forced has opened its tray already
  return {};
}

Result<void> blockdev_open_tray(CommandContext& context, const TrayArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, arguments.device));
  return open_tray(context, *drive, arguments.force.value_or(false));
}

Result<void> blockdev_close_tray(CommandContext& context, const DriveArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, arguments.device));
  EMU_TRY(require_removable(*drive));
  if (drive->is_tray_open()) tell_device(context, *drive, true, /*was_open=*/true);
  return {};
}

Result<void> remove_medium(CommandContext& context, DiskBackend& drive) {
  EMU_TRY(require_removable(drive));
  const bool has_tray = drive.frontend() != nullptr && drive.frontend()->is_removable();
  if (has_tray && !drive.is_tray_open()) return error("Tray of device '{}' is not open", name_of(drive));
  return disks(context).eject(drive);
}
Result<void> blockdev_remove_medium(CommandContext& context, const DriveArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, arguments.device));
  return remove_medium(context, *drive);
}

Result<void> check_empty(const DiskBackend& drive) {
  EMU_TRY(require_removable(drive));
  if (drive.root()) return error("There already is a medium in device '{}'", name_of(drive));
  return {};
}
Result<void> blockdev_insert_medium(CommandContext& context, const InsertArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, std::nullopt));
  EMU_TRY(check_empty(*drive));
  const bool has_tray = drive->frontend() != nullptr && drive->frontend()->is_removable();
  if (has_tray && !drive->is_tray_open()) return error("Tray of device '{}' is not open", name_of(*drive));
  block::NodeRef node = disks(context).graph().find(arguments.node_name);
  if (!node) return error("Failed to find node with node-name='{}'", arguments.node_name);
  if (disks(context).graph().is_used(*node)) return error("Node '{}' is already in use", node->name());
  return disks(context).insert_node(*drive, std::move(node));
}

enum class ReadOnlyMode : u8 { Retain, ReadOnly, ReadWrite };
constexpr EnumNames enum_names(ReadOnlyMode) {
  return {"BlockdevChangeReadOnlyMode", {"retain", "read-only", "read-write"}};
}
struct ChangeMediumArguments {
  static constexpr const char* kName = "BlockdevChangeMediumArguments";
  std::optional<std::string> device, id;
  std::string filename;
  std::optional<std::string> format;
  std::optional<bool> force;
  std::optional<ReadOnlyMode> read_only_mode;
  void members(auto& m) {
    m("device", device);
    m("id", id);
    m("filename", filename);
    m("format", format);
    m("force", force);
    m("read-only-mode", read_only_mode);
  }
};
Result<void> change_medium(CommandContext& context, DiskBackend& drive, const ChangeMediumArguments& arguments) {
  EMU_TRY(require_removable(drive));
  bool read_only = drive.is_read_only();
  if (arguments.read_only_mode == ReadOnlyMode::ReadOnly) read_only = true;
  if (arguments.read_only_mode == ReadOnlyMode::ReadWrite) read_only = false;
  Options options;
  options.set("filename", arguments.filename);
  if (arguments.format) options.set("driver", *arguments.format);
  options.set("read-only", read_only ? "on" : "off");
  options.set("auto-read-only", "on");
  // Opened first: when that fails the old medium stays.
  block::NodeRef node = EMU_TRY(wait_for(context, disks(context).graph().open(std::move(options))));
  const auto drives = disks(context).backends();
  Result<void> changed;
  if (std::ranges::find(drives, &drive) == drives.end()) {
    changed = error("the drive went with its device, which the guest let go meanwhile");
  } else {
    changed = open_tray(context, drive, arguments.force.value_or(false));
  }
  if (changed) changed = disks(context).eject(drive);
  if (changed) changed = disks(context).insert_node(drive, node);
  auto released = wait_for(context, disks(context).graph().release(node));
  EMU_TRY(std::move(changed));
  tell_device(context, drive, true, drive.is_tray_open());
  return released;
}
Result<void> blockdev_change_medium(CommandContext& context, const ChangeMediumArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, arguments.device));
  return change_medium(context, *drive, arguments);
}

Result<void> eject(CommandContext& context, const TrayArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, arguments.device));
  EMU_TRY(open_tray(context, *drive, arguments.force.value_or(false)));
  return disks(context).eject(*drive);
}

// ---- Limits

struct ThrottleArguments {
  static constexpr const char* kName = "BlockIOThrottle";
  std::optional<std::string> device, id;
  u64 average[block::kThrottledCount] = {};
  std::optional<u64> most[block::kThrottledCount], length[block::kThrottledCount];
  std::optional<u64> iops_size;
  std::optional<std::string> group;
  void members(auto& m) {
    static constexpr const char* kNames[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"};
    static constexpr const char* kMost[] = {"bps_max",  "bps_rd_max",  "bps_wr_max",
                                            "iops_max", "iops_rd_max", "iops_wr_max"};
    static constexpr const char* kLength[] = {"bps_max_length",  "bps_rd_max_length",  "bps_wr_max_length",
                                              "iops_max_length", "iops_rd_max_length", "iops_wr_max_length"};
    m("device", device);
    m("id", id);
    for (unsigned i = 0; i < block::kThrottledCount; i++) m(kNames[i], average[i]);
    for (unsigned i = 0; i < block::kThrottledCount; i++) m(kMost[i], most[i]);
    for (unsigned i = 0; i < block::kThrottledCount; i++) m(kLength[i], length[i]);
    m("iops_size", iops_size);
    m("group", group);
  }
};
Result<void> block_set_io_throttle(CommandContext& context, const ThrottleArguments& arguments) {
  DiskBackend* drive = EMU_TRY(find_drive(context, arguments.id, arguments.device));
  if (!drive->root()) return error("Device '{}' has no medium", name_of(*drive));
  block::ThrottleConfig limits;
  for (unsigned i = 0; i < block::kThrottledCount; i++) {
    limits.limits[i] = {arguments.average[i], arguments.most[i].value_or(0), arguments.length[i].value_or(1)};
  }
  limits.iops_size = arguments.iops_size.value_or(0);
  return disks(context).set_limits(*drive, arguments.group.value_or(""), limits);
}

// ---- For people

Result<DiskBackend*> drive_for_person(CommandContext& context, const std::string& name) {
  if (DiskBackend* drive = disks(context).find_drive(name)) return drive;
  if (DiskBackend* drive = disks(context).find_by_device(name)) return drive;
  return error(Error(fmt::format("Device '{}' not found", name), ErrorClass::DeviceNotFound));
}

Result<Reply> hmp_eject(CommandContext& context, const Arguments& arguments) {
  DiskBackend* drive = EMU_TRY(drive_for_person(context, arguments.text("device")));
  EMU_TRY(open_tray(context, *drive, arguments.flag("f")));
  EMU_TRY(disks(context).eject(*drive));
  return Reply{};
}
Result<Reply> hmp_change(CommandContext& context, const Arguments& arguments) {
  DiskBackend* drive = EMU_TRY(drive_for_person(context, arguments.text("device")));
  ChangeMediumArguments change;
  change.filename = arguments.text("target");
  change.force = arguments.flag("f");
  if (arguments.has("format")) change.format = arguments.text("format");
  EMU_TRY(change_medium(context, *drive, change));
  return Reply{};
}
Result<Reply> hmp_block_resize(CommandContext& context, const Arguments& arguments) {
  ResizeArguments resize;
  const std::string name = arguments.text("device");
  if (disks(context).find_drive(name) != nullptr) {
    resize.device = name;
  } else {
    resize.node_name = name;
  }
  // A number without suffix counts MiB, as in QEMU.
  resize.size = i64(EMU_TRY(parse_size(arguments.text("size"), 1 << 20)));
  EMU_TRY(block_resize(context, resize));
  return Reply{};
}
Result<Reply> hmp_drive_add(CommandContext& context, const Arguments& arguments) {
  Options options = EMU_TRY(Options::parse(arguments.text("options")));
  const std::string interface = options.take("if").value_or("none");
  if (interface != "none") return error("Can't hot-add drive to type {}: say if=none, and device_add", interface);
  const bool is_cdrom = EMU_TRY(options.take_enum("media", {"disk", "cdrom"})).value_or(0) == 1;
  const std::string id = EMU_TRY(options.take_required("id"));
  block::DriveSpec spec = EMU_TRY(block::take_drive_spec(options, is_cdrom));
  spec.settings.id = id;
  EMU_TRY(disks(context).add_drive(std::move(spec)));
  return Reply{"OK\n"};
}
Result<Reply> hmp_drive_del(CommandContext& context, const Arguments& arguments) {
  DiskBackend* drive = EMU_TRY(drive_for_person(context, arguments.text("id")));
  EMU_TRY(disks(context).remove_drive(*drive));
  return Reply{};
}

}  // namespace

void register_block_commands(CommandRegistry& registry) {
  register_block_queries(registry);
  registry.add(qmp("blockdev-add", blockdev_add, {.before_machine = true}));
  registry.add(qmp("blockdev-del", blockdev_del, {.before_machine = true}));
  registry.add(qmp("blockdev-reopen", blockdev_reopen, {.before_machine = true}));
  registry.add(qmp("block_resize", block_resize));
  registry.add(qmp("blockdev-open-tray", blockdev_open_tray));
  registry.add(qmp("blockdev-close-tray", blockdev_close_tray));
  registry.add(qmp("blockdev-remove-medium", blockdev_remove_medium));
  registry.add(qmp("blockdev-insert-medium", blockdev_insert_medium));
  registry.add(qmp("blockdev-change-medium", blockdev_change_medium));
  registry.add(qmp("eject", eject));
  registry.add(qmp("block_set_io_throttle", block_set_io_throttle));

  registry.add({.name = "eject",
                .arguments = {{"f", ArgKind::Flag, Need::Optional}, {"device"}},
                .syntax = "[-f] device",
                .help = "eject a removable medium (-f: also when the guest has locked it)",
                .run = hmp_eject});
  registry.add({.name = "change",
                .arguments = {{"f", ArgKind::Flag, Need::Optional}, {"device"}, {"target"},
                              {"format", ArgKind::String, Need::Optional}},
                .syntax = "[-f] device filename [format]",
                .help = "change a removable medium",
                .run = hmp_change});
  registry.add({.name = "block_resize",
                .arguments = {{"device"}, {"size"}},
                .syntax = "device size",
                .help = "resize a block image; a size without suffix counts MiB",
                .run = hmp_block_resize});
  registry.add({.name = "drive_add",
                .arguments = {{"options", ArgKind::Rest}},
                .syntax = "if=none,id=ID[,KEY=VALUE...]",
                .help = "add a drive, like -drive on the command line",
                .run = hmp_drive_add});
  registry.add(
      {.name = "drive_del", .arguments = {{"id"}}, .syntax = "id", .help = "remove a drive", .run = hmp_drive_del});
}

}  // namespace emu::monitor
