// SPDX-License-Identifier: Apache-2.0
// Counters of the translator: one writer each (the vCPU thread), read by anybody.
#pragma once

#include <array>
#include <atomic>
#include <string>

#include "util/types.h"

namespace emu::accel {

/// A counter with one writer, so that counting is no locked operation.
class Counter {
 public:
  void add(u64 n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  u64 get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<u64> value_{0};
};

inline constexpr unsigned kExitReasons = 10;
inline constexpr u64 kInterruptedNs = 20000;

/// Of one vCPU. See translator.md section 7.
struct VcpuStatistics {
  std::array<Counter, kExitReasons> exits;  ///< by tcg::ExitReason
  Counter blocks_entered;      ///< from the run loop
  Counter translations, translated_insns, translated_bytes, translate_ns;
  Counter publish_ns;          ///< of translations: marking the page and adding the block, without longer interruptions
  Counter publish_interrupted; ///< and those that took longer than kInterruptedNs, since the host took the processor
  Counter host_bytes_hot, host_bytes_cold, host_insns, home_stores, helper_calls_emitted, side_table_bytes;
  Counter relocation_bytes;
  Counter clones, clone_ns;    ///< blocks that were copied from another virtual page in place of a translation
  Counter dropped_ops;         ///< of blocks as translated: values and flags that nothing looks at
  Counter plain_locks;         ///< atomic instructions translated into loads and stores
  Counter fused_conditions, shared_checks;  ///< of blocks as emitted (ir::CompiledBlock)
  Counter l1_misses, l2_misses, walks, tlb_flushes, page_flushes, context_switches, contexts_made;
  Counter l2_refills;          ///< L1 entries filled by the refill thunks, but for those still in the EnvHeader
  Counter slow_accesses, site_misses, mmio_loads, mmio_stores, page_crossings, code_stores, restarts, unshared_restarts;
  Counter mode_misses;         ///< mode changes whose record was missing
  Counter jump_cache_misses, link_misses, links_made, single_steps;
  Counter blocks_checked;      ///< comparisons of a block's source before it is published
  Counter kept_switches;       ///< context switches that keep the new context's translations (PCID and NOFLUSH)
  Counter flush_requests, halts, interpreted_blocks;
};

/// Of the whole machine; written under the block cache's lock, but for the first.
struct CacheStatistics {
  std::atomic<u64> lock_taken{0};  ///< times that a vCPU found the cache's lock taken, and went on without it
  Counter blocks, clones, invalidated_blocks, revived_blocks, checked_pages, invalidations, unlinks, evicted_segments,
      code_bytes, publications;
};

/// One line a counter, for `info jit`.
std::string describe(const VcpuStatistics& statistics);
std::string describe(const CacheStatistics& statistics);
/// Sums of several vCPUs.
/// Of the whole process: the kernel gives huge pages, or does not, as it sees fit. 0 where it does not say.
u64 huge_page_bytes();
std::string describe_ratios(const VcpuStatistics& statistics);

}  // namespace emu::accel
