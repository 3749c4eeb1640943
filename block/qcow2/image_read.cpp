// SPDX-License-Identifier: Apache-2.0
// Reading: from guest offset to where the bytes are.
#include <cerrno>
#include <cstring>

#include "block/qcow2/compress.h"
#include "block/qcow2/image.h"
#include "util/log.h"

namespace emu::block::qcow2 {

bool Image::reads_as_zero(const ClusterState& state, u32 mask, u64 cluster_offset) const {
  if (state.compressed || (state.allocated & mask)) return false;
  if ((state.zero & mask) == mask) return true;
  // The rest comes from the backing file, if that reaches here.
  for (unsigned i = 0; i < geometry_.subcluster_count(); ++i) {
    if ((mask & ~state.zero & bit(i)) && cluster_offset + i * geometry_.subcluster() < backing_bytes()) return false;
  }
  return true;
}

/// The longest stretch from `offset` that is of one kind and, for data, contiguous in the file. Inside one slice.
Image::Run Image::run_in_slice(const ClusterMap::Slice& slice, u64 offset, u64 most, Places places) {
  Run run;
  run.bytes = 0;
  const u64 slice_end = align_down(offset, map_->slice_span()) + map_->slice_span();
  const u64 end = std::min(offset + most, slice_end);
  for (u64 at = offset; at < end;) {
    const u64 cluster_offset = align_down(at, geometry_.cluster());
    const std::optional<ClusterState> state = decode(geometry_, map_->get(slice, at));
    const u64 cluster_end = std::min(end, cluster_offset + geometry_.cluster());
    if (!state) {
      if (run.bytes == 0) run = {Run::Kind::Broken, cluster_end - at, 0, {}};
      return run;
    }
    if (state->compressed) {
      if (run.bytes == 0) run = {Run::Kind::Compressed, cluster_end - at, 0, *state};
      return run;
    }
    while (at < cluster_end) {
      const u64 within = at - cluster_offset;
      const u32 here = bit(unsigned(within / geometry_.subcluster()));
      const auto kind = (state->allocated & here) ? Run::Kind::Data
                        : (state->zero & here)    ? Run::Kind::Zero
                                                  : Run::Kind::Backing;
      const bool has_host = state->host && (kind == Run::Kind::Data || places == Places::OfAll);
      const u64 host = has_host ? *state->host + within : 0;
      if (run.bytes == 0) {
        run.kind = kind;
        run.host = host;
        run.has_host = has_host;
      } else if (kind != run.kind || has_host != run.has_host || (has_host && host != run.host + run.bytes)) {
        return run;
      }
      const u64 sub_end = std::min(cluster_end, align_down(at, geometry_.subcluster()) + geometry_.subcluster());
      run.bytes += sub_end - at;
      at = sub_end;
    }
  }
  return run;
}

Task<IoStatus> Image::next_run(u64 offset, u64 most, Run* run, Places places) {
  if (map_->table_of(offset) == 0) {
    const u64 table_end = align_down(offset, geometry_.l2_span()) + geometry_.l2_span();
    *run = {Run::Kind::Backing, std::min(most, table_end - offset), 0, {}};
    co_return 0;
  }
  ClusterMap::Slice* slice;
  while (!(slice = map_->find(offset))) {
    const IoStatus status = co_await map_->load(offset);
    if (status != 0) co_return status;
    if (map_->table_of(offset) == 0) {
      *run = {Run::Kind::Backing, std::min(most, geometry_.cluster() - (offset & geometry_.cluster_mask())), 0, {}};
      co_return 0;
    }
  }
  *run = run_in_slice(*slice, offset, most, places);
  if (run->kind == Run::Kind::Broken) {
    report(fmt::format("L2 entry of guest offset {:#x} is invalid", offset), offset, geometry_.cluster());
    co_return EIO;
  }
  co_return 0;
}

Task<IoStatus> Image::read(u64 offset, IoVec to) {
  const u64 bytes = total_bytes(to);
  const IoStatus allowed = check_request(offset, bytes, false);
  if (allowed != 0) co_return allowed;
  if (bytes == 0) co_return 0;
  RangeLock::Guard guard(ranges_, offset >> geometry_.cluster_bits, last_cluster(offset, bytes),
                         RangeLock::Mode::Shared);
  co_await guard.acquired();
  // The usual case without another coroutine in between.
  if (map_->table_of(offset) != 0) {
    if (ClusterMap::Slice* const slice = map_->find(offset)) {
      const Run run = run_in_slice(*slice, offset, bytes);
      if (run.kind == Run::Kind::Data && run.bytes == bytes && run.host + bytes <= data_.bytes()) {
        const IoStatus status = co_await data_.node().read(run.host, to);
        co_return status;
      }
    }
  }
  const IoStatus status = co_await read_unlocked(offset, to, 0, bytes);
  const IoStatus final = co_await finish(status);
  co_return final;
}

Task<IoStatus> Image::read_unlocked(u64 offset, IoVec to, u64 skip, u64 bytes) {
  for (u64 done = 0; done < bytes;) {
    Run run;
    IoStatus status = co_await next_run(offset + done, bytes - done, &run);
    if (status != 0) co_return status;
    switch (run.kind) {
      case Run::Kind::Zero: fill_zero(to, skip + done, run.bytes); break;
      case Run::Kind::Backing: status = co_await read_backing(offset + done, to, skip + done, run.bytes); break;
      case Run::Kind::Compressed:
        status =
            co_await read_compressed(run.state, (offset + done) & geometry_.cluster_mask(), to, skip + done, run.bytes);
        break;
      case Run::Kind::Data: {
        const std::vector<iovec> part = slice_of(to, skip + done, run.bytes);
        status = co_await data_.read(run.host, IoVec(part));
        break;
      }
      case Run::Kind::Broken: co_return EIO;
    }
    if (status != 0) co_return status;
    done += run.bytes;
  }
  co_return 0;
}

Task<IoStatus> Image::read_backing(u64 offset, IoVec to, u64 skip, u64 bytes) {
  const u64 end = backing_bytes();
  const u64 there = offset >= end ? 0 : std::min(bytes, end - offset);
  if (there != 0) {
    const std::vector<iovec> part = slice_of(to, skip, there);
    HostFile below(backing_);  // for its care of unaligned ends
    const IoStatus status = co_await below.read(offset, IoVec(part));
    if (status != 0) co_return status;
  }
  fill_zero(to, skip + there, bytes - there);
  co_return 0;
}

/// Into unpacked_, which then is that of the state.
Task<IoStatus> Image::load_compressed(const ClusterState& state) {
  Buffer packed(state.compressed_bytes);
  const IoStatus status = co_await file_.read(state.compressed_offset, packed.data(), packed.size());
  if (status != 0) co_return status;
  Buffer cluster(geometry_.cluster());
  if (!decompress(header_.compression, {packed.data(), packed.size()}, {cluster.data(), cluster.size()})) {
    if (!std::exchange(has_warned_of_compressed_, true)) {
      log::warn("{}: the compressed cluster at {:#x} cannot be decompressed", filename(), state.compressed_offset);
    }
    co_return EIO;
  }
  unpacked_ = std::move(cluster);
  unpacked_descriptor_ = encode(geometry_, state).descriptor;
  co_return 0;
}

Task<IoStatus> Image::read_compressed(const ClusterState& state, u64 within, IoVec to, u64 skip, u64 bytes) {
  const u64 descriptor = encode(geometry_, state).descriptor;
  while (unpacked_descriptor_ != descriptor) {
    const IoStatus status = co_await load_compressed(state);
    if (status != 0) co_return status;
  }
  copy_out(to, skip, unpacked_.data() + within, bytes);
  co_return 0;
}

Task<Result<Extent>> Image::status(u64 offset, u64 length) {
  if (broken_ || closed_) co_return error("{}: the image cannot be read", filename());
  Extent extent;
  if (offset >= header_.bytes) co_return extent;
  length = std::min(length, header_.bytes - offset);
  RangeLock::Guard guard(ranges_, offset >> geometry_.cluster_bits, last_cluster(offset, length),
                         RangeLock::Mode::Shared);
  co_await guard.acquired();
  Run run;
  IoStatus status = co_await next_run(offset, length, &run, Places::OfAll);
  status = co_await finish(status);
  if (status != 0) co_return error("{}: cannot read the tables: {}", filename(), std::strerror(status));
  // Stretches of the same kind are one, across slices and tables.
  while (run.bytes < length) {
    Run more;
    const IoStatus again = co_await next_run(offset + run.bytes, length - run.bytes, &more, Places::OfAll);
    if (again != 0 || more.kind != run.kind || more.has_host != run.has_host) break;
    if (run.has_host && more.host != run.host + run.bytes) break;
    run.bytes += more.bytes;
  }
  extent.bytes = run.bytes;
  extent.allocated = run.kind != Run::Kind::Backing;
  extent.data = run.kind == Run::Kind::Data || run.kind == Run::Kind::Compressed;
  extent.compressed = run.kind == Run::Kind::Compressed;
  extent.zero = run.kind == Run::Kind::Zero;
  if (run.has_host) extent.host_offset = run.host;
  if (run.kind == Run::Kind::Backing) {
    const u64 end = backing_bytes();
    if (offset >= end) extent.zero = true;
    else extent.bytes = std::min(extent.bytes, end - offset);
  }
  co_return extent;
}

}  // namespace emu::block::qcow2
