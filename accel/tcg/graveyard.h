// SPDX-License-Identifier: Apache-2.0
// Blocks whose source was overwritten, kept in case the same bytes come back to the same place.
#pragma once

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
/// own them. Under the block cache's lock, but for is_empty().
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

  /// Any thread; may be a moment old.
  bool is_empty() const { return size_.load(std::memory_order_relaxed) == 0; }

 private:
  using Order = std::list<CodeBlock*>;  ///< oldest first
  using Graves = std::unordered_multimap<size_t, Order::iterator>;
  CodeBlock* take(Graves::iterator at);

  Order order_;
  Graves graves_;  ///< by hash of the key
  std::atomic<size_t> size_{0};
};

}  // namespace emu::accel
