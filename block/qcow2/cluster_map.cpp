// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/cluster_map.h"

#include <cerrno>

namespace emu::block::qcow2 {

ClusterMap::ClusterMap(const Geometry& geometry, HostFile& file, CorruptionSink sink)
    : geometry_(geometry), file_(file), sink_(std::move(sink)),
      slice_bytes_(std::min(kSliceBytes, geometry.cluster())) {}

Task<IoStatus> ClusterMap::open(u64 l1_offset, u64 l1_entries) {
  l1_offset_ = l1_offset;
  l1_.assign(l1_entries, 0);
  if (l1_entries == 0) co_return 0;
  Buffer raw(align_up(l1_entries * 8, file_.sector()));
  const IoStatus status = co_await file_.read(l1_offset, raw.data(), raw.size());
  if (status != 0) co_return status;
  for (u64 i = 0; i < l1_entries; ++i) {
    l1_[i] = load_be64(raw.data() + i * 8);
    if (l1_[i] & kOffsetMask) tables_.insert(l1_[i] & kOffsetMask);
  }
  co_return 0;
}

void ClusterMap::set_table(u64 guest, u64 offset) {
  const u64 index = l1_index(guest);
  if (const u64 old = l1_[index] & kOffsetMask) tables_.erase(old);
  l1_[index] = offset | kCopied;
  tables_.insert(offset);
  dirty_l1_.insert(index * 8 / file_.sector());
}

void ClusterMap::clear_table(u64 index) {
  if (const u64 old = l1_[index] & kOffsetMask) {
    tables_.erase(old);
    drop(old);
  }
  l1_[index] = 0;
  dirty_l1_.insert(index * 8 / file_.sector());
}

void ClusterMap::set_copied(u64 index, bool copied) {
  l1_[index] = (l1_[index] & ~kCopied) | (copied ? kCopied : 0);
  dirty_l1_.insert(index * 8 / file_.sector());
}

u64 ClusterMap::slice_offset(u64 guest) const {
  const u64 index = (guest >> geometry_.cluster_bits) & (geometry_.l2_entries() - 1);
  return table_of(guest) + align_down(index << geometry_.entry_bits(), slice_bytes_);
}

u64 ClusterMap::index_in_slice(u64 guest) const {
  return ((guest >> geometry_.cluster_bits) << geometry_.entry_bits()) & (slice_bytes_ - 1);
}

ClusterMap::Slice* ClusterMap::find(u64 guest) {
  const u64 offset = slice_offset(guest);
  if (last_ && last_offset_ == offset) {
    last_->last_use = ++uses_;
    return last_;
  }
  const auto it = slices_.find(offset);
  if (it == slices_.end()) return nullptr;
  it->second.last_use = ++uses_;
  last_ = &it->second;
  last_offset_ = offset;
  return last_;
}

Task<IoStatus> ClusterMap::load(u64 guest) {
  const u64 offset = slice_offset(guest);
  const u64 table = table_of(guest);
  if (l1_[l1_index(guest)] & ~(kOffsetMask | kCopied) || (table & geometry_.cluster_mask())) {
    sink_(fmt::format("L2 table offset {:#x} unaligned (L1 index: {:#x})", table, l1_index(guest)), table,
          geometry_.cluster());
    co_return EIO;
  }
  Slice slice;
  slice.data = Buffer(slice_bytes_);
  const IoStatus status = co_await file_.read(offset, slice.data.data(), slice_bytes_);
  if (status != 0) co_return status;
  // Meanwhile somebody else may have loaded it, and changed it; or the table may be another one:
  // the caller looks again.
  if (offset != slice_offset(guest) || slices_.contains(offset)) co_return 0;
  make_room();
  slice.last_use = ++uses_;
  slices_.emplace(offset, std::move(slice));
  co_return 0;
}

void ClusterMap::make_room() {
  // The oldest of a few: as good as the oldest of all, and cheap.
  for (int tries = 0; slices_.size() >= kMostSlices && tries < 4; ++tries) {
    auto oldest = slices_.end();
    std::size_t bucket = (uses_ * 2654435761u + unsigned(tries)) % slices_.bucket_count();
    for (int seen = 0, looked = 0; seen < 16 && looked < 256;
         ++looked, bucket = (bucket + 1) % slices_.bucket_count()) {
      for (auto it = slices_.begin(bucket); it != slices_.end(bucket); ++it) {
        ++seen;
        if (it->second.dirty || it->second.in_commit) continue;
        if (oldest == slices_.end() || it->second.last_use < oldest->second.last_use) oldest = slices_.find(it->first);
      }
    }
    if (oldest == slices_.end()) continue;
    if (last_ == &oldest->second) last_ = nullptr;
    slices_.erase(oldest);
  }
}

L2Entry ClusterMap::get(const Slice& slice, u64 guest) const {
  const u8* const at = slice.data.data() + index_in_slice(guest);
  return {load_be64(at), geometry_.subclusters ? load_be64(at + 8) : 0};
}

void ClusterMap::set(Slice& slice, u64 guest, L2Entry entry) {
  u8* const at = slice.data.data() + index_in_slice(guest);
  store_be64(at, entry.descriptor);
  if (geometry_.subclusters) store_be64(at + 8, entry.bitmap);
  if (!slice.dirty) {
    slice.dirty = true;
    ++dirty_slices_;
  }
}

void ClusterMap::drop(u64 table_offset) {
  last_ = nullptr;
  for (u64 at = 0; at < geometry_.cluster(); at += slice_bytes_) {
    const auto it = slices_.find(table_offset + at);
    if (it == slices_.end()) continue;
    if (it->second.dirty) --dirty_slices_;
    slices_.erase(it);
  }
}

std::vector<TableWrite> ClusterMap::take_dirty() {
  std::vector<TableWrite> writes;
  for (auto& [offset, slice] : slices_) {
    if (!slice.dirty) continue;
    TableWrite write{offset, Buffer(slice_bytes_)};
    __builtin_memcpy(write.data.data(), slice.data.data(), slice_bytes_);
    writes.push_back(std::move(write));
    slice.dirty = false;
    slice.in_commit = true;
  }
  dirty_slices_ = 0;
  committing_l1_ = std::exchange(dirty_l1_, {});
  const u64 sector = file_.sector();
  for (const u64 index : committing_l1_) {
    TableWrite write{l1_offset_ + index * sector, Buffer(sector)};
    for (u64 at = 0; at < sector; at += 8) {
      const u64 entry = (index * sector + at) / 8;
      if (entry < l1_.size()) store_be64(write.data.data() + at, l1_[entry]);
    }
    writes.push_back(std::move(write));
  }
  return writes;
}

void ClusterMap::committed() {
  for (auto& [offset, slice] : slices_) slice.in_commit = false;
  committing_l1_.clear();
}

void ClusterMap::failed() {
  for (auto& [offset, slice] : slices_) {
    if (slice.in_commit && !slice.dirty) {
      slice.dirty = true;
      ++dirty_slices_;
    }
    slice.in_commit = false;
  }
  dirty_l1_.merge(committing_l1_);
  committing_l1_.clear();
}

Buffer ClusterMap::l1_image(u64 entries) const {
  Buffer image(align_up(entries * 8, geometry_.cluster()));
  for (u64 i = 0; i < std::min<u64>(entries, l1_.size()); ++i) store_be64(image.data() + i * 8, l1_[i]);
  return image;
}

void ClusterMap::move_l1(u64 offset, u64 entries) {
  l1_offset_ = offset;
  l1_.resize(entries, 0);
  dirty_l1_.clear();
}

}  // namespace emu::block::qcow2
