// SPDX-License-Identifier: Apache-2.0
// The tables of the software TLB, each of zero pages on demand: first-level view, second level, jump cache.
// Which entries were touched is kept in bitmaps, so that a flush costs what was used. Own vCPU thread only.
#pragma once

#include <array>
#include <span>

#include "tcg/abi/tlb.h"
#include "util/types.h"

namespace emu::accel {

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

/// One bit an index.
template <unsigned kBits>
class IndexSet {
 public:
  void set(unsigned i) { words_[i / 64] |= u64(1) << (i % 64); }
  void clear(unsigned i) { words_[i / 64] &= ~(u64(1) << (i % 64)); }
  /// Calls visit(index) for each and empties the set.
  template <typename Visit>
  void take(Visit&& visit) {
    for (unsigned w = 0; w < kBits / 64; ++w) {
      u64 word = words_[w];
      words_[w] = 0;
      for (; word != 0; word &= word - 1) visit(w * 64 + unsigned(__builtin_ctzll(word)));
    }
  }
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for_each_in(0, kBits, visit);
  }
  /// Those in [first, first + count), both multiples of 64.
  template <typename Visit>
  void for_each_in(unsigned first, unsigned count, Visit&& visit) const {
    for (unsigned w = first / 64; w < (first + count) / 64; ++w) {
      for (u64 word = words_[w]; word != 0; word &= word - 1) visit(w * 64 + unsigned(__builtin_ctzll(word)));
    }
  }

 private:
  std::array<u64, kBits / 64> words_{};
};

/// A tcg::View and what is known about its entries.
class ViewTable {
 public:
  ViewTable();
  tcg::View* view() const { return reinterpret_cast<tcg::View*>(pages_.data()); }

  /// Makes `page` present for reading and/or writing; permissions of the same page that are there already stay.
  void install(u64 page, u64 addend, bool read, bool write, bool global);
  void install_exec(u64 page, u32 id, bool global);
  void drop_write(unsigned index) { view()->l1[index].wr = tcg::tlb_invalid(index); }
  void drop_page(u64 page);
  /// Drops all entries of [first, first + bytes), a power of two.
  void drop_range(u64 first, u64 bytes);
  void flush();
  void drop_non_global();
  /// Calls visit(index, entry) for each entry that may be in use.
  template <typename Visit>
  void for_each(Visit&& visit) {
    touched_.for_each([&](unsigned i) { visit(i, view()->l1[i]); });
  }

 private:
  void clear_l1(unsigned index) {
    const u64 invalid = tcg::tlb_invalid(index);
    view()->l1[index] = {invalid, invalid, 0, 0};
  }
  ZeroPages pages_{sizeof(tcg::View)};
  IndexSet<tcg::kTlbEntries> touched_, non_global_;
  IndexSet<tcg::kExecTlbEntries> exec_touched_, exec_non_global_;
  std::array<u64, tcg::kExecTlbEntries> exec_pages_{};  ///< virtual page of each exec entry
};

enum L2Flag : u32 {
  kL2Readable = 1,
  kL2Writable = 2,
  kL2Executable = 4,
  kL2Global = 8,
  kL2Ram = 16,       ///< reads hit RAM: addend and ram_page hold
  kL2RamWrites = 32, ///< writes hit RAM, too: target is the RamBlock
};

/// One second-level entry. Plain data, fit for a probe by generated code.
struct L2Entry {
  u64 tag;       ///< virtual page | view + 1; 0 when empty
  u64 addend;    ///< host - virtual
  u64 target;    ///< RamBlock* when writes hit RAM, else the physical page
  u32 state;     ///< generation << 8 | L2Flag
  u32 ram_page;
  bool has(u32 flags) const { return (state & flags) == flags; }
};
static_assert(sizeof(L2Entry) == 32);

/// Second level of one context (or of the kernel): 4 K sets of 4 ways. Non-global and all entries are dropped by
/// moving a generation on.
class L2Table {
 public:
  static constexpr unsigned kSets = 4096;
  static constexpr unsigned kWays = 4;

  L2Table() = default;
  L2Entry* find(u64 page, u8 view);
  /// The entry of the page if it has one, else one to overwrite. The caller fills addend, target and ram_page.
  L2Entry& place(u64 page, u8 view, u32 flags);
  void drop_page(u64 page);
  void drop_range(u64 first, u64 bytes);
  void flush();
  void drop_non_global();
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const L2Entry& e : entries()) {
      if (is_live(e)) visit(e);
    }
  }

 private:
  static constexpr u32 kGenerationMask = (1u << 24) - 1;
  static unsigned set_of(u64 page) { return unsigned((page >> 12) ^ (page >> 24)) & (kSets - 1); }
  bool is_live(const L2Entry& e) const { return e.tag != 0 && e.state >> 8 == generation_[(e.state & kL2Global) != 0]; }
  std::span<L2Entry> entries() const { return {reinterpret_cast<L2Entry*>(pages_.data()), kSets * kWays}; }
  void advance(unsigned which);

  ZeroPages pages_{sizeof(L2Entry) * kSets * kWays};
  u32 generation_[2] = {1, 1};  ///< of non-global, global entries
  unsigned victim_ = 0;
};

/// One jump-cache array: of a (context, mode), or of a kernel mode.
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
  void clear(unsigned index) { entries()[index] = {index == 0 ? u64(0x1000) : 0, nullptr}; }
  ZeroPages pages_{sizeof(tcg::JumpCacheEntry) * tcg::kJumpCacheEntries};
  IndexSet<tcg::kJumpCacheEntries> touched_, non_global_;
};

}  // namespace emu::accel
