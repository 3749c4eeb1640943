// SPDX-License-Identifier: Apache-2.0
// 8254 channel 0 through the IOAPIC, edge-triggered: registers and their masks, ticks that end HLT, a masked pin.
// bits: 64
#include "lapic.h"
#include "pit.h"

enum { kVector = 0x44, kPin = 2, kRedirection = 0x10 + 2 * kPin };
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
