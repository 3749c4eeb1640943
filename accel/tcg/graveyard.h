// SPDX-License-Identifier: Apache-2.0
// Blocks whose source was overwritten, kept in case the same bytes come back to the same place.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <span>
#include <unordered_map>
#include <vector>

#include "accel/tcg/code_block.h"

namespace emu::accel {

/// A breakpoint is taken away, a static key is toggled back, a page is read into memory again: then the old translation
/// is right again and is given a new life instead of being made anew. Holds dead blocks that nothing links to; does not
/// own them. Under the block cache's lock, but for may_hold().
class Graveyard {
 public:
  /// More records than that are not worth their memory; the code they hold stays in its segment anyway.
  static constexpr size_t kMost = 4096;
  static constexpr unsigned kMostOfAKey = 4;

  /// Takes in a dead block. Returns one that has to make room, and is the caller's again, or null.
  CodeBlock* bury(CodeBlock& block);
  /// Takes out the block of this key whose source `bytes` begins with, if `is_quiet` of its epoch; null if there is
  /// none.
  CodeBlock* exhume(const BlockKey& key, std::span<const u8> bytes, const std::function<bool(u64 epoch)>& is_quiet);
  /// Takes out this block. False: it is not here.
  bool remove(CodeBlock& block);
  /// Takes out all.
  std::vector<CodeBlock*> clear();

  /// False: none of this key is here. Any thread; may be a moment old.
  bool may_hold(const BlockKey& key) const { return marks_[mark_of(key)].load(std::memory_order_relaxed) != 0; }

 private:
  using Order = std::list<CodeBlock*>;  ///< oldest first
  using Graves = std::unordered_multimap<size_t, Order::iterator>;
  CodeBlock* take(Graves::iterator at);
  static constexpr unsigned kMarksLog2 = 14;
  static size_t mark_of(const BlockKey& key) { return key.hash() >> 20 & ((size_t(1) << kMarksLog2) - 1); }
  void mark(const CodeBlock& block, int add) {
    std::atomic<u16>& count = marks_[mark_of(block.key)];
    count.store(u16(count.load(std::memory_order_relaxed) + add), std::memory_order_relaxed);
  }

  Order order_;
  Graves graves_;  ///< by hash of the key
  /// How many of those that are here have this hash: most translations are of code that was never here.
  std::array<std::atomic<u16>, size_t(1) << kMarksLog2> marks_{};
};

}  // namespace emu::accel
