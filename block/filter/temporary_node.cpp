// SPDX-License-Identifier: Apache-2.0
// Format `temporary`: what is written goes to a file without a name, and is gone with it (snapshot=on, -snapshot).
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "block/buffers.h"
#include "block/driver.h"
#include "block/filter/range_lock.h"
#include "util/fd.h"

namespace emu::block {
namespace {

constexpr u64 kCluster = 64 << 10;

class TemporaryNode final : public Node {
 public:
  TemporaryNode(EventLoop& loop, const NodeSettings& settings, NodeRef backing, NodeRef file)
      : Node(loop, settings.name, false),
        backing_(std::move(backing)),
        file_(std::move(file)),
        bytes_(backing_->bytes()),
        backed_(bytes_),
        own_((bytes_ + kCluster - 1) / kCluster, false) {}

  static Task<Result<NodeRef>> open(OpenContext& context, Options options);

  std::string_view driver() const override { return "temporary"; }
  std::string filename() const override { return backing_->filename(); }
  std::vector<Child> children() const override { return {{"file", file_}, {"backing", backing_}}; }
  u64 bytes() const override { return bytes_; }
  BlockLimits limits() const override {
    const BlockLimits below = backing_->limits();  // cache=none: what is read there must be aligned
    return {.request_alignment = std::max<u32>(512, below.request_alignment),
            .memory_alignment = below.memory_alignment,
            .cluster = u32(kCluster)};
  }
  Access child_access(std::string_view role, Access own) const override {
    return role == "backing" ? backing_access(own) : storage_access(own, false);
  }

  Task<IoStatus> read(u64 offset, IoVec to) override {
    const u64 end = offset + total_bytes(to);
    for (u64 at = offset; at < end;) {
      const u64 stretch = same_until(at, end);
      const std::vector<iovec> part = slice(to, at - offset, stretch - at);
      IoStatus failed = 0;
      if (own_[at / kCluster]) {
        failed = co_await file_->read(at, part);
      } else {
        failed = co_await read_backing(at, part);
      }
      if (failed != 0) co_return failed;
      at = stretch;
    }
    co_return 0;
  }

  Task<IoStatus> write(u64 offset, IoVec from, IoFlags) override {
    const u64 end = offset + total_bytes(from);
    RangeLock::Held mine(busy_, offset / kCluster * kCluster, (end + kCluster - 1) / kCluster * kCluster);
    co_await mine.wait(loop());
    const IoStatus unfilled = co_await fill_ends(offset, end);
    if (unfilled != 0) co_return unfilled;
    const IoStatus failed = co_await file_->write(offset, from, IoFlags::None);
    if (failed == 0) take(offset, end);
    co_return failed;
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags) override {
    const u64 end = offset + length;
    RangeLock::Held mine(busy_, offset / kCluster * kCluster, (end + kCluster - 1) / kCluster * kCluster);
    co_await mine.wait(loop());
    const IoStatus unfilled = co_await fill_ends(offset, end);
    if (unfilled != 0) co_return unfilled;
    const IoStatus failed = co_await file_->write_zeroes(offset, length, IoFlags::MayUnmap);
    if (failed == 0) take(offset, end);
    co_return failed;
  }
  Task<IoStatus> discard(u64, u64) override { co_return 0; }
  Task<IoStatus> flush() override { co_return 0; }  // nothing of it outlives us
  Task<Result<Extent>> status(u64 offset, u64 length) override {
    if (offset >= bytes_) co_return Extent{};
    const u64 end = same_until(offset, offset + std::min(length, bytes_ - offset));
    const bool own = own_[offset / kCluster];
    co_return Extent{.bytes = end - offset, .data = true, .zero = false, .allocated = own};
  }
  Task<Result<void>> truncate(u64 bytes, Preallocation preallocation) override {
    if (preallocation != Preallocation::Off) co_return error("a temporary overlay takes no preallocation");
    backed_ = std::min(backed_, bytes);
    own_.resize((bytes + kCluster - 1) / kCluster, false);
    bytes_ = bytes;
    co_return Result<void>();
  }

 private:
  /// Up to where all clusters from `at` on are alike, at most `end`.
  u64 same_until(u64 at, u64 end) const {
    u64 next = (at / kCluster + 1) * kCluster;
    while (next < end && own_[next / kCluster] == own_[at / kCluster]) next += kCluster;
    return std::min(next, end);
  }
  void take(u64 begin, u64 end) {
    for (u64 cluster = begin / kCluster; cluster * kCluster < end; cluster++) own_[cluster] = true;
  }
  Task<IoStatus> read_backing(u64 offset, IoVec to) {
    const u64 length = total_bytes(to);
    const u64 there = offset >= backed_ ? 0 : std::min(length, backed_ - offset);
    if (there < length) {
      for (const iovec& part : slice(to, there, length - there)) std::memset(part.iov_base, 0, part.iov_len);
    }
    if (there == 0) co_return 0;
    const std::vector<iovec> part = slice(to, 0, there);
    const IoStatus failed = co_await backing_->read(offset, part);
    co_return failed;
  }
  /// Copies what the first and the last cluster have outside the stretch.
  Task<IoStatus> fill_ends(u64 begin, u64 end) {
    const u64 first = begin / kCluster * kCluster;
    const u64 last = end / kCluster * kCluster;
    if (first != begin && !own_[first / kCluster]) {
      const IoStatus failed = co_await copy(first, begin);
      if (failed != 0) co_return failed;
    }
    if (last != end && !own_[last / kCluster]) {
      const IoStatus failed = co_await copy(end, std::min(last + kCluster, bytes_));
      if (failed != 0) co_return failed;
    }
    co_return 0;
  }
  Task<IoStatus> copy(u64 begin, u64 end) {
    if (begin >= end) co_return 0;
    const AlignedBuffer buffer(end - begin);
    if (!buffer) co_return ENOMEM;
    const iovec part{buffer.data(), end - begin};
    IoStatus failed = co_await read_backing(begin, IoVec(&part, 1));
    if (failed == 0) failed = co_await file_->write(begin, IoVec(&part, 1), IoFlags::None);
    co_return failed;
  }

  const NodeRef backing_, file_;
  u64 bytes_;
  u64 backed_;  ///< what was cut off once does not come back
  std::vector<bool> own_;
  RangeLock busy_;
};

Task<Result<NodeRef>> TemporaryNode::open(OpenContext& context, Options options) {
  std::string role = "backing";
  auto backing = co_await context.open_child(options, std::move(role));
  EMU_CO_TRY(backing);
  if (!*backing) co_return error("a temporary overlay needs backing=");
  auto known = options.finish();
  EMU_CO_TRY(known);

  const char* folder = ::getenv("TMPDIR");
  std::string name = fmt::format("{}/system-emu-XXXXXX", folder != nullptr && *folder != 0 ? folder : "/var/tmp");
  const Fd made(::mkostemp(name.data(), O_CLOEXEC));
  if (!made) {
    co_return error(Error(fmt::format("Could not create temporary file '{}': {}", name, std::strerror(errno)))
                        .with_hint("TMPDIR names another folder"));
  }
  Options below;
  below.set("file.driver", "file");
  below.set("file.filename", name);
  below.set("file.locking", "off");
  below.set("file.read-only", "off");
  below.set("file.discard", "unmap");
  below.set("file.cache.direct", "off");
  role = "file";
  auto file = co_await context.open_child(below, std::move(role));
  ::unlink(name.c_str());
  EMU_CO_TRY(file);
  context.settings.read_only = false;
  co_return std::make_shared<TemporaryNode>(context.loop, context.settings, *backing, *file);
}

}  // namespace

void register_temporary_driver(DriverRegistry& drivers) {
  drivers.add({.name = "temporary", .is_filter = true, .open = TemporaryNode::open});
}

}  // namespace emu::block
