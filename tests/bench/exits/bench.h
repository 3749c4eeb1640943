// SPDX-License-Identifier: Apache-2.0
// Time and results of guests that measure exits.
#pragma once

#include "guest.h"

/// Of the host, under KVM.
static inline uint64_t now(void) {
  uint32_t low, high;
  __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (uint64_t)high << 32 | low;
}

static inline void print_number(uint64_t value) {
  char text[24], *at = text + sizeof text - 1;
  *at = 0;
  do *--at = (char)('0' + value % 10);
  while (value /= 10);
  print(at);
}

/// "RESULT name per-10^9-ticks": the best of `rounds` runs of `work`, which does `count` of whatever is counted.
static inline void measure(const char* name, void (*work)(void), uint64_t count, int rounds) {
  uint64_t best = ~(uint64_t)0;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t start = now();
    work();
    const uint64_t ticks = now() - start;
    if (ticks < best) best = ticks;
  }
  print("RESULT ");
  print(name);
  print(" ");
  print_number(count * 1000000000 / best);
  print("\n");
}
