// SPDX-License-Identifier: Apache-2.0
// RAM blocks, and the only functions that touch their bytes.
#include "softmmu/memory/ram_block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "softmmu/memory/host_access.h"
#include "softmmu/memory/memory.h"

namespace emu::mem {

namespace {

template <typename T>
void copy_one_from(void* to, const u8* ram) {
  const T value = __atomic_load_n(reinterpret_cast<const T*>(ram), __ATOMIC_RELAXED);
  __builtin_memcpy(to, &value, sizeof(T));
}
template <typename T>
void copy_one_to(u8* ram, const void* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(T));
  __atomic_store_n(reinterpret_cast<T*>(ram), value, __ATOMIC_RELAXED);
}

#if defined(__SANITIZE_THREAD__)
// The thread sanitizer does not see generated code, and takes memcpy for a plain access: go word by word, atomically.
constexpr bool kWordwise = true;
#else
constexpr bool kWordwise = false;
#endif

bool is_single(const u8* ram, u64 length) {
  return (length == 1 || length == 2 || length == 4 || length == 8) && is_aligned(u64(ram), length);
}

}  // namespace

void copy_from_ram(void* to, const u8* ram, u64 length) {
  if (is_single(ram, length)) {
    if (length == 8) return copy_one_from<u64>(to, ram);
    if (length == 4) return copy_one_from<u32>(to, ram);
    if (length == 2) return copy_one_from<u16>(to, ram);
    return copy_one_from<u8>(to, ram);
  }
  if (!kWordwise) {
    std::memcpy(to, ram, length);
    return;
  }
  auto* out = static_cast<u8*>(to);
  while (length > 0) {
    const u64 step = is_aligned(u64(ram), 8) && length >= 8 ? 8 : 1;
    step == 8 ? copy_one_from<u64>(out, ram) : copy_one_from<u8>(out, ram);
    ram += step, out += step, length -= step;
  }
}

void copy_to_ram(u8* ram, const void* from, u64 length) {
  if (is_single(ram, length)) {
    if (length == 8) return copy_one_to<u64>(ram, from);
    if (length == 4) return copy_one_to<u32>(ram, from);
    if (length == 2) return copy_one_to<u16>(ram, from);
    return copy_one_to<u8>(ram, from);
  }
  if (!kWordwise) {
    std::memcpy(ram, from, length);
    return;
  }
  const auto* in = static_cast<const u8*>(from);
  while (length > 0) {
    const u64 step = is_aligned(u64(ram), 8) && length >= 8 ? 8 : 1;
    step == 8 ? copy_one_to<u64>(ram, in) : copy_one_to<u8>(ram, in);
    ram += step, in += step, length -= step;
  }
}

RamBlock::RamBlock(Memory& memory, std::string id, u64 size, RamPage first_page, u8* host, std::atomic<u8>* flags,
                   Fd shared)
    : memory_(memory), id_(std::move(id)), size_(size), first_page_(first_page), host_(host), flags_(flags),
      shared_(std::move(shared)) {
  tracking_.flags_base = reinterpret_cast<u64>(flags) - u32(first_page);
  tracking_.block = this;
}

RamBlock::~RamBlock() {
  EMU_CHECK(pins_.load() == 0);
  memory_.forget(*this);
  munmap(host_, size_);
  munmap(static_cast<void*>(flags_), page_count());
}

void RamBlock::set_logging(DirtyClient client, bool on) {
  if (!on) {
    tracking_.logging.fetch_and(u8(~bit_of(client)));
    return;
  }
  const u8 before = tracking_.logging.fetch_or(bit_of(client));
  if ((before & bit_of(client)) != 0) return;
  memory_.tell_ram_listeners([&](RamListener& l) { l.write_tracking_restarted(first_page_, page_count()); });
}

void RamBlock::take_dirty(DirtyClient client, u64 offset, u64 length, const std::function<void(u64, u64)>& visitor) {
  if (length == 0) return;
  EMU_CHECK(offset < size_ && length <= size_ - offset);
  memory_.tell_ram_listeners([this](RamListener& l) { l.dirty_wanted(*this); });
  const u8 mask = bit_of(client);
  const u64 end = (offset + length - 1) >> kPageShift;
  std::vector<std::pair<u64, u64>> runs;  // first page, count
  for (u64 page = offset >> kPageShift; page <= end; ++page) {
    std::atomic<u8>& state = flags_[page];
    if ((state.load() & mask) == 0) continue;
    state.fetch_and(u8(~mask));
    if (!runs.empty() && runs.back().first + runs.back().second == page) {
      ++runs.back().second;
    } else {
      runs.emplace_back(page, 1);
    }
  }
  for (const auto& [first, count] : runs) {
    const RamPage page = RamPage(u32(first_page_) + u32(first));
    memory_.tell_ram_listeners([&, n = count](RamListener& l) { l.write_tracking_restarted(page, n); });
  }
  for (const auto& [first, count] : runs) visitor(first << kPageShift, count << kPageShift);
}

void RamBlock::set_dirty(DirtyClient client, u64 offset, u64 length) {
  if (length == 0) return;
  EMU_CHECK(offset < size_ && length <= size_ - offset);
  const u64 end = (offset + length - 1) >> kPageShift;
  for (u64 page = offset >> kPageShift; page <= end; ++page) flags_[page].fetch_or(bit_of(client));
}

void RamBlock::read(u64 offset, void* to, u64 length) const {
  EMU_CHECK(offset <= size_ && length <= size_ - offset);
  copy_from_ram(to, host_ + offset, length);
}

void RamBlock::write(u64 offset, const void* from, u64 length) {
  EMU_CHECK(offset <= size_ && length <= size_ - offset);
  copy_to_ram(host_ + offset, from, length);
  note_write(offset, length);
}

void RamBlock::fill(u64 offset, u8 value, u64 length) {
  u8 pattern[kPageSize];
  std::memset(pattern, value, sizeof(pattern));
  while (length > 0) {
    const u64 step = std::min<u64>(length, kPageSize);
    write(offset, pattern, step);
    offset += step, length -= step;
  }
}

void RamBlock::discard(u64 offset, u64 length) {
  EMU_CHECK(offset <= size_ && length <= size_ - offset);
  const u64 first = align_up(offset, kPageSize), end = align_down(offset + length, kPageSize);
  if (first >= end || pins_.load() != 0) return;
  // A host that refuses keeps the bytes, which is no worse for the guest.
  const int advice = shared_fd() < 0 ? MADV_DONTNEED : MADV_REMOVE;
  if (madvise(host_ + first, end - first, advice) == 0) note_write(first, end - first);
}

void RamBlock::note_write(u64 offset, u64 length) {
  if (length == 0) return;
  EMU_CHECK(offset < size_ && length <= size_ - offset);
  const u8 logging = tracking_.logging.load();
  while (length > 0) {
    const u32 in_page = u32(offset & (kPageSize - 1));
    const u32 step = u32(std::min<u64>(length, kPageSize - in_page));
    // A read-modify-write even when nothing is to be set: the translator sets the code bit, then reads the bytes. If
    // its own comes later in the order of this word it sees ours, and so the bytes; if earlier, we see its bit.
    const u8 seen = flags_[offset >> kPageShift].fetch_or(logging);
    if ((seen & kCode) != 0) {
      const RamPage page = page_at(offset);
      memory_.tell_ram_listeners([&](RamListener& l) { l.code_page_written(page, in_page, step); });
    }
    offset += step, length -= step;
  }
}

}  // namespace emu::mem
