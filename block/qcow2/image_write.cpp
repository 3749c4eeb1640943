// SPDX-License-Identifier: Apache-2.0
// Writing: in place where a cluster is ours alone, else into new space together with what has to be copied.
#include <cerrno>
#include <cstring>

#include "block/qcow2/compress.h"
#include "block/qcow2/image.h"

namespace emu::block::qcow2 {

/// Where a stretch goes that needs space. The bytes [from, to) of the guest get written, whole subclusters; what the
/// caller does not bring is copied.
struct Image::Target {
  u64 first_cluster = 0;  ///< guest offset
  u64 clusters = 0;
  u64 host = 0;           ///< of the first cluster; the others follow
  u64 from = 0, to = 0;   ///< guest offsets
  bool is_new = false;    ///< allocated for this
  bool reads_zero = false;
  bool zero_before = false;  ///< [from, start) reads as zeroes
  bool zero_after = false;   ///< [end, to) reads as zeroes
};

Task<IoStatus> Image::write(u64 offset, IoVec from, IoFlags flags) {
  const u64 bytes = total_bytes(from);
  const IoStatus allowed = check_request(offset, bytes, true);
  if (allowed != 0) co_return allowed;
  if (bytes == 0) co_return 0;
  if (!has_written_) {
    const IoStatus first = co_await first_write();
    if (first != 0) co_return first;
  }
  IoStatus status;
  {
    RangeLock::Guard guard(ranges_, offset >> geometry_.cluster_bits, last_cluster(offset, bytes),
                           RangeLock::Mode::Shared);
    co_await guard.acquired();
    status = co_await write_locked(offset, from, 0, bytes, guard);
  }
  if (status == 0 && has(flags, IoFlags::Fua)) status = co_await commit_if_needed(++flush_tickets_);
  const IoStatus final = co_await finish(status);
  co_return final;
}

u64 Image::in_place_bytes(const ClusterMap::Slice& slice, u64 offset, u64 most, u64* host) {
  const u64 slice_end = align_down(offset, map_->slice_span()) + map_->slice_span();
  const u64 end = std::min(offset + most, slice_end);
  u64 at = offset;
  while (at < end) {
    const std::optional<ClusterState> state = decode(geometry_, map_->get(slice, at));
    if (!state || !state->host || !state->copied) break;
    const u64 within = at & geometry_.cluster_mask();
    const u64 step = std::min(end - at, geometry_.cluster() - within);
    const u32 touched = geometry_.touched(within, within + step);
    if ((state->allocated & touched) != touched) break;
    if (at == offset) {
      *host = *state->host + within;
    } else if (*state->host + within != *host + (at - offset)) {
      break;
    }
    at += step;
  }
  return at - offset;
}

Task<IoStatus> Image::write_locked(u64 offset, IoVec from, u64 skip, u64 bytes, RangeLock::Guard& guard) {
  bitmaps_->mark(offset, bytes);
  for (u64 done = 0; done < bytes;) {
    if (broken_) co_return EIO;
    const u64 at = offset + done;
    if (map_->table_of(at) != 0 && map_->is_table_copied(at)) {
      ClusterMap::Slice* const slice = map_->find(at);
      if (!slice) {
        const IoStatus loaded = co_await map_->load(at);
        if (loaded != 0) co_return loaded;
        continue;
      }
      u64 host = 0;
      if (const u64 step = in_place_bytes(*slice, at, bytes - done, &host)) {
        if (!geometry_.external_data) {
          for (u64 c = align_down(host, geometry_.cluster()); c < host + step; c += geometry_.cluster()) {
            if (!is_metadata(c)) continue;
            report("Preventing invalid write on metadata (a guest cluster lies over it)", c, geometry_.cluster());
            co_return EIO;
          }
        }
        IoStatus status;
        if (step == bytes && skip == 0 && host + step <= data_.bytes()) {
          status = co_await data_.node().write(host, from, IoFlags::None);
        } else {
          const std::vector<iovec> part = slice_of(from, skip + done, step);
          status = co_await data_.write(host, IoVec(part));
        }
        if (status != 0) co_return status;
        done += step;
        continue;
      }
    }
    if (guard.mode() == RangeLock::Mode::Shared) {
      co_await guard.reacquired(RangeLock::Mode::Exclusive);
      continue;
    }
    u64 step = 0;
    IoStatus status = co_await write_allocating(at, from, skip + done, bytes - done, &step);
    if (status != 0) co_return status;
    done += step;
    status = co_await relieve();
    if (status != 0) co_return status;
  }
  co_return 0;
}

/// An L2 table for `offset` that is ours alone.
Task<IoStatus> Image::ensure_table(u64 offset) {
  const u64 index = map_->l1_index(offset);
  if (index >= map_->l1_entries()) co_return EIO;
  if (map_->table_of(offset) != 0 && map_->is_table_copied(offset)) co_return 0;
  AsyncMutex::Guard guard(tables_mutex_);
  co_await guard.acquired();
  const u64 old = map_->table_of(offset);
  if (old != 0 && map_->is_table_copied(offset)) co_return 0;
  if (!is_aligned(old, geometry_.cluster())) {
    report("L2 table offset unaligned", old, geometry_.cluster());
    co_return EIO;
  }
  const Allocation place = co_await refcounts_->allocate(1, Contiguity::Exactly);
  if (place.status != 0) co_return place.status;
  // The table is in the file before the L1 table points to it: a commit flushes in between.
  if (old != 0 || !place.reads_zero) {
    Buffer table(geometry_.cluster());
    IoStatus status = 0;
    if (old != 0) status = co_await file_.read(old, table.data(), table.size());
    if (status == 0) status = co_await file_.write(place.offset, table.data(), table.size());
    if (status != 0) {
      static_cast<void>(co_await refcounts_->release_unused(place.offset, 1));
      co_return status;
    }
  }
  map_->drop(place.offset);
  map_->set_table(offset, place.offset);
  if (old != 0) refcounts_->free_later(old, 1, false);
  co_return 0;
}

Task<IoStatus> Image::state_of(u64 offset, ClusterState* state) {
  *state = {};
  if (map_->table_of(offset) == 0) co_return 0;
  ClusterMap::Slice* slice;
  while (!(slice = map_->find(offset))) {
    const IoStatus status = co_await map_->load(offset);
    if (status != 0) co_return status;
  }
  const std::optional<ClusterState> decoded = decode(geometry_, map_->get(*slice, offset));
  if (!decoded) {
    report(fmt::format("L2 entry of guest offset {:#x} is invalid", offset), offset, geometry_.cluster());
    co_return EIO;
  }
  *state = *decoded;
  co_return 0;
}

Task<IoStatus> Image::set_state(u64 offset, const ClusterState& state) {
  ClusterMap::Slice* slice;
  while (!(slice = map_->find(offset))) {
    const IoStatus status = co_await map_->load(offset);
    if (status != 0) co_return status;
  }
  map_->set(*slice, offset, encode(geometry_, state));
  co_return 0;
}

void Image::free_clusters_of(const ClusterState& state, bool discard) {
  if (geometry_.external_data) return;
  if (state.compressed) {
    const u64 first = align_down(state.compressed_offset, geometry_.cluster());
    const u64 last = align_down(state.compressed_offset + state.compressed_bytes - 1, geometry_.cluster());
    refcounts_->free_later(first, ((last - first) >> geometry_.cluster_bits) + 1, false);
    unpacked_descriptor_ = 0;
  } else if (state.host) {
    refcounts_->free_later(*state.host, 1, discard && state.copied);
  }
}

/// How far the request [offset, offset + bytes) can go in one piece, and where to.
Task<IoStatus> Image::choose_target(u64 offset, u64 bytes, Target* target) {
  const u64 cluster = geometry_.cluster();
  target->first_cluster = align_down(offset, cluster);
  ClusterState first;
  IoStatus status = co_await state_of(offset, &first);
  if (status != 0) co_return status;
  const bool reuse = first.host && first.copied;
  u64 wanted = 1;
  const u64 most = reuse ? 1 : (offset + bytes - target->first_cluster + cluster - 1) / cluster;
  const u64 slice_end = align_down(offset, map_->slice_span()) + map_->slice_span();
  ClusterState last = first;
  for (; wanted < most; ++wanted) {
    const u64 at = target->first_cluster + wanted * cluster;
    if (at >= slice_end) break;
    ClusterState state;
    status = co_await state_of(at, &state);
    if (status != 0) co_return status;
    if (state.host && state.copied) break;
    last = state;
  }
  if (reuse) {
    target->host = *first.host;
    target->clusters = 1;
  } else if (geometry_.external_data) {
    target->host = target->first_cluster;
    target->clusters = wanted;
  } else {
    const Allocation place = co_await refcounts_->allocate(wanted, Contiguity::UpTo);
    if (place.status != 0) co_return place.status;
    target->host = place.offset;
    target->clusters = place.clusters;
    target->is_new = true;
    target->reads_zero = place.reads_zero;
    if (place.clusters != wanted) {
      status = co_await state_of(target->first_cluster + (place.clusters - 1) * cluster, &last);
      if (status != 0) co_return status;
    }
  }

  // Whole subclusters; and all that an old cluster has which is not kept.
  const u64 end = std::min(offset + bytes, target->first_cluster + target->clusters * cluster);
  const auto copied_part = [&](const ClusterState& state) {
    if (state.compressed) return geometry_.all_subclusters();
    return state.host && !state.copied ? state.allocated : 0u;
  };
  target->from = align_down(offset, geometry_.subcluster());
  target->to = align_up(end, geometry_.subcluster());
  if (const u32 mask = copied_part(first)) {
    target->from = std::min(target->from,
                            target->first_cluster + unsigned(std::countr_zero(mask)) * geometry_.subcluster());
  }
  const u64 last_offset = target->first_cluster + (target->clusters - 1) * cluster;
  if (const u32 mask = copied_part(last)) {
    target->to = std::max(target->to, last_offset + (32 - unsigned(std::countl_zero(mask))) * geometry_.subcluster());
  }
  const auto zero = [&](const ClusterState& state, u64 cluster_offset, u64 from, u64 to) {
    return reads_as_zero(state, geometry_.touched(from - cluster_offset, to - cluster_offset), cluster_offset);
  };
  target->zero_before = target->from < offset && zero(first, target->first_cluster, target->from, offset);
  target->zero_after = end < target->to && zero(last, last_offset, end, target->to);
  co_return 0;
}

/// One write of head, data and tail.
Task<IoStatus> Image::write_with_edges(u64 offset, IoVec from, u64 skip, u64 bytes, const Target& target) {
  const bool skip_head = target.zero_before && target.reads_zero;
  const bool skip_tail = target.zero_after && target.reads_zero;
  const u64 head_bytes = skip_head ? 0 : offset - target.from;
  const u64 tail_bytes = skip_tail ? 0 : target.to - (offset + bytes);
  Buffer head(head_bytes);
  Buffer tail(tail_bytes);
  std::vector<iovec> parts;
  if (head_bytes != 0) {
    const iovec part = {head.data(), head_bytes};
    if (!target.zero_before) {
      const IoStatus status = co_await read_unlocked(target.from, {&part, 1}, 0, head_bytes);
      if (status != 0) co_return status;
    }
    parts.push_back(part);
  }
  const std::vector<iovec> middle = slice_of(from, skip, bytes);
  parts.insert(parts.end(), middle.begin(), middle.end());
  if (tail_bytes != 0) {
    const iovec part = {tail.data(), tail_bytes};
    if (!target.zero_after) {
      const IoStatus status = co_await read_unlocked(offset + bytes, {&part, 1}, 0, tail_bytes);
      if (status != 0) co_return status;
    }
    parts.push_back(part);
  }
  const u64 start = offset - head_bytes;
  const IoStatus status = co_await data_.write(target.host + (start - target.first_cluster), IoVec(parts));
  co_return status;
}

/// The data is there: the entries may say so.
Task<IoStatus> Image::map_target(const Target& target) {
  const u64 cluster = geometry_.cluster();
  for (u64 i = 0; i < target.clusters; ++i) {
    const u64 at = target.first_cluster + i * cluster;
    ClusterState old;
    IoStatus status = co_await state_of(at, &old);
    if (status != 0) co_return status;
    ClusterState state;
    state.host = target.host + i * cluster;
    state.copied = true;
    const u64 from = std::max(target.from, at) - at;
    const u64 to = std::min(target.to, at + cluster) - at;
    const u32 written = geometry_.touched(from, to);
    const bool kept = old.host && old.copied;
    state.allocated = written | (kept ? old.allocated : 0);
    state.zero = old.zero & ~written;
    if (!geometry_.subclusters) state.zero = 0;
    status = co_await set_state(at, state);
    if (status != 0) co_return status;
    if (!kept) free_clusters_of(old, false);
  }
  co_return 0;
}

Task<IoStatus> Image::write_allocating(u64 offset, IoVec from, u64 skip, u64 bytes, u64* done) {
  IoStatus status = co_await ensure_table(offset);
  if (status != 0) co_return status;
  Target target;
  status = co_await choose_target(offset, bytes, &target);
  if (status == 0) {
    const u64 end = std::min(offset + bytes, target.first_cluster + target.clusters * geometry_.cluster());
    *done = end - offset;
    status = co_await write_with_edges(offset, from, skip, *done, target);
    if (status == 0) status = co_await map_target(target);
  }
  if (status != 0 && target.is_new && !broken_) {
    static_cast<void>(co_await refcounts_->release_unused(target.host, target.clusters));
  }
  co_return status;
}

// ---- compressed clusters ----

Task<IoStatus> Image::write_compressed(u64 offset, IoVec from) {
  const u64 bytes = total_bytes(from);
  const IoStatus allowed = check_request(offset, bytes, true);
  if (allowed != 0) co_return allowed;
  if ((offset & geometry_.cluster_mask()) || bytes > geometry_.cluster() || bytes == 0) co_return EINVAL;
  if (bytes != geometry_.cluster() && offset + bytes != header_.bytes) co_return EINVAL;
  if (geometry_.external_data) co_return ENOTSUP;
  Buffer whole(geometry_.cluster());
  copy_in(whole.data(), from, 0, bytes);
  const std::vector<u8> packed = compress(header_.compression, {whole.data(), whole.size()});
  if (packed.empty()) {
    const IoStatus plain = co_await write(offset, from, IoFlags::None);
    co_return plain;
  }
  if (!has_written_) {
    const IoStatus first = co_await first_write();
    if (first != 0) co_return first;
  }
  RangeLock::Guard range(ranges_, offset >> geometry_.cluster_bits, offset >> geometry_.cluster_bits,
                         RangeLock::Mode::Exclusive);
  co_await range.acquired();
  bitmaps_->mark(offset, bytes);
  IoStatus status = co_await ensure_table(offset);
  if (status != 0) co_return status;
  ClusterState old;
  status = co_await state_of(offset, &old);
  if (status != 0) co_return status;

  AsyncMutex::Guard guard(compress_mutex_);
  co_await guard.acquired();
  const u64 cluster = geometry_.cluster();
  ClusterState state;
  state.compressed = true;
  const u64 room = compressed_next_ == 0 ? 0 : cluster - (compressed_next_ & geometry_.cluster_mask());
  u64 place = 0;
  bool shares = false;
  if (room != 0 && geometry_.most_refcount() > 1) {
    const u64 shared = align_down(compressed_next_, cluster);
    const IoStatus counted = co_await refcounts_->increment(shared >> geometry_.cluster_bits);
    if (counted == 0) {
      shares = true;
      place = compressed_next_;
    } else if (counted != ERANGE) {
      co_return counted;
    }
  }
  if (!shares || room < packed.size()) {
    const Allocation more = co_await refcounts_->allocate(1, Contiguity::Exactly);
    const bool follows = more.status == 0 && shares && more.offset == align_down(compressed_next_, cluster) + cluster;
    if (shares && !follows) {
      status = co_await refcounts_->release_unused(align_down(compressed_next_, cluster), 1);
      if (status != 0) co_return status;
    }
    if (more.status != 0) co_return more.status;
    if (!follows) place = more.offset;
  }
  if (place >= bit64(geometry_.compressed_shift())) co_return EFBIG;
  state.compressed_offset = place;
  state.compressed_bytes = packed.size();
  status = co_await file_.write(place, packed.data(), packed.size());
  if (status != 0) co_return status;  // the space leaks
  const u64 next = place + packed.size();
  compressed_next_ = is_aligned(next, cluster) ? 0 : next;
  guard.release();
  status = co_await set_state(offset, state);
  if (status != 0) co_return status;
  free_clusters_of(old, false);
  unpacked_descriptor_ = 0;
  status = co_await relieve();
  const IoStatus final = co_await finish(status);
  co_return final;
}

}  // namespace emu::block::qcow2
