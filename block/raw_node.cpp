// SPDX-License-Identifier: Apache-2.0
// Format `raw`: the bytes of its file, or a window of them.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "block/driver.h"
#include "block/graph.h"
#include "util/log.h"

namespace emu::block {
namespace {

constexpr u64 kSector = 512;

class RawNode final : public Node {
 public:
  static Task<Result<NodeRef>> open(OpenContext& context, Options options);

  RawNode(EventLoop& loop, const NodeSettings& settings, NodeRef file, u64 offset, std::optional<u64> size,
          const DriverRegistry* guards_probe)
      : Node(loop, settings.name, settings.read_only),
        file_(std::move(file)),
        offset_(offset),
        size_(size),
        guards_probe_(guards_probe) {}

  std::string_view driver() const override { return "raw"; }
  std::string filename() const override { return file_->filename(); }
  std::vector<Child> children() const override { return {{"file", file_}}; }
  u64 bytes() const override {
    if (size_) return *size_;
    const u64 below = file_->bytes();
    const u64 rest = below > offset_ ? below - offset_ : 0;
    return (rest + kSector - 1) & ~(kSector - 1);  // disks have whole sectors; the last one's rest reads as zeroes
  }
  BlockLimits limits() const override { return file_->limits(); }

  Task<IoStatus> read(u64 offset, IoVec to) override { return file_->read(offset_ + offset, to); }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags flags) override {
    if (guards_probe_ != nullptr && offset < kProbeBytes && changes_format(offset, from)) return refuse();
    return file_->write(offset_ + offset, from, flags);
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags flags) override {
    return file_->write_zeroes(offset_ + offset, length, flags);
  }
  Task<IoStatus> discard(u64 offset, u64 length) override { return file_->discard(offset_ + offset, length); }
  Task<IoStatus> flush() override { return file_->flush(); }

  Task<Result<Extent>> status(u64 offset, u64 length) override {
    if (offset >= bytes()) co_return Extent{};
    length = std::min(length, bytes() - offset);
    auto below = co_await file_->status(offset_ + offset, length);
    EMU_CO_TRY(below);
    if (below->bytes == 0) {  // the zeroes behind the last byte
      *below = Extent{.bytes = length, .data = false, .zero = true, .allocated = true, .compressed = false,
                      .host_offset = {}};
    }
    below->allocated = true;
    below->host_offset = offset_ + offset;
    co_return *below;
  }

  Task<Result<void>> truncate(u64 bytes, Preallocation preallocation) override {
    if (size_) co_return error("Cannot resize node '{}': its size is fixed by size=", name());
    if (bytes > u64(INT64_MAX) - offset_) co_return error("node '{}' cannot have {} bytes", name(), bytes);
    auto done = co_await file_->truncate(offset_ + bytes, preallocation);
    co_return done;
  }
  Task<Result<void>> set_read_only(bool read_only) override {
    if (file_->is_read_only() != read_only) {
      auto done = co_await file_->set_read_only(read_only);
      EMU_CO_TRY(done);
    }
    change_read_only(read_only);
    co_return Result<void>();
  }
  Result<void> replace_child(std::string_view role, NodeRef node) override {
    if (role != "file") return error("raw has no child '{}'", role);
    if (size_ && (*size_ > node->bytes() || offset_ > node->bytes() - *size_)) {
      return error("node '{}' is too short for offset={} and size={}", node->name(), offset_, *size_);
    }
    file_ = std::move(node);
    return {};
  }

 private:
  /// Whether these first bytes would make the file look like another format, whose header the guest had then made.
  bool changes_format(u64 offset, IoVec from) const {
    if (offset != 0) return false;  // magics are at the start
    std::vector<u8> first;
    for (const iovec& part : from) {
      const auto* bytes = static_cast<const u8*>(part.iov_base);
      first.insert(first.end(), bytes, bytes + std::min(part.iov_len, kProbeBytes - first.size()));
    }
    return guards_probe_->probe(first) != "raw";
  }
  Task<IoStatus> refuse() {
    log::warn("node '{}': a write that would make the raw image look like another format is refused; "
              "say format=raw to allow it",
              name());
    co_return EPERM;
  }

  NodeRef file_;
  const u64 offset_;
  const std::optional<u64> size_;
  const DriverRegistry* const guards_probe_;  ///< the format was guessed: block 0 is restricted
};

Task<Result<NodeRef>> RawNode::open(OpenContext& context, Options options) {
  auto offset = options.take_size("offset");
  EMU_CO_TRY(offset);
  auto size = options.take_size("size");
  EMU_CO_TRY(size);
  auto probed = options.take_bool_or("x-probed", false);
  EMU_CO_TRY(probed);
  auto file = co_await context.open_file(options);
  EMU_CO_TRY(file);
  auto known = options.finish();
  EMU_CO_TRY(known);
  const u64 start = offset->value_or(0);
  if (start > (*file)->bytes()) {
    co_return error("Offset ({}) cannot be greater than size of the containing file ({})", start, (*file)->bytes());
  }
  if (*size && **size > (*file)->bytes() - start) {
    co_return error("The sum of offset ({}) and size ({}) has to be smaller or equal to the actual size of the "
                    "containing file ({})",
                    start, **size, (*file)->bytes());
  }
  const u64 alignment = std::max<u64>(kSector, (*file)->limits().request_alignment);
  if (*size && **size % kSector != 0) co_return error("Specified size is not multiple of {}", kSector);
  if (start % alignment != 0 && (*file)->limits().request_alignment > 1) {
    co_return error("offset={} is not a multiple of {}, as the file below needs", start, alignment);
  }
  co_return std::make_shared<RawNode>(context.loop, context.settings, *file, start, *size,
                                      *probed ? &context.graph.drivers() : nullptr);
}

}  // namespace

void register_raw_driver(DriverRegistry& drivers) {
  drivers.add({.name = "raw", .is_format = true, .open = RawNode::open});
}

}  // namespace emu::block
