// SPDX-License-Identifier: Apache-2.0
// Two processors: INIT, start-up IPI, an IPI that ends a HLT on the other one, and contended locked instructions.
// options: -smp 2
#include "lapic.h"

enum { kTrampoline = 0x8000, kWake = 0x50, kRounds = 100000 };

extern const uint8_t trampoline[], trampoline_end[];

static volatile uint32_t started, wakes, go, done, counter, lock, protected_counter;
static volatile uint32_t ping, pong;

static void on_wake(struct TrapFrame* frame) {
  (void)frame;
  ++wakes;
  lapic_end_of_interrupt();
}

static void contend(void) {
  for (int i = 0; i < kRounds; ++i) __asm__ volatile("lock incl %0" : "+m"(counter)::"cc");
  for (int i = 0; i < kRounds / 10; ++i) {
    uint32_t taken = 1;
    do {
      __asm__ volatile("xchg %0, %1" : "+r"(taken), "+m"(lock)::"memory");
      if (taken) __asm__ volatile("pause");
    } while (taken);
    ++protected_counter;
    __asm__ volatile("" ::: "memory");
    lock = 0;
  }
}

/// First C code of the second processor; called by the trampoline on its own stack.
void other_main(void) {
  load_idt();
  lapic_enable();
  started = *lapic(LAPIC_ID) >> 24 | 0x100;
  while (wakes < 3) wait_for_interrupt();
  while (!go) __asm__ volatile("pause");
  contend();
  for (uint32_t i = 1; i <= 10000; ++i) {
    while (ping != i) __asm__ volatile("pause");
    pong = i;
  }
  done = 1;
  for (;;) __asm__ volatile("cli; hlt");
}

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

static void start_other(void) {
  uint8_t* low = (uint8_t*)(word)kTrampoline;
  __asm__("" : "+r"(low));  // not an array of known size
  for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); ++i) low[i] = trampoline[i];
  send(kIcrInit | kIcrAssert);
  wait_10_ms();
  send(kIcrStartUp | kIcrAssert | kTrampoline >> 12);
  wait_10_ms();
  if (!started) send(kIcrStartUp | kIcrAssert | kTrampoline >> 12);
  while (!started) __asm__ volatile("pause");
  CHECK((started & 0xff) != *lapic(LAPIC_ID) >> 24);
}

static void wake_other(void) {
  for (uint32_t i = 1; i <= 3; ++i) {
    wait_10_ms();  // it has gone to sleep by now
    send(kIcrAssert | kWake);
    while (wakes < i) __asm__ volatile("pause");
  }
}

void main(void) {
  on_trap(kWake, on_wake);
  lapic_enable();
  start_other();
  wake_other();
  go = 1;
  contend();
  for (uint32_t i = 1; i <= 10000; ++i) {
    ping = i;
    while (pong != i) __asm__ volatile("pause");
  }
  while (!done) __asm__ volatile("pause");
  CHECK_EQUAL(counter, 2 * kRounds);
  CHECK_EQUAL(protected_counter, 2 * kRounds / 10);
}
