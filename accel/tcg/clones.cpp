// SPDX-License-Identifier: Apache-2.0
// Blocks of the same bytes, on the same page of RAM, at another virtual page: a program started anew where addresses
// are random, a library in several processes. The code of such a block is copied and made to fit; nothing is
// translated again.
#include <cstring>

#include "accel/tcg/block_cache.h"
#include "target/cpu.h"
#include "util/check.h"

namespace emu::accel {
namespace {

constexpr size_t kStubRoom = 64;  ///< behind what a stub takes, the emitter wants some

bool is_same_place(const BlockKey& a, const BlockKey& b) {
  return a.page == b.page && a.page_offset() == b.page_offset() && a.mode == b.mode && a.unshared == b.unshared &&
         a.limit == b.limit;
}

}  // namespace

/// The newest block stands for its place: most likely it is found linked, warm, and far from eviction.
void BlockCache::add_place_locked(CodeBlock& block) {
  if (!places_ || block.relocations().empty()) return;
  std::atomic<CodeBlock*>& head = place(block.key);
  CodeBlock* first = head.load(std::memory_order_relaxed);
  CodeBlock** at = &first;
  while (*at != nullptr && !is_same_place((*at)->key, block.key)) at = &(*at)->place_next;
  if (*at != nullptr) *at = (*at)->place_next;
  block.place_next = first;
  head.store(&block, std::memory_order_relaxed);
}

void BlockCache::remove_place_locked(CodeBlock& block) {
  if (!places_ || block.relocations().empty()) return;
  std::atomic<CodeBlock*>& head = place(block.key);
  CodeBlock* first = head.load(std::memory_order_relaxed);
  CodeBlock** at = &first;
  while (*at != nullptr && *at != &block) at = &(*at)->place_next;
  if (*at == nullptr) return;  // another block stands for the place
  *at = block.place_next;
  head.store(first, std::memory_order_relaxed);
}

const CodeBlock* BlockCache::original_locked(const BlockKey& key, const target::Translator& translator) {
  const CodeBlock* b = place(key).load(std::memory_order_relaxed);
  while (b != nullptr && !is_same_place(b->key, key)) b = b->place_next;
  if (b == nullptr || !fits_pages_locked(*b) || !source_matches_locked(*b, b->source)) return nullptr;
  for (u32 i = 0; i < b->link_count; ++i) {
    if (!translator.may_branch_to(b->links[i].target_pc + (key.pc - b->key.pc))) return nullptr;
  }
  return b;
}

BlockCache::Inserted BlockCache::clone(const BlockKey& key, const CloneRoom& room,
                                       const target::Translator& translator, Self self) {
  const std::unique_lock lock = try_lock();
  if (!lock.owns_lock()) return {.lock_was_taken = true};
  if (!code_->is_current(room.hot) || !code_->is_current(room.cold)) return {};
  const CodeBlock* from = original_locked(key, translator);
  if (from == nullptr) return {};
  if (room.hot.left() < from->hot_size || room.cold.left() < from->cold_size + kStubRoom) return {};
  const ir::CodeSpan hot = code_->span(room.hot.next(), from->hot_size);
  const ir::CodeSpan cold = code_->span(room.cold.next(), from->cold_size);
  std::memcpy(hot.write, from->hot, hot.size);
  std::memcpy(cold.write, from->cold, cold.size);
  if (!backend_->relocate(hot, cold, from->parts(), key.pc - from->key.pc, from->relocations())) return {};

  CodeBlock& b = *copy_of(*from, key, {hot.exec, cold.exec, from->hot_size}).release();
  for (u32 i = 0; i < b.link_count; ++i) {
    backend_->reset_link(code_->span(b.site_of(b.links[i]), kLinkSiteBytes), b.parts().at(b.links[i].key));
  }
  EMU_CHECK(backend_->emit_pc_stub(code_->span(b.stale_stub, kStubRoom), key.pc, room.lookup) != 0);
  room.hot.take(b.hot_size);
  room.cold.take(b.cold_size);
  record_code_locked(b);
  add_locked(b, self);
  statistics_.clones.add();
  return {.block = &b};
}

std::unique_ptr<CodeBlock> BlockCache::copy_of(const CodeBlock& from, const BlockKey& key, const ir::CodeParts& at) {
  auto block = std::make_unique<CodeBlock>();
  CodeBlock& b = *block;
  const auto moved = [&](const u8* in_cold) { return at.cold + (in_cold - from.cold); };
  b.key = key;
  b.guest_bytes = from.guest_bytes;
  b.guest_insns = from.guest_insns;
  b.uses_fpu = from.uses_fpu;
  b.hot = at.hot;
  b.cold = at.cold;
  b.hot_size = from.hot_size;
  b.cold_size = from.cold_size;
  b.entry_offset = from.entry_offset;
  b.body_offset = from.body_offset;
  b.stale_stub = moved(from.stale_stub);
  b.side_table = {moved(from.side_table.data()), from.side_table.size()};
  b.source = {moved(from.source.data()), from.source.size()};
  b.link_count = from.link_count;
  b.links = std::make_unique<Link[]>(b.link_count);
  for (u32 i = 0; i < b.link_count; ++i) {
    const Link& l = from.links[i];
    b.links[i] = {.offset = l.offset,
                  .kind = l.kind,
                  .target_pc = l.target_pc + (key.pc - from.key.pc),
                  .mode = l.mode,
                  .key = l.key,
                  .from = &b};
  }
  return block;
}

}  // namespace emu::accel
