// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/tables.h"

#include <sys/mman.h>

#include "util/bits.h"
#include "util/check.h"

namespace emu::accel {

using tcg::kPageSize;

ZeroPages::ZeroPages(size_t bytes) : bytes_(align_up(bytes, kPageSize)) {
  void* map = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EMU_CHECK(map != MAP_FAILED);
  // Huge pages would make a table that holds a few entries cost two megabytes.
  madvise(map, bytes_, MADV_NOHUGEPAGE);
  data_ = static_cast<u8*>(map);
}

ZeroPages::~ZeroPages() { munmap(data_, bytes_); }

void ZeroPages::release() { EMU_CHECK(madvise(data_, bytes_, MADV_DONTNEED) == 0); }

// --- First level ---

namespace {

/// Calls visit(index) for each bit, and clears them.
template <typename Visit>
void take_bits(std::span<u64> words, Visit&& visit) {
  for (unsigned w = 0; w < words.size(); ++w) {
    u64 word = words[w];
    if (word == 0) continue;
    words[w] = 0;
    for (; word != 0; word &= word - 1) visit(w * 64 + unsigned(__builtin_ctzll(word)));
  }
}

}  // namespace

ViewTable::ViewTable(L2Entry* l2, u64 tag, tcg::WriteOwner* owners) {
  clear_l1(0);
  view()->l2 = l2;
  view()->l2_tag = tag;
  view()->write_owners = owners;
}

void ViewTable::set_generations(u32 non_global, u32 global) {
  const u32 generations[2] = {non_global, global};
  for (unsigned g = 0; g < 2; ++g) {
    view()->live_for_load[g] = generations[g] << tcg::kL2GenerationShift | tcg::kLoadFlags;
    view()->live_for_store[g] = generations[g] << tcg::kL2GenerationShift | tcg::kStoreFlags;
  }
}

void ViewTable::install(u64 page, u64 addend, bool read, bool write, bool global) {
  const unsigned index = tcg::tlb_index(page);
  tcg::TlbEntry& e = view()->l1[index];
  const u64 invalid = tcg::tlb_invalid(index);
  const bool same = e.addend == addend && (e.rd == page || e.wr == page);
  e.rd = read || (same && e.rd == page) ? page : invalid;
  e.wr = write || (same && e.wr == page) ? page : invalid;
  e.addend = addend;
  view()->touched[global][index / 64] |= u64(1) << index % 64;
}

void ViewTable::install_exec(u64 page, u32 id, bool global) {
  const unsigned index = tcg::exec_tlb_index(page);
  view()->exec[index] = id;
  exec_pages_[index] = page;
  exec_touched_.set(index);
  if (global) {
    exec_non_global_.clear(index);
  } else {
    exec_non_global_.set(index);
  }
}

void ViewTable::drop_page(u64 page) {
  const unsigned index = tcg::tlb_index(page);
  const tcg::TlbEntry& e = view()->l1[index];
  if (e.rd == page || e.wr == page) clear_l1(index);
  const unsigned exec = tcg::exec_tlb_index(page);
  if (exec_pages_[exec] == page) view()->exec[exec] = 0;
}

void ViewTable::drop_range(u64 first, u64 bytes) {
  for (unsigned w = 0; w < tcg::kTlbEntries / 64; ++w) {
    for (u64 bits = view()->touched[0][w] | view()->touched[1][w]; bits != 0; bits &= bits - 1) {
      const unsigned i = w * 64 + unsigned(__builtin_ctzll(bits));
      const tcg::TlbEntry& e = view()->l1[i];
      const bool read_inside = e.rd != tcg::tlb_invalid(i) && e.rd - first < bytes;
      const bool write_inside = e.wr != tcg::tlb_invalid(i) && e.wr - first < bytes;
      if (read_inside || write_inside) clear_l1(i);
    }
  }
  exec_touched_.for_each([&](unsigned i) {
    if (exec_pages_[i] - first < bytes) view()->exec[i] = 0;
  });
}

void ViewTable::flush() {
  for (auto& touched : view()->touched) take_bits(touched, [this](unsigned i) { clear_l1(i); });
  exec_touched_.take([this](unsigned i) { view()->exec[i] = 0; });
  exec_non_global_.reset();
}

void ViewTable::drop_non_global() {
  // A global entry whose index once held another one goes, too: it comes back from the second level.
  take_bits(view()->touched[0], [this](unsigned i) { clear_l1(i); });
  exec_non_global_.take([this](unsigned i) {
    view()->exec[i] = 0;
    exec_touched_.clear(i);
  });
}

// --- Second level ---

L2Entry* L2Table::find(u64 page, u8 view) {
  const u64 tag = page | (view + 1u);
  L2Entry* set = &entries()[tcg::l2_set(page) * kWays];
  for (unsigned way = 0; way < kWays; ++way) {
    if (set[way].tag == tag && is_live(set[way])) return &set[way];
  }
  return nullptr;
}

L2Entry& L2Table::place(u64 page, u8 view, u32 flags) {
  const u64 tag = page | (view + 1u);
  L2Entry* set = &entries()[tcg::l2_set(page) * kWays];
  L2Entry* chosen = nullptr;
  for (unsigned way = 0; way < kWays; ++way) {
    if (set[way].tag == tag) {
      chosen = &set[way];
      break;
    }
    if (chosen == nullptr && !is_live(set[way])) chosen = &set[way];
  }
  if (chosen == nullptr) {
    // Random: a counter would fall into step with a sequential guest and replace the same way of every set.
    victim_ = victim_ * 1664525 + 1013904223;
    chosen = &set[victim_ >> 24 & (kWays - 1)];
  }
  chosen->tag = tag;
  chosen->state = generation_[(flags & kL2Global) != 0] << tcg::kL2GenerationShift | flags;
  return *chosen;
}

void L2Table::drop_page(u64 page) {
  L2Entry* set = &entries()[tcg::l2_set(page) * kWays];
  for (unsigned way = 0; way < kWays; ++way) {
    if (set[way].tag != 0 && align_down(set[way].tag, kPageSize) == page) set[way].tag = 0;
  }
}

void L2Table::drop_range(u64 first, u64 bytes) {
  if (bytes / kPageSize <= kSets / 2) {
    for (u64 offset = 0; offset < bytes; offset += kPageSize) drop_page(first + offset);
    return;
  }
  flush();
}

void L2Table::advance(unsigned which) {
  generation_[which] = (generation_[which] + 1) & kGenerations;
  if (generation_[which] == 0) {  // entries of 16 M flushes ago would come back to life
    pages_.release();
    generation_[which] = 1;
  }
}

void L2Table::flush() {
  advance(0);
  advance(1);
}

void L2Table::drop_non_global() { advance(0); }

// --- Jump cache ---

JumpCacheTable::JumpCacheTable() {
  clear(0);
  clear(tcg::kJumpCacheEntries);
}

void JumpCacheTable::put(unsigned slot, const tcg::JumpCacheEntry& entry, bool global) {
  entries()[slot] = entry;
  touched_.set(slot);
  if (global) {
    non_global_.clear(slot);
  } else {
    non_global_.set(slot);
  }
}

void JumpCacheTable::fill(u64 pc, const u8* host, bool global) {
  if (pc == 0) return;  // 0 says empty
  const unsigned index = tcg::jump_cache_index(pc);
  const tcg::JumpCacheEntry old = entries()[index];
  if (old.host != nullptr && old.pc != pc) put(tcg::jump_cache_victim(old.pc), old, !non_global_.has(index));
  put(index, {pc, host}, global);
}

void JumpCacheTable::drop_page(u64 page) {
  // The page's targets lie in one aligned quarter of the table (tcg::jump_cache_index) or among the victims; only what
  // is in use is looked at.
  const auto drop = [&](unsigned slot) {
    if (align_down(entries()[slot].pc, kPageSize) == page) clear(slot);
  };
  constexpr unsigned kQuarter = unsigned(kPageSize);
  touched_.for_each_in(tcg::jump_cache_index(page) & ~(kQuarter - 1), kQuarter, drop);
  touched_.for_each_in(tcg::kJumpCacheEntries, tcg::kJumpCacheVictims, drop);
  // A block that straddles into the page begins in the last fifteen bytes of the one before.
  for (u64 pc = page - 15; pc != page; ++pc) {
    for (const unsigned slot : {tcg::jump_cache_index(pc), tcg::jump_cache_victim(pc)}) {
      if (entries()[slot].host != nullptr && entries()[slot].pc == pc) clear(slot);
    }
  }
}

void JumpCacheTable::flush() {
  touched_.take([this](unsigned i) { clear(i); });
  non_global_.reset();
}

void JumpCacheTable::drop_non_global() {
  non_global_.take([this](unsigned i) {
    clear(i);
    touched_.clear(i);
  });
}

}  // namespace emu::accel
