// SPDX-License-Identifier: Apache-2.0
// Repeatable random numbers, with a liking for awkward ones.
#pragma once

#include <bit>
#include <initializer_list>

#include "util/types.h"

namespace emu::isa {

/// splitmix64: one word of state, so that (seed, case) names a case.
class Random {
 public:
  Random(u64 seed, u64 stream) : state_(seed * 0x9e3779b97f4a7c15 ^ (stream + 1) * 0xd1342543de82ef95) { next(); }
  u64 next() {
    u64 z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  u64 below(u64 n) { return u64(u128(next()) * n >> 64); }
  bool one_in(u64 n) { return below(n) == 0; }
  template <typename T>
  T pick(std::initializer_list<T> list) {
    return list.begin()[below(list.size())];
  }
  /// Limits of every width and their neighbours, single bits, small and arbitrary numbers.
  u64 integer();
  /// Two single, or one double number's bits.
  u64 floating();

 private:
  u64 state_;
};

}  // namespace emu::isa
