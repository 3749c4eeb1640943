// SPDX-License-Identifier: Apache-2.0
// All translated blocks of a machine: lookup without a lock, insertion, links, invalidation and the reuse of memory.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "accel/tcg/code_cache.h"
#include "accel/tcg/graveyard.h"
#include "accel/tcg/page_code.h"
#include "accel/tcg/quiescence.h"
#include "accel/tcg/soft_tlb.h"
#include "accel/tcg/statistics.h"
#include "softmmu/memory/memory.h"

namespace emu::target {
class Translator;
}

namespace emu::accel {

/// Reaches the tables of vCPUs. Implemented by the accelerator; called with the cache lock held, queues and kicks.
class TlbBroadcast {
 public:
  virtual ~TlbBroadcast() = default;
  /// Queues a request for every vCPU but `except` (null: for all).
  virtual void request_others(const TlbRequest& request, const Quiescence::Participant* except) = 0;
};

/// Lock order: machine lock → this → code cache → leaf locks.
class BlockCache {
 public:
  using Self = const Quiescence::Participant*;

  BlockCache(mem::Memory& memory, Quiescence& quiescence, TlbBroadcast& broadcast);
  ~BlockCache();
  /// Without these, blocks are only interpreted. Before any vCPU runs.
  void use_code(ir::HostBackend& backend, CodeCache& code);
  /// Whether a store ends only the blocks whose bytes it touches, not all of its page. Before any vCPU runs.
  void judge_by_granules(bool judge) { by_granules_ = judge; }
  /// Whether blocks whose source was overwritten are kept. Before any vCPU runs.
  void keep_dead_blocks(bool keep) { keeps_dead_ = keep; }
  /// Lets blocks be cloned. Before any vCPU runs.
  void keep_places() { places_ = std::make_unique<std::atomic<CodeBlock*>[]>(kPlaces); }
  /// Whether pages with many stores beside their code come to be checked.
  void check_pages(bool check) { checks_pages_ = check; }
  /// Tests move the time by which the cost of stores is judged themselves.
  void use_clock(std::function<ClockNs()> now) { host_now_ = std::move(now); }

  // Lookup: lock-free, on a vCPU thread that is not quiescent while it uses the block.
  /// `second_page` is asked for the RAM page behind pc's when a straddling block is met.
  template <typename SecondPage>
  CodeBlock* find(const BlockKey& key, SecondPage&& second_page) const {
    for (CodeBlock* b = bucket(key).load(std::memory_order_acquire); b != nullptr;
         b = b->hash_next.load(std::memory_order_acquire)) {
      if (b->key == key && b->state.load(std::memory_order_acquire) != CodeBlock::State::Dead &&
          (!b->straddles() || b->second_page == second_page())) {
        return b;
      }
    }
    return nullptr;
  }

  // Translation. A translator never waits: where it finds the lock taken, it is told so, and its vCPU executes one
  // instruction without the cache.
  /// Marks the page as holding code, before its bytes are read, and takes write permission from all other vCPUs'
  /// tables. The caller takes it from its own, whoever set the mark, and calls end_translation() of the result, which
  /// lives as long as the cache. Null: the lock was taken.
  PageCode* begin_translation(mem::RamPage page, Self self);
  struct Inserted {
    CodeBlock* block = nullptr;  ///< null: freed; translate again
    bool lock_was_taken = false;
  };
  /// Adds a block whose bytes are `source`, unless the bytes have changed, its code memory was taken away, or the lock
  /// was taken.
  Inserted insert(std::unique_ptr<CodeBlock> block, std::span<const u8> source, Self self, const CodeCache::Chunk* hot,
                  const CodeCache::Chunk* cold);
  /// In place of a translation, after begin_translation(): brings back a block of this key that was dropped when its
  /// bytes changed, if they are again what it was made from. `bytes` are those at its pc, as far as its page goes.
  /// Null: there is none.
  Inserted revive(const BlockKey& key, std::span<const u8> bytes, Self self);
  /// False: revive() has none, without a lock.
  bool may_revive(const BlockKey& key) const { return graveyard_.may_hold(key); }
  /// Where a clone's code goes. `lookup`: the thunk.
  struct CloneRoom {
    CodeCache::Chunk &hot, &cold;
    const u8* lookup = nullptr;
  };
  /// In place of a translation, after begin_translation(): makes the block of this key from one of the same bytes at
  /// another virtual page. Null: there is none, it cannot be moved there, or there is no room.
  Inserted clone(const BlockKey& key, const CloneRoom& room, const target::Translator& translator, Self self);
  /// False: clone() has none, without a lock.
  bool may_clone(const BlockKey& key) const {
    return places_ && place(key).load(std::memory_order_relaxed) != nullptr;
  }
  enum class CheckVerdict : u8 { Same, Differs, LockWasTaken };
  /// Before a Checked block, or one of a checked page, is entered from C++: compares its bytes, and publishes it if its
  /// time has come. Differs: the block is dead.
  CheckVerdict check(CodeBlock& block, Self self);

  // Links
  /// Links the site at `site` to the target, if that is allowed and the lock is free. `mode` is the vCPU's.
  bool link(const u8* site, CodeBlock& target, u32 mode, Self self);

  // Stores to code
  enum class StoreVerdict : u8 { Free, Code, HitsRunning };
  /// What a store to a page with the code bit does. Free: no code is left there and the bit is clear again.
  StoreVerdict judge_store(mem::RamPage page, u32 offset, u32 length, const CodeBlock* running, Self self);
  /// After bytes changed: drops all blocks made from them. Any thread.
  void invalidate(mem::RamPage page, u32 offset, u32 length);
  /// Drops all blocks that a breakpoint at this address cuts, or that one cut there. Any thread.
  void invalidate_at(u64 address);
  /// Drops all blocks of all pages (debugger, log switches).
  void invalidate_all();

  // Memory
  /// At a quiescent point of the caller: frees what nobody uses any more; starts evicting when code memory runs short.
  void collect(Self self);
  bool wants_collection() const { return pending_.load(std::memory_order_relaxed) || (code_ && code_->is_short()); }

  const CacheStatistics& statistics() const { return statistics_; }
  /// How many pairs of a virtual page and a RAM page are known; for tests, with no vCPU running.
  size_t page_pairs() const { return page_ids_.size(); }
  /// Grows when a block record or code memory may have been freed: caches keyed by host addresses compare it.
  u64 reuse_generation() const { return reuse_generation_.load(std::memory_order_acquire); }

 private:
  static constexpr size_t kBuckets = size_t(1) << 17, kPlaces = size_t(1) << 16;
  static constexpr size_t kLinkSiteBytes = 22;  ///< at most, of any host
  struct PageIdKey {
    u64 virtual_page;
    u32 ram_page;
    bool operator==(const PageIdKey&) const = default;
    bool operator<(const PageIdKey& o) const {
      return virtual_page != o.virtual_page ? virtual_page < o.virtual_page : ram_page < o.ram_page;
    }
  };
  struct PageId {
    u32 id = 0;
    u32 blocks = 0;  ///< that can be found
  };
  /// Pairs without a block are kept: most come back.
  static constexpr size_t kMostIdlePageIds = size_t(1) << 16;

  std::unique_lock<std::mutex> try_lock();
  void release_page_id_locked(const CodeBlock& block);
  std::atomic<CodeBlock*>& bucket(const BlockKey& key) const { return buckets_[key.hash() & (kBuckets - 1)]; }
  std::atomic<CodeBlock*>& place(const BlockKey& key) const { return places_[key.place_hash() & (kPlaces - 1)]; }
  PageCode& page_locked(mem::RamPage page);
  PageCode* find_page_locked(mem::RamPage page);
  bool fits_pages_locked(const CodeBlock& block);
  void begin_checking_locked(PageCode& code);
  bool is_left_to_checks_locked(const PageCode& code, Self self) const {
    return quiescence_.passed(code.checked_since, self);
  }
  void end_old_checks_locked();
  void protect_locked(PageCode& code, Self except);
  bool source_matches_locked(const CodeBlock& block, std::span<const u8> source);
  u64 write_epoch_locked(const CodeBlock& block);
  void record_code_locked(CodeBlock& block);
  void add_locked(CodeBlock& block, Self self);
  void add_place_locked(CodeBlock& block);
  void remove_place_locked(CodeBlock& block);
  const CodeBlock* original_locked(const BlockKey& key, const target::Translator& translator);
  static std::unique_ptr<CodeBlock> copy_of(const CodeBlock& from, const BlockKey& key, const ir::CodeParts& at);
  enum class Fate : u8 {
    Buried,   ///< the same bytes may come back
    Retired,  ///< it is not to be used again
  };
  void kill_locked(CodeBlock& block, Fate fate);
  void drop_locked(PageCode& code, const std::vector<CodeBlock*>& blocks);
  void drop_all_locked(PageCode& code);
  void drop_outgoing_locked(CodeBlock& block);
  void empty_graveyard_locked();
  void unlink_locked(Link& link);
  void start_eviction_locked(Self self);

  mem::Memory& memory_;
  Quiescence& quiescence_;
  TlbBroadcast& broadcast_;
  ir::HostBackend* backend_ = nullptr;
  CodeCache* code_ = nullptr;

  mutable std::mutex mutex_;
  std::unique_ptr<std::atomic<CodeBlock*>[]> buckets_;
  std::unique_ptr<std::atomic<CodeBlock*>[]> places_;  ///< of blocks that can be cloned, one for each place; or null
  std::unordered_map<u32, std::unique_ptr<PageCode>> pages_;
  PageCode* last_page_ = nullptr;  ///< that page_locked() gave last
  std::map<PageIdKey, PageId> page_ids_;
  std::map<PageIdKey, PageId>::iterator recent_id_ = page_ids_.end();  ///< of the block that was added last
  u32 last_page_id_ = 0;     ///< none is given twice: tables of vCPUs may hold those that went
  size_t idle_page_ids_ = 0;
  std::vector<CodeBlock*> retired_;  ///< freed once dead_since has passed
  Graveyard graveyard_;
  bool keeps_dead_ = true, checks_pages_ = true, by_granules_ = true;
  std::vector<PageCode*> checked_pages_;
  std::function<ClockNs()> host_now_ = [] { return ClockNs(std::chrono::steady_clock::now().time_since_epoch()); };
  unsigned evicting_ = CodeCache::kNoSegment;
  u64 evict_epoch_ = 0;
  std::atomic<bool> pending_{false};
  std::atomic<u64> reuse_generation_{1};
  CacheStatistics statistics_;
};

}  // namespace emu::accel
