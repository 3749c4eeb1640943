// SPDX-License-Identifier: Apache-2.0
// As many processors as a machine takes, started by one broadcast: each comes up once, with an id of its own.
// options: -smp 255
#include "lapic.h"

enum { kTrampoline = 0x8000, kOthers = 254, kStarted = 0x9000, kSeen = 0xa000, kIds = 4096 };

extern const uint8_t trampoline[], trampoline_end[];

static void send(uint32_t command) {
  *lapic(LAPIC_ICR_HIGH) = 0;
  *lapic(LAPIC_ICR_LOW) = command | kIcrAllButSelf;
  while (*lapic(LAPIC_ICR_LOW) & kIcrPending) __asm__ volatile("pause");
}

/// Waits in PIT time: enough for INIT on real hardware.
static void wait_10_ms(void) {
  out8(0x61, (in8(0x61) & ~2) | 1);
  out8(0x43, 0xb0);  // channel 2, one shot
  out8(0x42, 11932 & 255);
  out8(0x42, 11932 >> 8);
  while (!(in8(0x61) & 0x20)) {
  }
}

void main(void) {
  volatile uint32_t* started = (volatile uint32_t*)(word)kStarted;
  volatile uint8_t* seen = (volatile uint8_t*)(word)kSeen;
  uint8_t* low = (uint8_t*)(word)kTrampoline;
  __asm__("" : "+r"(low), "+r"(started), "+r"(seen));  // not arrays of known size
  *started = 0;
  for (size_t i = 0; i < kIds; ++i) seen[i] = 0;
  for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); ++i) low[i] = trampoline[i];
  lapic_enable();
  send(kIcrInit | kIcrAssert);
  wait_10_ms();
  send(kIcrStartUp | kIcrAssert | kTrampoline >> 12);
  for (int i = 0; i < 5000 && *started < kOthers; ++i) wait_10_ms();
  CHECK_EQUAL(*started, kOthers);
  unsigned ids = 0;
  for (size_t i = 0; i < kIds; ++i) {
    CHECK(seen[i] <= 1);
    ids += seen[i];
  }
  CHECK_EQUAL(ids, kOthers);
}
