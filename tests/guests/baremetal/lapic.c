// SPDX-License-Identifier: Apache-2.0
// Local APIC timer: one shot, periodic, masked, TSC deadline and x2APIC where the CPU offers them; self IPI; HLT wakes.
#include "lapic.h"

enum { kTimer = 0x40, kIpi = 0x41 };

static volatile unsigned ticks, ipis;
static bool x2apic;

static void end_of_interrupt(void) {
  if (x2apic)
    write_msr(0x80b, 0);
  else
    lapic_end_of_interrupt();
}
static void on_timer(struct TrapFrame* frame) {
  (void)frame;
  ++ticks;
  end_of_interrupt();
}
static void on_ipi(struct TrapFrame* frame) {
  (void)frame;
  ++ipis;
  end_of_interrupt();
}

static void wait_for_ticks(unsigned wanted) {
  while (ticks < wanted) wait_for_interrupt();
}

static void one_shot(void) {
  ticks = 0;
  *lapic(LAPIC_DIVIDE) = kDivideBy1;
  *lapic(LAPIC_LVT_TIMER) = kTimer;
  *lapic(LAPIC_INITIAL_COUNT) = 2000000;
  const uint32_t first = *lapic(LAPIC_CURRENT_COUNT);
  CHECK(first <= 2000000);
  wait_for_ticks(1);
  CHECK_EQUAL(ticks, 1);
  CHECK_EQUAL(*lapic(LAPIC_CURRENT_COUNT), 0);
}

static void periodic(void) {
  ticks = 0;
  *lapic(LAPIC_LVT_TIMER) = kTimer | kTimerPeriodic;
  *lapic(LAPIC_INITIAL_COUNT) = 1000000;
  wait_for_ticks(5);
  *lapic(LAPIC_LVT_TIMER) = kTimer | kTimerPeriodic | kMasked;
  *lapic(LAPIC_INITIAL_COUNT) = 0;
  CHECK(ticks >= 5);
}

static void self_ipi(void) {
  *lapic(LAPIC_ICR_LOW) = 0x40000 | kIpi;
  for (int i = 0; i < 1000; ++i) CHECK_EQUAL(ipis, 0);  // interrupts are off
  while (ipis == 0) wait_for_interrupt();
  CHECK_EQUAL(ipis, 1);
}

static void tsc_deadline(void) {
  ticks = 0;
  *lapic(LAPIC_LVT_TIMER) = kTimer | kTimerDeadline;
  __asm__ volatile("mfence" ::: "memory");
  const uint64_t until = __builtin_ia32_rdtsc() + 5000000;
  write_msr(0x6e0, until);
  wait_for_ticks(1);
  CHECK(__builtin_ia32_rdtsc() >= until);
  CHECK_EQUAL((word)read_msr(0x6e0), 0);
}

static void x2apic_mode(void) {
  const uint32_t id = *lapic(LAPIC_ID) >> 24;
  write_msr(0x1b, read_msr(0x1b) | 0x400);
  x2apic = true;
  CHECK_EQUAL((uint32_t)read_msr(0x802), id);
  write_msr(0x83f, kIpi);  // SELF IPI
  while (ipis < 2) wait_for_interrupt();
}

void main(void) {
  uint32_t leaf[4];
  cpuid(1, leaf);
  CHECK(leaf[3] & 1u << 9);
  on_trap(kTimer, on_timer);
  on_trap(kIpi, on_ipi);
  lapic_enable();
  one_shot();
  periodic();
  self_ipi();
  if (leaf[2] & 1u << 24)
    tsc_deadline();
  else
    print("no TSC deadline timer\n");
  if (leaf[2] & 1u << 21)
    x2apic_mode();
  else
    print("no x2APIC\n");
}
