// SPDX-License-Identifier: Apache-2.0
// A fuzzer's bytes as numbers, for targets that make accesses of them.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "util/types.h"

namespace emu::fuzz {

/// Reads from the front; what is beyond the end is zero.
class Input {
 public:
  explicit Input(std::span<const u8> bytes) : bytes_(bytes) {}
  bool is_empty() const { return bytes_.empty(); }
  std::span<const u8> rest() const { return bytes_; }

  u64 take(unsigned size) {
    u64 value = 0;
    const std::size_t there = std::min<std::size_t>(size, bytes_.size());
    for (std::size_t i = 0; i < there; i++) value |= u64(bytes_[i]) << (8 * i);
    bytes_ = bytes_.subspan(there);
    return value;
  }
  u8 byte() { return u8(take(1)); }
  u16 half() { return u16(take(2)); }
  u32 word() { return u32(take(4)); }
  std::span<const u8> bytes(std::size_t size) {
    const auto found = bytes_.first(std::min(size, bytes_.size()));
    bytes_ = bytes_.subspan(found.size());
    return found;
  }

 private:
  std::span<const u8> bytes_;
};

}  // namespace emu::fuzz
