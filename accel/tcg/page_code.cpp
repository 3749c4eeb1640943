// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/page_code.h"

#include <chrono>

#include "util/bits.h"

namespace emu::accel {

u64 PageCode::mask_of(u32 offset, u32 length) {
  if (length == 0) return 0;
  const unsigned first = offset >> kGranuleShift;
  const unsigned last = std::min<u32>(offset + length - 1, u32(mem::kPageSize) - 1) >> kGranuleShift;
  return low_mask(last - first + 1) << first;
}

std::pair<u32, u32> PageCode::extent(const CodeBlock& block) const {
  // A page may be mapped twice in a row, so that a straddling block begins and ends in it: then all of it counts.
  if (block.straddles() && block.second_page == page_ && block.key.page == page_) return {0, u32(mem::kPageSize)};
  if (block.key.page == page_) return {block.page_offset(), block.page_offset() + block.first_bytes()};
  return {0, block.guest_bytes - block.first_bytes()};
}

void PageCode::add(CodeBlock& block) {
  blocks_.push_back(&block);
  stores_since_block_ = 0;
  const auto [first, end] = extent(block);
  granules_ |= mask_of(first, end - first);
}

void PageCode::remove(CodeBlock& block) {
  const auto at = std::find(blocks_.begin(), blocks_.end(), &block);
  if (at == blocks_.end()) return;
  *at = blocks_.back();
  blocks_.pop_back();
  granules_are_stale_ = true;  // a page may hold thousands of clones, which often go together
}

void PageCode::recount_granules() {
  granules_are_stale_ = false;
  granules_ = 0;
  for (const CodeBlock* b : blocks_) {
    const auto [first, end] = extent(*b);
    granules_ |= mask_of(first, end - first);
  }
}

bool PageCode::overlaps(const CodeBlock& block, u32 offset, u32 length) const {
  const auto [first, end] = extent(block);
  return offset < end && first < offset + length;
}

bool PageCode::is_stormy(u32 cost, const std::function<ClockNs()>& host_now) {
  const u32 before = cost_;
  cost_ += cost;
  if (before / kLookAtClock == cost_ / kLookAtClock) return false;
  const ClockNs now = host_now();
  if (now - window_began_ > std::chrono::milliseconds(1)) {
    window_began_ = now;
    cost_ = 0;
  }
  return cost_ >= kStormCost;
}

}  // namespace emu::accel
