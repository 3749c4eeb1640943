// SPDX-License-Identifier: Apache-2.0
// x87 errors while CR0.NE is clear: IRQ 13 through both 8259s, port 0xf0, IGNNE# meanwhile; #MF while it is set.
#include "guest.h"

enum { kPicCommand = 0x20, kPicData = 0x21, kPic2Command = 0xa0, kPic2Data = 0xa1, kBase = 0x20, kBase2 = 0x28 };
enum { kEndOfInterrupt = 0x20, kClearPort = 0xf0, kMf = 16, kDivideByZero = 4, kCr0NE = 0x20 };

static volatile unsigned irqs, faults;
static volatile uint16_t status_in_handler;

static void on_irq13(struct TrapFrame* frame) {
  (void)frame;
  ++irqs;
  out8(kClearPort, 0);
  uint16_t status;
  __asm__ volatile("fwait\nfldz\nfnstsw %0\nfnclex" : "=a"(status));  // IGNNE# lets waiting instructions pass
  status_in_handler = status;
  out8(kPic2Command, kEndOfInterrupt);
  out8(kPicCommand, kEndOfInterrupt);
}

static void on_mf(struct TrapFrame* frame) {
  (void)frame;
  ++faults;
  __asm__ volatile("fnclex");
}

static void program_pics(void) {
  out8(kPicCommand, 0x11), out8(kPic2Command, 0x11);
  out8(kPicData, kBase), out8(kPic2Data, kBase2);
  out8(kPicData, 4), out8(kPic2Data, 2);
  out8(kPicData, 1), out8(kPic2Data, 1);
  out8(kPicData, 0xfb), out8(kPic2Data, 0xdf);  // the cascade and 13 alone
}

static void set_ne(bool on) {
  word cr0;
  __asm__("mov %%cr0, %0" : "=r"(cr0));
  cr0 = on ? cr0 | kCr0NE : cr0 & ~(word)kCr0NE;
  __asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
}

static void divide_by_zero(void) {
  const uint16_t control = 0x37b;
  __asm__ volatile("fninit\nfldcw %0\nfldz\nfld1\nfdiv %%st(1), %%st" ::"m"(control));
}

void main(void) {
  on_trap(kBase2 + 5, on_irq13);
  on_trap(kMf, on_mf);
  program_pics();

  for (unsigned i = 1; i <= 3; ++i) {
    set_ne(false);
    divide_by_zero();
    __asm__ volatile("sti\nfwait\nnop\nnop\nnop\ncli" ::: "memory");
    CHECK_EQUAL(irqs, i);
    CHECK_EQUAL(faults, i - 1);
    CHECK_EQUAL(status_in_handler & kDivideByZero, kDivideByZero);
    set_ne(true);
    divide_by_zero();
    __asm__ volatile("fwait" ::: "memory");
    CHECK_EQUAL(irqs, i);
    CHECK_EQUAL(faults, i);
  }
  // An arithmetic instruction that waits is executed behind the handler.
  set_ne(false);
  divide_by_zero();
  uint32_t result;
  __asm__ volatile("sti\nfld1\nnop\nnop\ncli\nfistpl %0" : "=m"(result) : : "memory");
  CHECK_EQUAL(result, 1);
  CHECK_EQUAL(irqs, 4);
}
