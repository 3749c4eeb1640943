// SPDX-License-Identifier: Apache-2.0
// Zeroes without writing them, and clusters given back.
#include <cerrno>

#include "block/qcow2/image.h"

namespace emu::block::qcow2 {

namespace {
constexpr u64 kZeroChunk = 1u << 20;
}

Task<IoStatus> Image::write_zeroes(u64 offset, u64 length, IoFlags flags) {
  const IoStatus allowed = check_request(offset, length, true);
  if (allowed != 0) co_return allowed;
  if (length == 0) co_return 0;
  if (!has_written_) {
    const IoStatus first = co_await first_write();
    if (first != 0) co_return first;
  }
  IoStatus status;
  {
    RangeLock::Guard guard(ranges_, offset >> geometry_.cluster_bits, last_cluster(offset, length),
                           RangeLock::Mode::Exclusive);
    co_await guard.acquired();
    status = co_await write_zeroes_locked(offset, length, flags, guard);
  }
  if (status == 0 && has(flags, IoFlags::Fua)) status = co_await commit_if_needed(++flush_tickets_);
  const IoStatus final = co_await finish(status);
  co_return final;
}

Task<IoStatus> Image::write_zero_bytes(u64 offset, u64 bytes, RangeLock::Guard& guard) {
  Buffer zeroes(std::min(bytes, kZeroChunk));
  for (u64 done = 0; done < bytes;) {
    const u64 step = std::min<u64>(bytes - done, zeroes.size());
    const iovec part = {zeroes.data(), step};
    const IoStatus status = co_await write_locked(offset + done, {&part, 1}, 0, step, guard);
    if (status != 0) co_return status;
    done += step;
  }
  co_return 0;
}

Task<IoStatus> Image::write_zeroes_locked(u64 offset, u64 length, IoFlags flags, RangeLock::Guard& guard) {
  bitmaps_->mark(offset, length);
  const u64 end = offset + length;
  if (header_.is_raw_external()) {
    // The data file alone has to read right: zeroes go there, the table says the same.
    IoStatus status = co_await data_.ensure(end);
    if (status == 0) status = co_await data_.node().write_zeroes(offset, length, flags);
    if (status != 0) {
      if (has(flags, IoFlags::NoFallback)) co_return status;
      status = co_await write_zero_bytes(offset, length, guard);
      co_return status;
    }
  }
  for (u64 at = offset; at < end;) {
    // Nothing mapped and nothing below: zeroes already.
    if (map_->table_of(at) == 0 && align_down(at, geometry_.cluster()) >= backing_bytes() &&
        !header_.is_raw_external()) {
      at = std::min(end, align_down(at, geometry_.l2_span()) + geometry_.l2_span());
      continue;
    }
    const u64 step = std::min(end, align_down(at, geometry_.cluster()) + geometry_.cluster()) - at;
    IoStatus status = co_await zero_cluster(at, step, flags, guard);
    if (status != 0) co_return status;
    status = co_await relieve();
    if (status != 0) co_return status;
    at += step;
  }
  co_return 0;
}

/// Bytes inside one cluster.
Task<IoStatus> Image::zero_cluster(u64 offset, u64 bytes, IoFlags flags, RangeLock::Guard& guard) {
  const u64 cluster_offset = align_down(offset, geometry_.cluster());
  const u64 from = offset - cluster_offset;
  u64 to = from + bytes;
  // What lies beyond the end of the image is nobody's: the last cluster counts as whole.
  if (offset + bytes == header_.bytes) to = align_up(to, geometry_.subcluster());
  ClusterState state;
  IoStatus status = co_await state_of(offset, &state);
  if (status != 0) co_return status;
  const bool has_place = state.host || state.compressed;
  if (reads_as_zero(state, geometry_.touched(from, to), cluster_offset) &&
      !(has_place && has(flags, IoFlags::MayUnmap))) {
    co_return 0;
  }

  const u64 first = align_up(from, geometry_.subcluster());
  const u64 last = align_down(to, geometry_.subcluster());
  const bool whole = first == 0 && last == geometry_.cluster();
  const u32 mask = first < last ? geometry_.touched(first, last) : 0;
  // §Standard Cluster Descriptor: version 2 has no zero flag; only what has nothing below may be let go.
  const bool has_zero_flag = geometry_.version >= 3;
  const bool unmap = !has_zero_flag && whole && cluster_offset >= backing_bytes();
  if (mask == 0 || (state.compressed && !whole) || (!has_zero_flag && !unmap)) {
    if (reads_as_zero(state, geometry_.touched(from, to), cluster_offset)) co_return 0;
    if (has(flags, IoFlags::NoFallback)) co_return ENOTSUP;
    status = co_await write_zero_bytes(offset, bytes, guard);
    co_return status;
  }
  const u64 head = std::min(first, from + bytes) - from;
  if (head != 0) {
    status = co_await write_zero_bytes(offset, head, guard);
    if (status != 0) co_return status;
  }
  if (from + bytes > last) {
    status = co_await write_zero_bytes(cluster_offset + last, from + bytes - last, guard);
    if (status != 0) co_return status;
  }
  status = co_await ensure_table(offset);
  if (status != 0) co_return status;
  status = co_await state_of(offset, &state);
  if (status != 0) co_return status;

  ClusterState next = state;
  if (unmap) {
    next = {};
  } else {
    next.allocated &= ~mask;
    next.zero |= mask;
    const bool all_gone = next.allocated == 0;
    const bool keeps_place = state.host && state.copied && !(all_gone && has(flags, IoFlags::MayUnmap));
    if (next.compressed) {
      next = {};
      next.zero = mask;
    } else if (!keeps_place && all_gone && !geometry_.external_data) {
      next.host.reset();
      next.copied = false;
    }
  }
  if (next.host == state.host && next.allocated == state.allocated && next.zero == state.zero &&
      next.compressed == state.compressed) {
    co_return 0;
  }
  status = co_await set_state(offset, next);
  if (status != 0) co_return status;
  if (state.compressed || (state.host && !next.host)) free_clusters_of(state, true);
  co_return 0;
}

Task<IoStatus> Image::discard(u64 offset, u64 length) {
  const IoStatus allowed = check_request(offset, length, true);
  if (allowed != 0) co_return allowed;
  if (!has_written_) {
    const IoStatus first = co_await first_write();
    if (first != 0) co_return first;
  }
  // Whole clusters inside; the last one of the image may be cut off.
  const u64 from = align_up(offset, geometry_.cluster());
  const u64 to = offset + length == header_.bytes ? align_up(header_.bytes, geometry_.cluster())
                                                  : align_down(offset + length, geometry_.cluster());
  if (from >= to) co_return 0;
  IoStatus status;
  {
    RangeLock::Guard guard(ranges_, from >> geometry_.cluster_bits, (to - 1) >> geometry_.cluster_bits,
                           RangeLock::Mode::Exclusive);
    co_await guard.acquired();
    bitmaps_->mark(from, std::min(to, header_.bytes) - from);
    status = co_await discard_locked(from, to - from, false);
  }
  const IoStatus final = co_await finish(status);
  co_return final;
}

/// `whole`: nothing is to be left, not even a mark that hides the backing file (shrinking).
Task<IoStatus> Image::discard_locked(u64 offset, u64 length, bool whole) {
  const u64 end = offset + length;
  if (geometry_.external_data && !whole && offset < data_.bytes()) {
    const u64 bytes = std::min(end, data_.bytes()) - offset;
    if (header_.is_raw_external()) {
      // Has to read the same through the table, which may say zero, and without it.
      const IoStatus status = co_await data_.node().write_zeroes(offset, bytes, IoFlags::MayUnmap);
      co_return status;
    }
    static_cast<void>(co_await data_.node().discard(offset, bytes));  // a hint
  }
  for (u64 at = offset; at < end;) {
    if (map_->table_of(at) == 0) {
      at = align_down(at, geometry_.l2_span()) + geometry_.l2_span();
      continue;
    }
    ClusterState state;
    IoStatus status = co_await state_of(at, &state);
    if (status != 0) co_return status;
    const bool hides = !whole && at < backing_bytes();
    const u64 here = at;
    at += geometry_.cluster();
    if (state.is_unallocated()) continue;
    if (hides && geometry_.version < 3) continue;  // no way to hide what is below
    if (hides && !state.compressed && !state.host) continue;
    status = co_await ensure_table(here);
    if (status != 0) co_return status;
    ClusterState next;
    if (hides) next.zero = geometry_.all_subclusters();
    status = co_await set_state(here, next);
    if (status != 0) co_return status;
    free_clusters_of(state, true);
    status = co_await relieve();
    if (status != 0) co_return status;
  }
  co_return 0;
}

}  // namespace emu::block::qcow2
