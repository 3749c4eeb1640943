// SPDX-License-Identifier: Apache-2.0
// Memory for generated code: one reserved stretch of virtual space, in segments that are evicted as a whole, in chunks
// that each thread fills by itself. Hot code and cold code (stubs, side tables) have chunks of their own.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "tcg/ir/backend.h"
#include "util/bits.h"
#include "util/result.h"

namespace emu::accel {

struct CodeBlock;

class CodeCache {
 public:
  static constexpr size_t kChunkBytes = 128 * 1024;
  static constexpr unsigned kNoSegment = ~0u;

  /// Reserves `bytes` (rounded, at least 2 MiB, at most 1 GiB). `split`: never map memory writable and executable at
  /// once. Errors: the host allows neither.
  enum class Parts : u8 {
    Segments,  ///< evicted one by one
    One,       ///< evicted as a whole, when it is full: what segments are measured against
  };
  static Result<std::unique_ptr<CodeCache>> create(u64 bytes, bool split, Parts parts = Parts::Segments);
  ~CodeCache();
  CodeCache(const CodeCache&) = delete;
  CodeCache& operator=(const CodeCache&) = delete;

  /// The same memory for writing.
  u8* writable(const u8* exec) const { return write_base_ + (exec - exec_base_); }
  ir::CodeSpan span(const u8* exec, size_t size) const { return {writable(exec), exec, size}; }
  bool contains(const u8* exec) const { return size_t(exec - exec_base_) < size_; }

  /// Room that is never evicted, for thunks. Once.
  ir::CodeSpan thunk_room();

  /// A chunk that one thread fills from the front.
  struct Chunk {
    const u8* exec = nullptr;
    size_t used = 0;
    u64 serial = 0;
    size_t left() const { return exec == nullptr ? 0 : kChunkBytes - used; }
    const u8* next() const { return exec + used; }
    void take(size_t bytes) { used = std::min(kChunkBytes, size_t(align_up(used + bytes, 16))); }
  };
  /// Gives out a chunk. False: the cache is full, segments must be evicted first.
  bool take_chunk(Chunk& chunk);
  /// Whether the chunk's segment has not been evicted since it was taken.
  bool is_current(const Chunk& chunk) const;
  /// Whether eviction should begin, so that a segment is ready when the last one is used up.
  bool is_short() const {
    return segments_.size() == 1 ? is_full_.load(std::memory_order_relaxed)
                                 : free_segments_.load(std::memory_order_relaxed) <= 1;
  }

  /// The block that owns [start, start + size) of a chunk. In rising order within a chunk.
  void record(const u8* start, size_t size, CodeBlock* block);
  void forget(const u8* start);
  /// The block whose hot or cold code `address` is (or directly follows: return addresses); null if none.
  CodeBlock* find(const u8* address) const;

  unsigned segment_count() const { return unsigned(segments_.size()); }
  unsigned segment_of(const u8* exec) const { return unsigned(size_t(exec - exec_base_) / segment_bytes_); }
  /// The full segment that was filled first, to be evicted; kNoSegment if none is full.
  unsigned oldest_full() const;
  /// The segment's blocks, to be invalidated by the caller.
  std::vector<CodeBlock*> blocks_of(unsigned segment) const;
  void mark_evicting(unsigned segment);
  /// Nobody uses the segment any more.
  void reuse(unsigned segment);
  u64 bytes_used() const;

 private:
  struct Record {
    u32 start, end;  ///< in the chunk
    CodeBlock* block;
  };
  struct ChunkInfo {
    mutable std::mutex mutex;  // leaf lock
    std::vector<Record> records;
  };
  enum class SegmentState : u8 { Free, Filling, Full, Evicting };
  struct Segment {
    SegmentState state = SegmentState::Free;
    u32 chunks_given = 0;
    u64 filled_at = 0;
    u64 serial = 1;  ///< grows with each eviction
  };
  CodeCache() = default;
  ChunkInfo& chunk_of(const u8* exec) const { return chunks_[size_t(exec - exec_base_) / kChunkBytes]; }
  u32 chunks_per_segment() const { return u32(segment_bytes_ / kChunkBytes); }

  u8* write_base_ = nullptr;
  const u8* exec_base_ = nullptr;
  size_t size_ = 0;
  size_t segment_bytes_ = 0;
  std::unique_ptr<ChunkInfo[]> chunks_;
  mutable std::mutex mutex_;  // the three below; taken before a chunk's
  std::vector<Segment> segments_;
  unsigned filling_ = kNoSegment;
  u64 fill_clock_ = 0;
  std::atomic<unsigned> free_segments_{0};
  std::atomic<bool> is_full_{false};  ///< a chunk was asked for that is not there
};

}  // namespace emu::accel
