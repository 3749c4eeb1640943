// SPDX-License-Identifier: Apache-2.0
// What is known of one RAM page that holds translated code. Under the block cache's lock, but for end_translation.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <vector>

#include "accel/tcg/code_block.h"
#include "softmmu/memory/ram_block.h"
#include "util/clock.h"

namespace emu::accel {

class PageCode {
 public:
  explicit PageCode(mem::RamRef ram, mem::RamPage page) : ram_(std::move(ram)), page_(page) {}

  mem::RamBlock& ram() const { return *ram_; }
  const mem::RamRef& ram_ref() const { return ram_; }
  mem::RamPage page() const { return page_; }
  bool is_empty() const { return blocks_.empty() && translating_.load(std::memory_order_acquire) == 0; }
  const std::vector<CodeBlock*>& blocks() const { return blocks_; }

  void add(CodeBlock& block);
  void remove(CodeBlock& block);
  /// Whether a granule that [offset, offset + length) touches holds code.
  bool granules_overlap(u32 offset, u32 length) {
    if (granules_are_stale_) recount_granules();
    return (granules_ & mask_of(offset, length)) != 0;
  }
  /// Whether the block's own bytes on this page overlap.
  bool overlaps(const CodeBlock& block, u32 offset, u32 length) const;

  /// A translator reads the page: the code bit stays, even if no block is left.
  void begin_translation() { translating_.fetch_add(1, std::memory_order_relaxed); }
  void end_translation() { translating_.fetch_sub(1, std::memory_order_release); }  ///< without a lock

  u64 write_epoch = 0;  ///< grace period that began when the code bit was set

  /// Whether the page's blocks compare their bytes each time they are entered, so that stores to it need not be seen.
  /// Changes under the lock; a translator reads it without.
  bool is_checked() const { return checked_.load(std::memory_order_relaxed); }
  void set_checked(bool checked) { checked_.store(checked, std::memory_order_relaxed); }
  u64 checked_since = 0;  ///< grace period after which no block of before can be running
  ClockNs checked_at{};   ///< on the host's clock
  /// Counts a store that was seen. True: so many came since a block was made here that the page is being written anew,
  /// and what is left of its blocks is better dropped than kept from one store to the next.
  bool is_rewritten() { return ++stores_since_block_ >= kRewritten; }
  /// Counts what stores to the page cost of late. True: so much that checking is cheaper.
  bool is_stormy(u32 cost, const std::function<ClockNs()>& host_now);

 private:
  static constexpr unsigned kGranuleShift = 6;
  static u64 mask_of(u32 offset, u32 length);
  /// The block's bytes on this page, as [first, second).
  std::pair<u32, u32> extent(const CodeBlock& block) const;
  void recount_granules();

  static constexpr u32 kStormCost = 1024;  ///< in one millisecond: about a seventh of the time
  static constexpr u32 kLookAtClock = 64;
  static constexpr u32 kRewritten = 32;

  const mem::RamRef ram_;
  const mem::RamPage page_;
  u32 cost_ = 0;  ///< since window_began_
  ClockNs window_began_{};
  u32 stores_since_block_ = 0;
  std::atomic<bool> checked_{false};
  std::vector<CodeBlock*> blocks_;
  u64 granules_ = 0;
  bool granules_are_stale_ = false;  ///< those of blocks that went are still among them
  std::atomic<unsigned> translating_{0};
};

}  // namespace emu::accel
