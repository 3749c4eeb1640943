// SPDX-License-Identifier: Apache-2.0
// All nodes by name: opens them from options, knows who uses which for what, and closes those nobody uses.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "block/aio/engines.h"
#include "block/driver.h"
#include "block/node.h"

namespace emu::block {

class ThrottleGroup;

/// Who stands at the top of a graph: a BlockBackend or a job.
class GraphUser {
 public:
  virtual ~GraphUser() = default;
  /// "drive0", for messages.
  virtual std::string user_name() const = 0;
  /// No new request after this; done when none is under way. Calls nest.
  virtual Task<void> drain_begin() = 0;
  virtual void drain_end() = 0;
  /// The nodes below have moved, or begin to (BlockBackend::move_to asks for it).
  virtual void loop_changed(EventLoop& loop) { static_cast<void>(loop); }
  /// A node it stands on was truncated.
  virtual void resized() {}
};

/// Main loop only. Requests do not come through here. `NodeRef`s keep a node's memory; the graph says how long it is
/// open: while someone owns it (whoever opened it), or uses it.
class NodeGraph {
 public:
  /// Both outlive the graph.
  NodeGraph(EventLoop& loop, const DriverRegistry& drivers);
  ~NodeGraph();
  NodeGraph(const NodeGraph&) = delete;
  NodeGraph& operator=(const NodeGraph&) = delete;

  /// Opens what blockdev-add's arguments (flattened) describe. Without `driver` the format is probed, and `filename`
  /// names the image, as -drive wants it. The caller owns the node: release().
  Task<Result<NodeRef>> open(Options options);
  /// Gives up ownership; the node is closed, and what only it used, when nobody uses it.
  Task<Result<void>> release(NodeRef node);
  /// blockdev-del: refused while anyone uses it, or when it was not blockdev-add that opened it.
  Task<Result<void>> remove(std::string name);

  NodeRef find(std::string_view name) const;
  /// In the order they were opened.
  std::vector<NodeRef> nodes() const;
  const NodeSettings& settings(const Node& node) const;
  /// For blockdev-reopen, which changes them under a drained node.
  NodeSettings& settings(const Node& node);
  /// What it was opened with.
  const Options::Pairs& options(const Node& node) const;
  /// Who uses it, for messages; empty: nobody.
  std::vector<std::string> user_names(const Node& node) const;
  bool is_used(const Node& node) const;
  bool is_owned(const Node& node) const;

  /// From now on `user` does `access` with the node; called again it changes that. Errors: against what others share,
  /// read-only, the image's lock.
  Result<void> attach(NodeRef node, GraphUser& user, Access access);
  /// May close the node.
  Task<Result<void>> detach(NodeRef node, GraphUser& user);

  /// The same for a node that somebody owns, and that stays open for it.
  void drop(const NodeRef& node, GraphUser& user);

  /// Those who stand above a node.
  std::vector<GraphUser*> users_above(const Node& node) const;
  /// Puts `child` in the place of the parent's child of that role, with requests going on before and after. The old
  /// child is closed when nobody else uses it.
  Task<Result<void>> replace_child(NodeRef parent, std::string role, NodeRef child);
  /// A node that nobody uses any more works on the main loop again: the I/O thread may go.
  void bring_home(const Node& node);
  /// New length; users above hear of it.
  Task<Result<void>> truncate(NodeRef node, u64 bytes, Preallocation preallocation);
  Task<Result<void>> set_read_only(NodeRef node, bool read_only);
  /// The node and everything connected with it, up and down, is on `loop` from now on. Nothing is under way.
  /// Errors: somebody else uses part of it on another loop.
  Result<void> move_to(NodeRef node, EventLoop& loop, GraphUser& by);

  /// A context for opening on behalf of the graph itself; for tests of drivers.
  Task<Result<NodeRef>> open_node(Options options, NodeSettings inherited, bool wants_format);

  /// Of a drive's own (throttling.group=), or else of -object throttle-group. Null: there is none.
  std::shared_ptr<ThrottleGroup> find_throttle_group(const std::string& name);
  /// The drive's own group of that name, made if absent; it lives while a drive uses it.
  std::shared_ptr<ThrottleGroup> own_throttle_group(const std::string& name);
  /// How to find the objects.
  void set_group_finder(std::function<std::shared_ptr<ThrottleGroup>(const std::string& name)> finder) {
    group_finder_ = std::move(finder);
  }

  EventLoop& main_loop() const { return loop_; }
  const DriverRegistry& drivers() const { return drivers_; }
  IoEngines& engines() { return engines_; }
  /// A name that no node may have (a drive's id), and may again.
  Result<void> reserve_name(const std::string& name, const char* what);
  void free_name(const std::string& name) { reserved_.erase(name); }

 private:
  friend struct OpenContext;
  struct Use {
    Node* parent = nullptr;     ///< one of the two
    GraphUser* user = nullptr;
    std::string role;
    Access access;
  };
  struct Entry {
    NodeRef node;
    NodeSettings settings;
    Options::Pairs options;
    u64 serial = 0;
    bool owned = false;
    std::vector<Use> uses;
    Access current;
  };
  struct Change;

  Entry* entry(const Node& node);
  const Entry* entry(const Node& node) const;
  Result<std::string> take_name(Options& options);
  Task<Result<NodeRef>> open_with(const Driver& driver, Options options, NodeSettings settings,
                                  std::vector<NodeRef> opened);
  static Result<void> follow_children(Node& node);
  Result<void> insert(NodeRef node, const NodeSettings& settings);
  Task<Result<void>> close_if_unused(NodeRef node);
  Task<void> close_all(std::vector<NodeRef> nodes);
  static std::string user_name(const Use& use);
  Result<void> check_conflicts(const Entry& entry, const Use& use, Access wanted) const;
  Result<void> set_use(Entry& entry, std::size_t index, Access access, std::vector<Change>& done);
  Result<void> update(Entry& entry, std::vector<Change>& done);
  void roll_back(std::vector<Change>& done);
  Result<void> add_use(Entry& entry, Use use);
  void remove_use(Entry& entry, std::size_t index);
  /// Drains everything above the node; undrain() takes what it gives.
  Task<std::vector<GraphUser*>> drain(const Node& node);
  void undrain(const Node& node, const std::vector<GraphUser*>& users);
  void connected(const Node& node, std::set<const Node*>& found) const;
  /// The node and all that is connected to it work there. Errors: somebody but `by` uses one of them.
  Result<void> change_loop(const Node& node, EventLoop& loop, const GraphUser* by);

  EventLoop& loop_;
  const DriverRegistry& drivers_;
  IoEngines engines_;
  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::string, std::less<>> reserved_;  ///< name, and what has it
  std::map<std::string, std::weak_ptr<ThrottleGroup>> own_groups_;
  std::function<std::shared_ptr<ThrottleGroup>(const std::string&)> group_finder_;
  u64 next_serial_ = 0;
  u64 next_auto_name_ = 0;
};

}  // namespace emu::block
