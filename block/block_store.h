// SPDX-License-Identifier: Apache-2.0
// All disks of a machine: the node graph, and the backends at /backend.
#pragma once

#include <string>
#include <vector>

#include "block/block_options.h"
#include "block/disk_backend.h"
#include "block/graph.h"

namespace emu::block {

/// Main loop, where it may run the loop until work is done; machine lock not held.
class BlockStore {
 public:
  /// Both outlive it.
  BlockStore(qom::ObjectTree& tree, EventLoop& loop);
  /// close() must have been called, and all devices be gone.
  ~BlockStore();

  NodeGraph& graph() { return graph_; }
  DriverRegistry& drivers() { return drivers_; }
  void set_error_listener(BlockErrorListener* errors) { errors_ = errors; }

  /// -drive: opens the image, and makes /backend/ID.
  Result<DiskBackend*> add_drive(DriveSpec spec);
  /// Takes a drive away that no device uses.
  Result<void> remove_drive(DiskBackend& drive);
  /// blockdev-add: a node, and /backend/NODE-NAME for devices that want it.
  Result<NodeRef> add_node(Options options);
  /// blockdev-del.
  Result<void> remove_node(const std::string& name);

  /// In the order they were made.
  std::vector<DiskBackend*> backends() const;
  DiskBackend* find_drive(std::string_view id) const;
  /// By the device's id or path.
  DiskBackend* find_by_device(std::string_view name) const;
  /// The drive or node of that name: what `device` or `node-name` of a command mean.
  NodeRef find_node(std::string_view name) const;

  /// What `file`, `format` and `read-only` of a change of media describe; owned by nobody but the drive.
  Result<void> insert_file(DiskBackend& drive, Options options);
  Result<void> insert_node(DiskBackend& drive, NodeRef node);
  Result<void> eject(DiskBackend& drive);
  /// Limits of one drive; without any it leaves its group.
  Result<void> set_limits(DiskBackend& drive, const std::string& group, const ThrottleConfig& limits);

  /// Requests that an error made wait go on.
  void retry_all();
  /// The machine ends: DiskBackend::give_up() for all.
  void give_up_all();
  /// The machine is reset: what waits for a person fails, and what is under way ends.
  void drain_all();
  /// Waits for what is under way and writes everything out, as a stopped machine wants it. Errors: the first.
  Result<void> flush_all();
  /// Closes all; the devices have gone.
  void close();

 private:
  void wait_for_detach(DiskBackend& backend);
  Task<Result<void>> flush_drained(DiskBackend& backend);
  Result<NodeRef> open_for_drive(DriveSpec& spec);
  qom::Object& container() const;

  qom::ObjectTree& tree_;
  EventLoop& loop_;
  DriverRegistry drivers_;
  NodeGraph graph_;
  BlockErrorListener* errors_ = nullptr;
};

}  // namespace emu::block
