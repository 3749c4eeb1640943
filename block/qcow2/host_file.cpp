// SPDX-License-Identifier: Apache-2.0
#include "block/qcow2/host_file.h"

#include <cerrno>
#include <cstring>

namespace emu::block::qcow2 {

namespace {

constexpr u64 kMostGrowth = 8u << 20;

template <typename Visit>
void for_parts(IoVec parts, u64 skip, u64 bytes, Visit visit) {
  for (const iovec& part : parts) {
    if (bytes == 0) return;
    if (skip >= part.iov_len) {
      skip -= part.iov_len;
      continue;
    }
    const u64 step = std::min<u64>(bytes, part.iov_len - skip);
    visit(static_cast<u8*>(part.iov_base) + skip, step);
    bytes -= step;
    skip = 0;
  }
  EMU_CHECK(bytes == 0);
}

}  // namespace

std::vector<iovec> slice_of(IoVec parts, u64 skip, u64 bytes) {
  std::vector<iovec> slice;
  slice.reserve(parts.size());
  for_parts(parts, skip, bytes, [&](u8* at, u64 step) { slice.push_back({at, step}); });
  return slice;
}

void fill_zero(IoVec parts, u64 skip, u64 bytes) {
  for_parts(parts, skip, bytes, [](u8* at, u64 step) { std::memset(at, 0, step); });
}

void copy_out(IoVec parts, u64 skip, const u8* from, u64 bytes) {
  for_parts(parts, skip, bytes, [&](u8* at, u64 step) {
    std::memcpy(at, from, step);
    from += step;
  });
}

void copy_in(u8* to, IoVec parts, u64 skip, u64 bytes) {
  for_parts(parts, skip, bytes, [&](u8* at, u64 step) {
    std::memcpy(to, at, step);
    to += step;
  });
}

Task<IoStatus> HostFile::read_aligned(u64 offset, IoVec to) {
  const u64 wanted = total_bytes(to);
  const u64 end = node_->bytes();
  // The file may end inside a block (qemu-img writes such images), which is read whole all the same.
  const u64 there = offset >= end ? 0 : std::min(wanted, align_up(end - offset, alignment()));
  if (there == wanted) {
    const IoStatus whole = co_await node_->read(offset, to);
    co_return whole;
  }
  if (there != 0) {
    const std::vector<iovec> first = slice_of(to, 0, there);
    const IoStatus status = co_await node_->read(offset, first);
    if (status != 0) co_return status;
  }
  fill_zero(to, there, wanted - there);
  co_return 0;
}

Task<IoStatus> HostFile::read(u64 offset, IoVec to) {
  const u64 bytes = total_bytes(to);
  const u64 unit = alignment();
  if (is_aligned(offset | bytes, unit)) {
    const IoStatus status = co_await read_aligned(offset, to);
    co_return status;
  }
  const u64 start = align_down(offset, unit);
  Buffer bounce(align_up(offset + bytes, unit) - start);
  const iovec part = {bounce.data(), bounce.size()};
  const IoStatus status = co_await read_aligned(start, {&part, 1});
  if (status != 0) co_return status;
  copy_out(to, 0, bounce.data() + (offset - start), bytes);
  co_return 0;
}

Task<IoStatus> HostFile::read(u64 offset, u8* to, u64 bytes) {
  const iovec part = {to, bytes};
  const IoStatus status = co_await read(offset, IoVec(&part, 1));
  co_return status;
}

Task<IoStatus> HostFile::write(u64 offset, IoVec from) {
  const u64 bytes = total_bytes(from);
  const u64 unit = alignment();
  if (offset + bytes > node_->bytes()) {
    const IoStatus grown = co_await ensure(offset + bytes);
    if (grown != 0) co_return grown;
  }
  if (is_aligned(offset | bytes, unit)) {
    const IoStatus status = co_await node_->write(offset, from, IoFlags::None);
    co_return status;
  }
  const u64 start = align_down(offset, unit);
  Buffer bounce(align_up(offset + bytes, unit) - start);
  const iovec part = {bounce.data(), bounce.size()};
  IoStatus status = co_await read_aligned(start, {&part, 1});
  if (status != 0) co_return status;
  copy_in(bounce.data() + (offset - start), from, 0, bytes);
  if (start + bounce.size() > node_->bytes()) {
    status = co_await ensure(start + bounce.size());
    if (status != 0) co_return status;
  }
  status = co_await node_->write(start, {&part, 1}, IoFlags::None);
  co_return status;
}

Task<IoStatus> HostFile::write(u64 offset, const u8* from, u64 bytes) {
  const iovec part = {const_cast<u8*>(from), bytes};
  const IoStatus status = co_await write(offset, IoVec(&part, 1));
  co_return status;
}

Task<IoStatus> HostFile::ensure(u64 end) {
  if (end <= node_->bytes()) co_return 0;
  AsyncMutex::Guard guard(growing_);
  co_await guard.acquired();
  const u64 now = node_->bytes();
  if (end <= now) co_return 0;
  // An eighth more, so that an image that grows steadily asks for it seldom.
  const u64 step = std::clamp<u64>(now / 8, 64u << 10, kMostGrowth);
  const Result<void> grown = co_await node_->truncate(align_up(end, step), Preallocation::Off);
  if (grown) {
    has_grown_ = true;
    co_return 0;
  }
  const Result<void> exact = co_await node_->truncate(align_up(end, sector()), Preallocation::Off);
  co_return exact ? 0 : ENOSPC;
}

}  // namespace emu::block::qcow2
