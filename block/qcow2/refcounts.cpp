// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/refcounts.h"

#include <cerrno>

namespace emu::block::qcow2 {

Refcounts::Refcounts(const Geometry& geometry, HostFile& file, CorruptionSink sink)
    : geometry_(geometry), file_(file), sink_(std::move(sink)) {}

void Refcounts::start_empty(u64 table_offset, u64 table_clusters, std::function<bool(u64)> is_metadata) {
  is_metadata_ = std::move(is_metadata);
  table_offset_ = table_offset;
  table_.assign((table_clusters << geometry_.cluster_bits) / 8, 0);
  fresh_from_ = end_cluster_ = (file_.bytes() + geometry_.cluster() - 1) >> geometry_.cluster_bits;
}

Task<IoStatus> Refcounts::open(u64 table_offset, u64 table_clusters, std::function<bool(u64)> is_metadata) {
  start_empty(table_offset, table_clusters, std::move(is_metadata));
  Buffer raw(table_.size() * 8);
  const IoStatus status = co_await file_.read(table_offset, raw.data(), raw.size());
  if (status != 0) co_return status;
  for (u64 i = 0; i < table_.size(); ++i) {
    table_[i] = load_be64(raw.data() + i * 8);
    if (table_[i] != 0) block_offsets_.insert(table_[i]);
  }
  co_return 0;
}

bool Refcounts::is_valid_entry(u64 entry, u64 file_bytes) const {
  return is_aligned(entry, geometry_.cluster()) && entry < file_bytes && entry < kMostHostBytes;
}

u64 Refcounts::drop_invalid_blocks(u64 file_bytes) {
  u64 dropped = 0;
  for (u64 i = 0; i < table_.size(); ++i) {
    if (table_[i] == 0 || is_valid_entry(table_[i], file_bytes)) continue;
    block_offsets_.erase(table_[i]);
    set_table_entry(i, 0);
    ++dropped;
  }
  return dropped;
}

void Refcounts::set_table_entry(u64 index, u64 offset) {
  table_[index] = offset;
  if (offset != 0) block_offsets_.insert(offset);
  dirty_table_.insert(index * 8 / file_.sector());
}

// ---- counts in a block ----

u64 Refcounts::count_of(const Block& block, u64 at) const {
  const u8* const p = block.data.data();
  switch (geometry_.refcount_order) {
    case 3: return p[at];
    case 4: return load_be16(p + at * 2);
    case 5: return load_be32(p + at * 4);
    case 6: return load_be64(p + at * 8);
    default: {
      const unsigned width = 1u << geometry_.refcount_order;
      const u64 bit = at * width;
      return (p[bit / 8] >> (bit % 8)) & low_mask(width);
    }
  }
}

void Refcounts::set_count(Block& block, u64 at, u64 count) {
  u8* const p = block.data.data();
  const unsigned width = 1u << geometry_.refcount_order;
  switch (geometry_.refcount_order) {
    case 3: p[at] = u8(count); break;
    case 4: store_be16(p + at * 2, u16(count)); break;
    case 5: store_be32(p + at * 4, u32(count)); break;
    case 6: store_be64(p + at * 8, count); break;
    default: {
      u8& byte = p[at * width / 8];
      const unsigned shift = unsigned(at * width % 8);
      byte = u8((byte & ~(low_mask(width) << shift)) | (count << shift));
    }
  }
  if (!block.is_dirty()) ++dirty_blocks_;
  const u64 byte = at * width / 8;
  block.dirty_from = std::min(block.dirty_from, byte);
  block.dirty_to = std::max(block.dirty_to, byte + std::max(1u, width / 8));
}

Refcounts::Block* Refcounts::find(u64 index) {
  const auto it = blocks_.find(index);
  if (it == blocks_.end()) return nullptr;
  it->second.last_use = ++uses_;
  return &it->second;
}

/// Only with mutex_ held, as all changes of blocks_.
Task<IoStatus> Refcounts::load(u64 index) {
  if (find(index)) co_return 0;
  const u64 offset = table_[index];
  if (!is_aligned(offset, geometry_.cluster()) || offset >= kMostHostBytes) {
    sink_(fmt::format("Refblock offset {:#x} unaligned (reftable index: {:#x})", offset, index), offset,
          geometry_.cluster());
    co_return EIO;
  }
  Block block;
  block.data = Buffer(geometry_.cluster());
  block.offset = offset;
  const IoStatus status = co_await file_.read(offset, block.data.data(), block.data.size());
  if (status != 0) co_return status;
  make_room();
  block.last_use = ++uses_;
  blocks_.emplace(index, std::move(block));
  co_return 0;
}

void Refcounts::make_room() {
  const std::size_t most = std::max<std::size_t>(4, kMostBlockBytes >> geometry_.cluster_bits);
  if (blocks_.size() < most) return;
  auto oldest = blocks_.end();
  for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
    if (it->second.is_dirty() || it->second.in_commit()) continue;
    if (oldest == blocks_.end() || it->second.last_use < oldest->second.last_use) oldest = it;
  }
  if (oldest != blocks_.end()) blocks_.erase(oldest);
}

/// A block for `index` at `cluster`, which it usually covers itself. The caller counts the cluster.
IoStatus Refcounts::make_block(u64 index, u64 cluster) {
  const u64 offset = cluster << geometry_.cluster_bits;
  make_room();
  Block block;
  block.data = Buffer(geometry_.cluster());
  block.offset = offset;
  block.last_use = ++uses_;
  block.dirty_from = 0;
  block.dirty_to = geometry_.cluster();
  ++dirty_blocks_;
  blocks_[index] = std::move(block);
  set_table_entry(index, offset);
  end_cluster_ = std::max(end_cluster_, cluster + 1);
  fresh_from_ = std::max(fresh_from_, cluster + 1);
  return 0;
}

// ---- allocation ----

Task<IoStatus> Refcounts::grow_table(u64 index) {
  const u64 most_entries = kMostRefcountTableBytes / 8;
  // Room for half as much again, and for what the table itself takes.
  u64 entries = std::max(index + 1, table_.size() + table_.size() / 2);
  entries += entries * 8 / geometry_.cluster() / geometry_.refcounts_per_block() + 2;
  entries = std::min(align_up(entries, geometry_.cluster() / 8), most_entries);
  if (index >= entries) co_return EFBIG;
  const u64 old_offset = table_offset_;
  const u64 old_clusters = table_clusters();
  table_.resize(entries, 0);
  const Allocation place = co_await allocate_locked(table_clusters(), Contiguity::Exactly);
  if (place.status != 0) {
    table_.resize((old_clusters << geometry_.cluster_bits) / 8);
    co_return place.status;
  }
  table_offset_ = place.offset;
  moved_ = true;
  free_later(old_offset, old_clusters, false);
  co_return 0;
}

Task<Allocation> Refcounts::allocate(u64 clusters, Contiguity contiguity) {
  AsyncMutex::Guard guard(mutex_);
  co_await guard.acquired();
  Allocation allocation = co_await allocate_locked(clusters, contiguity);
  co_return allocation;
}

Task<Allocation> Refcounts::allocate_locked(u64 wanted, Contiguity contiguity) {
  const u64 per_block = geometry_.refcounts_per_block();
  u64 start = hint_;
  u64 run = 0;
  bool at_hint = true;
  while (run < wanted) {
    const u64 at = start + run;
    if (at >= kMostHostBytes >> geometry_.cluster_bits) co_return Allocation{.status = EFBIG};
    const u64 index = at / per_block;
    if (index >= table_.size()) {
      const IoStatus grown = co_await grow_table(index);
      if (grown != 0) co_return Allocation{.status = grown};
      // The new table may lie where we were looking.
      start = std::max(hint_, align_down(at, per_block));
      run = 0;
      at_hint = start == hint_;
      continue;
    }
    if (table_[index] == 0) {
      if (contiguity == Contiguity::UpTo && run != 0) break;
      if (is_metadata_(at << geometry_.cluster_bits)) {
        sink_("Preventing invalid allocation of a refcount block over metadata", at << geometry_.cluster_bits,
              geometry_.cluster());
        co_return Allocation{.status = EIO};
      }
      const IoStatus space = co_await file_.ensure((at + 1) << geometry_.cluster_bits);
      if (space != 0) co_return Allocation{.status = space};
      make_block(index, at);
      set_count(*find(index), at % per_block, 1);
      if (at_hint && run == 0) hint_ = at + 1;
      start = at + 1;
      run = 0;
      continue;
    }
    const IoStatus loaded = co_await load(index);
    if (loaded != 0) co_return Allocation{.status = loaded};
    const Block& block = *find(index);
    bool ended = false;
    for (u64 i = at % per_block; i < per_block && run < wanted; ++i) {
      if (count_of(block, i) == 0) {
        ++run;
      } else if (run != 0 && contiguity == Contiguity::UpTo) {
        ended = true;
        break;
      } else {
        start += run + 1;
        run = 0;
        if (at_hint && contiguity == Contiguity::UpTo) hint_ = start;
      }
    }
    if (ended) break;
  }
  for (u64 i = 0; i < run; ++i) {
    const u64 offset = (start + i) << geometry_.cluster_bits;
    if (!is_metadata_(offset)) continue;
    sink_("Preventing invalid allocation: a cluster with refcount 0 holds metadata", offset, geometry_.cluster());
    co_return Allocation{.status = EIO};
  }
  const IoStatus space = co_await file_.ensure((start + run) << geometry_.cluster_bits);
  if (space != 0) co_return Allocation{.status = space};
  for (u64 i = 0; i < run; ++i) {
    const u64 index = (start + i) / per_block;
    const IoStatus loaded = co_await load(index);  // it may have been evicted meanwhile
    if (loaded != 0) co_return Allocation{.status = loaded};
    set_count(*find(index), (start + i) % per_block, 1);
  }
  Allocation result{.offset = start << geometry_.cluster_bits, .clusters = run, .reads_zero = start >= fresh_from_};
  fresh_from_ = std::max(fresh_from_, start + run);
  end_cluster_ = std::max(end_cluster_, start + run);
  if (start == hint_) hint_ = start + run;
  co_return result;
}

Task<IoStatus> Refcounts::change_locked(u64 cluster, int by, bool* now_free) {
  const u64 per_block = geometry_.refcounts_per_block();
  const u64 index = cluster / per_block;
  if (index >= table_.size() || table_[index] == 0) {
    sink_("a cluster that is in use has no refcount block", cluster << geometry_.cluster_bits, geometry_.cluster());
    co_return EIO;
  }
  const IoStatus loaded = co_await load(index);
  if (loaded != 0) co_return loaded;
  Block& block = *find(index);
  const u64 count = count_of(block, cluster % per_block);
  if (by < 0 && count == 0) {
    sink_("a cluster that is in use has refcount 0", cluster << geometry_.cluster_bits, geometry_.cluster());
    co_return EIO;
  }
  if (by > 0 && count == geometry_.most_refcount()) co_return ERANGE;
  set_count(block, cluster % per_block, count + u64(i64(by)));
  if (now_free) *now_free = by < 0 && count == 1;
  if (by < 0 && count == 1) hint_ = std::min(hint_, cluster);
  co_return 0;
}

Task<IoStatus> Refcounts::release_unused(u64 offset, u64 clusters) {
  AsyncMutex::Guard guard(mutex_);
  co_await guard.acquired();
  for (u64 i = 0; i < clusters; ++i) {
    const IoStatus status = co_await change_locked((offset >> geometry_.cluster_bits) + i, -1, nullptr);
    if (status != 0) co_return status;
  }
  co_return 0;
}

Task<IoStatus> Refcounts::get(u64 cluster, u64* count) {
  AsyncMutex::Guard guard(mutex_);
  co_await guard.acquired();
  *count = 0;
  const u64 index = cluster / geometry_.refcounts_per_block();
  if (index >= table_.size() || table_[index] == 0) co_return 0;
  const IoStatus loaded = co_await load(index);
  if (loaded != 0) co_return loaded;
  *count = count_of(*find(index), cluster % geometry_.refcounts_per_block());
  co_return 0;
}

Task<IoStatus> Refcounts::increment(u64 cluster) {
  AsyncMutex::Guard guard(mutex_);
  co_await guard.acquired();
  const IoStatus status = co_await change_locked(cluster, +1, nullptr);
  co_return status;
}

Task<IoStatus> Refcounts::force(u64 cluster, u64 count, u64 block_at) {
  AsyncMutex::Guard guard(mutex_);
  co_await guard.acquired();
  const u64 per_block = geometry_.refcounts_per_block();
  const u64 index = cluster / per_block;
  if (index >= table_.size()) {
    if (block_at == 0) co_return ENOENT;
    hint_ = std::max(hint_, block_at);
    const IoStatus grown = co_await grow_table(index);
    co_return grown != 0 ? grown : EAGAIN;
  }
  if (table_[index] == 0) {
    if (block_at == 0) co_return ENOENT;
    const IoStatus space = co_await file_.ensure((block_at + 1) << geometry_.cluster_bits);
    if (space != 0) co_return space;
    make_block(index, block_at);
  }
  const IoStatus loaded = co_await load(index);
  if (loaded != 0) co_return loaded;
  set_count(*find(index), cluster % per_block, count);
  if (count == 0) hint_ = std::min(hint_, cluster);
  co_return 0;
}

Task<IoStatus> Refcounts::last_used(u64* end_cluster) {
  AsyncMutex::Guard guard(mutex_);
  co_await guard.acquired();
  const u64 per_block = geometry_.refcounts_per_block();
  *end_cluster = 0;
  for (u64 index = table_.size(); index-- > 0;) {
    if (table_[index] == 0) continue;
    const IoStatus loaded = co_await load(index);
    if (loaded != 0) co_return loaded;
    const Block& block = *find(index);
    for (u64 i = per_block; i-- > 0;) {
      if (count_of(block, i) == 0) continue;
      *end_cluster = index * per_block + i + 1;
      co_return 0;
    }
  }
  co_return 0;
}

// ---- frees and commits ----

void Refcounts::free_later(u64 offset, u64 clusters, bool discard) {
  const u64 cluster = offset >> geometry_.cluster_bits;
  if (!frees_.empty() && frees_.back().discard == discard && frees_.back().cluster + frees_.back().count == cluster) {
    frees_.back().count += clusters;
    return;
  }
  frees_.push_back({cluster, clusters, discard});
}

void Refcounts::return_frees(std::vector<Free> frees) { frees_.insert(frees_.begin(), frees.begin(), frees.end()); }

Task<IoStatus> Refcounts::apply_frees(const std::vector<Free>& frees, bool discard) {
  IoStatus worst = 0;
  for (const Free& free : frees) {
    if (discard && free.discard) {
      // Before anybody may get the clusters. Of one that is still counted elsewhere the data stays.
      for (u64 i = 0; i < free.count;) {
        u64 run = 0;
        while (i + run < free.count) {
          u64 count = 0;
          const IoStatus status = co_await get(free.cluster + i + run, &count);
          if (status != 0 || count != 1) break;
          ++run;
        }
        const u64 offset = (free.cluster + i) << geometry_.cluster_bits;
        const u64 end = std::min(offset + (run << geometry_.cluster_bits), file_.bytes());
        if (run != 0 && offset < end) {
          static_cast<void>(co_await file_.node().discard(offset, end - offset));  // a hint: it may fail
        }
        i += run + 1;
      }
    }
    AsyncMutex::Guard guard(mutex_);
    co_await guard.acquired();
    for (u64 i = 0; i < free.count; ++i) {
      const IoStatus status = co_await change_locked(free.cluster + i, -1, nullptr);
      if (status != 0) worst = status;
    }
  }
  co_return worst;
}

Refcounts::Dirty Refcounts::take_dirty() {
  Dirty dirty;
  const u64 sector = file_.sector();
  for (auto& [index, block] : blocks_) {
    if (!block.is_dirty()) continue;
    const u64 from = align_down(block.dirty_from, sector);
    const u64 to = std::min(align_up(block.dirty_to, sector), geometry_.cluster());
    TableWrite write{block.offset + from, Buffer(to - from)};
    __builtin_memcpy(write.data.data(), block.data.data() + from, to - from);
    dirty.blocks.push_back(std::move(write));
    block.committing_from = std::exchange(block.dirty_from, ~u64(0));
    block.committing_to = std::exchange(block.dirty_to, 0);
  }
  dirty_blocks_ = 0;
  committing_table_ = std::exchange(dirty_table_, {});
  committing_move_ = dirty.moved = std::exchange(moved_, false);
  if (dirty.moved) {
    TableWrite whole{table_offset_, Buffer(table_.size() * 8)};
    for (u64 i = 0; i < table_.size(); ++i) store_be64(whole.data.data() + i * 8, table_[i]);
    dirty.blocks.push_back(std::move(whole));  // nothing points to it yet
    return dirty;
  }
  for (const u64 index : committing_table_) {
    TableWrite write{table_offset_ + index * sector, Buffer(sector)};
    for (u64 at = 0; at < sector; at += 8) {
      const u64 entry = (index * sector + at) / 8;
      if (entry < table_.size()) store_be64(write.data.data() + at, table_[entry]);
    }
    dirty.table.push_back(std::move(write));
  }
  return dirty;
}

void Refcounts::committed() {
  for (auto& [index, block] : blocks_) {
    block.committing_from = ~u64(0);
    block.committing_to = 0;
  }
  committing_table_.clear();
  committing_move_ = false;
}

void Refcounts::failed() {
  for (auto& [index, block] : blocks_) {
    if (!block.in_commit()) continue;
    if (!block.is_dirty()) ++dirty_blocks_;
    block.dirty_from = std::min(block.dirty_from, block.committing_from);
    block.dirty_to = std::max(block.dirty_to, block.committing_to);
    block.committing_from = ~u64(0);
    block.committing_to = 0;
  }
  dirty_table_.merge(committing_table_);
  committing_table_.clear();
  moved_ = moved_ || std::exchange(committing_move_, false);
}

}  // namespace emu::block::qcow2
