// SPDX-License-Identifier: Apache-2.0
// Opening and closing; who uses what is in graph_access.cpp.
#include "block/graph.h"

#include <algorithm>
#include <cstring>

#include "block/on_loop.h"
#include "util/check.h"
#include "util/log.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::block {

NodeGraph::NodeGraph(EventLoop& loop, const DriverRegistry& drivers) : loop_(loop), drivers_(drivers) {}
NodeGraph::~NodeGraph() = default;

NodeGraph::Entry* NodeGraph::entry(const Node& node) {
  const auto found = entries_.find(node.name());
  return found == entries_.end() || found->second.node.get() != &node ? nullptr : &found->second;
}
const NodeGraph::Entry* NodeGraph::entry(const Node& node) const {
  return const_cast<NodeGraph*>(this)->entry(node);  // NOLINT: the same search
}

NodeRef NodeGraph::find(std::string_view name) const {
  const auto found = entries_.find(name);
  return found == entries_.end() ? nullptr : found->second.node;
}

std::vector<NodeRef> NodeGraph::nodes() const {
  std::vector<const Entry*> sorted;
  for (const auto& [name, entry] : entries_) sorted.push_back(&entry);
  std::ranges::sort(sorted, {}, &Entry::serial);
  std::vector<NodeRef> nodes;
  for (const Entry* entry : sorted) nodes.push_back(entry->node);
  return nodes;
}

const NodeSettings& NodeGraph::settings(const Node& node) const {
  EMU_CHECK(entry(node) != nullptr);
  return entry(node)->settings;
}
NodeSettings& NodeGraph::settings(const Node& node) {
  EMU_CHECK(entry(node) != nullptr);
  return entry(node)->settings;
}

const Options::Pairs& NodeGraph::options(const Node& node) const {
  EMU_CHECK(entry(node) != nullptr);
  return entry(node)->options;
}

// ---- Names and settings

namespace {

bool is_well_formed(std::string_view name) { return name.size() <= 31 && is_identifier(name); }

Result<void> take_settings(Options& options, NodeSettings& settings) {
  settings.read_only = EMU_TRY(options.take_bool_or("read-only", settings.read_only));
  settings.auto_read_only = EMU_TRY(options.take_bool_or("auto-read-only", settings.auto_read_only));
  settings.direct = EMU_TRY(options.take_bool_or("cache.direct", settings.direct));
  settings.no_flush = EMU_TRY(options.take_bool_or("cache.no-flush", settings.no_flush));
  settings.force_share = EMU_TRY(options.take_bool_or("force-share", settings.force_share));
  // "off" and "on" are older spellings of the two.
  if (const auto discard = EMU_TRY(options.take_enum("discard", {"ignore", "unmap", "off", "on"}))) {
    settings.unmap = *discard % 2 == 1;
  }
  if (const auto detect = EMU_TRY(options.take_enum("detect-zeroes", {"off", "on", "unmap"}))) {
    settings.detect_zeroes = DetectZeroes(*detect);
  }
  if (settings.detect_zeroes == DetectZeroes::Unmap && !settings.unmap) {
    return error(Error("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
                     .with_hint("add discard=unmap"));
  }
  if (settings.force_share && !settings.read_only) {
    return error("force-share=on can only be used with read-only images");
  }
  return {};
}

/// The protocol a file name asks for; takes the prefix off.
Result<std::string> protocol_of(std::string& filename, const DriverRegistry& drivers) {
  const auto colon = filename.find(':');
  if (colon == std::string::npos || colon == 0 || colon > filename.find('/')) return std::string("file");
  const std::string prefix = filename.substr(0, colon);
  const Driver* driver = drivers.find(prefix);
  if (driver == nullptr || !driver->is_protocol) {
    return error(Error(fmt::format("Unknown protocol '{}'", prefix))
                     .with_hint(fmt::format("for a file of that name say ./{}", filename)));
  }
  filename.erase(0, colon + 1);
  if (prefix != "file" && prefix != "host_device" && filename.starts_with("//")) filename.erase(0, 2);
  return prefix;
}

}  // namespace

Result<std::string> NodeGraph::take_name(Options& options) {
  const auto given = options.take("node-name");
  if (!given) return fmt::format("#block{}", 100 + next_auto_name_++);
  if (!is_well_formed(*given)) {
    return error(Error(fmt::format("Invalid node-name: '{}'", *given))
                     .with_hint("up to 31 letters, digits, '-', '.' and '_', beginning with a letter"));
  }
  EMU_TRY(reserve_name(*given, "node-name"));
  return *given;
}

Result<void> NodeGraph::reserve_name(const std::string& name, const char* what) {
  if (entries_.contains(name)) return error("Duplicate nodes with node-name='{}'", name);
  if (const auto taken = reserved_.find(name); taken != reserved_.end()) {
    return error("{} '{}' is taken: there is a {} of that name", what, name, taken->second);
  }
  reserved_.emplace(name, what);
  return {};
}

// ---- Opening

Task<Result<NodeRef>> NodeGraph::open(Options options) {
  NodeSettings fresh;
  const bool wants_format = !options.has("driver");
  auto node = co_await open_node(std::move(options), std::move(fresh), wants_format);
  EMU_CO_TRY(node);
  entry(**node)->owned = true;
  co_return *node;
}

Task<Result<NodeRef>> NodeGraph::open_node(Options options, NodeSettings inherited, bool wants_format) {
  NodeSettings settings = std::move(inherited);
  auto taken = take_settings(options, settings);
  EMU_CO_TRY(taken);
  std::vector<NodeRef> opened;
  auto driver_name = options.take("driver");
  if (!driver_name && wants_format) {
    // The file first, to look at its first bytes.
    OpenContext context{.graph = *this, .loop = loop_, .settings = settings};
    auto file = co_await context.open_file(options);
    if (!file) {
      co_await close_all(std::move(context.opened));
      co_return error(std::move(file).error());
    }
    std::vector<u8> first(std::min<u64>(kProbeBytes, (*file)->bytes()));
    std::vector<u8> aligned_space(kProbeBytes * 4);
    // Direct I/O wants whole, aligned blocks.
    auto* const aligned = reinterpret_cast<u8*>((reinterpret_cast<u64>(aligned_space.data()) + 4095) & ~u64(4095));
    const iovec part{aligned, 4096};
    int failed = 0;
    if (!first.empty()) failed = co_await (*file)->read(0, IoVec(&part, 1));
    if (failed != 0) {
      co_await close_all(std::move(context.opened));
      co_return error("Could not read image for determining its format: {}", std::strerror(failed));
    }
    std::copy_n(aligned, first.size(), first.begin());
    driver_name = drivers_.probe(first);
    if (const auto foreign = *driver_name == "raw" ? foreign_format(first) : ""; !foreign.empty()) {
      const std::string name = (*file)->filename();
      co_await close_all(std::move(context.opened));
      co_return error(Error(fmt::format("'{}' is a {} image, which is not supported", name, foreign))
                          .with_hint(fmt::format("{}; format=raw shows its bytes as they are", kConvertHint)));
    }
    if (*driver_name == "raw" && !settings.read_only) {
      log::warn("Image format was not specified for '{}' and probing guessed raw.\n"
                "         Automatically detecting the format is dangerous for raw images, write operations on block 0 "
                "will be restricted.\n"
                "         Specify the 'raw' format explicitly to remove the restrictions.",
                (*file)->filename());
      options.set("x-probed", "on");
    }
    options = Options(options.take_rest());  // what described the file has had its turn
    options.set("file", (*file)->name());
    opened = std::move(context.opened);
  } else if (!driver_name) {
    auto filename = options.peek("filename");
    if (!filename) co_return error("Must specify either driver or file");
    auto protocol = protocol_of(*filename, drivers_);
    EMU_CO_TRY(protocol);
    driver_name = *protocol;
    options.set("filename", *filename);
  }
  const Driver* const driver = drivers_.find(*driver_name);
  if (driver == nullptr) {
    co_await close_all(std::move(opened));
    const std::string near = did_you_mean(*driver_name, drivers_.names());
    co_return error(
        Error(fmt::format("Unknown driver '{}'", *driver_name)).with_hint(near.empty() ? kConvertHint : near));
  }
  auto node = co_await open_with(*driver, std::move(options), std::move(settings), std::move(opened));
  co_return node;
}

Task<Result<NodeRef>> NodeGraph::open_with(const Driver& driver, Options options, NodeSettings settings,
                                           std::vector<NodeRef> opened) {
  auto name = take_name(options);
  if (!name) {
    co_await close_all(std::move(opened));
    co_return error(std::move(name).error());
  }
  settings.name = *name;
  OpenContext context{.graph = *this, .loop = loop_, .settings = std::move(settings), .opened = std::move(opened)};
  Options::Pairs given = options.pairs();
  auto node = co_await driver.open(context, std::move(options));
  reserved_.erase(*name);
  Result<void> inserted;
  if (node) inserted = insert(*node, context.settings);
  if (node && inserted) entry(**node)->options = std::move(given);
  if (!node || !inserted) {
    if (node) static_cast<void>(co_await (*node)->close());
    co_await close_all(std::move(context.opened));
    co_return error(node ? std::move(inserted).error() : std::move(node).error());
  }
  // A child that the driver opened and did not keep.
  co_await close_all(std::move(context.opened));
  co_return *node;
}

/// To the I/O thread that a child works on already.
Result<void> NodeGraph::follow_children(Node& node) {
  EventLoop* there = nullptr;
  for (const Child& child : node.children()) {
    if (there == nullptr) there = &child.node->loop();
    if (&child.node->loop() != there) {
      return error("the nodes below '{}' work on different I/O threads", node.name());
    }
  }
  if (there != nullptr && there != &node.loop()) node.change_loop(*there);
  return {};
}

Result<void> NodeGraph::insert(NodeRef node, const NodeSettings& settings) {
  Entry& added = entries_[node->name()];
  added.node = node;
  added.settings = settings;
  added.settings.read_only = node->is_read_only();
  added.serial = next_serial_++;
  const auto children = node->children();
  std::size_t done = 0;
  Result<void> result;
  for (; done < children.size() && result; done++) {
    Entry* const below = entry(*children[done].node);
    EMU_CHECK(below != nullptr);
    result = add_use(*below, Use{.parent = node.get(), .role = children[done].role,
                                 .access = node->child_access(children[done].role, Access{})});
  }
  if (result) result = follow_children(*node);
  if (result) return {};
  for (const Child& child : children) {
    auto& uses = entry(*child.node)->uses;
    const auto mine = std::ranges::find(uses, node.get(), &Use::parent);
    if (mine != uses.end()) remove_use(*entry(*child.node), std::size_t(mine - uses.begin()));
  }
  entries_.erase(node->name());
  return result;
}

// ---- Closing

Task<void> NodeGraph::close_all(std::vector<NodeRef> nodes) {
  for (std::size_t i = nodes.size(); i-- > 0;) {
    auto closed = co_await close_if_unused(nodes[i]);
    if (!closed) log::warn("{}", closed.error().message());
  }
}

Task<Result<void>> NodeGraph::close_if_unused(NodeRef node) {
  Entry* const closing = entry(*node);
  if (closing == nullptr || closing->owned || !closing->uses.empty()) co_return Result<void>();
  closing->owned = true;  // nobody else begins to close it
  auto result = co_await on_loop(loop_, node->loop(), node->close());
  const auto children = node->children();
  for (const Child& child : children) {
    Entry* const below = entry(*child.node);
    const auto mine = std::ranges::find(below->uses, node.get(), &Use::parent);
    if (mine != below->uses.end()) remove_use(*below, std::size_t(mine - below->uses.begin()));
  }
  entries_.erase(node->name());
  for (const Child& child : children) {
    auto closed = co_await close_if_unused(child.node);
    if (!closed && result) result = std::move(closed);
  }
  co_return result;
}

Task<Result<void>> NodeGraph::release(NodeRef node) {
  Entry* const released = entry(*node);
  EMU_CHECK(released != nullptr && released->owned);
  released->owned = false;
  auto closed = co_await close_if_unused(std::move(node));
  co_return closed;
}

Task<Result<void>> NodeGraph::remove(std::string name) {
  NodeRef node = find(name);
  if (!node) co_return error("Failed to find node with node-name='{}'", name);
  if (!entry(*node)->owned) co_return error("Node {} is not owned by the monitor", name);
  if (is_used(*node)) {
    co_return error("Node {} is in use by {}", name, fmt::join(user_names(*node), ", "));
  }
  auto closed = co_await release(std::move(node));
  co_return closed;
}

}  // namespace emu::block
