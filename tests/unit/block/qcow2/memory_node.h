// SPDX-License-Identifier: Apache-2.0
// A file in memory whose requests end later and in any order, and which remembers what reached it when.
#pragma once

#include <cerrno>
#include <cstring>
#include <random>
#include <vector>

#include "block/node.h"

namespace emu::block {

struct DiskEvent {
  enum class Kind : u8 { Write, Truncate, Flush } kind;
  u64 offset = 0;  ///< Truncate: the new length; Flush: how many events were done when it began
  std::vector<u8> data = {};
};

class MemoryNode final : public Node {
 public:
  MemoryNode(EventLoop& loop, std::string name, std::vector<u8> content = {}, bool read_only = false)
      : Node(loop, std::move(name), read_only), content_(std::move(content)) {}

  std::string_view driver() const override { return "memory"; }
  std::string filename() const override { return "memory:" + name(); }
  u64 bytes() const override { return content_.size(); }
  BlockLimits limits() const override { return {.request_alignment = alignment}; }

  Task<IoStatus> read(u64 offset, IoVec to) override {
    co_await later();
    const u64 end = offset + total_bytes(to);
    if (((offset | end) & (alignment - 1)) != 0 || end > ((content_.size() + alignment - 1) & ~u64(alignment - 1))) {
      co_return EINVAL;
    }
    for (const iovec& part : to) {
      const u64 there = offset < content_.size() ? std::min<u64>(part.iov_len, content_.size() - offset) : 0;
      std::memset(part.iov_base, 0, part.iov_len);
      std::memcpy(part.iov_base, content_.data() + offset, there);
      offset += part.iov_len;
    }
    ++reads;
    co_return 0;
  }
  Task<IoStatus> write(u64 offset, IoVec from, IoFlags) override {
    const u64 bytes = total_bytes(from);
    co_await later();
    if (writes_until_failure && --writes_until_failure == 0) co_return EIO;
    if (offset > most_bytes || bytes > most_bytes - offset) co_return ENOSPC;
    if (offset + bytes > content_.size()) content_.resize(offset + bytes);
    if (!is_legal(offset, bytes)) co_return EINVAL;
    std::vector<u8> data;
    for (const iovec& part : from) {
      const u8* const at = static_cast<const u8*>(part.iov_base);
      data.insert(data.end(), at, at + part.iov_len);
    }
    std::memcpy(content_.data() + offset, data.data(), data.size());
    record({DiskEvent::Kind::Write, offset, std::move(data)});
    ++writes;
    co_return 0;
  }
  Task<IoStatus> write_zeroes(u64 offset, u64 length, IoFlags) override {
    std::vector<u8> zeroes(length);
    const iovec part = {zeroes.data(), length};
    const IoStatus status = co_await write(offset, {&part, 1}, IoFlags::None);
    co_return status;
  }
  Task<IoStatus> discard(u64 offset, u64 length) override {
    co_await later();
    if (!is_legal(offset, length)) co_return EINVAL;
    // Anything may be there afterwards; the worst for a format that is wrong about what is free:
    std::vector<u8> junk(length, 0xdb);
    std::memcpy(content_.data() + offset, junk.data(), length);
    record({DiskEvent::Kind::Write, offset, std::move(junk)});
    ++discards;
    co_return 0;
  }
  Task<IoStatus> flush() override {
    const u64 covers = events.size();
    co_await later();
    record({DiskEvent::Kind::Flush, covers});  // what was done before it began is safe now
    ++flushes;
    co_return 0;
  }
  Task<Result<Extent>> status(u64 offset, u64 length) override {
    co_return Extent{.bytes = std::min(length, content_.size() - offset), .data = true, .allocated = true};
  }
  Task<Result<void>> truncate(u64 bytes, Preallocation) override {
    co_await later();
    if (bytes > most_bytes) co_return error("no space");
    content_.resize(bytes);
    record({DiskEvent::Kind::Truncate, bytes});
    co_return Result<void>();
  }

  std::vector<u8>& content() { return content_; }
  std::vector<DiskEvent> events;
  bool records = false;
  bool is_slow = false;  ///< requests end later, in any order
  u32 alignment = 1;
  u64 most_bytes = u64(1) << 32;
  unsigned writes_until_failure = 0;
  std::mt19937_64 random{1};
  unsigned reads = 0, writes = 0, flushes = 0, discards = 0;

 private:
  bool is_legal(u64 offset, u64 bytes) const {
    return offset <= content_.size() && bytes <= content_.size() - offset && (offset | bytes) % alignment == 0;
  }
  void record(DiskEvent event) {
    if (records) events.push_back(std::move(event));
  }
  Task<void> later() {
    if (!is_slow) co_return;
    for (auto turns = random() % 4; turns-- > 0;) {
      Completion<bool> done(loop());
      loop().post([done] { done.complete(true); });
      co_await done;
    }
  }
  std::vector<u8> content_;
};

}  // namespace emu::block
