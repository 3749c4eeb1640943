// SPDX-License-Identifier: Apache-2.0
// Tables that generated code and thunks read without C++: software TLB (both levels), exec TLB, jump cache.
#pragma once

#include <initializer_list>

#include "util/types.h"

namespace emu::tcg {

inline constexpr unsigned kPageBits = 12;
inline constexpr u64 kPageSize = u64(1) << kPageBits;
inline constexpr unsigned kTlbEntries = 4096;       ///< index = va[23:12]
inline constexpr unsigned kExecTlbEntries = 4096;   ///< index = va[23:12]
inline constexpr unsigned kJumpCacheEntries = 16384;
inline constexpr unsigned kJumpCacheVictims = 4096;  ///< behind them
inline constexpr unsigned kJumpCacheSlots = kJumpCacheEntries + kJumpCacheVictims;

/// One first-level TLB entry. rd and wr are the page's virtual address when that access hits RAM directly, else the
/// INVALID of this index: 0, but 0x1000 at index 0 (translator.md section 4: INVALID must not be reachable at its own
/// index). host address = va + addend. A zero page is therefore an empty table but for index 0.
struct TlbEntry {
  u64 rd;
  u64 wr;
  u64 addend;
  u64 spare;
};
static_assert(sizeof(TlbEntry) == 32);

constexpr u64 tlb_invalid(unsigned index) { return index == 0 ? 0x1000 : 0; }
constexpr unsigned tlb_index(u64 va) { return unsigned(va >> kPageBits) & (kTlbEntries - 1); }
constexpr unsigned exec_tlb_index(u64 va) { return unsigned(va >> kPageBits) & (kExecTlbEntries - 1); }

enum L2Flag : u32 {
  kL2Readable = 1,
  kL2Writable = 2,
  kL2Executable = 4,
  kL2Global = 8,     ///< as a number also the distance of View::live_for_load[1] from [0]
  kL2Ram = 16,       ///< reads hit RAM: addend and ram_page hold
  kL2RamWrites = 32, ///< writes hit RAM, too: target is the block's PageTracking
};

/// One second-level entry.
struct L2Entry {
  u64 tag;       ///< virtual page | view + 1; 0 when empty
  u64 addend;    ///< host - virtual
  u64 target;    ///< PageTracking* when writes hit RAM, else the physical page
  u32 state;     ///< generation << kL2GenerationShift | L2Flag
  u32 ram_page;
  bool has(u32 flags) const { return (state & flags) == flags; }
};
static_assert(sizeof(L2Entry) == 32);
inline constexpr unsigned kL2GenerationShift = 8;

/// The second level of one context: sets of ways that follow each other. At most one entry of a set has a given tag.
inline constexpr unsigned kL2Sets = 4096;
inline constexpr unsigned kL2Ways = 4;
constexpr unsigned l2_set(u64 va) { return unsigned(va >> kPageBits ^ va >> 2 * kPageBits) & (kL2Sets - 1); }

/// What is known about the pages of a RAM block, as softmmu/memory lays it out: a byte for each page of the machine
/// (that of page 0 would be at flags_base), and the bits of those who want to hear of first writes.
struct PageTracking {
  u64 flags_base;
  u8 logging;
};
inline constexpr u8 kPageHasCode = 1;

struct View;
/// Which first-level entry grants write access to a RAM page. There is at most one of each page, and none that is not
/// recorded here: so the permission is found at once when the page comes to hold code.
struct WriteOwner {
  View* view = nullptr;
  u64 host_and_index = 0;  ///< host address of the page | first-level index
};
inline constexpr unsigned kWriteOwners = 8192;
constexpr unsigned write_owner_slot(u64 host) { return unsigned(host >> kPageBits) & (kWriteOwners - 1); }

/// What the view register points at: the L1 TLB and the exec TLB of one privilege view, and behind them what the refill
/// thunks need. exec[i] is the interned id of (virtual page, RAM page) that was found executable, 0 when empty.
struct View {
  TlbEntry l1[kTlbEntries];
  u32 exec[kExecTlbEntries];
  /// L2Entry::state, under the mask of the same name, of a [non-global, global] entry that serves a load or a store.
  u64 live_for_load[2];
  u64 live_for_store[2];
  L2Entry* l2;               ///< kL2Sets * kL2Ways; never null where generated code runs
  u64 l2_tag;                ///< view + 1
  WriteOwner* write_owners;  ///< kWriteOwners
  /// [0]: first-level indexes that may hold non-global entries, [1]: that may hold global ones.
  u64 touched[2][kTlbEntries / 64];
};
inline constexpr u32 kLoadFlags = kL2Ram | kL2Readable;
inline constexpr u32 kStoreFlags = kL2Ram | kL2RamWrites | kL2Readable | kL2Writable;
inline constexpr u32 kL2GenerationMask = ~u32(0) << kL2GenerationShift;

/// One jump-cache entry. An empty one holds jump_cache_empty(), which is not looked for there.
struct JumpCacheEntry {
  u64 pc;
  const u8* host;
};
static_assert(sizeof(JumpCacheEntry) == 16);

/// Index of a pc. Counted over the boot and the benchmarks (docs/performance.md, "Jump cache"), this shape misses least
/// of those that cost six instructions. The targets of one page lie in one aligned quarter of the table.
constexpr unsigned jump_cache_index(u64 pc) { return unsigned(pc ^ pc >> kPageBits) & (kJumpCacheEntries - 1); }

/// An entry whose place another pc took goes to its victim's slot, where a miss looks before it asks C++. Another hash,
/// so that those which meet in one place do not meet again.
inline constexpr unsigned kVictimShift = 15;
constexpr unsigned jump_cache_victim(u64 pc) {
  return kJumpCacheEntries + (unsigned(pc ^ pc >> kVictimShift) & (kJumpCacheVictims - 1));
}
constexpr u64 jump_cache_empty(unsigned slot) { return slot == 0 ? 0x1000 : slot == kJumpCacheEntries ? 1 : 0; }
static_assert(jump_cache_index(0x1000) != 0 && jump_cache_victim(1) != kJumpCacheEntries);

/// What generated code finds in a jump cache; null: nothing.
inline const u8* find_jump(const JumpCacheEntry* jump_cache, u64 pc) {
  for (const unsigned slot : {jump_cache_index(pc), jump_cache_victim(pc)}) {
    if (jump_cache[slot].pc == pc) return jump_cache[slot].host;
  }
  return nullptr;
}

}  // namespace emu::tcg
