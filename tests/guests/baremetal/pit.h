// SPDX-License-Identifier: Apache-2.0
// 8254 channel 0, which ticks a hundred times a second.
#pragma once

#include "guest.h"

enum { kPitChannel0 = 0x40, kPitControl = 0x43, kRateGenerator = 0x34, kLatch = 0x00, kDivisor = 11932 };  // 100 Hz

static void program_pit(void) {
  out8(kPitControl, kRateGenerator);
  out8(kPitChannel0, kDivisor & 255);
  out8(kPitChannel0, kDivisor >> 8);
}

static unsigned read_count(void) {
  out8(kPitControl, kLatch);
  const unsigned low = in8(kPitChannel0);
  return low | (unsigned)in8(kPitChannel0) << 8;
}

/// Lets the counter run through its period, seen by polling.
static void wait_one_period(void) {
  unsigned before = read_count();
  for (;;) {
    const unsigned now = read_count();
    CHECK(now <= kDivisor);
    if (now > before) return;
    before = now;
  }
}
