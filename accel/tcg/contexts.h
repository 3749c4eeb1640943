// SPDX-License-Identifier: Apache-2.0
// Address-space contexts: sets of tables, made on demand, the least recently used given back. translator.md section 4.
#pragma once

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "accel/tcg/tables.h"
#include "tcg/abi/env.h"

namespace emu::accel {

/// The tables of one context, or (once per vCPU) those of kernel privilege: views, second level, jump caches.
class TableSet {
 public:
  TableSet(unsigned max_jump_caches, tcg::WriteOwner* owners) : max_jump_caches_(max_jump_caches), owners_(owners) {}

  ViewTable& view(u8 index);
  ViewTable* view_if_made(u8 index) { return views_[index].get(); }
  JumpCacheTable& jump_cache(u32 mode);
  JumpCacheTable* find_jump_cache(u32 mode);  ///< null: none yet
  L2Table& l2() { return l2_; }

  /// A mapping larger than a page was cached: a flush of one of its pages must find the others.
  void note_large_page(u64 va, u64 page_size);

  void flush();
  /// What may not survive a switch of address space: non-global entries.
  void drop_non_global();
  void drop_page(u64 va);

  template <typename Visit>
  void for_each_view(Visit&& visit) {
    for (auto& v : views_) {
      if (v) visit(*v);
    }
  }
  template <typename Visit>
  void for_each_jump_cache(Visit&& visit) {
    for (auto& jc : jump_caches_) visit(*jc);
  }

 private:
  struct Range {
    u64 low = ~u64(0);
    u64 high = 0;  ///< inclusive
    bool contains(u64 va) const { return va >= low && va <= high; }
  };
  void drop_range(u64 first, u64 bytes);
  void tell_views();

  std::array<std::unique_ptr<ViewTable>, tcg::kMaxViews> views_;
  std::vector<std::unique_ptr<JumpCacheTable>> jump_caches_;
  const unsigned max_jump_caches_;
  tcg::WriteOwner* const owners_;
  u64 clock_ = 0;
  L2Table l2_;
  Range medium_;      ///< where pages of up to kMediumPage are cached
  Range large_;       ///< and where larger ones
};

inline constexpr u64 kMediumPage = u64(4) << 20;  ///< 2 or 4 MiB: flushed by their alignment

/// The contexts of one vCPU.
class Contexts {
 public:
  static constexpr unsigned kMax = 16;
  static constexpr unsigned kUserJumpCaches = 4;

  explicit Contexts(tcg::WriteOwner* owners) : owners_(owners) {}

  struct Found {
    TableSet& tables;
    bool made;  ///< or recycled: empty
  };
  /// The context `id`; if there are too many, the least recently used one is emptied and renamed. The current one is
  /// always the most recent.
  Found use(u64 id);
  TableSet* find(u64 id);
  /// Forgets all of them but `keep`.
  void forget_others(u64 keep);
  template <typename Visit>
  void for_each(Visit&& visit) {
    for (auto& c : contexts_) visit(c->id, c->tables);
  }

 private:
  struct Context {
    explicit Context(tcg::WriteOwner* owners) : tables(kUserJumpCaches, owners) {}
    u64 id = 0;
    u64 last_use = 0;
    TableSet tables;
  };
  tcg::WriteOwner* const owners_;
  std::vector<std::unique_ptr<Context>> contexts_;
  u64 clock_ = 0;
};

}  // namespace emu::accel
