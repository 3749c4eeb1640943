// SPDX-License-Identifier: Apache-2.0
// A disk in memory, whose requests can be held back and made to fail, for tests of disk controllers.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "block/block_backend.h"

namespace emu::test {

class FakeBlockBackend final : public block::BlockBackend {
 public:
  static void describe(qom::TypeInfo<FakeBlockBackend>& type) { type.doc("disk in memory"); }

  // For tests.
  void fill(u64 bytes) {
    contents.resize(bytes);
    for (u64 i = 0; i < bytes; i++) contents[i] = pattern(i);
  }
  /// What byte `i` of a disk is that nobody has written to.
  static u8 pattern(u64 i) { return u8(i ^ (i >> 9) ^ 0x5a); }
  /// From now on requests wait until release().
  void hold() { held_ = true; }
  void release() {
    held_ = false;
    for (auto& waiting : std::exchange(waiting_, {})) waiting.complete(0);
  }
  size_t waiting() const { return waiting_.size(); }
  /// Runs what is ready on the loop.
  void poll() {
    while (loop_.run_once(false)) {
    }
  }

  std::vector<u8> contents;
  std::vector<int> tray_moves;  ///< 1: opened, 0: closed, as the device told
  bool medium = true, read_only = false, write_cache = true, discard_ok = true;
  bool moves = false;       ///< to other loops
  EventLoop* at = nullptr;  ///< where it moved to
  int fail_with = 0;        ///< errno of the requests to come
  std::vector<std::string> log;
  block::BlockFrontend* frontend = nullptr;

  Result<void> attach(block::BlockFrontend& f) override {
    if (frontend != nullptr) return error("drive is in use");
    frontend = &f;
    return {};
  }
  void detach(block::BlockFrontend& f) override {
    EMU_CHECK(frontend == &f);
    frontend = nullptr;
  }
  bool has_medium() const override { return medium; }
  u64 bytes() const override { return medium ? contents.size() : 0; }
  bool is_read_only() const override { return read_only; }
  bool has_write_cache() const override { return write_cache; }
  void set_write_cache(bool enabled) override { write_cache = enabled; }
  void tray_moved(bool open) override { tray_moves.push_back(open); }
  bool can_discard() const override { return discard_ok; }
  block::BlockLimits limits() const override { return {}; }
  std::string filename() const override { return "fake"; }
  EventLoop& loop() const override { return at != nullptr ? *at : loop_; }
  Result<void> move_to(EventLoop& other) override {
    if (!moves) return error("no");
    at = &other;
    return {};
  }

  Task<block::IoStatus> read(u64 offset, block::IoVec to) override {
    const std::vector<iovec> parts(to.begin(), to.end());
    const int status = co_await begin("read", offset, block::total_bytes(to));
    if (status != 0) co_return status;
    for (const iovec& part : parts) {
      std::memcpy(part.iov_base, contents.data() + offset, part.iov_len);
      offset += part.iov_len;
    }
    co_return 0;
  }
  Task<block::IoStatus> write(u64 offset, block::IoVec from, block::IoFlags flags) override {
    const std::vector<iovec> parts(from.begin(), from.end());
    const char* name = has(flags, block::IoFlags::Fua) ? "write-fua" : "write";
    const int status = co_await begin(name, offset, block::total_bytes(from));
    if (status != 0) co_return status;
    for (const iovec& part : parts) {
      std::memcpy(contents.data() + offset, part.iov_base, part.iov_len);
      offset += part.iov_len;
    }
    co_return 0;
  }
  Task<block::IoStatus> write_zeroes(u64 offset, u64 length, block::IoFlags flags) override {
    const char* name = has(flags, block::IoFlags::MayUnmap) ? "zero-unmap" : "zero";
    const int status = co_await begin(name, offset, length);
    if (status == 0) std::fill_n(contents.begin() + i64(offset), length, u8(0));
    co_return status;
  }
  Task<block::IoStatus> discard(u64 offset, u64 length) override {
    const int status = co_await begin("discard", offset, length);
    if (status == 0) std::fill_n(contents.begin() + i64(offset), length, u8(0));
    co_return status;
  }
  Task<block::IoStatus> flush() override {
    const int status = co_await begin("flush", 0, 0);
    co_return status;
  }

 private:
  Task<int> begin(const char* name, u64 offset, u64 length) {
    log.push_back(fmt::format("{} {:#x}+{:#x}", name, offset, length));
    if (held_) {
      const Completion<int> go(loop());
      waiting_.push_back(go);
      static_cast<void>(co_await go);
    }
    if (!medium) co_return ENOMEDIUM;
    if (fail_with != 0) co_return fail_with;
    co_return offset > contents.size() || length > contents.size() - offset ? EIO : 0;
  }

  mutable EventLoop loop_;
  bool held_ = false;
  std::deque<Completion<int>> waiting_;
};

/// Puts a disk of `bytes` at /backend/ID. The types "block-backend" and "fake-backend" must be registered.
inline void register_fake_backend(qom::TypeRegistry& registry) {
  registry.add_abstract<block::BlockBackend, qom::Object>();
  registry.add<FakeBlockBackend>("fake-backend");
}
inline FakeBlockBackend& add_disk(qom::ObjectTree& tree, const std::string& id, u64 bytes) {
  auto& disk = tree.container(block::BlockBackend::kContainer).adopt(id, tree.make<FakeBlockBackend>());
  disk.fill(bytes);
  return disk;
}

}  // namespace emu::test
