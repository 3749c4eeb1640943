// SPDX-License-Identifier: Apache-2.0
// Requests; opening is in file_open.cpp.
#include "block/file/file_node.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "util/bits.h"

namespace emu::block {
namespace {

bool is_refusal(IoStatus status) { return status == EOPNOTSUPP || status == ENOSYS || status == ENOTTY; }

/// The part of a buffer list that is not moved yet, at most IOV_MAX pieces at a time.
class Remaining {
 public:
  explicit Remaining(IoVec parts) : rest_(parts) {}
  bool is_empty() const { return rest_.empty(); }
  unsigned count() {
    // The first piece may be begun: then it stands alone in front.
    if (skip_ == 0) return unsigned(std::min<std::size_t>(rest_.size(), IOV_MAX));
    return 1;
  }
  const iovec* data() {
    if (skip_ == 0) return rest_.data();
    begun_ = {static_cast<char*>(rest_[0].iov_base) + skip_, rest_[0].iov_len - skip_};
    return &begun_;
  }
  void advance(u64 moved) {
    while (!rest_.empty()) {
      const u64 left = rest_[0].iov_len - skip_;
      if (moved < left) {
        skip_ += moved;
        return;
      }
      moved -= left;
      skip_ = 0;
      rest_ = rest_.subspan(1);
    }
  }
  void zero_rest() {
    for (const iovec& part : rest_) {
      std::memset(static_cast<char*>(part.iov_base) + skip_, 0, part.iov_len - skip_);
      skip_ = 0;
    }
    rest_ = {};
  }

 private:
  IoVec rest_;
  u64 skip_ = 0;
  iovec begun_{};
};

u64 length_of(IoVec parts) {
  u64 length = 0;
  for (const iovec& part : parts) length += part.iov_len;
  return length;
}

}  // namespace

Task<IoStatus> FileNode::read(u64 offset, IoVec to) {
  Remaining rest(to);
  while (!rest.is_empty()) {
    IoRequest request;
    request.kind = IoRequest::Kind::Read;
    request.in_place = in_place_.may_read();
    request.fd = fd_.get();
    request.offset = offset;
    request.parts = rest.data();
    request.part_count = rest.count();
    const i64 done = co_await engine_->run(request);
    if (done < 0) co_return int(-done);
    offset += u64(done);
    rest.advance(u64(done));
    // Past the end, in the last block: direct I/O cannot ask again from where the file ends.
    if (done == 0 || offset >= bytes_) {
      rest.zero_rest();
      break;
    }
  }
  co_return 0;
}

Task<IoStatus> FileNode::write(u64 offset, IoVec from, IoFlags flags) {
  Remaining rest(from);
  const bool data_sync = has(flags, IoFlags::Fua) && !no_flush_;
  const bool in_place = !data_sync && in_place_.may_write(offset, length_of(from), Clock::monotonic_now());
  while (!rest.is_empty()) {
    IoRequest request;
    request.kind = IoRequest::Kind::Write;
    request.data_sync = data_sync;
    request.in_place = in_place;
    request.fd = fd_.get();
    request.offset = offset;
    request.parts = rest.data();
    request.part_count = rest.count();
    const i64 done = co_await engine_->run(request);
    if (in_place) in_place_.note(request.took, Clock::monotonic_now());
    if (done < 0) co_return int(-done);
    if (done == 0) co_return ENOSPC;
    offset += u64(done);
    rest.advance(u64(done));
  }
  if (kind_ == Kind::File) bytes_ = std::max(bytes_, offset);
  co_return 0;
}

Task<IoStatus> FileNode::allocate(int mode, u64 offset, u64 length) {
  const InPlace::LongLock lock(in_place_);
  IoRequest request;
  request.kind = IoRequest::Kind::Allocate;
  request.fd = fd_.get();
  request.mode = mode;
  request.offset = offset;
  request.length = length;
  const i64 done = co_await engine_->run(request);
  co_return done < 0 ? int(-done) : 0;
}

Task<IoStatus> FileNode::write_plain_zeroes(u64 offset, u64 length) {
  constexpr u64 kChunk = 1 << 20;
  const u64 alignment = 4096;
  std::vector<u8> zeroes(std::min(kChunk, length) + alignment);
  auto* const start = reinterpret_cast<u8*>((reinterpret_cast<u64>(zeroes.data()) + alignment - 1) & ~(alignment - 1));
  while (length > 0) {
    const iovec part{start, std::min(kChunk, length)};
    const IoStatus failed = co_await write(offset, IoVec(&part, 1), IoFlags::None);
    if (failed != 0) co_return failed;
    offset += part.iov_len;
    length -= part.iov_len;
  }
  co_return 0;
}

Task<IoStatus> FileNode::write_zeroes(u64 offset, u64 length, IoFlags flags) {
  if (length == 0) co_return 0;
  IoStatus failed = EOPNOTSUPP;
  if (has(flags, IoFlags::MayUnmap) && unmap_ && can_punch_) {
    failed = co_await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (is_refusal(failed)) can_punch_ = false;
  }
  if (failed != 0 && can_zero_range_) {
    failed = co_await allocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (is_refusal(failed)) can_zero_range_ = false;
  }
  if (is_refusal(failed) && kind_ == Kind::File && can_punch_) {
    // A hole, and room for it again: what a file system without zero ranges (tmpfs) can do.
    failed = co_await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
    if (is_refusal(failed)) can_punch_ = false;
    if (failed == 0 && !(has(flags, IoFlags::MayUnmap) && unmap_)) {
      failed = co_await allocate(FALLOC_FL_KEEP_SIZE, offset, length);
    }
  }
  if (failed == 0 && kind_ == Kind::File && offset + length > bytes_) {
    const u64 end = offset + length;
    if (::ftruncate(fd_.get(), off_t(end)) != 0) co_return errno;
    bytes_ = end;
  }
  if (failed == EINVAL || is_refusal(failed)) {
    if (has(flags, IoFlags::NoFallback)) co_return ENOTSUP;
    failed = co_await write_plain_zeroes(offset, length);
  }
  if (failed == 0 && has(flags, IoFlags::Fua)) failed = co_await flush();
  co_return failed;
}

Task<IoStatus> FileNode::discard(u64 offset, u64 length) {
  if (!unmap_ || !can_punch_ || length == 0) co_return 0;
  const IoStatus failed = co_await allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length);
  if (is_refusal(failed)) {
    can_punch_ = false;
    co_return 0;
  }
  co_return failed == EINVAL ? 0 : failed;  // a device that wants other alignment: it was a hint
}

Task<IoStatus> FileNode::flush() {
  if (no_flush_ || is_read_only()) co_return 0;
  IoRequest request;
  request.kind = IoRequest::Kind::Sync;
  request.fd = fd_.get();
  const i64 done = co_await engine_->run(request);
  co_return done < 0 ? int(-done) : 0;
}

Task<Result<Extent>> FileNode::status(u64 offset, u64 length) {
  if (offset >= bytes_) co_return Extent{};
  length = std::min(length, bytes_ - offset);
  Extent whole{.bytes = length, .data = true, .zero = false, .allocated = true, .compressed = false,
               .host_offset = offset};
  if (kind_ == Kind::HostDevice) co_return whole;
  struct Seen {
    off_t data;
    off_t hole;
    int failed;
  };
  const int fd = fd_.get();
  const auto look = [fd, offset]() -> Seen {
    Seen seen{};
    seen.data = ::lseek(fd, off_t(offset), SEEK_DATA);
    if (seen.data < 0) {
      seen.failed = errno;
      return seen;
    }
    seen.hole = ::lseek(fd, off_t(offset), SEEK_HOLE);
    if (seen.hole < 0) seen.failed = EINVAL;
    return seen;
  };
  const Seen seen = co_await engines_.pool().run(loop(), look);
  if (seen.failed != 0 && seen.failed != ENXIO) co_return whole;  // no such question to this file system
  const bool in_hole = seen.failed == ENXIO || u64(seen.data) > offset;
  const u64 end = seen.failed == ENXIO ? bytes_ : in_hole ? u64(seen.data) : u64(seen.hole);
  if (end <= offset) co_return whole;
  whole.bytes = std::min(length, end - offset);
  whole.data = !in_hole;
  whole.zero = in_hole;
  co_return whole;
}

Task<Result<void>> FileNode::preallocate(u64 from, u64 to, Preallocation preallocation) {
  IoStatus failed = 0;
  if (preallocation == Preallocation::Falloc) {
    failed = co_await allocate(0, from, to - from);
  } else if (preallocation == Preallocation::Full) {
    failed = co_await write_plain_zeroes(from, to - from);
    if (failed == 0) failed = co_await flush();
  }
  if (failed == 0) co_return Result<void>();
  static_cast<void>(::ftruncate(fd_.get(), off_t(from)));
  co_return error("Could not preallocate '{}': {}", filename_, std::strerror(failed));
}

Task<Result<void>> FileNode::truncate(u64 bytes, Preallocation preallocation) {
  if (kind_ == Kind::HostDevice) {
    u64 now = 0;
    if (::ioctl(fd_.get(), BLKGETSIZE64, &now) != 0) {
      co_return error("cannot tell the size of '{}': {}", filename_, std::strerror(errno));
    }
    bytes_ = now;
    if (bytes > now) co_return error("Cannot grow device files: '{}' has {} bytes", filename_, now);
    co_return Result<void>();
  }
  if (preallocation == Preallocation::Metadata) {
    co_return error("Unsupported preallocation mode 'metadata' for driver 'file'");
  }
  if (bytes < bytes_ && preallocation != Preallocation::Off) {
    co_return error("Preallocation can't be used for shrinking files");
  }
  if (bytes > u64(INT64_MAX)) co_return error("'{}' cannot have {} bytes", filename_, bytes);
  const int fd = fd_.get();
  const auto set_length = [fd, bytes]() -> int { return ::ftruncate(fd, off_t(bytes)) == 0 ? 0 : errno; };
  const int failed = co_await engines_.pool().run(loop(), set_length);
  if (failed != 0) co_return error("Failed to resize '{}': {}", filename_, std::strerror(failed));
  const u64 before = bytes_;
  bytes_ = bytes;
  if (bytes > before && preallocation != Preallocation::Off) {
    auto done = co_await preallocate(before, bytes, preallocation);
    if (!done) bytes_ = before;
    co_return done;
  }
  co_return Result<void>();
}

Task<Result<void>> FileNode::close() {
  const IoStatus failed = co_await flush();
  engine_.reset();
  fd_.reset();
  if (failed != 0) co_return error("'{}' could not be written out: {}", filename_, std::strerror(failed));
  co_return Result<void>();
}

Task<Result<void>> FileNode::set_read_only(bool read_only) {
  if (read_only == is_read_only()) co_return Result<void>();
  const IoStatus failed = co_await flush();
  if (failed != 0) co_return error("'{}' could not be written out: {}", filename_, std::strerror(failed));
  auto fresh = open_descriptor(filename_, read_only, direct_);
  EMU_CO_TRY(fresh);
  if (takes_locks_) {
    auto taken = locks_.take_over(fresh->get());
    EMU_CO_TRY(taken);
  }
  fd_ = std::move(*fresh);
  change_read_only(read_only);
  co_return Result<void>();
}

Result<void> FileNode::access_changed(Access access) {
  if (!takes_locks_) return {};
  return locks_.change(fd_.get(), access);
}

void FileNode::change_loop(EventLoop& loop) {
  auto engine = engines_.engine(loop, aio_);
  // What the first loop was given the second will be, too; if not, threads always work.
  if (!engine) engine = engines_.engine(loop, AioMode::Threads);
  std::shared_ptr<IoEngine> old = std::exchange(engine_, std::move(*engine));
  // It goes on its own thread, where its ring is polled.
  EventLoop& before = this->loop();
  if (!before.is_loop_thread()) before.post([old = std::move(old)]() mutable { old.reset(); });
  Node::change_loop(loop);
}

}  // namespace emu::block
