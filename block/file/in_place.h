// SPDX-License-Identifier: Apache-2.0
// Which reads and writes of a file are only copies from and to the host's page cache, and are carried out at once.
#pragma once

#include "util/clock.h"
#include "util/types.h"

namespace emu::block {

/// io_uring carries out at once what the file system can do without waiting, and gives the rest to a worker. Two common
/// kinds of file system cannot tell it that they would not wait: those in memory (tmpfs) for reads and writes, and ext4
/// for writes. There the hand-over to the worker and back costs as much as the copy (docs/performance.md).
///
/// A file system in memory never waits for a device. On ext4 a write waits where the host has too much unwritten already,
/// or for the journal: so a write that was slow sends those after it to workers for a while, at first a second, and longer
/// if it happens again; and what would wait for another request's lock of the file is not done at once either.
///
/// On the loop's thread.
class InPlace {
 public:
  /// What is known of file systems.
  enum class Kind : u8 {
    None,    ///< io_uring knows best, or the file is accessed directly
    Writes,  ///< ext4 (and ext2, ext3, which Linux has it serve)
    All,     ///< tmpfs, ramfs
  };
  static Kind kind_of(int fd);

  explicit InPlace(Kind kind) : kind_(kind) {}
  bool may_read() const { return kind_ == Kind::All; }
  /// `offset` and `length` in bytes, `now` on the host's monotonic clock.
  bool may_write(u64 offset, u64 length, ClockNs now) const;
  /// A write in place ended and took so long.
  void note(ClockNs took, ClockNs now);

  /// While it lives a request is under way that holds the file's lock for long: writes would wait for it.
  class LongLock {
   public:
    explicit LongLock(InPlace& of) : of_(of) { of_.long_locks_++; }
    ~LongLock() { of_.long_locks_--; }
    LongLock(const LongLock&) = delete;
    LongLock& operator=(const LongLock&) = delete;

   private:
    InPlace& of_;
  };

 private:
  /// More than a time slice of the host, so that a thread which had to wait for a processor is not taken for one that
  /// waited for the disk. 2 MiB, which requests are joined up to, take 0.2 ms.
  static constexpr ClockNs kSlow = std::chrono::milliseconds(8);
  static constexpr ClockNs kFirstRest = std::chrono::seconds(1);
  static constexpr ClockNs kLongestRest = std::chrono::seconds(64);

  Kind kind_;
  unsigned long_locks_ = 0;
  ClockNs rest_{};         ///< how long the last rest was
  ClockNs rests_until_{};  ///< when it ends, or ended
};

}  // namespace emu::block
