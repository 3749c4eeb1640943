// SPDX-License-Identifier: Apache-2.0
#include "block/buffers.h"

#include <algorithm>
#include <cstring>

namespace emu::block {
namespace {

/// Calls `each(bytes, count)` for the pieces of the parts' bytes from `from` on, `length` of them.
template <typename Each>
void for_pieces(IoVec parts, u64 from, u64 length, Each each) {
  for (const iovec& part : parts) {
    if (length == 0) return;
    if (from >= part.iov_len) {
      from -= part.iov_len;
      continue;
    }
    const u64 count = std::min<u64>(part.iov_len - from, length);
    each(static_cast<u8*>(part.iov_base) + from, count);
    length -= count;
    from = 0;
  }
}

bool is_zero(const u8* bytes, std::size_t count) {
  if (count == 0) return true;
  // The first bytes by hand; then the rest equals what stands one place before it.
  constexpr std::size_t kFirst = 16;
  const std::size_t first = std::min(count, kFirst);
  for (std::size_t i = 0; i < first; i++) {
    if (bytes[i] != 0) return false;
  }
  return count == first || std::memcmp(bytes, bytes + first, count - first) == 0;
}

}  // namespace

void copy_out(IoVec parts, u64 from, u64 length, u8* to) {
  for_pieces(parts, from, length, [&to](const u8* bytes, u64 count) {
    std::memcpy(to, bytes, count);
    to += count;
  });
}

void copy_in(const u8* from, u64 length, IoVec parts, u64 to) {
  for_pieces(parts, to, length, [&from](u8* bytes, u64 count) {
    std::memcpy(bytes, from, count);
    from += count;
  });
}

std::vector<iovec> slice(IoVec parts, u64 from, u64 length) {
  std::vector<iovec> sliced;
  for_pieces(parts, from, length, [&sliced](u8* bytes, u64 count) { sliced.push_back({bytes, count}); });
  return sliced;
}

bool is_zero(IoVec parts) {
  return std::ranges::all_of(parts, [](const iovec& part) {
    return is_zero(static_cast<const u8*>(part.iov_base), part.iov_len);
  });
}

bool is_aligned(IoVec parts, u32 alignment) {
  const u64 mask = alignment - 1;
  return std::ranges::all_of(parts, [mask](const iovec& part) {
    return ((reinterpret_cast<u64>(part.iov_base) | part.iov_len) & mask) == 0;
  });
}

}  // namespace emu::block
