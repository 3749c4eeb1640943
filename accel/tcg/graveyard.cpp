// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/graveyard.h"

#include <algorithm>

namespace emu::accel {

CodeBlock* Graveyard::take(Graves::iterator at) {
  CodeBlock* block = *at->second;
  order_.erase(at->second);
  graves_.erase(at);
  mark(*block, -1);
  return block;
}

CodeBlock* Graveyard::bury(CodeBlock& block) {
  // Of two that are alike one is enough: the other was still in use when its bytes came back. And of a place that is
  // always written anew a few are.
  CodeBlock* leaves = nullptr;
  const auto [first, last] = graves_.equal_range(block.key.hash());
  auto oldest = last;
  unsigned alike = 0;
  for (auto at = first; at != last; ++at) {
    const CodeBlock& other = **at->second;
    if (!(other.key == block.key)) continue;
    if (std::ranges::equal(other.source, block.source)) {
      leaves = take(at);
      break;
    }
    ++alike;
    if (oldest == last || other.dead_since < (*oldest->second)->dead_since) oldest = at;
  }
  if (leaves == nullptr && alike >= kMostOfAKey) leaves = take(oldest);
  if (leaves == nullptr && order_.size() == kMost) remove(*(leaves = order_.front()));
  graves_.emplace(block.key.hash(), order_.insert(order_.end(), &block));
  mark(block, 1);
  return leaves;
}

CodeBlock* Graveyard::exhume(const BlockKey& key, std::span<const u8> bytes,
                             const std::function<bool(u64 epoch)>& is_quiet) {
  const auto [first, last] = graves_.equal_range(key.hash());
  for (auto at = first; at != last; ++at) {
    const CodeBlock& block = **at->second;
    if (!(block.key == key) || block.source.size() > bytes.size() || !is_quiet(block.dead_since)) continue;
    if (std::ranges::equal(block.source, bytes.first(block.source.size()))) return take(at);
  }
  return nullptr;
}

bool Graveyard::remove(CodeBlock& block) {
  const auto [first, last] = graves_.equal_range(block.key.hash());
  for (auto at = first; at != last; ++at) {
    if (*at->second != &block) continue;
    take(at);
    return true;
  }
  return false;
}

std::vector<CodeBlock*> Graveyard::clear() {
  std::vector<CodeBlock*> all(order_.begin(), order_.end());
  graves_.clear();
  order_.clear();
  for (auto& count : marks_) count.store(0, std::memory_order_relaxed);
  return all;
}

}  // namespace emu::accel
