// SPDX-License-Identifier: Apache-2.0
// The tables of the software TLB, each of zero pages on demand: first-level view, second level, jump cache.
// Which entries were touched is kept in bitmaps, so that a flush costs what was used. Own vCPU thread only.
#pragma once

#include <array>
#include <span>

#include "tcg/abi/tlb.h"
#include "util/types.h"

namespace emu::accel {

// Laid out in tcg/abi, since the refill thunks read them.
using tcg::L2Entry;
using enum tcg::L2Flag;

/// Anonymous zero pages.
class ZeroPages {
 public:
  explicit ZeroPages(size_t bytes);
  ~ZeroPages();
  ZeroPages(const ZeroPages&) = delete;
  ZeroPages& operator=(const ZeroPages&) = delete;
  u8* data() const { return data_; }
  /// All zeros again, and the memory given back.
  void release();

 private:
  u8* data_;
  size_t bytes_;
};

/// One bit an index, and one for each word of those that may hold any: visiting costs what is in the set.
template <unsigned kBits>
class IndexSet {
 public:
  void set(unsigned i) {
    words_[i / 64] |= u64(1) << (i % 64);
    summary_[i / 4096] |= u64(1) << (i / 64 % 64);
  }
  void clear(unsigned i) { words_[i / 64] &= ~(u64(1) << (i % 64)); }
  bool has(unsigned i) const { return words_[i / 64] >> (i % 64) & 1; }
  /// Calls visit(index) for each and empties the set.
  template <typename Visit>
  void take(Visit&& visit) {
    for (unsigned s = 0; s < kSummary; ++s) {
      for (; summary_[s] != 0; summary_[s] &= summary_[s] - 1) {
        const unsigned w = s * 64 + unsigned(__builtin_ctzll(summary_[s]));
        u64 word = words_[w];
        words_[w] = 0;
        for (; word != 0; word &= word - 1) visit(w * 64 + unsigned(__builtin_ctzll(word)));
      }
    }
  }
  void reset() {
    take([](unsigned) {});
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for_each_in(0, kBits, visit);
  }
  /// Those in [first, first + count), both multiples of 64.
  template <typename Visit>
  void for_each_in(unsigned first, unsigned count, Visit&& visit) const {
    for (unsigned s = first / 4096; s * 4096 < first + count; ++s) {
      for (u64 live = summary_[s]; live != 0; live &= live - 1) {
        const unsigned w = s * 64 + unsigned(__builtin_ctzll(live));
        if (w < first / 64 || w >= (first + count) / 64) continue;
        for (u64 word = words_[w]; word != 0; word &= word - 1) visit(w * 64 + unsigned(__builtin_ctzll(word)));
      }
    }
  }

 private:
  static constexpr unsigned kSummary = (kBits + 4095) / 4096;
  std::array<u64, kBits / 64> words_{};
  std::array<u64, kSummary> summary_{};
};

/// A tcg::View and what is known about its entries.
class ViewTable {
 public:
  /// `tag`: see tcg::View::l2_tag. The second level and the owners outlive this.
  ViewTable(L2Entry* l2, u64 tag, tcg::WriteOwner* owners);
  tcg::View* view() const { return reinterpret_cast<tcg::View*>(pages_.data()); }

  /// Makes `page` present for reading and/or writing; permissions of the same page that are there already stay.
  void install(u64 page, u64 addend, bool read, bool write, bool global);
  void install_exec(u64 page, u32 id, bool global);
  void drop_write(unsigned index) { view()->l1[index].wr = tcg::tlb_invalid(index); }
  /// Says which generations of the second level are alive.
  void set_generations(u32 non_global, u32 global);
  void drop_page(u64 page);
  /// Drops all entries of [first, first + bytes), a power of two.
  void drop_range(u64 first, u64 bytes);
  void flush();
  void drop_non_global();

 private:
  void clear_l1(unsigned index) {
    const u64 invalid = tcg::tlb_invalid(index);
    view()->l1[index] = {invalid, invalid, 0, 0};
  }
  ZeroPages pages_{sizeof(tcg::View)};
  IndexSet<tcg::kExecTlbEntries> exec_touched_, exec_non_global_;
  std::array<u64, tcg::kExecTlbEntries> exec_pages_{};  ///< virtual page of each exec entry
};

/// Second level of one context (or of the kernel): 4 K sets of 4 ways. Non-global and all entries are dropped by
/// moving a generation on.
class L2Table {
 public:
  static constexpr unsigned kSets = tcg::kL2Sets;
  static constexpr unsigned kWays = tcg::kL2Ways;

  L2Table() = default;
  L2Entry* find(u64 page, u8 view);
  /// The entry of the page if it has one, else one to overwrite. The caller fills addend, target and ram_page.
  L2Entry& place(u64 page, u8 view, u32 flags);
  void drop_page(u64 page);
  void drop_range(u64 first, u64 bytes);
  void flush();
  void drop_non_global();
  L2Entry* data() const { return entries().data(); }
  u32 generation(bool global) const { return generation_[global]; }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const L2Entry& e : entries()) {
      if (is_live(e)) visit(e);
    }
  }

 private:
  static constexpr u32 kGenerations = ~u32(0) >> tcg::kL2GenerationShift;
  bool is_live(const L2Entry& e) const {
    return e.tag != 0 && e.state >> tcg::kL2GenerationShift == generation_[(e.state & kL2Global) != 0];
  }
  std::span<L2Entry> entries() const { return {reinterpret_cast<L2Entry*>(pages_.data()), kSets * kWays}; }
  void advance(unsigned which);

  ZeroPages pages_{sizeof(L2Entry) * kSets * kWays};
  u32 generation_[2] = {1, 1};  ///< of non-global, global entries
  u32 victim_ = 0;  ///< pseudo-random
};

/// One jump-cache array with its victims: of a (context, mode), or of a kernel mode.
class JumpCacheTable {
 public:
  JumpCacheTable();
  tcg::JumpCacheEntry* entries() const { return reinterpret_cast<tcg::JumpCacheEntry*>(pages_.data()); }
  void fill(u64 pc, const u8* host, bool global);
  /// Drops what lies in the page, and a block that straddles into it.
  void drop_page(u64 page);
  void flush();
  void drop_non_global();

  u32 mode = 0;
  u64 last_use = 0;

 private:
  void put(unsigned slot, const tcg::JumpCacheEntry& entry, bool global);
  void clear(unsigned slot) { entries()[slot] = {tcg::jump_cache_empty(slot), nullptr}; }
  ZeroPages pages_{sizeof(tcg::JumpCacheEntry) * tcg::kJumpCacheSlots};
  IndexSet<tcg::kJumpCacheSlots> touched_, non_global_;
};

}  // namespace emu::accel
