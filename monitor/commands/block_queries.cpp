// SPDX-License-Identifier: Apache-2.0
// What disks there are, what they stand on and what they did: query-block*, query-named-block-nodes, query-iothreads.
#include <sys/stat.h>

#include "block/block_store.h"
#include "hw/core/io_thread.h"
#include "monitor/commands.h"
#include "monitor/commands/block_schema.h"
#include "monitor/monitors.h"

namespace emu::monitor {
namespace {

using block::DiskBackend;
using block::IoKind;

struct ImageInfo {
  static constexpr const char* kName = "ImageInfo";
  std::string filename, format;
  u64 virtual_size = 0;
  std::optional<u64> actual_size, cluster_size;
  std::optional<std::string> backing_filename, full_backing_filename, backing_format;
  std::optional<Json> backing_image;
  void members(auto& m) {
    m("filename", filename);
    m("format", format);
    m("virtual-size", virtual_size);
    m("actual-size", actual_size);
    m("cluster-size", cluster_size);
    m("backing-filename", backing_filename);
    m("full-backing-filename", full_backing_filename);
    m("backing-filename-format", backing_format);
    m("backing-image", backing_image);
  }
};
struct CacheInfo {
  static constexpr const char* kName = "BlockdevCacheInfo";
  bool writeback = true, direct = false, no_flush = false;
  void members(auto& m) {
    m("writeback", writeback);
    m("direct", direct);
    m("no-flush", no_flush);
  }
};
struct NodeInfo {
  static constexpr const char* kName = "BlockDeviceInfo";
  std::string file, drv;
  std::optional<std::string> node_name, backing_file;
  bool ro = false, encrypted = false;
  u64 backing_file_depth = 0;
  DetectName detect_zeroes = DetectName::Off;
  u64 average[block::kThrottledCount] = {};
  std::optional<u64> most[block::kThrottledCount], length[block::kThrottledCount];
  std::optional<u64> iops_size;
  std::optional<std::string> group;
  CacheInfo cache;
  u64 write_threshold = 0;
  ImageInfo image;
  void members(auto& m) {
    static constexpr const char* kAverage[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"};
    static constexpr const char* kMost[] = {"bps_max",  "bps_rd_max",  "bps_wr_max",
                                            "iops_max", "iops_rd_max", "iops_wr_max"};
    static constexpr const char* kLength[] = {"bps_max_length",  "bps_rd_max_length",  "bps_wr_max_length",
                                              "iops_max_length", "iops_rd_max_length", "iops_wr_max_length"};
    m("file", file);
    m("node-name", node_name);
    m("ro", ro);
    m("drv", drv);
    m("backing_file", backing_file);
    m("backing_file_depth", backing_file_depth);
    m("encrypted", encrypted);
    m("detect_zeroes", detect_zeroes);
    for (unsigned i = 0; i < block::kThrottledCount; i++) m(kAverage[i], average[i]);
    for (unsigned i = 0; i < block::kThrottledCount; i++) m(kMost[i], most[i]);
    for (unsigned i = 0; i < block::kThrottledCount; i++) m(kLength[i], length[i]);
    m("iops_size", iops_size);
    m("group", group);
    m("cache", cache);
    m("write_threshold", write_threshold);
    m("image", image);
  }
};

block::NodeRef backing_of(const block::Node& node) {
  for (const block::Child& child : node.children()) {
    if (child.role == "backing") return child.node;
  }
  return nullptr;
}

/// Below a node without a backing child: where the file is.
std::optional<u64> host_bytes(const block::Node& node) {
  if (node.driver() == "file") {
    struct stat file {};
    if (::stat(node.filename().c_str(), &file) == 0) return u64(file.st_blocks) * 512;
    return std::nullopt;
  }
  for (const block::Child& child : node.children()) {
    if (child.role == "file" || child.role == "image") return host_bytes(*child.node);
  }
  return std::nullopt;
}

ImageInfo image_info(const block::Node& node, bool with_backing) {
  ImageInfo info{.filename = node.filename(), .format = std::string(node.driver()), .virtual_size = node.bytes(),
                 .actual_size = host_bytes(node)};
  if (const u32 cluster = node.limits().cluster; cluster != 0) info.cluster_size = cluster;
  if (const block::NodeRef backing = backing_of(node)) {
    info.backing_filename = info.full_backing_filename = backing->filename();
    info.backing_format = std::string(backing->driver());
    if (with_backing) info.backing_image = to_json_value(image_info(*backing, true));
  }
  return info;
}

NodeInfo node_info(const block::NodeGraph& graph, const block::Node& node, bool with_backing) {
  const block::NodeSettings& settings = graph.settings(node);
  NodeInfo info;
  info.file = node.filename();
  info.drv = std::string(node.driver());
  info.node_name = node.name();
  info.ro = node.is_read_only();
  info.detect_zeroes = DetectName(settings.detect_zeroes);
  info.cache = {.writeback = true, .direct = settings.direct, .no_flush = settings.no_flush};
  info.image = image_info(node, with_backing);
  for (block::NodeRef backing = backing_of(node); backing; backing = backing_of(*backing)) {
    if (!info.backing_file) info.backing_file = backing->filename();
    info.backing_file_depth++;
  }
  return info;
}

NodeInfo drive_info(const block::NodeGraph& graph, const DiskBackend& drive) {
  NodeInfo info = node_info(graph, *drive.root(), true);
  info.ro = drive.is_read_only();
  info.cache.writeback = drive.has_write_cache();
  if (const auto group = drive.throttle_group()) {
    const block::ThrottleConfig limits = group->config();
    info.group = drive.throttle_group_name();
    for (unsigned i = 0; i < block::kThrottledCount; i++) {
      const block::ThrottleLimit& limit = limits.limits[i];
      info.average[i] = limit.average;
      if (limit.most == 0) continue;
      info.most[i] = limit.most;
      info.length[i] = limit.length_s;
    }
    if (limits.iops_size != 0) info.iops_size = limits.iops_size;
  }
  return info;
}

enum class IoStatusName : u8 { Ok, Failed, Nospace };
constexpr EnumNames enum_names(IoStatusName) { return {"BlockDeviceIoStatus", {"ok", "failed", "nospace"}}; }

struct BlockInfo {
  static constexpr const char* kName = "BlockInfo";
  std::string device, type = "unknown";
  std::optional<std::string> qdev;
  bool removable = false, locked = false;
  std::optional<NodeInfo> inserted;
  std::optional<bool> tray_open;
  std::optional<IoStatusName> io_status;
  void members(auto& m) {
    m("device", device);
    m("qdev", qdev);
    m("type", type);
    m("removable", removable);
    m("locked", locked);
    m("inserted", inserted);
    m("tray_open", tray_open);
    m("io-status", io_status);
  }
};

/// Those with a name of their own, and those that a device uses.
std::vector<DiskBackend*> visible_drives(CommandContext& context) {
  std::vector<DiskBackend*> drives = context.control.disks().backends();
  std::erase_if(drives,
                [](const DiskBackend* drive) { return drive->settings().id.empty() && drive->frontend() == nullptr; });
  return drives;
}

Result<std::vector<BlockInfo>> query_block(CommandContext& context) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  std::vector<BlockInfo> list;
  for (const DiskBackend* drive : visible_drives(context)) {
    BlockInfo info;
    info.device = drive->settings().id;
    info.removable = drive->is_removable();
    if (const block::BlockFrontend* frontend = drive->frontend()) {
      if (std::string name = drive->device_name(); !name.empty()) info.qdev = std::move(name);
      info.locked = frontend->is_medium_locked();
      if (info.removable) info.tray_open = frontend->is_tray_open();
      const std::string_view status = drive->io_status();
      info.io_status = status == "ok"        ? IoStatusName::Ok
                       : status == "nospace" ? IoStatusName::Nospace
                                             : IoStatusName::Failed;
    }
    if (drive->root()) info.inserted = drive_info(context.control.disks().graph(), *drive);
    list.push_back(std::move(info));
  }
  return list;
}

struct FlatArguments {
  static constexpr const char* kName = "FlatArguments";
  std::optional<bool> flat;
  void members(auto& m) { m("flat", flat); }
};
Result<std::vector<NodeInfo>> query_named_block_nodes(CommandContext& context, const FlatArguments& arguments) {
  const block::NodeGraph& graph = context.control.disks().graph();
  std::vector<NodeInfo> list;
  const auto nodes = graph.nodes();
  for (std::size_t i = nodes.size(); i-- > 0;) {  // the last opened first, as in QEMU
    list.push_back(node_info(graph, *nodes[i], !arguments.flat.value_or(false)));
  }
  return list;
}

// ---- Statistics

struct DeviceStats {
  static constexpr const char* kName = "BlockDeviceStats";
  u64 bytes[block::kIoKinds] = {}, operations[block::kIoKinds] = {}, time_ns[block::kIoKinds] = {};
  u64 failed[block::kIoKinds] = {}, invalid[block::kIoKinds] = {}, merged[block::kIoKinds] = {};
  u64 highest_write = 0;
  std::optional<u64> idle_time_ns;
  bool account_invalid = true, account_failed = true;
  std::vector<Json> timed_stats;
  void members(auto& m) {
    static constexpr const char* kKinds[] = {"rd", "wr", "flush", "unmap"};
    for (unsigned i = 0; i < block::kIoKinds; i++) {
      const std::string kind = kKinds[i];
      if (i != unsigned(IoKind::Flush)) {
        m((kind + "_bytes").c_str(), bytes[i]);
        m((kind + "_merged").c_str(), merged[i]);
      }
      m((kind + "_operations").c_str(), operations[i]);
      m((kind + "_total_time_ns").c_str(), time_ns[i]);
      m(("failed_" + kind + "_operations").c_str(), failed[i]);
      m(("invalid_" + kind + "_operations").c_str(), invalid[i]);
    }
    m("wr_highest_offset", highest_write);
    m("idle_time_ns", idle_time_ns);
    m("account_invalid", account_invalid);
    m("account_failed", account_failed);
    m("timed_stats", timed_stats);
  }
};
struct BlockStats {
  static constexpr const char* kName = "BlockStats";
  std::optional<std::string> device, qdev, node_name;
  DeviceStats stats;
  std::optional<Json> parent, backing;
  void members(auto& m) {
    m("device", device);
    m("qdev", qdev);
    m("node-name", node_name);
    m("stats", stats);
    m("parent", parent);
    m("backing", backing);
  }
};

DeviceStats device_stats(const DiskBackend& drive) {
  DeviceStats stats;
  for (unsigned i = 0; i < block::kIoKinds; i++) {
    const block::IoCounters& counters = drive.counters(IoKind(i));
    stats.bytes[i] = counters.bytes.load(std::memory_order_relaxed);
    stats.operations[i] = counters.operations.load(std::memory_order_relaxed);
    stats.time_ns[i] = counters.time_ns.load(std::memory_order_relaxed);
    stats.failed[i] = counters.failed.load(std::memory_order_relaxed);
    stats.invalid[i] = counters.invalid.load(std::memory_order_relaxed);
    stats.merged[i] = counters.joined.load(std::memory_order_relaxed);
  }
  stats.highest_write = drive.highest_write();
  stats.idle_time_ns = drive.idle_ns();
  return stats;
}

/// What is counted is counted at the top; of the nodes below the names are told.
BlockStats node_stats(const block::Node& node) {
  BlockStats stats;
  stats.node_name = node.name();
  for (const block::Child& child : node.children()) {
    if (child.role == "file") stats.parent = to_json_value(node_stats(*child.node));
    if (child.role == "backing") stats.backing = to_json_value(node_stats(*child.node));
  }
  return stats;
}

struct BlockstatsArguments {
  static constexpr const char* kName = "BlockstatsArguments";
  std::optional<bool> query_nodes;
  void members(auto& m) { m("query-nodes", query_nodes); }
};
Result<std::vector<BlockStats>> query_blockstats(CommandContext& context, const BlockstatsArguments& arguments) {
  std::vector<BlockStats> list;
  if (arguments.query_nodes.value_or(false)) {
    for (const block::NodeRef& node : context.control.disks().graph().nodes()) {
      BlockStats stats;
      stats.node_name = node->name();
      for (const DiskBackend* drive : context.control.disks().backends()) {
        if (drive->root() == node) stats.stats = device_stats(*drive);
      }
      list.push_back(std::move(stats));
    }
    return list;
  }
  for (const DiskBackend* drive : visible_drives(context)) {
    BlockStats stats;
    if (drive->root()) stats = node_stats(*drive->root());
    stats.device = drive->settings().id;
    if (std::string name = drive->device_name(); !name.empty()) stats.qdev = std::move(name);
    stats.stats = device_stats(*drive);
    list.push_back(std::move(stats));
  }
  return list;
}

// ---- I/O threads

struct IoThreadInfo {
  static constexpr const char* kName = "IOThreadInfo";
  std::string id;
  i64 thread_id = 0, poll_max_ns = 0, poll_grow = 0, poll_shrink = 0, aio_max_batch = 0;
  void members(auto& m) {
    m("id", id);
    m("thread-id", thread_id);
    m("poll-max-ns", poll_max_ns);
    m("poll-grow", poll_grow);
    m("poll-shrink", poll_shrink);
    m("aio-max-batch", aio_max_batch);
  }
};
Result<std::vector<IoThreadInfo>> query_iothreads(CommandContext& context) {
  std::vector<IoThreadInfo> list;
  for (const auto& child : context.control.machine().tree().container("/objects").children()) {
    const auto* thread = dynamic_cast<const hw::IoThreadObject*>(child.get());
    if (thread == nullptr) continue;
    const auto number = [&](const char* name) -> i64 {
      const auto value = thread->get(name);
      const i64* whole = value ? value->get_if<i64>() : nullptr;
      return whole == nullptr ? 0 : *whole;
    };
    list.push_back({thread->name(), number("thread-id"), number("poll-max-ns"), number("poll-grow"),
                    number("poll-shrink"), number("aio-max-batch")});
  }
  return list;
}

// ---- For people

std::string describe(const DiskBackend& drive, const block::NodeGraph& graph) {
  std::string text = drive.settings().id.empty() ? drive.name() : drive.settings().id;
  if (!drive.root()) {
    text += ": [not inserted]\n";
  } else {
    const block::Node& root = *drive.root();
    text += fmt::format("{}: {} ({}{})\n", root.name().starts_with('#') ? fmt::format(" ({})", root.name()) : "",
                        root.filename(), root.driver(), drive.is_read_only() ? ", read-only" : "");
  }
  if (const std::string device = drive.device_name(); !device.empty()) {
    text += fmt::format("    Attached to:      {}\n", device);
  }
  if (drive.is_removable()) {
    const bool locked = drive.frontend() != nullptr && drive.frontend()->is_medium_locked();
    text += fmt::format("    Removable device: {}locked, tray {}\n", locked ? "" : "not ",
                        drive.is_tray_open() ? "open" : "closed");
  }
  if (drive.root()) {
    const block::NodeSettings& settings = graph.settings(*drive.root());
    text += fmt::format("    Cache mode:       {}{}{}\n", drive.has_write_cache() ? "writeback" : "writethrough",
                        settings.direct ? ", direct" : "", settings.no_flush ? ", ignore flushes" : "");
    if (settings.detect_zeroes != block::DetectZeroes::Off) {
      text +=
          fmt::format("    Detect zeroes:    {}\n", settings.detect_zeroes == block::DetectZeroes::On ? "on" : "unmap");
    }
    if (const block::NodeRef backing = backing_of(*drive.root())) {
      text += fmt::format("    Backing file:     {}\n", backing->filename());
    }
  }
  return text;
}

Result<Reply> info_block(CommandContext& context, const Arguments&) {
  mem::MachineLockScope guard(context.control.machine().memory().lock());
  std::string text;
  for (const DiskBackend* drive : visible_drives(context)) {
    if (!text.empty()) text += "\n";
    text += describe(*drive, context.control.disks().graph());
  }
  return Reply{std::move(text)};
}

Result<Reply> info_blockstats(CommandContext& context, const Arguments&) {
  std::string text;
  for (const DiskBackend* drive : visible_drives(context)) {
    const DeviceStats stats = device_stats(*drive);
    text += fmt::format(
        "{}: rd_bytes={} wr_bytes={} rd_operations={} wr_operations={} flush_operations={} wr_total_time_ns={} "
        "rd_total_time_ns={} flush_total_time_ns={} rd_merged={} wr_merged={} idle_time_ns={}\n",
        drive->settings().id.empty() ? drive->name() : drive->settings().id, stats.bytes[0], stats.bytes[1],
        stats.operations[0], stats.operations[1], stats.operations[2], stats.time_ns[1], stats.time_ns[0],
        stats.time_ns[2], stats.merged[0], stats.merged[1], stats.idle_time_ns.value_or(0));
  }
  return Reply{std::move(text)};
}

Result<Reply> info_iothreads(CommandContext& context, const Arguments&) {
  std::string text;
  for (const IoThreadInfo& info : EMU_TRY(query_iothreads(context))) {
    text +=
        fmt::format("{}:\n  thread_id={}\n  poll-max-ns={}\n  poll-grow={}\n  poll-shrink={}\n  aio-max-batch={}\n",
                    info.id, info.thread_id, info.poll_max_ns, info.poll_grow, info.poll_shrink, info.aio_max_batch);
  }
  return Reply{std::move(text)};
}

}  // namespace

void register_block_queries(CommandRegistry& registry) {
  registry.add(qmp("query-block", query_block, {.before_machine = true}));
  registry.add(qmp("query-blockstats", query_blockstats, {.before_machine = true}));
  registry.add(qmp("query-named-block-nodes", query_named_block_nodes, {.before_machine = true}));
  registry.add(qmp("query-iothreads", query_iothreads, {.before_machine = true}));
  registry.add({.name = "info block", .help = "show the block devices", .run = info_block});
  registry.add({.name = "info blockstats", .help = "show block device statistics", .run = info_blockstats});
  registry.add({.name = "info iothreads", .help = "show iothreads", .run = info_iothreads});
}

}  // namespace emu::monitor
