// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/contexts.h"

#include "util/bits.h"
#include "util/check.h"

namespace emu::accel {

ViewTable& TableSet::view(u8 index) {
  EMU_CHECK(index < tcg::kMaxViews);
  if (!views_[index]) {
    views_[index] = std::make_unique<ViewTable>(l2_.data(), index + 1u, owners_);
    tell_views();
  }
  return *views_[index];
}

/// After the second level's generations may have changed.
void TableSet::tell_views() {
  for_each_view([this](ViewTable& v) { v.set_generations(l2_.generation(false), l2_.generation(true)); });
}

JumpCacheTable* TableSet::find_jump_cache(u32 mode) {
  for (auto& jc : jump_caches_) {
    if (jc->mode == mode) {
      jc->last_use = ++clock_;
      return jc.get();
    }
  }
  return nullptr;
}

JumpCacheTable& TableSet::jump_cache(u32 mode) {
  if (JumpCacheTable* found = find_jump_cache(mode)) return *found;
  ++clock_;
  if (jump_caches_.size() < max_jump_caches_) {
    jump_caches_.push_back(std::make_unique<JumpCacheTable>());
  } else {
    auto oldest = std::min_element(jump_caches_.begin(), jump_caches_.end(),
                                   [](const auto& a, const auto& b) { return a->last_use < b->last_use; });
    (*oldest)->flush();
    std::swap(*oldest, jump_caches_.back());
  }
  JumpCacheTable& jc = *jump_caches_.back();
  jc.mode = mode;
  jc.last_use = clock_;
  return jc;
}

void TableSet::note_large_page(u64 va, u64 page_size) {
  Range& range = page_size <= kMediumPage ? medium_ : large_;
  const u64 first = align_down(va, page_size);
  range.low = std::min(range.low, first);
  range.high = std::max(range.high, first + (page_size - 1));
}

void TableSet::flush() {
  for_each_view([](ViewTable& v) { v.flush(); });
  for_each_jump_cache([](JumpCacheTable& jc) { jc.flush(); });
  l2_.flush();
  tell_views();
  medium_ = {};
  large_ = {};
}

void TableSet::drop_non_global() {
  for_each_view([](ViewTable& v) { v.drop_non_global(); });
  for_each_jump_cache([](JumpCacheTable& jc) { jc.drop_non_global(); });
  l2_.drop_non_global();
  tell_views();
}

void TableSet::drop_range(u64 first, u64 bytes) {
  for_each_view([&](ViewTable& v) { v.drop_range(first, bytes); });
  for_each_jump_cache([](JumpCacheTable& jc) { jc.flush(); });
  l2_.drop_range(first, bytes);
  tell_views();
}

void TableSet::drop_page(u64 va) {
  if (large_.contains(va)) {
    flush();
    return;
  }
  if (medium_.contains(va)) {
    drop_range(align_down(va, kMediumPage), kMediumPage);
    return;
  }
  const u64 page = align_down(va, tcg::kPageSize);
  for_each_view([&](ViewTable& v) { v.drop_page(page); });
  for_each_jump_cache([&](JumpCacheTable& jc) { jc.drop_page(page); });
  l2_.drop_page(page);
}

Contexts::Found Contexts::use(u64 id) {
  ++clock_;
  for (auto& c : contexts_) {
    if (c->id == id) {
      c->last_use = clock_;
      return {c->tables, false};
    }
  }
  if (contexts_.size() < kMax) {
    contexts_.push_back(std::make_unique<Context>(owners_));
  } else {
    auto oldest = std::min_element(contexts_.begin(), contexts_.end(),
                                   [](const auto& a, const auto& b) { return a->last_use < b->last_use; });
    (*oldest)->tables.flush();
    std::swap(*oldest, contexts_.back());
  }
  Context& c = *contexts_.back();
  c.id = id;
  c.last_use = clock_;
  return {c.tables, true};
}

TableSet* Contexts::find(u64 id) {
  for (auto& c : contexts_) {
    if (c->id == id) return &c->tables;
  }
  return nullptr;
}

void Contexts::forget_others(u64 keep) {
  std::erase_if(contexts_, [&](const auto& c) { return c->id != keep; });
}

}  // namespace emu::accel
