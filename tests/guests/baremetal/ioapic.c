// SPDX-License-Identifier: Apache-2.0
// 8254 channel 0 through the IOAPIC, edge-triggered: registers and their masks, ticks that end HLT, a masked pin.
// bits: 64
#include "lapic.h"

enum { kVector = 0x44, kPin = 2, kRedirection = 0x10 + 2 * kPin };
enum { kPitChannel0 = 0x40, kPitControl = 0x43, kRateGenerator = 0x34, kLatch = 0x00, kDivisor = 11932 };  // 100 Hz
static volatile uint32_t* const kIoapic = (volatile uint32_t*)0xfec00000;

static volatile unsigned ticks;

static uint32_t read_ioapic(uint32_t index) {
  kIoapic[0] = index;
  return kIoapic[4];
}
static void write_ioapic(uint32_t index, uint32_t value) {
  kIoapic[0] = index;
  kIoapic[4] = value;
}

static void on_tick(struct TrapFrame* frame) {
  (void)frame;
  ++ticks;
  lapic_end_of_interrupt();
}

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

static void wait_one_period(void) {
  unsigned before = read_count();
  for (;;) {
    const unsigned now = read_count();
    if (now > before) return;
    before = now;
  }
}

void main(void) {
  on_trap(kVector, on_tick);
  lapic_enable();
  CHECK_EQUAL(read_ioapic(1) >> 16 & 0xff, 23);  // the last pin
  CHECK(read_ioapic(kRedirection) & kMasked);
  write_ioapic(kRedirection + 1, *lapic(LAPIC_ID));
  write_ioapic(kRedirection, kVector);
  CHECK_EQUAL(read_ioapic(kRedirection), kVector);
  CHECK_EQUAL(read_ioapic(kRedirection + 1), *lapic(LAPIC_ID));
  program_pit();
  while (ticks < 5) wait_for_interrupt();
  print("five ticks\n");

  write_ioapic(kRedirection, kVector | kMasked);
  interrupts_on();  // one may have been on its way
  wait_one_period();
  const unsigned before = ticks;
  wait_one_period();
  wait_one_period();
  CHECK_EQUAL(ticks, before);
  interrupts_off();
  write_ioapic(kRedirection, kVector);
  while (ticks == before) wait_for_interrupt();
  print("none while masked\n");
  pass();
}
