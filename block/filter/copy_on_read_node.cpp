// SPDX-License-Identifier: Apache-2.0
// Filter `copy-on-read`: what is read from behind an image is kept in it.
#include <algorithm>
#include <cerrno>

#include "block/buffers.h"
#include "block/filter/filter_node.h"
#include "block/filter/range_lock.h"

namespace emu::block {
namespace {

constexpr u64 kMostAtOnce = 1 << 20;

class CopyOnReadNode final : public FilterNode {
 public:
  CopyOnReadNode(EventLoop& loop, const NodeSettings& settings, NodeRef file)
      : FilterNode(loop, settings, "file", std::move(file)) {}

  static Task<Result<NodeRef>> open(OpenContext& context, Options options) {
    if (options.has("bottom")) co_return error("copy-on-read: bottom= is not there yet");
    auto file = co_await context.open_file(options);
    EMU_CO_TRY(file);
    auto known = options.finish();
    EMU_CO_TRY(known);
    if ((*file)->is_read_only()) co_return error("copy-on-read: node '{}' is read-only", (*file)->name());
    co_return std::make_shared<CopyOnReadNode>(context.loop, context.settings, *file);
  }

  std::string_view driver() const override { return "copy-on-read"; }
  Access child_access(std::string_view, Access own) const override {
    own.uses = own.uses | Perm::WriteUnchanged;
    return own;
  }

  Task<IoStatus> read(u64 offset, IoVec to) override {
    const u64 end = offset + total_bytes(to);
    u64 done = offset;
    while (done < end) {
      auto extent = co_await below().status(done, std::min(end - done, kMostAtOnce));
      if (!extent || extent->bytes == 0) co_return EIO;
      const u64 length = std::min(extent->bytes, end - done);
      const std::vector<iovec> part = slice(to, done - offset, length);
      IoStatus failed = 0;
      if (extent->allocated) {
        failed = co_await below().read(done, part);
      } else {
        failed = co_await copy(done, length, part);
      }
      if (failed != 0) co_return failed;
      done += length;
    }
    co_return 0;
  }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override {
    RangeLock::Held mine(busy_, offset, offset + total_bytes(from));
    co_await mine.wait(loop());
    const IoStatus failed = co_await below().write(offset, from, flags);
    co_return failed;
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override {
    RangeLock::Held mine(busy_, offset, offset + length);
    co_await mine.wait(loop());
    const IoStatus failed = co_await below().write_zeroes(offset, length, flags);
    co_return failed;
  }
  Task<IoStatus> discard(u64 offset, u64 length) override {
    RangeLock::Held mine(busy_, offset, offset + length);
    co_await mine.wait(loop());
    const IoStatus failed = co_await below().discard(offset, length);
    co_return failed;
  }

 private:
  /// Reads the whole clusters around the stretch, writes them back, and gives the reader its part.
  Task<IoStatus> copy(u64 offset, u64 length, IoVec to) {
    const BlockLimits limits = below().limits();
    const u64 unit = std::max<u64>({limits.cluster, limits.request_alignment, 512});
    const u64 begin = offset / unit * unit;
    const u64 end = std::min((offset + length + unit - 1) / unit * unit, below().bytes());
    // A guest's write to the same place comes before all of this or after it, never between.
    RangeLock::Held mine(busy_, begin, end);
    co_await mine.wait(loop());
    const AlignedBuffer buffer(end - begin);
    if (!buffer) co_return ENOMEM;
    const iovec whole{buffer.data(), end - begin};
    const IoStatus unread = co_await below().read(begin, IoVec(&whole, 1));
    if (unread != 0) co_return unread;
    copy_in(buffer.data() + (offset - begin), length, to, 0);
    // What could not be kept was still read: that is not the guest's trouble.
    static_cast<void>(co_await below().write(begin, IoVec(&whole, 1), IoFlags::None));
    co_return 0;
  }

  RangeLock busy_;
};

}  // namespace

void register_copy_on_read_driver(DriverRegistry& drivers) {
  drivers.add({.name = "copy-on-read", .is_filter = true, .open = CopyOnReadNode::open});
}

}  // namespace emu::block
