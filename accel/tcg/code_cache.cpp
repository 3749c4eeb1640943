// SPDX-License-Identifier: Apache-2.0
#include "accel/tcg/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "util/bits.h"
#include "util/check.h"

namespace emu::accel {
namespace {

constexpr size_t kMinBytes = size_t(2) << 20;
constexpr size_t kMaxBytes = size_t(1) << 30;
constexpr size_t kMaxSegmentBytes = size_t(4) << 20;
constexpr size_t kHugePage = size_t(2) << 20;

void* map_aligned(size_t bytes, int protection) {
  void* map = mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (map == MAP_FAILED) return nullptr;
  const u64 start = align_up(reinterpret_cast<u64>(map), kHugePage);
  const u64 end = reinterpret_cast<u64>(map) + bytes + kHugePage;
  if (start != reinterpret_cast<u64>(map)) munmap(map, start - reinterpret_cast<u64>(map));
  munmap(reinterpret_cast<void*>(start + bytes), end - start - bytes);
  if (mprotect(reinterpret_cast<void*>(start), bytes, protection) == 0) return reinterpret_cast<void*>(start);
  munmap(reinterpret_cast<void*>(start), bytes);
  return nullptr;
}

}  // namespace

Result<std::unique_ptr<CodeCache>> CodeCache::create(u64 bytes, bool split, Parts parts) {
  std::unique_ptr<CodeCache> cache(new CodeCache);
  cache->size_ = align_up(std::clamp<u64>(bytes, kMinBytes, kMaxBytes), kHugePage);
  cache->segment_bytes_ = kMaxSegmentBytes;
  while (cache->size_ / cache->segment_bytes_ < 8) cache->segment_bytes_ /= 2;
  if (parts == Parts::One) cache->segment_bytes_ = cache->size_;
  cache->size_ = align_down(cache->size_, cache->segment_bytes_);

  void* map = split ? nullptr : map_aligned(cache->size_, PROT_READ | PROT_WRITE | PROT_EXEC);
  if (map != nullptr) {
    madvise(map, cache->size_, MADV_HUGEPAGE);
    cache->write_base_ = static_cast<u8*>(map);
    cache->exec_base_ = static_cast<u8*>(map);
  } else {
    const int fd = memfd_create("system-emu-code", MFD_CLOEXEC);
    if (fd < 0) return error("no memory for generated code: {}", std::strerror(errno));
    void* write = MAP_FAILED;
    void* exec = MAP_FAILED;
    if (ftruncate(fd, off_t(cache->size_)) == 0) {
      write = mmap(nullptr, cache->size_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
      exec = mmap(nullptr, cache->size_, PROT_READ | PROT_EXEC, MAP_SHARED | MAP_NORESERVE, fd, 0);
    }
    const int reason = errno;
    close(fd);
    if (write != MAP_FAILED) cache->write_base_ = static_cast<u8*>(write);
    if (exec != MAP_FAILED) cache->exec_base_ = static_cast<u8*>(exec);
    if (write == MAP_FAILED || exec == MAP_FAILED) {
      return error("the host does not allow executable memory: {}", std::strerror(reason));
    }
  }
  cache->chunks_ = std::make_unique<ChunkInfo[]>(cache->size_ / kChunkBytes);
  cache->segments_.resize(cache->size_ / cache->segment_bytes_);
  cache->free_segments_ = unsigned(cache->segments_.size());
  return cache;
}

CodeCache::~CodeCache() {
  if (write_base_ != nullptr) munmap(write_base_, size_);
  if (exec_base_ != nullptr && exec_base_ != write_base_) munmap(const_cast<u8*>(exec_base_), size_);
}

ir::CodeSpan CodeCache::thunk_room() {
  const std::lock_guard lock(mutex_);
  EMU_CHECK(filling_ == kNoSegment && segments_[0].state == SegmentState::Free);
  // The first segment keeps its first chunk for good: reuse() starts behind it.
  segments_[0].state = SegmentState::Filling;
  segments_[0].chunks_given = 1;
  filling_ = 0;
  --free_segments_;
  return span(exec_base_, kChunkBytes);
}

bool CodeCache::take_chunk(Chunk& chunk) {
  const std::lock_guard lock(mutex_);
  if (filling_ != kNoSegment && segments_[filling_].chunks_given == chunks_per_segment()) {
    segments_[filling_].state = SegmentState::Full;
    segments_[filling_].filled_at = ++fill_clock_;
    filling_ = kNoSegment;
  }
  if (filling_ == kNoSegment) {
    const auto free = std::find_if(segments_.begin(), segments_.end(),
                                   [](const Segment& s) { return s.state == SegmentState::Free; });
    if (free == segments_.end()) {
      is_full_.store(true, std::memory_order_relaxed);
      return false;
    }
    free->state = SegmentState::Filling;
    filling_ = unsigned(free - segments_.begin());
    --free_segments_;
  }
  Segment& segment = segments_[filling_];
  chunk.exec = exec_base_ + filling_ * segment_bytes_ + segment.chunks_given * kChunkBytes;
  chunk.used = 0;
  chunk.serial = segment.serial;
  ++segment.chunks_given;
  return true;
}

bool CodeCache::is_current(const Chunk& chunk) const {
  if (chunk.exec == nullptr) return false;
  const std::lock_guard lock(mutex_);
  return segments_[segment_of(chunk.exec)].serial == chunk.serial;
}

void CodeCache::record(const u8* start, size_t size, CodeBlock* block) {
  ChunkInfo& chunk = chunk_of(start);
  const u32 offset = u32(size_t(start - exec_base_) % kChunkBytes);
  const std::lock_guard lock(chunk.mutex);
  EMU_CHECK(chunk.records.empty() || chunk.records.back().end <= offset);
  chunk.records.push_back({offset, offset + u32(size), block});
}

void CodeCache::forget(const u8* start) {
  ChunkInfo& chunk = chunk_of(start);
  const u32 offset = u32(size_t(start - exec_base_) % kChunkBytes);
  const std::lock_guard lock(chunk.mutex);
  const auto at = std::lower_bound(chunk.records.begin(), chunk.records.end(), offset,
                                   [](const Record& r, u32 value) { return r.start < value; });
  if (at != chunk.records.end() && at->start == offset) at->block = nullptr;
}

CodeBlock* CodeCache::find(const u8* address) const {
  // A return address may be the end of its block: the byte before it is inside.
  const u8* inside = address - 1;
  if (!contains(inside)) return nullptr;
  const ChunkInfo& chunk = chunk_of(inside);
  const u32 offset = u32(size_t(inside - exec_base_) % kChunkBytes);
  const std::lock_guard lock(chunk.mutex);
  const auto after = std::upper_bound(chunk.records.begin(), chunk.records.end(), offset,
                                      [](u32 value, const Record& r) { return value < r.start; });
  if (after == chunk.records.begin()) return nullptr;
  const Record& record = *(after - 1);
  return offset < record.end ? record.block : nullptr;
}

unsigned CodeCache::oldest_full() const {
  const std::lock_guard lock(mutex_);
  unsigned oldest = kNoSegment;
  for (unsigned i = 0; i < segments_.size(); ++i) {
    if (segments_[i].state != SegmentState::Full) continue;
    if (oldest == kNoSegment || segments_[i].filled_at < segments_[oldest].filled_at) oldest = i;
  }
  return oldest;
}

std::vector<CodeBlock*> CodeCache::blocks_of(unsigned segment) const {
  std::vector<CodeBlock*> blocks;
  for (u32 c = 0; c < chunks_per_segment(); ++c) {
    const ChunkInfo& chunk = chunks_[segment * chunks_per_segment() + c];
    const std::lock_guard lock(chunk.mutex);
    for (const Record& record : chunk.records) {
      if (record.block != nullptr) blocks.push_back(record.block);
    }
  }
  return blocks;
}

void CodeCache::mark_evicting(unsigned segment) {
  const std::lock_guard lock(mutex_);
  EMU_CHECK(segments_[segment].state == SegmentState::Full);
  segments_[segment].state = SegmentState::Evicting;
  ++segments_[segment].serial;
}

void CodeCache::reuse(unsigned segment) {
  const std::lock_guard lock(mutex_);
  EMU_CHECK(segments_[segment].state == SegmentState::Evicting);
  for (u32 c = 0; c < chunks_per_segment(); ++c) {
    ChunkInfo& chunk = chunks_[segment * chunks_per_segment() + c];
    const std::lock_guard chunk_lock(chunk.mutex);
    chunk.records.clear();
  }
  segments_[segment].state = SegmentState::Free;
  segments_[segment].chunks_given = segment == 0 ? 1 : 0;  // thunks stay
  ++free_segments_;
  is_full_.store(false, std::memory_order_relaxed);
}

u64 CodeCache::bytes_used() const {
  const std::lock_guard lock(mutex_);
  u64 chunks = 0;
  for (const Segment& s : segments_) chunks += s.chunks_given;
  return chunks * kChunkBytes;
}

}  // namespace emu::accel
