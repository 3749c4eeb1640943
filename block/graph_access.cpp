// SPDX-License-Identifier: Apache-2.0
// Who uses which node for what, and changes of the graph while it works.
#include <algorithm>

#include "block/graph.h"
#include "block/filter/throttle.h"
#include "block/on_loop.h"
#include "util/check.h"

namespace emu::block {

/// What is put back when a step further down fails.
struct NodeGraph::Change {
  Entry* entry;
  Access before_node;
  std::optional<std::size_t> use;
  Access before_use;
};

std::string NodeGraph::user_name(const Use& use) {
  return use.user != nullptr ? use.user->user_name() : fmt::format("node '{}'", use.parent->name());
}

std::vector<std::string> NodeGraph::user_names(const Node& node) const {
  std::vector<std::string> names;
  if (const Entry* used = entry(node)) {
    for (const Use& use : used->uses) names.push_back(fmt::format("{} as '{}'", user_name(use), use.role));
  }
  return names;
}
bool NodeGraph::is_used(const Node& node) const { return entry(node) != nullptr && !entry(node)->uses.empty(); }
bool NodeGraph::is_owned(const Node& node) const { return entry(node) != nullptr && entry(node)->owned; }

namespace {

std::string perm_names(Perm perms) {
  static constexpr std::pair<Perm, const char*> kNames[] = {{Perm::ConsistentRead, "consistent read"},
                                                             {Perm::Write, "write"},
                                                             {Perm::WriteUnchanged, "write unchanged"},
                                                             {Perm::Resize, "resize"}};
  std::string text;
  for (const auto& [perm, name] : kNames) {
    if (any(perms & perm)) text += fmt::format("{}{}", text.empty() ? "" : ", ", name);
  }
  return text;
}

}  // namespace

Result<void> NodeGraph::check_conflicts(const Entry& entry, const Use& use, Access wanted) const {
  const Node& node = *entry.node;
  if (any(wanted.uses & (Perm::Write | Perm::Resize)) && node.is_read_only()) {
    return error("Block node '{}' is read-only", node.name());
  }
  for (const Use& other : entry.uses) {
    if (&other == &use) continue;
    if (const Perm refused = wanted.uses & ~other.access.shares; any(refused)) {
      return error("Conflicts with use by {} as '{}', which does not allow '{}' on {}", user_name(other), other.role,
                   perm_names(refused), node.name());
    }
    if (const Perm refused = other.access.uses & ~wanted.shares; any(refused)) {
      return error("Conflicts with use by {} as '{}', which uses '{}' on {}", user_name(other), other.role,
                   perm_names(refused), node.name());
    }
  }
  return {};
}

Result<void> NodeGraph::set_use(Entry& entry, std::size_t index, Access access, std::vector<Change>& done) {
  Use& use = entry.uses[index];
  EMU_TRY(check_conflicts(entry, use, access));
  done.push_back({&entry, entry.current, index, use.access});
  use.access = access;
  return update(entry, done);
}

Result<void> NodeGraph::update(Entry& entry, std::vector<Change>& done) {
  Access together;
  for (const Use& use : entry.uses) {
    together.uses = together.uses | use.access.uses;
    together.shares = together.shares & use.access.shares;
  }
  if (together == entry.current) return {};
  done.push_back({&entry, entry.current, std::nullopt, {}});
  EMU_TRY(entry.node->access_changed(together));
  entry.current = together;
  for (const Child& child : entry.node->children()) {
    Entry* const below = this->entry(*child.node);
    if (below == nullptr) continue;
    for (std::size_t i = 0; i < below->uses.size(); i++) {
      if (below->uses[i].parent != entry.node.get() || below->uses[i].role != child.role) continue;
      EMU_TRY(set_use(*below, i, entry.node->child_access(child.role, together), done));
    }
  }
  return {};
}

void NodeGraph::roll_back(std::vector<Change>& done) {
  for (std::size_t i = done.size(); i-- > 0;) {
    Change& change = done[i];
    if (change.use) {
      change.entry->uses[*change.use].access = change.before_use;
    } else if (!(change.entry->current == change.before_node)) {
      change.entry->current = change.before_node;
      static_cast<void>(change.entry->node->access_changed(change.before_node));  // it held before
    }
  }
}

Result<void> NodeGraph::add_use(Entry& entry, Use use) {
  const Access wanted = use.access;
  use.access = {};
  entry.uses.push_back(std::move(use));
  std::vector<Change> done;
  auto set = set_use(entry, entry.uses.size() - 1, wanted, done);
  // An access of nothing still asks the node, whose first user this may be.
  if (!set) {
    roll_back(done);
    entry.uses.pop_back();
  }
  return set;
}

void NodeGraph::remove_use(Entry& entry, std::size_t index) {
  entry.uses.erase(entry.uses.begin() + std::ptrdiff_t(index));
  std::vector<Change> done;
  static_cast<void>(update(entry, done));  // less than before is always allowed
}

Result<void> NodeGraph::attach(NodeRef node, GraphUser& user, Access access) {
  Entry* const used = entry(*node);
  EMU_CHECK(used != nullptr);
  const auto mine = std::ranges::find(used->uses, &user, &Use::user);
  if (mine == used->uses.end()) return add_use(*used, Use{.user = &user, .role = "root", .access = access});
  std::vector<Change> done;
  auto set = set_use(*used, std::size_t(mine - used->uses.begin()), access, done);
  if (!set) roll_back(done);
  return set;
}

Task<Result<void>> NodeGraph::detach(NodeRef node, GraphUser& user) {
  Entry* const used = entry(*node);
  EMU_CHECK(used != nullptr);
  const auto mine = std::ranges::find(used->uses, &user, &Use::user);
  EMU_CHECK(mine != used->uses.end());
  remove_use(*used, std::size_t(mine - used->uses.begin()));
  auto closed = co_await close_if_unused(std::move(node));
  co_return closed;
}

void NodeGraph::drop(const NodeRef& node, GraphUser& user) {
  Entry* const used = entry(*node);
  EMU_CHECK(used != nullptr && used->owned);
  const auto mine = std::ranges::find(used->uses, &user, &Use::user);
  if (mine != used->uses.end()) remove_use(*used, std::size_t(mine - used->uses.begin()));
}

// ---- Drained changes

namespace {

bool stands_over(const Node& upper, const Node& lower) {
  if (&upper == &lower) return true;
  return std::ranges::any_of(upper.children(), [&](const Child& child) { return stands_over(*child.node, lower); });
}

}  // namespace

void NodeGraph::connected(const Node& node, std::set<const Node*>& found) const {
  if (!found.insert(&node).second) return;
  for (const Child& child : node.children()) connected(*child.node, found);
  if (const Entry* here = entry(node)) {
    for (const Use& use : here->uses) {
      if (use.parent != nullptr) connected(*use.parent, found);
    }
  }
}

std::vector<GraphUser*> NodeGraph::users_above(const Node& node) const {
  std::vector<GraphUser*> users;
  std::vector<const Node*> todo{&node};
  std::set<const Node*> seen;
  while (!todo.empty()) {
    const Node* const next = todo.back();
    todo.pop_back();
    const Entry* const here = entry(*next);
    if (!seen.insert(next).second || here == nullptr) continue;
    for (const Use& use : here->uses) {
      if (use.parent != nullptr) todo.push_back(use.parent);
      if (use.user != nullptr && std::ranges::find(users, use.user) == users.end()) users.push_back(use.user);
    }
  }
  return users;
}

Task<std::vector<GraphUser*>> NodeGraph::drain(const Node& node) {
  // Whoever may make requests to the node stands above it.
  std::vector<GraphUser*> users = users_above(node);
  std::set<const Node*> nodes;
  connected(node, nodes);
  for (const Node* held : nodes) {
    if (Entry* const here = entry(*held)) here->node->drained_changed(true);
  }
  for (GraphUser* user : users) co_await user->drain_begin();
  co_return users;
}

void NodeGraph::undrain(const Node& node, const std::vector<GraphUser*>& users) {
  std::set<const Node*> nodes;
  connected(node, nodes);
  for (const Node* held : nodes) {
    if (Entry* const here = entry(*held)) here->node->drained_changed(false);
  }
  for (GraphUser* user : users) user->drain_end();
}

std::shared_ptr<ThrottleGroup> NodeGraph::find_throttle_group(const std::string& name) {
  if (const auto own = own_groups_.find(name); own != own_groups_.end()) {
    if (auto alive = own->second.lock()) return alive;
  }
  return group_finder_ ? group_finder_(name) : nullptr;
}

std::shared_ptr<ThrottleGroup> NodeGraph::own_throttle_group(const std::string& name) {
  if (auto found = find_throttle_group(name)) return found;
  auto made = std::make_shared<ThrottleGroup>();
  own_groups_[name] = made;
  return made;
}

Task<Result<void>> NodeGraph::replace_child(NodeRef parent, std::string role, NodeRef child) {
  const auto children = parent->children();
  const auto old = std::ranges::find(children, role, &Child::role);
  if (old == children.end()) co_return error("node '{}' has no child '{}'", parent->name(), role);
  if (old->node == child) co_return Result<void>();
  if (stands_over(*child, *parent)) {
    co_return error("making '{}' a child of '{}' would make a loop", child->name(), parent->name());
  }
  const std::vector<GraphUser*> above = co_await drain(*parent);

  Result<void> result;
  if (&child->loop() != &parent->loop()) {
    // Not what hangs together with the parent already: that has its users.
    result = change_loop(*child, parent->loop(), nullptr);
  }
  if (result) {
    Entry* const added = entry(*child);
    result = add_use(*added, Use{.parent = parent.get(), .role = role,
                                 .access = parent->child_access(role, entry(*parent)->current)});
    if (result) {
      result = parent->replace_child(role, child);
      Entry* const undone = entry(result ? *old->node : *child);
      const auto mine = std::ranges::find_if(
          undone->uses, [&](const Use& use) { return use.parent == parent.get() && use.role == role; });
      remove_use(*undone, std::size_t(mine - undone->uses.begin()));
    }
  }
  undrain(*old->node, {});
  undrain(*parent, above);
  const NodeRef left = result ? old->node : child;
  auto closed = co_await close_if_unused(left);
  bring_home(*left);
  if (result && !closed) result = std::move(closed);
  co_return result;
}

Task<Result<void>> NodeGraph::truncate(NodeRef node, u64 bytes, Preallocation preallocation) {
  const std::vector<GraphUser*> above = co_await drain(*node);
  auto result = co_await on_loop(loop_, node->loop(), node->truncate(bytes, preallocation));
  undrain(*node, above);
  if (result) {
    for (GraphUser* user : above) user->resized();
  }
  co_return result;
}

Task<Result<void>> NodeGraph::set_read_only(NodeRef node, bool read_only) {
  Entry* const changed = entry(*node);
  EMU_CHECK(changed != nullptr);
  if (node->is_read_only() == read_only) co_return Result<void>();
  if (read_only) {
    for (const Use& use : changed->uses) {
      if (any(use.access.uses & (Perm::Write | Perm::Resize))) {
        co_return error("node '{}' is written by {}", node->name(), user_name(use));
      }
    }
  }
  const std::vector<GraphUser*> above = co_await drain(*node);
  auto result = co_await on_loop(loop_, node->loop(), node->set_read_only(read_only));
  undrain(*node, above);
  if (result) {
    changed->settings.read_only = read_only;
    // What it does with its children may have changed with it.
    std::vector<Change> done;
    for (const Child& child : node->children()) {
      Entry* const below = entry(*child.node);
      for (std::size_t i = 0; i < below->uses.size() && result; i++) {
        if (below->uses[i].parent != node.get() || below->uses[i].role != child.role) continue;
        result = set_use(*below, i, node->child_access(child.role, changed->current), done);
      }
    }
    if (!result) roll_back(done);
  }
  co_return result;
}

Result<void> NodeGraph::change_loop(const Node& node, EventLoop& loop, const GraphUser* by) {
  std::set<const Node*> all;
  connected(node, all);
  for (const Node* one : all) {
    const Entry* const here = entry(*one);
    if (here == nullptr) continue;
    for (const Use& use : here->uses) {
      if (use.user == nullptr || use.user == by) continue;
      return error("node '{}' is also used by {}, on another I/O thread", one->name(), use.user->user_name());
    }
  }
  for (const Node* one : all) {
    if (Entry* const here = entry(*one); here != nullptr && &here->node->loop() != &loop) {
      here->node->change_loop(loop);
    }
  }
  return {};
}

Result<void> NodeGraph::move_to(NodeRef node, EventLoop& loop, GraphUser& by) { return change_loop(*node, loop, &by); }

void NodeGraph::bring_home(const Node& node) {
  if (entry(node) == nullptr || &node.loop() == &loop_) return;
  static_cast<void>(change_loop(node, loop_, nullptr));  // who uses it has it where it is
}

}  // namespace emu::block
