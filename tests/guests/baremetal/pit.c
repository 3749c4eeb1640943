// SPDX-License-Identifier: Apache-2.0
// 8254 channel 0 through the two 8259s: HLT wakes at each tick, a masked line stays pending, priorities and EOI.
#include "pit.h"

enum { kPicCommand = 0x20, kPicData = 0x21, kPic2Command = 0xa0, kPic2Data = 0xa1, kBase = 0x20, kBase2 = 0x28 };
enum { kEndOfInterrupt = 0x20, kReadIrr = 0x0a, kReadIsr = 0x0b };

static volatile unsigned ticks;
static uint8_t in_service;

static void on_tick(struct TrapFrame* frame) {
  (void)frame;
  ++ticks;
  out8(kPicCommand, kReadIsr);
  in_service = in8(kPicCommand);
  out8(kPicCommand, kEndOfInterrupt);
}

static void program_pics(void) {
  out8(kPicCommand, 0x11), out8(kPic2Command, 0x11);
  out8(kPicData, kBase), out8(kPic2Data, kBase2);
  out8(kPicData, 4), out8(kPic2Data, 2);
  out8(kPicData, 1), out8(kPic2Data, 1);
  out8(kPicData, 0xfe), out8(kPic2Data, 0xff);  // the timer alone
  CHECK_EQUAL(in8(kPicData), 0xfe);
}

void main(void) {
  on_trap(kBase, on_tick);
  program_pics();
  program_pit();

  while (ticks < 5) wait_for_interrupt();
  CHECK_EQUAL(in_service, 1);
  out8(kPicCommand, kReadIsr);
  CHECK_EQUAL(in8(kPicCommand), 0);

  out8(kPicData, 0xff);
  const unsigned before = ticks;
  interrupts_on();
  wait_one_period();
  wait_one_period();
  interrupts_off();
  CHECK_EQUAL(ticks, before);
  out8(kPicCommand, kReadIrr);
  // The input is low for a moment of each period, and the request goes and comes with it: a busy host stretches that.
  unsigned looks = 0;
  while ((in8(kPicCommand) & 1) == 0) CHECK(++looks < 1000000);
  out8(kPicData, 0xfe);  // unmasked: the pending tick comes at once
  for (looks = 0; ticks == before; ++looks) {
    CHECK(looks < 1000000);
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
  }
}
