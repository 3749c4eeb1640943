// SPDX-License-Identifier: Apache-2.0
// What is tried is more than lines of code: libFuzzer also keeps inputs that make the tried thing say something new.
// For one file of a target.
#pragma once

#include <string_view>

#include "util/types.h"

namespace emu::fuzz {

/// libFuzzer finds these by the name of their section.
__attribute__((used, section("__libfuzzer_extra_counters"))) static u8 g_seen[1 << 14];

/// `value` was seen at `where`.
static inline void note(u64 where, u64 value) {
  u64 hash = (where * 0x9e37'79b9'7f4a'7c15u) ^ (value * 0xc2b2'ae3d'27d4'eb4fu);
  hash ^= hash >> 32;
  g_seen[hash % sizeof(g_seen)] = 1;
}
/// The beginning of a message, without what it says about numbers.
static inline void note(std::string_view text) {
  u64 hash = 0;
  for (const char c : text.substr(0, 80)) {
    if (c < '0' || c > '9') hash = hash * 31 + u8(c);
  }
  note(hash, 1);
}

}  // namespace emu::fuzz
