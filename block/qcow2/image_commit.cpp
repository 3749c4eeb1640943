// SPDX-License-Identifier: Apache-2.0
// How tables reach the file, in an order in which a power cut does no harm.
#include <cerrno>

#include "block/qcow2/image.h"

namespace emu::block::qcow2 {

Task<IoStatus> Image::write_all(const std::vector<TableWrite>& writes) {
  for (const TableWrite& write : writes) {
    const IoStatus status = co_await file_.write(write.offset, write.data.data(), write.data.size());
    if (status != 0) co_return status;
  }
  co_return 0;
}

Task<IoStatus> Image::flush_all() {
  if (data_.ref() != file_.ref()) {
    const IoStatus status = co_await data_.flush();
    if (status != 0) co_return status;
  }
  const IoStatus status = co_await file_.flush();
  co_return status;
}

Task<IoStatus> Image::flush() {
  if (broken_ || closed_) co_return EIO;
  if (is_read_only() || !has_written_) co_return 0;
  const IoStatus status = co_await commit_if_needed(++flush_tickets_);
  const IoStatus final = co_await finish(status);
  co_return final;
}

/// Returns when a commit that began after the ticket was drawn is done: one serves all who wait for it.
Task<IoStatus> Image::commit_if_needed(u64 ticket) {
  AsyncMutex::Guard guard(commit_mutex_);
  co_await guard.acquired();
  if (covered_ticket_ >= ticket) co_return 0;
  const IoStatus status = co_await commit_locked();
  co_return status;
}

Task<IoStatus> Image::commit_locked() {
  const u64 covers = flush_tickets_;
  if (use_lazy_refcounts_ && !header_.has(kDirty) && (map_->is_dirty() || refcounts_->is_dirty())) {
    const IoStatus marked =
        co_await set_feature_bits(header_.incompatible | kDirty, header_.compatible, header_.autoclear);
    if (marked != 0) co_return marked;
  }
  // What is taken here is a picture of one moment: entries in it refer to clusters that are counted in it.
  const std::vector<TableWrite> entries = map_->take_dirty();
  // While the dirty bit is set, counts may wait for the end; not so the place of their table, since the old one
  // is freed.
  const bool counts_too = !header_.has(kDirty) || !use_lazy_refcounts_ || refcounts_->has_moved();
  Refcounts::Dirty counts;
  if (counts_too) counts = refcounts_->take_dirty();
  std::vector<Refcounts::Free> frees = refcounts_->take_frees();

  IoStatus status = co_await write_all(counts.blocks);
  const bool table_changes = counts.moved || !counts.table.empty();
  if (status == 0 && (table_changes || !entries.empty())) {
    status = co_await flush_all();
    if (status == 0 && table_changes) {
      if (counts.moved) {
        header_.refcount_table_offset = refcounts_->table_offset();
        header_.refcount_table_clusters = u32(refcounts_->table_clusters());
        status = co_await write_header();
      } else {
        status = co_await write_all(counts.table);
      }
      if (status == 0) status = co_await file_.flush();
    }
    if (status == 0) status = co_await write_all(entries);
  }
  if (status == 0) status = co_await flush_all();
  if (status != 0) {
    map_->failed();
    if (counts_too) refcounts_->failed();
    refcounts_->return_frees(std::move(frees));
    co_return status;
  }
  map_->committed();
  if (counts_too) refcounts_->committed();
  status = co_await refcounts_->apply_frees(frees, options_.pass_discard);
  if (status == 0) covered_ticket_ = std::max(covered_ticket_, covers);
  co_return status;
}

Task<IoStatus> Image::settle() {
  // Freed clusters make counts dirty again; so twice, and once more for a table that moved.
  for (int round = 0; round < 4; ++round) {
    const bool counts_wait = header_.has(kDirty) && use_lazy_refcounts_;
    if (!map_->is_dirty() && !refcounts_->has_frees() && (counts_wait || !refcounts_->is_dirty())) break;
    const IoStatus status = co_await commit_if_needed(++flush_tickets_);
    if (status != 0) co_return status;
  }
  const IoStatus status = co_await flush_all();
  co_return status;
}

/// Counts out to the file, then the dirty bit goes.
Task<IoStatus> Image::become_clean() {
  const bool lazy = std::exchange(use_lazy_refcounts_, false);
  IoStatus status = co_await settle();
  if (status == 0 && header_.has(kDirty)) {
    status = co_await set_feature_bits(header_.incompatible & ~u64(kDirty), header_.compatible, header_.autoclear);
  }
  use_lazy_refcounts_ = lazy;
  co_return status;
}

/// Not too much held back in memory.
Task<IoStatus> Image::relieve() {
  constexpr std::size_t kMostFrees = 4096;
  if (!map_->is_full() && refcounts_->frees() < kMostFrees) [[likely]] co_return 0;
  const IoStatus status = co_await commit_if_needed(++flush_tickets_);
  co_return status;
}

}  // namespace emu::block::qcow2
