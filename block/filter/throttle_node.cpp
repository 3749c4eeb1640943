// SPDX-License-Identifier: Apache-2.0
// Filter `throttle`: requests go on when their group lets them.
#include "block/filter/filter_node.h"
#include "block/filter/throttle.h"
#include "block/graph.h"

namespace emu::block {
namespace {

class ThrottleNode final : public FilterNode {
 public:
  ThrottleNode(EventLoop& loop, const NodeSettings& settings, NodeRef file, std::shared_ptr<ThrottleGroup> group)
      : FilterNode(loop, settings, "file", std::move(file)), group_(std::move(group)) {}

  static Task<Result<NodeRef>> open(OpenContext& context, Options options) {
    auto name = options.take_required("throttle-group");
    EMU_CO_TRY(name);
    auto group = context.graph.find_throttle_group(*name);
    if (!group) {
      co_return error(Error(fmt::format("Throttle group '{}' does not exist", *name))
                          .with_hint("make it with -object throttle-group,id=" + *name));
    }
    auto file = co_await context.open_file(options);
    EMU_CO_TRY(file);
    auto known = options.finish();
    EMU_CO_TRY(known);
    co_return std::make_shared<ThrottleNode>(context.loop, context.settings, *file, std::move(group));
  }

  std::string_view driver() const override { return "throttle"; }

  Task<IoStatus> read(u64 offset, IoVec to) override {
    if (group_->is_limited()) co_await throttle(*group_, loop(), false, total_bytes(to), &drained_);
    const IoStatus status = co_await below().read(offset, to);
    co_return status;
  }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override {
    if (group_->is_limited()) co_await throttle(*group_, loop(), true, total_bytes(from), &drained_);
    const IoStatus status = co_await below().write(offset, from, flags);
    co_return status;
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override {
    if (group_->is_limited()) co_await throttle(*group_, loop(), true, length, &drained_);
    const IoStatus status = co_await below().write_zeroes(offset, length, flags);
    co_return status;
  }
  Task<IoStatus> discard(u64 offset, u64 length) override {
    if (group_->is_limited()) co_await throttle(*group_, loop(), true, length, &drained_);
    const IoStatus status = co_await below().discard(offset, length);
    co_return status;
  }
  void drained_changed(bool drained) override { drained_.store(drained); }

 private:
  const std::shared_ptr<ThrottleGroup> group_;
  std::atomic<bool> drained_{false};
};

}  // namespace

void register_throttle_driver(DriverRegistry& drivers) {
  drivers.add({.name = "throttle", .is_filter = true, .open = ThrottleNode::open});
}

}  // namespace emu::block
