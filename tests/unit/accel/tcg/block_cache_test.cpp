// SPDX-License-Identifier: Apache-2.0
// Links, invalidation and memory of blocks, with a back end that only takes notes.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <functional>
#include <set>
#include <thread>

#include "accel/tcg/block_cache.h"
#include "softmmu/memory/host_access.h"

namespace emu::accel {
namespace {

class NotingBackend final : public ir::HostBackend {
 public:
  std::string name() const override { return "noting"; }
  Result<void> configure(const ir::StateLayout&) override { return {}; }
  Result<tcg::ThunkTable> emit_thunks(ir::CodeSpan, const ir::StateLayout&, const tcg::RuntimeCallbacks&,
                                      size_t&) override {
    return tcg::ThunkTable();
  }
  ir::CompileStatus compile(const ir::CompileRequest&, ir::CompiledBlock&) override {
    return ir::CompileStatus::NoRoom;
  }
  const u8* link(ir::CodeSpan site, ir::LinkKind, u64, u32, const u8* target) override {
    linked.insert(site.exec);
    last_target = target;
    return nullptr;
  }
  void unlink(ir::CodeSpan site, const u8*) override { linked.erase(site.exec); }
  bool relocate(ir::CodeSpan, ir::CodeSpan, const ir::CodeParts&, u64, std::span<const u8>) const override {
    return false;
  }
  void reset_link(ir::CodeSpan, const u8*) const override {}
  u64 redirect_entry(ir::CodeSpan entry, const u8*) override {
    redirected.insert(entry.exec);
    return 0;
  }
  void restore_entry(ir::CodeSpan entry, u64) override { redirected.erase(entry.exec); }
  size_t emit_pc_stub(ir::CodeSpan, u64, const u8*) override { return 16; }
  size_t emit_checked_stub(ir::CodeSpan, u64, const u8*, std::span<const u8>, const u8*, const u8*) override {
    return 0;
  }
  std::string disassemble(std::span<const u8>, u64) const override { return {}; }

  std::set<const u8*> linked, redirected;
  const u8* last_target = nullptr;
};

class BlockCacheTest : public testing::Test, public TlbBroadcast {
 protected:
  static constexpr u32 kHot = 64, kCold = 48;

  void SetUp() override {
    ram_ = *memory_.make_ram("ram", 1 << 20);
    code_ = std::move(*CodeCache::create(4 << 20, false));
    code_->thunk_room();
    quiescence_.add(self_);
    quiescence_.add(other_);
    cache_ = std::make_unique<BlockCache>(memory_, quiescence_, *this);
    cache_->use_code(backend_, *code_);
  }
  void TearDown() override {
    cache_.reset();
    ram_.reset();
  }
  void request_others(const TlbRequest& request, const Quiescence::Participant*) override {
    requests.push_back(request);
    if (while_locked) while_locked();
  }

  /// A block of `bytes` bytes at linear = RAM address pc, with one link to `target`.
  CodeBlock* make(u64 pc, u32 bytes, u64 target = 0, bool compares = false) {
    const mem::RamPage page = ram_->page_at(pc);
    PageCode* marked = cache_->begin_translation(page, &self_);
    std::vector<u8> source(bytes);
    ram_->read(pc, source.data(), bytes);
    for (CodeCache::Chunk* c : {&hot_, &cold_}) {
      if (!code_->is_current(*c) || c->left() < kHot) {
        if (!code_->take_chunk(*c)) {
          marked->end_translation();
          return nullptr;
        }
      }
    }
    auto block = std::make_unique<CodeBlock>();
    block->key = {pc, 0, page};
    block->compares = compares;
    block->guest_bytes = bytes;
    block->hot = hot_.next();
    block->hot_size = kHot;
    block->entry_offset = 0;
    block->body_offset = 16;
    block->cold = cold_.next();
    block->cold_size = kCold;
    block->link_count = 1;
    block->links = std::make_unique<Link[]>(1);
    block->links[0] = {.offset = 32, .kind = (target ^ pc) < 4096 ? ir::LinkKind::SamePage : ir::LinkKind::CrossPage,
                       .target_pc = target, .from = block.get()};
    CodeBlock* made = cache_->insert(std::move(block), source, &self_, &hot_, &cold_).block;
    hot_.used += kHot;
    cold_.used += kHot;
    marked->end_translation();
    return made;
  }
  CodeBlock* find(u64 pc) {
    return cache_->find({pc, 0, ram_->page_at(pc)}, [] { return mem::kNoRamPage; });
  }
  void store(u64 pc, u8 value) {
    *mem::host_address(*ram_, pc) = value;
    cache_->invalidate(ram_->page_at(pc), u32(pc & (mem::kPageSize - 1)), 1);
  }
  /// As a translator does, which has marked the page.
  CodeBlock* revive(u64 pc) {
    const mem::RamPage page = ram_->page_at(pc);
    PageCode* marked = cache_->begin_translation(page, &self_);
    std::vector<u8> bytes(mem::kPageSize - (pc & (mem::kPageSize - 1)));
    ram_->read(pc, bytes.data(), bytes.size());
    CodeBlock* block = cache_->revive({pc, 0, page}, bytes, &self_).block;
    marked->end_translation();
    return block;
  }
  bool link(CodeBlock* from, CodeBlock* to) { return cache_->link(from->hot + 32, *to, 0, &self_); }

  mem::Memory memory_;
  mem::RamRef ram_;
  Quiescence quiescence_;
  Quiescence::Participant self_, other_;
  NotingBackend backend_;
  std::unique_ptr<CodeCache> code_;
  std::unique_ptr<BlockCache> cache_;
  CodeCache::Chunk hot_, cold_;
  using CheckVerdict = BlockCache::CheckVerdict;
  std::vector<TlbRequest> requests;
  std::function<void()> while_locked;
};

TEST_F(BlockCacheTest, BlockIsFoundByItsHotAndColdAddresses) {
  CodeBlock* a = make(0x1000, 16);
  CodeBlock* b = make(0x1010, 16);
  EXPECT_EQ(find(0x1000), a);
  EXPECT_EQ(find(0x1004), nullptr);
  EXPECT_EQ(code_->find(a->hot + 1), a);
  EXPECT_EQ(code_->find(a->hot + kHot), a);
  EXPECT_EQ(code_->find(b->hot + 1), b);
  EXPECT_EQ(code_->find(b->cold + kCold), b);
  EXPECT_EQ(code_->find(b->cold + kCold + 1), nullptr);
}

TEST_F(BlockCacheTest, ForwardLinkSkipsTheExitCheckAndBackwardDoesNot) {
  CodeBlock* a = make(0x1000, 16, 0x1010);
  CodeBlock* b = make(0x1010, 16, 0x1000);
  EXPECT_TRUE(link(a, b));
  EXPECT_EQ(backend_.last_target, b->body());
  EXPECT_TRUE(link(b, a));
  EXPECT_EQ(backend_.last_target, a->entry());
  EXPECT_FALSE(link(a, b));  // is linked
}

TEST_F(BlockCacheTest, InvalidationUnlinksAndRelinkingWaits) {
  quiescence_.quiescent(other_);
  CodeBlock* a = make(0x1000, 16, 0x2000);
  CodeBlock* b = make(0x2000, 16, 0x3000);
  quiescence_.quiescent(other_);
  ASSERT_EQ(cache_->check(*a, &self_), CheckVerdict::Same);
  ASSERT_EQ(cache_->check(*b, &self_), CheckVerdict::Same);
  ASSERT_TRUE(link(a, b));
  cache_->invalidate(ram_->page_at(0x2000), 8, 1);
  EXPECT_TRUE(backend_.linked.empty());
  EXPECT_EQ(backend_.redirected.count(b->entry()), 1u);
  EXPECT_EQ(find(0x2000), nullptr);
  EXPECT_EQ(find(0x1000), a);

  CodeBlock* again = make(0x2000, 16, 0x3000);
  EXPECT_FALSE(link(a, again));
  quiescence_.quiescent(other_);
  EXPECT_TRUE(link(a, again));
}

TEST_F(BlockCacheTest, WhoFindsTheLockTakenGoesOnWithoutIt) {
  quiescence_.quiescent(other_);
  CodeBlock* a = make(0x1000, 16, 0x1000);
  const mem::RamPage page = ram_->page_at(0x2000);
  // Called with the lock held, by a vCPU that marks another page.
  while_locked = [&] {
    std::thread([&] {
      EXPECT_EQ(cache_->begin_translation(page, &other_), nullptr);
      EXPECT_EQ(cache_->check(*a, &other_), CheckVerdict::LockWasTaken);
      EXPECT_FALSE(cache_->link(a->hot + 32, *a, 0, &other_));
      auto block = std::make_unique<CodeBlock>();
      block->key = {0x1004, 0, ram_->page_at(0x1000)};
      const BlockCache::Inserted inserted = cache_->insert(std::move(block), {}, &other_, nullptr, nullptr);
      EXPECT_EQ(inserted.block, nullptr);
      EXPECT_TRUE(inserted.lock_was_taken);
      cache_->collect(&other_);
    }).join();
  };
  EXPECT_NE(make(0x3000, 16), nullptr);
  while_locked = {};
  EXPECT_EQ(cache_->statistics().lock_taken.load(), 5u);
  EXPECT_EQ(cache_->check(*a, &self_), CheckVerdict::Same);
}

TEST_F(BlockCacheTest, StoreBesideABlockLeavesIt) {
  CodeBlock* a = make(0x1000, 8);
  const mem::RamPage page = ram_->page_at(0x1000);
  EXPECT_EQ(cache_->judge_store(page, 8, 8, a, &self_), BlockCache::StoreVerdict::Code);
  EXPECT_EQ(cache_->judge_store(page, 4, 8, a, &self_), BlockCache::StoreVerdict::HitsRunning);
  cache_->invalidate(page, 8, 8);
  EXPECT_EQ(find(0x1000), a);
  cache_->invalidate(page, 7, 1);
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_TRUE(ram_->has_code(page));
  EXPECT_EQ(cache_->judge_store(page, 0, 8, nullptr, &self_), BlockCache::StoreVerdict::Free);
  EXPECT_FALSE(ram_->has_code(page));
}

TEST_F(BlockCacheTest, BlockIsCheckedUntilAllCpusWereQuiescent) {
  quiescence_.quiescent(other_);
  CodeBlock* a = make(0x1000, 8, 0x1000);
  EXPECT_EQ(requests.size(), 1u);
  EXPECT_EQ(a->state, CodeBlock::State::Checked);
  EXPECT_FALSE(link(a, a));
  EXPECT_EQ(cache_->check(*a, &self_), CheckVerdict::Same);
  EXPECT_EQ(a->state, CodeBlock::State::Checked);
  quiescence_.quiescent(other_);
  EXPECT_EQ(cache_->check(*a, &self_), CheckVerdict::Same);
  EXPECT_EQ(a->state, CodeBlock::State::Published);
  EXPECT_TRUE(link(a, a));
  EXPECT_EQ(make(0x1100, 8)->state, CodeBlock::State::Published);  // the page's grace period is over
}

TEST_F(BlockCacheTest, CheckedBlockWhoseBytesChangedDies) {
  quiescence_.quiescent(other_);
  CodeBlock* a = make(0x1000, 8);
  u8* host = mem::host_address(*ram_, 0x1004);  // as by a write permission that is not withdrawn yet
  *host = 1;
  EXPECT_EQ(cache_->check(*a, &self_), CheckVerdict::Differs);
  EXPECT_EQ(find(0x1000), nullptr);
}

TEST_F(BlockCacheTest, SameBytesBringABlockBack) {
  CodeBlock* a = make(0x1000, 8, 0x1100);
  CodeBlock* b = make(0x1100, 8, 0x1000);
  quiescence_.quiescent(other_);
  ASSERT_TRUE(link(a, b));
  ASSERT_TRUE(link(b, a));
  store(0x1000, 1);
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_EQ(backend_.linked, std::set<const u8*>{a->hot + 32});  // its own, which nobody passes
  EXPECT_TRUE(backend_.redirected.contains(a->entry()));
  quiescence_.quiescent(other_);
  EXPECT_EQ(revive(0x1000), nullptr);  // other bytes
  store(0x1000, 0);
  CodeBlock* again = revive(0x1000);
  EXPECT_EQ(again, a);
  EXPECT_EQ(find(0x1000), a);
  EXPECT_EQ(a->state, CodeBlock::State::Published);
  EXPECT_FALSE(backend_.redirected.contains(a->entry()));
  EXPECT_TRUE(link(a, b));
  EXPECT_TRUE(link(b, a));
  EXPECT_EQ(revive(0x1000), nullptr);
  EXPECT_EQ(cache_->statistics().revived_blocks.get(), 1u);
}

TEST_F(BlockCacheTest, BlockComesBackOnlyWhenAllCpusHaveLeftIt) {
  quiescence_.quiescent(other_);
  CodeBlock* a = make(0x1000, 8);
  store(0x1000, 1);
  store(0x1000, 0);
  EXPECT_EQ(revive(0x1000), nullptr);
  CodeBlock* second = make(0x1000, 8);
  store(0x1000, 1);
  store(0x1000, 0);
  quiescence_.quiescent(other_);
  EXPECT_EQ(revive(0x1000), second);  // of two that are alike one is kept
  cache_->collect(&self_);
  EXPECT_EQ(code_->find(a->hot + 1), nullptr);
}

TEST_F(BlockCacheTest, WhatABreakpointMayCutDoesNotComeBack) {
  make(0x1000, 8);
  store(0x1000, 1);
  store(0x1000, 0);
  cache_->invalidate_at(0x9000);
  quiescence_.quiescent(other_);
  EXPECT_EQ(revive(0x1000), nullptr);
}

TEST_F(BlockCacheTest, WithoutAGraveyardNothingComesBack) {
  cache_->keep_dead_blocks(false);
  make(0x1000, 8);
  store(0x1000, 1);
  store(0x1000, 0);
  quiescence_.quiescent(other_);
  EXPECT_EQ(revive(0x1000), nullptr);
}

TEST_F(BlockCacheTest, GraveyardKeepsAFewOfAPlaceThatIsAlwaysWrittenAnew) {
  quiescence_.quiescent(other_);
  for (u8 value = 1; value <= Graveyard::kMostOfAKey + 1; ++value) {
    *mem::host_address(*ram_, 0x1000) = value;
    ASSERT_NE(make(0x1000, 8), nullptr);
    store(0x1000, 0);
  }
  quiescence_.quiescent(other_);
  *mem::host_address(*ram_, 0x1000) = 1;
  EXPECT_EQ(revive(0x1000), nullptr);
  *mem::host_address(*ram_, 0x1000) = 2;
  EXPECT_NE(revive(0x1000), nullptr);
}

TEST_F(BlockCacheTest, GraveyardKeepsTheYoungest) {
  for (u64 pc = 0x1000; pc < 0x1000 + 16 * (Graveyard::kMost + 1); pc += 16) {
    ASSERT_NE(make(pc, 8), nullptr);
    store(pc, 1);
    store(pc, 0);
  }
  quiescence_.quiescent(other_);
  EXPECT_EQ(revive(0x1000), nullptr);
  EXPECT_NE(revive(0x1010), nullptr);
}

TEST_F(BlockCacheTest, PageThatIsWrittenAnewLosesItsBlocksAtOnce) {
  CodeBlock* a = make(0x1000, 8);
  make(0x1040, 8);
  const mem::RamPage page = ram_->page_at(0x1000);
  const auto store_beside = [&](const CodeBlock* running) { return cache_->judge_store(page, 64, 8, running, &self_); };
  for (unsigned i = 0; i < 100; i++) EXPECT_EQ(store_beside(a), BlockCache::StoreVerdict::Code);  // its own code runs
  unsigned seen = 1;
  while (store_beside(nullptr) == BlockCache::StoreVerdict::Code && seen < 100) ++seen;
  EXPECT_LT(seen, 64u);
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_EQ(find(0x1040), nullptr);
  EXPECT_FALSE(ram_->has_code(page));

  ASSERT_NE(make(0x1000, 8), nullptr);  // what runs in between keeps it
  for (unsigned i = 0; i < 20; i++) {
    for (unsigned store = 0; store < 8; store++) EXPECT_EQ(store_beside(nullptr), BlockCache::StoreVerdict::Code);
    make(0x1800 + i * 16, 8);
  }
  EXPECT_NE(find(0x1000), nullptr);
}

TEST_F(BlockCacheTest, PageWithAStormOfStoresIsCheckedForAWhile) {
  ClockNs now{};
  cache_->use_clock([&] { return now; });
  quiescence_.quiescent(other_);
  CodeBlock* a = make(0x1000, 8);
  quiescence_.quiescent(other_);
  ASSERT_NE(a, nullptr);
  const mem::RamPage page = ram_->page_at(0x1000);
  const auto store_beside = [&] { return cache_->judge_store(page, 64, 8, nullptr, &self_); };
  const auto storm = [&](unsigned stores, ClockNs apart) {  // with code made in between, as where the guest runs it
    for (unsigned i = 0; i < stores; i++, now += apart) {
      if (i % 16 == 0) make(0x1800 + i / 16 % 64 * 16, 8);
      store_beside();
    }
  };
  storm(10000, std::chrono::microseconds(2));
  EXPECT_EQ(find(0x1000), a);  // not that many in a millisecond
  storm(1100, {});
  EXPECT_EQ(cache_->statistics().checked_pages.get(), 1u);
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_EQ(store_beside(), BlockCache::StoreVerdict::Code);  // the other vCPU may be inside the old block
  quiescence_.quiescent(other_);
  EXPECT_EQ(cache_->judge_store(page, 64, 8, a, &self_), BlockCache::StoreVerdict::Code);  // and so may we
  EXPECT_EQ(store_beside(), BlockCache::StoreVerdict::Free);
  EXPECT_FALSE(ram_->has_code(page));

  EXPECT_EQ(make(0x1000, 8), nullptr);  // made before: it does not compare
  CodeBlock* b = make(0x1000, 8, 0x1100, true);
  CodeBlock* c = make(0x1100, 8, 0x1000, true);
  ASSERT_NE(b, nullptr);
  EXPECT_FALSE(ram_->has_code(page));
  EXPECT_EQ(b->state, CodeBlock::State::Published);
  EXPECT_TRUE(link(b, c));
  EXPECT_EQ(backend_.last_target, c->entry());  // never behind the comparison
  EXPECT_EQ(cache_->check(*b, &self_), CheckVerdict::Same);
  *mem::host_address(*ram_, 0x1004) = 1;
  EXPECT_EQ(cache_->check(*b, &self_), CheckVerdict::Differs);
  EXPECT_EQ(find(0x1000), nullptr);

  now += std::chrono::seconds(1);
  requests.clear();
  EXPECT_EQ(make(0x1000, 8)->state, CodeBlock::State::Checked);
  EXPECT_TRUE(ram_->has_code(page));
  EXPECT_FALSE(requests.empty());
  EXPECT_EQ(find(0x1100), nullptr);
}

TEST_F(BlockCacheTest, FullCacheEvictsItsOldestSegmentAfterAGracePeriod) {
  quiescence_.quiescent(other_);
  u64 made = 0;
  u64 pc = 0x1000;
  const auto next = [&] {
    pc = pc + 8 < (1 << 20) ? pc + 8 : 0x1000;
    return pc;
  };
  while (make(next(), 8) != nullptr) ++made;
  EXPECT_GT(made, 10000u);
  EXPECT_TRUE(code_->is_short());
  cache_->collect(&self_);
  EXPECT_EQ(cache_->statistics().evicted_segments.get(), 1u);
  EXPECT_EQ(requests.back().kind, TlbRequest::Kind::DropJumpCaches);
  EXPECT_EQ(make(next(), 8), nullptr);  // the other one may still be in there
  quiescence_.quiescent(other_);
  cache_->collect(&self_);
  const u64 generation = cache_->reuse_generation();
  EXPECT_GT(generation, 1u);
  EXPECT_NE(make(next(), 8), nullptr);
  // Over and over, with everything in between still sound.
  for (int i = 0; i < 60000; ++i) {
    quiescence_.quiescent(other_);
    if (cache_->wants_collection()) cache_->collect(&self_);
    if (CodeBlock* b = make(next(), 8)) {
      ASSERT_EQ(code_->find(b->hot + 1), b);
    }
  }
  EXPECT_GT(cache_->statistics().evicted_segments.get(), 2u);
}

TEST_F(BlockCacheTest, UndividedCacheIsEvictedAsAWholeWhenItIsFull) {
  code_ = std::move(*CodeCache::create(4 << 20, false, CodeCache::Parts::One));
  code_->thunk_room();
  cache_->use_code(backend_, *code_);
  quiescence_.quiescent(other_);
  ASSERT_EQ(code_->segment_count(), 1u);
  u64 pc = 0x1000;
  for (; make(pc, 8) != nullptr; pc += 8) ASSERT_FALSE(cache_->wants_collection());
  EXPECT_GT(pc, 0x1000u + 8 * 30000);
  EXPECT_TRUE(cache_->wants_collection());
  EXPECT_NE(find(0x1000), nullptr);
  cache_->collect(&self_);
  EXPECT_EQ(cache_->statistics().evicted_segments.get(), 1u);
  EXPECT_EQ(find(0x1000), nullptr);
  EXPECT_EQ(find(pc - 8), nullptr);
  EXPECT_EQ(make(pc, 8), nullptr);  // the other one may still be in there
  quiescence_.quiescent(other_);
  cache_->collect(&self_);
  EXPECT_FALSE(code_->is_short());
  EXPECT_NE(make(pc, 8), nullptr);
}

/// Only what may be there is looked for under the lock.
TEST_F(BlockCacheTest, OnlyKeysOfTheGraveyardMayBeRevived) {
  quiescence_.quiescent(other_);
  const CodeBlock* b = make(0x1000, 8);
  ASSERT_NE(b, nullptr);
  const BlockKey key = b->key;
  EXPECT_FALSE(cache_->may_revive(key));
  store(0x1000, 1);
  EXPECT_TRUE(cache_->may_revive(key));
  cache_->invalidate_all();
  EXPECT_FALSE(cache_->may_revive(key));
}

TEST_F(BlockCacheTest, PairsOfPagesThatHoldNoBlockAreForgottenAtSomeTime) {
  constexpr u64 kPairs = (u64(1) << 16) + 10;
  const mem::RamPage page = ram_->page_at(0);
  for (u64 i = 1; i <= kPairs; ++i) {
    PageCode* marked = cache_->begin_translation(page, &self_);
    auto block = std::make_unique<CodeBlock>();
    block->key = {i << mem::kPageShift, 0, page};
    block->guest_bytes = 4;
    ASSERT_NE(cache_->insert(std::move(block), std::array<u8, 4>{}, &self_, nullptr, nullptr).block, nullptr);
    marked->end_translation();
    cache_->invalidate(page, 0, 4);
  }
  EXPECT_LT(cache_->page_pairs(), 20u);
}

}  // namespace
}  // namespace emu::accel
