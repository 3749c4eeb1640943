// SPDX-License-Identifier: Apache-2.0
#include "util/random.h"

#include <sys/random.h>
#include <sys/types.h>

#include <atomic>

namespace emu {
namespace {

std::atomic<bool> g_seeded{false};
std::atomic<u64> g_state{0};

}  // namespace

void seed_random(u64 seed) {
  g_state = seed;
  g_seeded = true;
}

u64 random_u64() {
  u64 value = 0;
  if (!g_seeded.load(std::memory_order_relaxed)) {
    while (::getrandom(&value, sizeof value, 0) != ssize_t(sizeof value)) {}  // only signals interrupt it
    return value;
  }
  // SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. Its state is a plain sum,
  // so threads need no lock.
  constexpr u64 kGamma = 0x9e3779b97f4a7c15;
  value = g_state.fetch_add(kGamma, std::memory_order_relaxed) + kGamma;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

std::optional<u64> random_position() {
  if (!g_seeded) return std::nullopt;
  return g_state.load();
}

void set_random_position(u64 position) { g_state = position; }

}  // namespace emu
