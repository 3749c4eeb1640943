// SPDX-License-Identifier: Apache-2.0
// MONITOR and MWAIT: a line that has changed is not waited for, no wait lasts without end, reserved extensions fault.
// bits: 64
// options: -cpu max,+monitor -smp 2
#include "guest.h"

static volatile uint64_t line[8] __attribute__((aligned(64)));
static unsigned faults;

static void monitor(const volatile void* at, word extensions) {
  __asm__ volatile("monitor" ::"a"(at), "c"(extensions), "d"((word)0) : "memory");
}
static void mwait(word extensions) { __asm__ volatile("mwait" ::"a"((word)0), "c"(extensions) : "memory"); }
static void skip(struct TrapFrame* frame) {
  ++faults;
  frame->ip += 3;  // both instructions have three bytes
}

void main(void) {
  uint32_t r[4];
  cpuid(1, r);
  CHECK(r[2] >> 3 & 1);
  mwait(0);  // nothing is armed
  for (uint64_t i = 0; i < 1000; ++i) {
    monitor(&line[3], 0);
    line[0] = i + 1;
    mwait(0);
  }
  for (unsigned i = 0; i < 20; ++i) {
    monitor(line, 0);
    mwait(0);
  }
  on_trap(13, skip);
  monitor(line, 1);
  CHECK_EQUAL(faults, 1);
  mwait(0x10);
  CHECK_EQUAL(faults, 2);
}
