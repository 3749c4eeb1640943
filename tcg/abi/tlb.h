// SPDX-License-Identifier: Apache-2.0
// Tables that generated code reads without a call: software TLB, exec TLB, jump cache.
#pragma once

#include "util/types.h"

namespace emu::tcg {

inline constexpr unsigned kPageBits = 12;
inline constexpr u64 kPageSize = u64(1) << kPageBits;
inline constexpr unsigned kTlbEntries = 4096;       ///< index = va[23:12]
inline constexpr unsigned kExecTlbEntries = 1024;   ///< index = va[21:12]
inline constexpr unsigned kJumpCacheEntries = 16384;

/// One first-level TLB entry. rd and wr are the page's virtual address when that access hits RAM directly, else the
/// INVALID of this index: 0, but 0x1000 at index 0 (translator.md section 4: INVALID must not be reachable at its own
/// index). host address = va + addend. A zero page is therefore an empty table but for index 0.
struct TlbEntry {
  u64 rd;
  u64 wr;
  u64 addend;
  u64 spare;  ///< for the thunk
};
static_assert(sizeof(TlbEntry) == 32);

constexpr u64 tlb_invalid(unsigned index) { return index == 0 ? 0x1000 : 0; }
constexpr unsigned tlb_index(u64 va) { return unsigned(va >> kPageBits) & (kTlbEntries - 1); }
constexpr unsigned exec_tlb_index(u64 va) { return unsigned(va >> kPageBits) & (kExecTlbEntries - 1); }

/// What the view register points at: the L1 TLB and the exec TLB of one privilege view. exec[i] is the interned id of
/// (virtual page, RAM page) that was found executable, 0 when empty.
struct View {
  TlbEntry l1[kTlbEntries];
  u32 exec[kExecTlbEntries];
};

/// One jump-cache entry. An empty entry holds pc 0, at index 0 pc 0x1000 (which has another index).
struct JumpCacheEntry {
  u64 pc;
  const u8* host;
};
static_assert(sizeof(JumpCacheEntry) == 16);

/// Index of a pc. Counted over the boot and the benchmarks (docs/performance.md, "Jump cache"), this shape misses least of
/// those that cost six instructions. The targets of one page lie in one aligned quarter of the table.
constexpr unsigned jump_cache_index(u64 pc) { return unsigned(pc ^ pc >> kPageBits) & (kJumpCacheEntries - 1); }

}  // namespace emu::tcg
