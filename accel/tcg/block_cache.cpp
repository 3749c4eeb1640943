// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/block_cache.h"

#include <cstring>
#include <tuple>

#include "softmmu/memory/host_access.h"
#include "util/check.h"

namespace emu::accel {

using State = CodeBlock::State;

namespace {

// What stores to a page with code cost, in stores that change no code.
constexpr u32 kTrapCost = 1, kInvalidationCost = 16;

}  // namespace

BlockCache::BlockCache(mem::Memory& memory, Quiescence& quiescence, TlbBroadcast& broadcast)
    : memory_(memory), quiescence_(quiescence), broadcast_(broadcast),
      buckets_(std::make_unique<std::atomic<CodeBlock*>[]>(kBuckets)) {}

BlockCache::~BlockCache() {
  for (size_t i = 0; i < kBuckets; ++i) {
    for (CodeBlock* b = buckets_[i].load(); b != nullptr;) {
      CodeBlock* next = b->hash_next.load();
      delete b;
      b = next;
    }
  }
  for (CodeBlock* b : retired_) delete b;
  for (CodeBlock* b : graveyard_.clear()) delete b;
}

void BlockCache::use_code(ir::HostBackend& backend, CodeCache& code) {
  backend_ = &backend;
  code_ = &code;
}

PageCode& BlockCache::page_locked(mem::RamPage page) {
  if (last_page_ != nullptr && last_page_->page() == page) return *last_page_;
  std::unique_ptr<PageCode>& slot = pages_[u32(page)];
  if (!slot) slot = std::make_unique<PageCode>(memory_.ram_block_of(page), page);
  last_page_ = slot.get();
  return *slot;
}

PageCode* BlockCache::find_page_locked(mem::RamPage page) {
  const auto at = pages_.find(u32(page));
  return at == pages_.end() ? nullptr : at->second.get();
}

// --- Translation ---

std::unique_lock<std::mutex> BlockCache::try_lock() {
  std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) statistics_.lock_taken.fetch_add(1, std::memory_order_relaxed);
  return lock;
}

PageCode* BlockCache::begin_translation(mem::RamPage page, Self self) {
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return nullptr;
  PageCode& code = page_locked(page);
  code.begin_translation();
  if (!checked_pages_.empty()) end_old_checks_locked();
  if (!code.is_checked()) protect_locked(code, self);
  return &code;
}

bool BlockCache::source_matches_locked(const CodeBlock& block, std::span<const u8> source) {
  u8 now[4096];
  const auto same = [&](mem::RamPage page, u32 offset, std::span<const u8> part) {
    const PageCode& code = page_locked(page);
    mem::copy_from_ram(now, mem::host_address(code.ram(), code.ram().offset_of(page)) + offset, part.size());
    return std::memcmp(now, part.data(), part.size()) == 0;
  };
  const u32 first = block.first_bytes();
  if (!same(block.key.page, block.page_offset(), source.first(first))) return false;
  return first == source.size() || same(block.second_page, 0, source.subspan(first));
}

u64 BlockCache::write_epoch_locked(const CodeBlock& block) {
  const u64 first = page_locked(block.key.page).write_epoch;
  return block.straddles() ? std::max(first, page_locked(block.second_page).write_epoch) : first;
}

BlockCache::Inserted BlockCache::insert(std::unique_ptr<CodeBlock> block, std::span<const u8> source, Self self,
                                        const CodeCache::Chunk* hot, const CodeCache::Chunk* cold) {
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return {.lock_was_taken = true};
  if (hot != nullptr && (!code_->is_current(*hot) || !code_->is_current(*cold))) return {};
  if (!fits_pages_locked(*block) || !source_matches_locked(*block, source)) return {};

  CodeBlock& b = *block.release();
  if (b.source.empty()) {
    b.own_source.assign(source.begin(), source.end());
    b.source = b.own_source;
  }
  if (hot != nullptr) record_code_locked(b);
  add_locked(b, self);
  statistics_.blocks.add();
  return {.block = &b};
}

void BlockCache::record_code_locked(CodeBlock& b) {
  code_->record(b.hot, b.hot_size, &b);
  code_->record(b.cold, b.cold_size, &b);
  statistics_.code_bytes.add(b.hot_size + b.cold_size);
}

/// From here on lookups find the block.
void BlockCache::add_locked(CodeBlock& b, Self self) {
  b.publish_epoch = write_epoch_locked(b);
  const bool published = b.compares || quiescence_.passed(b.publish_epoch, self);
  b.state.store(published ? State::Published : State::Checked, std::memory_order_relaxed);
  const PageIdKey page{b.key.pc & ~(mem::kPageSize - 1), u32(b.key.page)};
  if (recent_id_ == page_ids_.end() || !(recent_id_->first == page)) {
    bool added;
    std::tie(recent_id_, added) = page_ids_.try_emplace(page);
    if (added) {
      recent_id_->second.id = ++last_page_id_;
      ++idle_page_ids_;
    }
  }
  PageId& id = recent_id_->second;
  if (id.blocks == 0) --idle_page_ids_;
  ++id.blocks;
  b.page_id = id.id;
  page_locked(b.key.page).add(b);
  if (b.straddles() && b.second_page != b.key.page) page_locked(b.second_page).add(b);
  std::atomic<CodeBlock*>& head = bucket(b.key);
  b.hash_next.store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
  head.store(&b, std::memory_order_release);
  add_place_locked(b);
}

/// A guest makes ever new pairs, as its programs come to lie elsewhere each time: those that have been idle go at some
/// time.
void BlockCache::release_page_id_locked(const CodeBlock& block) {
  const auto at = page_ids_.find({block.key.pc & ~(mem::kPageSize - 1), u32(block.key.page)});
  EMU_CHECK(at != page_ids_.end() && at->second.blocks != 0);
  if (--at->second.blocks != 0 || ++idle_page_ids_ <= kMostIdlePageIds) return;
  recent_id_ = page_ids_.end();
  std::erase_if(page_ids_, [](const auto& pair) { return pair.second.blocks == 0; });
  idle_page_ids_ = 0;
}

BlockCache::Inserted BlockCache::revive(const BlockKey& key, std::span<const u8> bytes, Self self) {
  if (!graveyard_.may_hold(key)) return {};
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return {.lock_was_taken = true};
  CodeBlock* b = graveyard_.exhume(key, bytes, [&](u64 epoch) { return quiescence_.passed(epoch, self); });
  if (b == nullptr) return {};
  // The page may have begun or ceased to be checked, or have changed since `bytes` were read.
  if (!fits_pages_locked(*b) || !source_matches_locked(*b, b->source)) {
    EMU_CHECK(graveyard_.bury(*b) == nullptr);
    return {};
  }
  for (u32 i = 0; i < b->link_count; ++i) {
    Link& l = b->links[i];
    if (std::exchange(l.is_stale, false)) backend_->unlink(code_->span(b->site_of(l), kLinkSiteBytes), l.stub);
  }
  backend_->restore_entry(code_->span(b->entry(), b->hot_size - b->entry_offset), b->entry_bytes);
  add_locked(*b, self);
  statistics_.revived_blocks.add();
  return {.block = b};
}

BlockCache::CheckVerdict BlockCache::check(CodeBlock& block, Self self) {
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return CheckVerdict::LockWasTaken;
  switch (block.state.load(std::memory_order_relaxed)) {
    case State::Published:
      if (!block.compares) return CheckVerdict::Same;
      break;
    case State::Dead:
      return CheckVerdict::Differs;
    case State::Checked:
      break;
  }
  if (!source_matches_locked(block, block.source)) {
    kill_locked(block, Fate::Buried);
    return CheckVerdict::Differs;
  }
  if (!block.compares && quiescence_.passed(block.publish_epoch, self)) {
    block.state.store(State::Published, std::memory_order_release);
    statistics_.publications.add();
  }
  return CheckVerdict::Same;
}

// --- Links ---

bool BlockCache::link(const u8* site, CodeBlock& target, u32 mode, Self self) {
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return false;  // the site asks again when it is next passed
  CodeBlock* from = code_->find(site + 1);
  if (from == nullptr || from->state == State::Dead) return false;
  if (target.state != State::Published || target.straddles()) return false;
  if (target.key.mode != mode) return false;
  for (u32 i = 0; i < from->link_count; ++i) {
    Link& l = from->links[i];
    if (from->site_of(l) != site) continue;
    if (l.to != nullptr || l.target_pc != target.key.pc) return false;
    if (mode != (l.mode >= 0 ? u32(l.mode) : from->key.mode)) return false;
    if (l.free_epoch != 0 && !quiescence_.passed(l.free_epoch, self)) return false;
    const u8* to = target.entry();
    if (l.kind == ir::LinkKind::SamePage) {
      // Without a guard: only while both are on one RAM page, which they are unless the page was just remapped.
      if (from->key.page != target.key.page) return false;
      if (target.key.pc > from->key.pc && !target.compares) to = target.body();
    }
    l.stub = backend_->link(code_->span(site, kLinkSiteBytes), l.kind, l.target_pc, target.page_id, to);
    l.to = &target;
    l.next_incoming = target.incoming;
    target.incoming = &l;
    return true;
  }
  return false;
}

void BlockCache::unlink_locked(Link& l) {
  const u8* site = l.from->site_of(l);
  backend_->unlink(code_->span(site, kLinkSiteBytes), l.stub);
  l.to = nullptr;
  l.next_incoming = nullptr;
  l.free_epoch = quiescence_.advance();
  statistics_.unlinks.add();
}

/// The sites stay as they are: nobody passes them while the block is dead.
void BlockCache::drop_outgoing_locked(CodeBlock& block) {
  for (u32 i = 0; i < block.link_count; ++i) {
    Link& l = block.links[i];
    if (l.to == nullptr) continue;
    for (Link** at = &l.to->incoming; *at != nullptr; at = &(*at)->next_incoming) {
      if (*at == &l) {
        *at = l.next_incoming;
        break;
      }
    }
    l.to = nullptr;
    l.is_stale = true;
  }
}

// --- Invalidation ---

void BlockCache::kill_locked(CodeBlock& block, Fate fate) {
  if (block.state.load(std::memory_order_relaxed) == State::Dead) return;
  block.state.store(State::Dead, std::memory_order_release);
  for (std::atomic<CodeBlock*>* at = &bucket(block.key); at->load(std::memory_order_relaxed) != nullptr;
       at = &at->load(std::memory_order_relaxed)->hash_next) {
    if (at->load(std::memory_order_relaxed) == &block) {
      at->store(block.hash_next.load(std::memory_order_relaxed), std::memory_order_release);
      break;
    }
  }
  remove_place_locked(block);
  release_page_id_locked(block);
  page_locked(block.key.page).remove(block);
  if (block.straddles()) page_locked(block.second_page).remove(block);
  if (block.hot != nullptr) {
    block.entry_bytes =
        backend_->redirect_entry(code_->span(block.entry(), block.hot_size - block.entry_offset), block.stale_stub);
    for (Link* l = block.incoming; l != nullptr;) {
      Link* next = l->next_incoming;
      unlink_locked(*l);
      l = next;
    }
    block.incoming = nullptr;
    drop_outgoing_locked(block);
  }
  block.dead_since = quiescence_.advance();
  statistics_.invalidated_blocks.add();
  CodeBlock* leaves = &block;
  if (fate == Fate::Buried && keeps_dead_ && block.hot != nullptr && !block.straddles())
    leaves = graveyard_.bury(block);
  if (leaves == nullptr) return;
  retired_.push_back(leaves);
  pending_ = true;
}

void BlockCache::empty_graveyard_locked() {
  const std::vector<CodeBlock*> all = graveyard_.clear();
  retired_.insert(retired_.end(), all.begin(), all.end());
  pending_ = pending_ || !all.empty();
}

BlockCache::StoreVerdict BlockCache::judge_store(mem::RamPage page, u32 offset, u32 length, const CodeBlock* running,
                                                 Self self) {
  const std::lock_guard lock(mutex_);
  PageCode* code = find_page_locked(page);
  if (code == nullptr) return StoreVerdict::Free;
  // The running block counts even if it is dead by now: what is left of it must not become stale.
  const bool runs_here = running != nullptr && (running->key.page == page || running->second_page == page);
  if (runs_here && code->overlaps(*running, offset, length)) return StoreVerdict::HitsRunning;
  if (!runs_here && !code->is_checked() && code->is_rewritten()) drop_all_locked(*code);
  const bool may_go_unseen = code->is_checked()
                                 ? (!runs_here || running->compares) && is_left_to_checks_locked(*code, self)
                                 : !runs_here && code->is_empty();
  if (may_go_unseen) {
    code->ram().clear_code(page);
    return StoreVerdict::Free;
  }
  if (checks_pages_ && !code->is_checked() && code->is_stormy(kTrapCost, host_now_)) begin_checking_locked(*code);
  return StoreVerdict::Code;
}

void BlockCache::invalidate(mem::RamPage page, u32 offset, u32 length) {
  const std::lock_guard lock(mutex_);
  PageCode* code = find_page_locked(page);
  if (!by_granules_) offset = 0, length = u32(mem::kPageSize);
  if (code == nullptr || !code->granules_overlap(offset, length)) return;
  std::vector<CodeBlock*> hit;
  for (CodeBlock* b : code->blocks()) {
    if (code->overlaps(*b, offset, length)) hit.push_back(b);
  }
  drop_locked(*code, hit);
}

/// Of a page: blocks whose bytes change or are about to.
void BlockCache::drop_locked(PageCode& code, const std::vector<CodeBlock*>& blocks) {
  if (blocks.empty()) return;
  statistics_.invalidations.add();
  static_cast<void>(code.is_stormy(kInvalidationCost, host_now_));
  for (CodeBlock* b : blocks) kill_locked(*b, Fate::Buried);
}

void BlockCache::drop_all_locked(PageCode& code) {
  const std::vector<CodeBlock*> blocks = code.blocks();
  drop_locked(code, blocks);
}

void BlockCache::invalidate_at(u64 address) {
  const std::lock_guard lock(mutex_);
  const u64 page = address & ~(mem::kPageSize - 1);
  std::vector<CodeBlock*> hit;
  // Blocks that reach the page from the one before, too.
  for (const u64 virtual_page : {page - mem::kPageSize, page}) {
    for (auto at = page_ids_.lower_bound({virtual_page, 0}); at != page_ids_.end(); ++at) {
      if (at->first.virtual_page != virtual_page) break;
      PageCode* code = find_page_locked(mem::RamPage(at->first.ram_page));
      if (code == nullptr) continue;
      for (CodeBlock* b : code->blocks()) {
        const bool begins_here = (b->key.pc & ~(mem::kPageSize - 1)) == virtual_page;
        if (begins_here && b->key.pc <= address && address - b->key.pc <= b->guest_bytes) hit.push_back(b);
      }
    }
  }
  for (CodeBlock* b : hit) kill_locked(*b, Fate::Retired);
  empty_graveyard_locked();  // they may be cut there, or not
}

void BlockCache::invalidate_all() {
  const std::lock_guard lock(mutex_);
  for (size_t i = 0; i < kBuckets; ++i) {
    while (CodeBlock* b = buckets_[i].load(std::memory_order_relaxed)) kill_locked(*b, Fate::Retired);
  }
  empty_graveyard_locked();
}

// --- Memory ---

void BlockCache::start_eviction_locked(Self self) {
  const unsigned segment = code_->oldest_full();
  if (segment == CodeCache::kNoSegment) return;
  code_->mark_evicting(segment);
  for (CodeBlock* b : code_->blocks_of(segment)) {
    kill_locked(*b, Fate::Retired);
    if (graveyard_.remove(*b)) retired_.push_back(b);
  }
  // Jump caches hold entries of these blocks; they must be gone before the memory holds something else.
  broadcast_.request_others({TlbRequest::Kind::DropJumpCaches}, nullptr);
  static_cast<void>(self);
  evicting_ = segment;
  evict_epoch_ = quiescence_.advance();
  pending_ = true;
  statistics_.evicted_segments.add();
}

void BlockCache::collect(Self self) {
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return;  // still pending: the next quiescent point does it
  const size_t before = retired_.size();
  std::erase_if(retired_, [&](CodeBlock* b) {
    if (!quiescence_.passed(b->dead_since, self)) return false;
    if (b->hot != nullptr) {
      code_->forget(b->hot);
      code_->forget(b->cold);
    }
    delete b;
    return true;
  });
  bool reused = retired_.size() != before;
  if (evicting_ != CodeCache::kNoSegment && quiescence_.passed(evict_epoch_, self)) {
    code_->reuse(evicting_);
    evicting_ = CodeCache::kNoSegment;
    reused = true;
  }
  if (reused) reuse_generation_.fetch_add(1, std::memory_order_acq_rel);
  if (code_ != nullptr && evicting_ == CodeCache::kNoSegment && code_->is_short()) start_eviction_locked(self);
  pending_ = !retired_.empty() || evicting_ != CodeCache::kNoSegment;
}

}  // namespace emu::accel
