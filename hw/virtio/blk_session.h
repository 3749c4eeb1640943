// SPDX-License-Identifier: Apache-2.0
// What a block device's requests need while they are under way: it lives until the last of them is done, even if the
// device is gone by then.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "block/block_backend.h"
#include "hw/virtio/virt_queue.h"
#include "util/task.h"

namespace emu::hw {

/// What a driver may ask for; fixed while the device is realized.
struct BlkLimits {
  std::string serial;
  u32 logical_block = 512;
  bool read_only = false, discard = false, write_zeroes = false, merging = true;
  u32 max_discard_sectors = 0, max_write_zeroes_sectors = 0;
};

class BlkSession final : public block::BlockFrontend, public std::enable_shared_from_this<BlkSession> {
 public:
  /// `loop` is where the backend's requests are made. `on_resize` is called there.
  BlkSession(block::BlockBackend& backend, EventLoop& loop, BlkLimits limits, std::function<void()> on_resize,
             std::string device_name);
  ~BlkSession() override;

  /// Takes one request, and carries it out unless the next one may go on where it ends. Loop's thread.
  void take(const std::shared_ptr<VirtQueue>& queue, VirtElementPtr element);
  /// No further request is known: carries out what was kept. Loop's thread.
  void start_taken(const std::shared_ptr<VirtQueue>& queue);
  /// Asks what is under way to end early (what waits for a person, say). Any thread.
  void cancel();
  /// No more requests come. True when none is under way; else `idle` is called on the loop after the last. Any thread.
  bool close(std::function<void()> idle);

  u64 capacity_bytes() const { return bytes_.load(std::memory_order_relaxed); }
  bool is_write_cached() const { return write_cache_.load(std::memory_order_relaxed); }
  /// Off: each write is on stable storage before it is done. Any thread.
  void set_write_cache(bool enabled);

  // BlockFrontend
  void resized() override;
  std::string device_name() const override { return device_name_; }

 private:
  struct Request;
  using Requests = std::vector<Request>;  ///< one, or reads or writes that follow upon each other
  static Task<void> serve(std::shared_ptr<BlkSession> self, std::shared_ptr<VirtQueue> queue, Requests requests);
  Task<u8> carry_out(Request& request);
  Task<u8> transfer(std::span<Request> requests);
  bool goes_on(const Request& request) const;
  Task<u8> discard_or_zero(Request& request);
  u8 give_id(Request& request);
  bool is_inside(u64 sector, u64 bytes) const;
  void ended(u32 requests = 1);

  block::BlockBackend& backend_;
  EventLoop& loop_;
  const BlkLimits limits_;
  const std::string device_name_;
  std::atomic<u64> bytes_;
  std::atomic<bool> write_cache_;
  TaskOwner tasks_;  ///< loop's thread
  // Between take() and start_taken(); loop's thread.
  Requests taken_;
  u64 taken_bytes_ = 0;
  std::size_t taken_pieces_ = 0;

  std::mutex mutex_;  ///< the rest. Lock order: machine lock → this
  std::function<void()> on_resize_;
  u32 under_way_ = 0;
  bool closing_ = false;
  std::function<void()> idle_;
};

}  // namespace emu::hw
