// SPDX-License-Identifier: Apache-2.0
#include "block/block_store.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "block/on_loop.h"
#include "block/qcow2/image.h"
#include "util/log.h"
#include "util/string.h"

namespace emu::block {

BlockStore::BlockStore(qom::ObjectTree& tree, EventLoop& loop) : tree_(tree), loop_(loop), graph_(loop, drivers_) {
  register_block_drivers(drivers_, [this](const std::string& node, const qcow2::Corruption& found) {
    if (errors_ == nullptr) return;
    errors_->image_corrupted({.node_name = node, .message = found.message, .offset = found.offset,
                              .bytes = found.bytes, .fatal = found.fatal});
  });
  graph_.set_group_finder([this](const std::string& name) -> std::shared_ptr<ThrottleGroup> {
    const auto* object = dynamic_cast<ThrottleGroupObject*>(tree_.find("/objects/" + name));
    return object == nullptr ? nullptr : object->group();
  });
}

BlockStore::~BlockStore() { EMU_CHECK(graph_.nodes().empty()); }

qom::Object& BlockStore::container() const { return tree_.container(BlockBackend::kContainer); }

// ---- Drives

Result<NodeRef> BlockStore::open_for_drive(DriveSpec& spec) {
  if (spec.snapshot) {
    Options overlay;
    overlay.set("driver", "temporary");
    for (const auto& [key, value] : spec.node->pairs()) {
      // The name is that of what the guest sees.
      overlay.set(key == "node-name" ? key : "backing." + key, value);
    }
    for (const char* mine : {"discard", "detect-zeroes"}) {
      if (const auto value = spec.node->peek(mine)) overlay.set(mine, *value);
    }
    return run_sync(loop_, graph_.open(std::move(overlay)));
  }
  auto node = EMU_TRY(run_sync(loop_, graph_.open(std::move(*spec.node))));
  if (!spec.copy_on_read) return node;
  Options filter;
  filter.set("driver", "copy-on-read");
  filter.set("file", node->name());
  auto over = run_sync(loop_, graph_.open(std::move(filter)));
  static_cast<void>(run_sync(loop_, graph_.release(node)));  // the filter uses it now, or it is closed
  return over;
}

Result<DiskBackend*> BlockStore::add_drive(DriveSpec spec) {
  const std::string id = spec.settings.id;
  if (!is_identifier(id)) {
    return error(Error(fmt::format("Parameter 'id' expects an identifier, not '{}'", id))
                     .with_hint("letters, digits, '-', '.' and '_', beginning with a letter"));
  }
  if (container().child(id) != nullptr) return error("Device with id '{}' already exists", id);
  EMU_TRY(graph_.reserve_name(id, "drive"));
  auto made = tree_.make<DiskBackend>();
  DiskBackend& drive = *made;
  drive.set_up(graph_, spec.settings, errors_);
  Result<void> done;
  if (spec.node) {
    auto node = open_for_drive(spec);
    if (!node) {
      graph_.free_name(id);
      return error(std::move(node).error());
    }
    done = insert_node(drive, *node);
    auto released = run_sync(loop_, graph_.release(*node));
    if (done) done = std::move(released);
  }
  if (done && spec.limits.is_limited()) done = set_limits(drive, spec.throttle_group, spec.limits);
  if (!done) {
    static_cast<void>(run_sync(loop_, drive.remove()));
    graph_.free_name(id);
    return error(std::move(done).error());
  }
  EMU_TRY(container().add_child(id, std::move(made)));
  return &drive;
}

Result<void> BlockStore::remove_drive(DiskBackend& drive) {
  if (drive.frontend() != nullptr) return error("Drive '{}' is in use", drive.name());
  const std::string id = drive.settings().id;
  auto removed = run_sync(loop_, drive.remove());
  container().remove_child(drive);
  if (!id.empty()) graph_.free_name(id);
  return removed;
}

// ---- Nodes

Result<NodeRef> BlockStore::add_node(Options options) {
  const auto driver = options.peek("driver");
  if (!driver) return error("Parameter 'driver' is missing");
  if (drivers_.find(*driver) == nullptr) return error("Parameter 'driver' does not accept value '{}'", *driver);
  const auto name = options.peek("node-name");
  if (!name) return error("'node-name' must be specified for the root node");
  if (container().child(*name) != nullptr) return error("node-name={} is conflicting with a device id", *name);
  auto node = EMU_TRY(run_sync(loop_, graph_.open(std::move(options))));
  auto made = tree_.make<DiskBackend>();
  BackendSettings settings;
  made->set_up(graph_, settings, errors_);
  made->stand_for(node);
  EMU_TRY(container().add_child(*name, std::move(made)));
  return node;
}

Result<void> BlockStore::remove_node(const std::string& name) {
  NodeRef node = graph_.find(name);
  if (!node) return error("Failed to find node with node-name='{}'", name);
  if (!graph_.is_owned(*node)) return error("Node {} is not owned by the monitor", name);
  auto* standing = dynamic_cast<DiskBackend*>(container().child(name));
  if (graph_.is_used(*node)) {
    return error("Node {} is in use: {}", name, fmt::join(graph_.user_names(*node), ", "));
  }
  if (standing != nullptr) {
    // It may have been given another medium since.
    if (auto left = run_sync(loop_, standing->remove()); !left) return left;
    container().remove_child(*standing);
  }
  return run_sync(loop_, graph_.remove(name));
}

std::vector<DiskBackend*> BlockStore::backends() const {
  std::vector<DiskBackend*> list;
  for (const auto& child : container().children()) {
    if (auto* backend = dynamic_cast<DiskBackend*>(child.get())) list.push_back(backend);
  }
  return list;
}

DiskBackend* BlockStore::find_drive(std::string_view id) const {
  auto* found = dynamic_cast<DiskBackend*>(container().child(id));
  return found != nullptr && found->settings().id == id ? found : nullptr;
}

DiskBackend* BlockStore::find_by_device(std::string_view name) const {
  if (name.empty()) return nullptr;
  for (DiskBackend* backend : backends()) {
    if (backend->device_name() == name) return backend;
  }
  return nullptr;
}

NodeRef BlockStore::find_node(std::string_view name) const {
  if (const DiskBackend* drive = find_drive(name)) return drive->root();
  return graph_.find(name);
}

// ---- Media

Result<void> BlockStore::insert_file(DiskBackend& drive, Options options) {
  auto node = EMU_TRY(run_sync(loop_, graph_.open(std::move(options))));
  auto inserted = insert_node(drive, node);
  auto released = run_sync(loop_, graph_.release(node));
  return inserted ? std::move(released) : std::move(inserted);
}

Result<void> BlockStore::insert_node(DiskBackend& drive, NodeRef node) {
  return run_sync(loop_, drive.insert(std::move(node)));
}

Result<void> BlockStore::eject(DiskBackend& drive) { return run_sync(loop_, drive.remove()); }

Result<void> BlockStore::set_limits(DiskBackend& drive, const std::string& group, const ThrottleConfig& limits) {
  EMU_TRY(limits.check());
  if (!limits.is_limited()) {
    run_sync(loop_, drive.set_throttle("", nullptr));
    return {};
  }
  std::string name = group;
  if (name.empty()) name = drive.throttle_group_name();
  if (name.empty()) name = drive.name();
  if (name.empty()) name = drive.settings().id;
  auto shared = graph_.own_throttle_group(name);
  shared->set_config(limits);
  run_sync(loop_, drive.set_throttle(name, shared));
  return {};
}

// ---- All of them

void BlockStore::retry_all() {
  for (DiskBackend* backend : backends()) backend->retry();
}

void BlockStore::give_up_all() {
  for (DiskBackend* backend : backends()) backend->give_up();
}

void BlockStore::drain_all() {
  for (DiskBackend* backend : backends()) {
    backend->fail_waiting();
    run_sync(loop_, backend->drain_begin());
    backend->drain_end();
  }
}

Task<Result<void>> BlockStore::flush_drained(DiskBackend& backend) {
  co_await backend.drain_begin();
  IoStatus status = 0;
  if (NodeRef root = backend.root(); root && !root->is_read_only()) {
    status = co_await on_loop(loop_, root->loop(), root->flush());
  }
  backend.drain_end();
  if (status != 0) co_return error("drive '{}' could not be written out: {}", backend.name(), std::strerror(status));
  co_return Result<void>();
}

Result<void> BlockStore::flush_all() {
  Result<void> result;
  for (DiskBackend* backend : backends()) {
    auto flushed = run_sync(loop_, flush_drained(*backend));
    if (result && !flushed) result = std::move(flushed);
  }
  return result;
}

/// A device that has gone gives its drive back after its last request, by work that is posted to us.
void BlockStore::wait_for_detach(DiskBackend& backend) {
  run_sync(loop_, backend.drain_begin());
  backend.drain_end();
  constexpr auto kPatience = std::chrono::seconds(2);
  const ClockNs end = Clock::monotonic_now() + kPatience;
  while (backend.frontend() != nullptr && Clock::monotonic_now() < end) {
    if (!loop_.run_once(false)) ::usleep(1000);
  }
}

void BlockStore::close() {
  for (DiskBackend* backend : backends()) {
    if (backend->frontend() != nullptr) wait_for_detach(*backend);
    if (BlockFrontend* frontend = backend->frontend()) backend->detach(*frontend);
    if (auto removed = run_sync(loop_, backend->remove()); !removed) log::error(removed.error());
    container().remove_child(*backend);
  }
  // Overlays before what they stand on: the last opened first.
  const auto nodes = graph_.nodes();
  for (std::size_t i = nodes.size(); i-- > 0;) {
    if (graph_.find(nodes[i]->name()) != nodes[i] || !graph_.is_owned(*nodes[i])) continue;
    if (auto closed = run_sync(loop_, graph_.release(nodes[i])); !closed) log::error(closed.error());
  }
}

}  // namespace emu::block
