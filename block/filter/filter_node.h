// SPDX-License-Identifier: Apache-2.0
// A node over one child that passes everything on; filters override what they change.
#pragma once

#include "block/driver.h"
#include "block/node.h"

namespace emu::block {

class FilterNode : public Node {
 public:
  std::string filename() const override { return child_->filename(); }
  std::vector<Child> children() const override { return {{role_, child_}}; }
  u64 bytes() const override { return child_->bytes(); }
  BlockLimits limits() const override { return child_->limits(); }

  Task<IoStatus> read(u64 offset, IoVec to) override { return child_->read(offset, to); }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override { return child_->write(offset, from, flags); }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override {
    return child_->write_zeroes(offset, length, flags);
  }
  Task<IoStatus> discard(u64 offset, u64 length) override { return child_->discard(offset, length); }
  Task<IoStatus> flush() override { return child_->flush(); }
  Task<Result<Extent>> status(u64 offset, u64 length) override { return child_->status(offset, length); }
  Task<Result<void>> truncate(u64 bytes, Preallocation preallocation) override {
    return child_->truncate(bytes, preallocation);
  }
  Task<Result<void>> set_read_only(bool read_only) override {
    if (!read_only && child_->is_read_only()) {
      co_return error("node '{}' below is read-only", child_->name());
    }
    change_read_only(read_only);
    co_return Result<void>();
  }
  Result<void> replace_child(std::string_view role, NodeRef node) override {
    if (role != role_) return error("{} has no child '{}'", driver(), role);
    child_ = std::move(node);
    return {};
  }

 protected:
  FilterNode(EventLoop& loop, const NodeSettings& settings, std::string role, NodeRef child)
      : Node(loop, settings.name, settings.read_only), role_(std::move(role)), child_(std::move(child)) {}
  Node& below() const { return *child_; }

 private:
  const std::string role_;
  NodeRef child_;
};

}  // namespace emu::block
