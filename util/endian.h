// SPDX-License-Identifier: Apache-2.0
// Integers with a declared byte order, as they lie in guest memory, images and on wires.
#pragma once

#include <bit>
#include <cstring>

#include "util/types.h"

namespace emu {

template <typename T>
constexpr T byte_swap(T v) {
  if constexpr (sizeof(T) == 1) return v;
  else if constexpr (sizeof(T) == 2) return T(__builtin_bswap16(u16(v)));
  else if constexpr (sizeof(T) == 4) return T(__builtin_bswap32(u32(v)));
  else return T(__builtin_bswap64(u64(v)));
}

/// Stored bytes of a T in the order `Order`; alignment 1. Converts only explicitly named: get() and assignment.
template <typename T, std::endian Order>
class Ordered {
 public:
  constexpr Ordered() = default;
  constexpr Ordered(T v) { *this = v; }  // NOLINT: writing a native value is always meant
  constexpr Ordered& operator=(T v) {
    const T stored = Order == std::endian::native ? v : byte_swap(v);
    __builtin_memcpy(bytes_, &stored, sizeof(T));
    return *this;
  }
  constexpr T get() const {
    T stored;
    __builtin_memcpy(&stored, bytes_, sizeof(T));
    return Order == std::endian::native ? stored : byte_swap(stored);
  }
  using value_type = T;

 private:
  u8 bytes_[sizeof(T)] = {};
};

using Le16 = Ordered<u16, std::endian::little>;
using Le32 = Ordered<u32, std::endian::little>;
using Le64 = Ordered<u64, std::endian::little>;
using Be16 = Ordered<u16, std::endian::big>;
using Be32 = Ordered<u32, std::endian::big>;
using Be64 = Ordered<u64, std::endian::big>;

}  // namespace emu
