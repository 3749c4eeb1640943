// SPDX-License-Identifier: Apache-2.0
// Requests of a disk: bounds, alignment, zeroes, limits, the write cache and statistics.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "block/buffers.h"
#include "block/disk_backend.h"

namespace emu::block {
namespace {

constexpr u64 kBounceBytes = 1 << 20;

u64 round_down(u64 value, u64 unit) { return value & ~(unit - 1); }
u64 round_up(u64 value, u64 unit) { return (value + unit - 1) & ~(unit - 1); }

}  // namespace

/// What every request goes through: held back while others drain, checked, slowed down, made, and made again when the
/// person who was asked says so. `work()` gives the Task that carries it out once; it is called anew for each try.
template <typename Work>
Task<IoStatus> DiskBackend::carry_out(Aim aim, Work work) {
  const ClockNs begin = Clock::monotonic_now();
  for (;;) {
    if (holds_ > 0) {
      co_await enter();
    } else {
      in_flight_++;
    }
    IoStatus status = check(aim);
    const bool is_allowed = status == 0;
    if (is_allowed) {
      if (aim.is_throttled && group_ && group_->is_limited()) {
        co_await throttle(*group_, *loop_, aim.is_write(), aim.length, &draining_);
      }
      status = co_await work();
    }
    leave();
    // No error of the disk: the caller knows another way.
    if (status == ENOTSUP && aim.may_be_unsupported) co_return status;
    if (status != 0 && is_allowed) {
      const bool again = co_await wants_retry(status, aim.is_write());
      if (again) continue;
      if (on_error(aim.is_write()) == OnError::Ignore) status = 0;
    }
    if (status == 0 && aim.kind == IoKind::Write) {
      highest_write_.store(std::max(highest_write_.load(std::memory_order_relaxed), aim.offset + aim.length),
                           std::memory_order_relaxed);
    }
    finish(aim.kind, aim.length, begin, status);
    co_return status;
  }
}

IoStatus DiskBackend::check(const Aim& aim) const {
  if (!root_) return ENOMEDIUM;
  if (aim.kind == IoKind::Flush) return 0;
  const u64 size = bytes();
  if (aim.offset > size || aim.length > size - aim.offset) return EIO;
  return aim.is_write() && is_read_only() ? EPERM : 0;
}

Task<IoStatus> DiskBackend::read(u64 offset, IoVec to) {
  const Aim aim{.kind = IoKind::Read, .offset = offset, .length = total_bytes(to), .is_throttled = true};
  return carry_out(aim, [this, offset, to] { return read_once(offset, to); });
}

Task<IoStatus> DiskBackend::write(u64 offset, IoVec from, IoFlags flags) {
  const Aim aim{.kind = IoKind::Write, .offset = offset, .length = total_bytes(from), .is_throttled = true};
  return carry_out(aim, [this, offset, from, flags] {
    if (detect_zeroes_ == DetectZeroes::Off || !is_zero(from)) return write_once(offset, from, flags);
    const IoFlags unmap = detect_zeroes_ == DetectZeroes::Unmap ? IoFlags::MayUnmap : IoFlags::None;
    return zero_once(offset, total_bytes(from), flags | unmap);
  });
}

Task<IoStatus> DiskBackend::write_zeroes(u64 offset, u64 length, IoFlags flags) {
  const Aim aim{.kind = IoKind::Write, .offset = offset, .length = length, .is_throttled = true,
                .may_be_unsupported = has(flags, IoFlags::NoFallback)};
  return carry_out(aim, [this, offset, length, flags] { return zero_once(offset, length, flags); });
}

Task<IoStatus> DiskBackend::discard(u64 offset, u64 length) {
  // What is not passed on is not slowed down.
  const Aim aim{.kind = IoKind::Unmap, .offset = offset, .length = length, .is_throttled = unmaps_};
  return carry_out(aim, [this, offset, length] { return discard_once(offset, length); });
}

Task<IoStatus> DiskBackend::flush() {
  return carry_out({.kind = IoKind::Flush}, [this] { return flush_once(); });
}

// ---- Once

Task<IoStatus> DiskBackend::flush_once() {
  // Writes count when they have ended: of one that ends while we flush nobody knows whether it was flushed, too.
  const u64 generation = write_generation_;
  if (generation == flushed_generation_) co_return 0;  // nothing was written since
  const IoStatus status = co_await root_->flush();
  if (status == 0) flushed_generation_ = std::max(flushed_generation_, generation);
  co_return status;
}

Task<IoStatus> DiskBackend::discard_once(u64 offset, u64 length) {
  // Whole blocks only; the rest keeps what it has, which a hint allows.
  const u64 first = round_up(offset, limits_.request_alignment);
  const u64 last = round_down(offset + length, limits_.request_alignment);
  if (!unmaps_ || first >= last) co_return 0;
  const IoStatus status = co_await root_->discard(first, last - first);
  write_generation_++;
  co_return status == ENOTSUP ? 0 : status;
}

Task<IoStatus> DiskBackend::read_once(u64 offset, IoVec to) {
  const u64 length = total_bytes(to);
  const u64 mask = limits_.request_alignment - 1;
  const bool fits = ((offset | length) & mask) == 0 && length <= limits_.max_transfer &&
                    (limits_.memory_alignment <= 1 || is_aligned(to, limits_.memory_alignment));
  if (fits) return root_->read(offset, to);
  return bounce_read(offset, to);
}

Task<IoStatus> DiskBackend::bounce_read(u64 offset, IoVec to) {
  const u64 unit = limits_.request_alignment;
  const u64 length = total_bytes(to);
  const AlignedBuffer buffer(std::min(kBounceBytes + unit, round_up(length, unit) + unit),
                             std::max<u64>(4096, limits_.memory_alignment));
  if (!buffer) co_return ENOMEM;
  for (u64 done = 0; done < length;) {
    const u64 begin = round_down(offset + done, unit);
    const u64 chunk = std::min(length - done, kBounceBytes - (offset + done - begin));
    const iovec part{buffer.data(), round_up(offset + done + chunk, unit) - begin};
    const IoStatus status = co_await root_->read(begin, IoVec(&part, 1));
    if (status != 0) co_return status;
    copy_in(buffer.data() + (offset + done - begin), chunk, to, done);
    done += chunk;
  }
  co_return 0;
}

Task<IoStatus> DiskBackend::write_once(u64 offset, IoVec from, IoFlags flags) {
  if (!has_write_cache()) flags = flags | IoFlags::Fua;
  const u64 length = total_bytes(from);
  const u64 unit = limits_.request_alignment;
  if (unit <= 1) {
    IoStatus status = 0;
    if (length <= limits_.max_transfer) {
      status = co_await root_->write(offset, from, flags);
    } else {
      status = co_await bounce_write(offset, from, flags);
    }
    write_generation_++;
    co_return status;
  }
  // A block that is read, changed and written must not be written by others in between.
  RangeLock::Held mine(merging_, round_down(offset, unit), round_up(offset + length, unit));
  co_await mine.wait(*loop_);
  const bool fits = ((offset | length) & (unit - 1)) == 0 && length <= limits_.max_transfer &&
                    is_aligned(from, limits_.memory_alignment);
  IoStatus status = 0;
  if (fits) {
    status = co_await root_->write(offset, from, flags);
  } else {
    status = co_await bounce_write(offset, from, flags);
  }
  write_generation_++;
  co_return status;
}

Task<IoStatus> DiskBackend::bounce_write(u64 offset, IoVec from, IoFlags flags) {
  const u64 unit = limits_.request_alignment;
  const u64 length = total_bytes(from);
  const AlignedBuffer buffer(std::min(kBounceBytes + 2 * unit, round_up(length, unit) + 2 * unit),
                             std::max<u64>(4096, limits_.memory_alignment));
  if (!buffer) co_return ENOMEM;
  for (u64 done = 0; done < length;) {
    const u64 start = offset + done;
    const u64 begin = round_down(start, unit);
    const u64 chunk = std::min(length - done, kBounceBytes);
    const u64 end = round_up(start + chunk, unit);
    // The first and the last block are read when only part of them is written.
    const iovec first{buffer.data(), unit};
    const iovec last{buffer.data() + (end - begin - unit), unit};
    IoStatus status = 0;
    if (begin != start) status = co_await root_->read(begin, IoVec(&first, 1));
    const bool last_is_read = end != start + chunk && (end - begin > unit || begin == start);
    if (status == 0 && last_is_read) status = co_await root_->read(end - unit, IoVec(&last, 1));
    if (status != 0) co_return status;
    copy_out(from, done, chunk, buffer.data() + (start - begin));
    const iovec whole{buffer.data(), end - begin};
    status = co_await root_->write(begin, IoVec(&whole, 1), flags);
    if (status != 0) co_return status;
    done += chunk;
  }
  co_return 0;
}

Task<IoStatus> DiskBackend::zero_once(u64 offset, u64 length, IoFlags flags) {
  if (!has_write_cache()) flags = flags | IoFlags::Fua;
  const u64 unit = limits_.request_alignment;
  const u64 first = std::min(round_up(offset, unit), offset + length);
  const u64 last = std::max(round_down(offset + length, unit), first);
  RangeLock::Held mine(merging_, round_down(offset, unit), round_up(offset + length, unit));
  co_await mine.wait(*loop_);
  if (last > first) {
    const IoStatus status = co_await root_->write_zeroes(first, last - first, flags);
    write_generation_++;
    if (status != 0) co_return status;
  }
  // The ends that are not whole blocks: less than one each, or all of a short request.
  if (first == offset && last == offset + length) co_return 0;
  std::vector<u8> zeroes(2 * unit);
  for (const auto& [begin, end] : {std::pair(offset, first), std::pair(last, offset + length)}) {
    if (begin >= end) continue;
    const iovec part{zeroes.data(), end - begin};
    const IoStatus status = co_await bounce_write(begin, IoVec(&part, 1), flags);
    write_generation_++;
    if (status != 0) co_return status;
  }
  co_return 0;
}

}  // namespace emu::block
