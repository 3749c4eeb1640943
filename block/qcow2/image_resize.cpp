// SPDX-License-Identifier: Apache-2.0
// Another length, and space in advance.
#include <cerrno>
#include <cstring>

#include "block/qcow2/image.h"

namespace emu::block::qcow2 {

Task<Result<void>> Image::truncate(u64 bytes, Preallocation preallocation) {
  if (broken_ || closed_) co_return error("{}: the image cannot be written", filename());
  if (is_read_only()) co_return error("{}: the image is read-only", filename());
  if (bytes % kSector != 0) co_return error("The new size must be a multiple of {}", kSector);
  if (bytes == header_.bytes) co_return Result<void>();
  if (header_.snapshots != 0) co_return error("Can't resize an image which has snapshots");
  if (header_.bitmaps) co_return error("Can't resize an image which has persistent bitmaps");
  if (!has_written_) {
    const IoStatus first = co_await first_write();
    if (first != 0) co_return error("{}: {}", filename(), std::strerror(first));
  }
  RangeLock::Guard guard(ranges_, 0, ~u64(0), RangeLock::Mode::Exclusive);
  co_await guard.acquired();
  Result<void> done;
  if (bytes > header_.bytes) {
    done = co_await grow(bytes, preallocation);
  } else if (preallocation == Preallocation::Off) {
    done = co_await shrink(bytes);
  } else {
    done = error("Preallocation can't be used for shrinking an image");
  }
  static_cast<void>(co_await finish(0));
  co_return done;
}

Task<Result<void>> Image::set_size(u64 bytes) {
  header_.bytes = bytes;
  IoStatus status = co_await write_header();
  if (status == 0) status = co_await file_.flush();
  if (status != 0) co_return error("cannot write the qcow2 header: {}", std::strerror(status));
  co_return Result<void>();
}

Task<Result<void>> Image::grow_l1(u64 entries) {
  if (entries * 8 > kMostL1Bytes) {
    co_return error("an image of {} bytes needs a larger L1 table than is allowed; larger clusters help",
                    entries * geometry_.l2_span());
  }
  // What the old table says is in the file before the new one takes over.
  IoStatus status = co_await settle();
  const u64 clusters = (entries * 8 + geometry_.cluster() - 1) >> geometry_.cluster_bits;
  Allocation place;
  if (status == 0) {
    place = co_await refcounts_->allocate(clusters, Contiguity::Exactly);
    status = place.status;
  }
  if (status == 0) {
    const Buffer table = map_->l1_image(entries);
    status = co_await file_.write(place.offset, table.data(), table.size());
  }
  if (status == 0) status = co_await settle();  // counts and the table itself
  if (status != 0) co_return error("cannot make a larger L1 table: {}", std::strerror(status));
  const u64 old = map_->l1_offset();
  const u64 old_clusters = align_up(map_->l1_bytes(), geometry_.cluster()) >> geometry_.cluster_bits;
  map_->move_l1(place.offset, entries);
  header_.l1_offset = place.offset;
  header_.l1_entries = u32(entries);
  status = co_await write_header();
  if (status == 0) status = co_await file_.flush();
  if (status != 0) co_return error("cannot write the qcow2 header: {}", std::strerror(status));
  if (old_clusters != 0) refcounts_->free_later(old, old_clusters, false);
  co_return Result<void>();
}

Task<Result<void>> Image::grow(u64 bytes, Preallocation preallocation) {
  const u64 old = header_.bytes;
  if (bytes > kMostVirtualBytes) co_return error("image size {} is too large", bytes);
  const u64 entries = geometry_.l1_entries_for(bytes);
  if (entries > map_->l1_entries()) {
    Result<void> grown = co_await grow_l1(entries);
    EMU_CO_TRY(grown);
  }
  RangeLock nobody;  // truncate() holds all of ranges_
  RangeLock::Guard guard(nobody, 0, 0, RangeLock::Mode::Exclusive);
  co_await guard.acquired();
  // New space reads as zeroes: neither what the last cluster holds behind the old end, nor what is below.
  // Nor what an interrupted shrink left there.
  header_.bytes = bytes;  // not yet in the file
  IoStatus status = co_await write_zeroes_locked(old, bytes - old, IoFlags::None, guard);
  if (status == 0) status = co_await settle();
  if (status != 0) {
    header_.bytes = old;
    co_return error("cannot hide what is behind the old end: {}", std::strerror(status));
  }
  if (geometry_.external_data) {
    const IoStatus space = co_await data_.ensure(bytes);
    if (space != 0) {
      header_.bytes = old;
      co_return error("cannot grow the data file: {}", std::strerror(space));
    }
  }
  Result<void> sized = co_await set_size(bytes);
  if (!sized) header_.bytes = old;
  EMU_CO_TRY(sized);
  if (preallocation != Preallocation::Off) {
    sized = co_await preallocate(old, bytes, preallocation);
    EMU_CO_TRY(sized);
  }
  co_return Result<void>();
}

Task<Result<void>> Image::shrink(u64 bytes) {
  const u64 old = header_.bytes;
  const u64 from = align_up(bytes, geometry_.cluster());
  const u64 to = align_up(old, geometry_.cluster());
  // The header first: clusters behind the end harm nobody.
  Result<void> sized = co_await set_size(bytes);
  EMU_CO_TRY(sized);
  IoStatus status = 0;
  if (from < to) status = co_await discard_locked(from, to - from, true);
  // Tables with nothing left in them.
  for (u64 i = geometry_.l1_entries_for(bytes); status == 0 && i < map_->l1_entries(); ++i) {
    const u64 entry = map_->l1_entry(i);
    if ((entry & kOffsetMask) == 0) continue;
    status = co_await settle();
    map_->clear_table(i);
    refcounts_->free_later(entry & kOffsetMask, 1, true);
  }
  if (status == 0) status = co_await settle();
  if (status != 0) co_return error("cannot free what is behind the new end: {}", std::strerror(status));
  if (geometry_.external_data && data_.bytes() > bytes) {
    Result<void> cut = co_await data_.node().truncate(bytes, Preallocation::Off);
    EMU_CO_TRY(cut);
  }
  co_return Result<void>();
}

/// Maps [from, to), whole clusters, without writing data. Nothing else is under way.
Task<Result<void>> Image::preallocate(u64 from, u64 to, Preallocation preallocation) {
  if (!has_written_) {
    const IoStatus first = co_await first_write();
    if (first != 0) co_return error("{}: {}", filename(), std::strerror(first));
  }
  const u64 cluster = geometry_.cluster();
  const auto failed = [](IoStatus status) { return error("cannot preallocate: {}", std::strerror(status)); };
  for (u64 at = align_down(from, cluster); at < to;) {
    IoStatus status = co_await ensure_table(at);
    if (status != 0) co_return failed(status);
    ClusterState state;
    status = co_await state_of(at, &state);
    if (status != 0) co_return failed(status);
    if (!state.is_unallocated()) {
      at += cluster;
      continue;
    }
    const u64 table_end = align_down(at, geometry_.l2_span()) + geometry_.l2_span();
    u64 wanted = (std::min(to, table_end) - at + cluster - 1) / cluster;
    Allocation place{.offset = at, .clusters = wanted};
    if (!geometry_.external_data) {
      wanted = std::min<u64>(wanted, 1 + (64u << 20) / cluster);
      place = co_await refcounts_->allocate(wanted, Contiguity::UpTo);
      if (place.status != 0) co_return failed(place.status);
    }
    const u64 bytes = place.clusters * cluster;
    if (preallocation == Preallocation::Full || (!place.reads_zero && !geometry_.external_data)) {
      Buffer zeroes(std::min<u64>(bytes, 1u << 20));
      for (u64 done = 0; done < bytes; done += zeroes.size()) {
        status = co_await data_.write(place.offset + done, zeroes.data(), std::min<u64>(zeroes.size(), bytes - done));
        if (status != 0) co_return failed(status);
      }
    } else if (geometry_.external_data) {
      status = co_await data_.ensure(std::min(to, at + bytes));
      if (status != 0) co_return failed(status);
    }
    for (u64 i = 0; i < place.clusters; ++i) {
      status = co_await state_of(at + i * cluster, &state);
      if (status != 0) co_return failed(status);
      if (!state.is_unallocated()) {  // somebody's already: what was allocated for it goes back
        if (!geometry_.external_data) {
          static_cast<void>(co_await refcounts_->release_unused(place.offset + i * cluster, 1));
        }
        continue;
      }
      state.host = place.offset + i * cluster;
      state.copied = true;
      state.allocated =
          preallocation == Preallocation::Full || !geometry_.subclusters ? geometry_.all_subclusters() : 0;
      status = co_await set_state(at + i * cluster, state);
      if (status != 0) co_return failed(status);
    }
    at += bytes;
    status = co_await relieve();
    if (status != 0) co_return failed(status);
  }
  const IoStatus status = co_await settle();
  if (status != 0) co_return failed(status);
  co_return Result<void>();
}

}  // namespace emu::block::qcow2
