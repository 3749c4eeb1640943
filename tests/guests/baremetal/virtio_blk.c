// SPDX-License-Identifier: Apache-2.0
// virtio-blk in polling and in interrupt mode (MSI-X): what was written reads back. Wants a virtio-blk-pci without its
// legacy interface on bus 0, over a disk of 1 MiB that may be written.
// bits: 64
#include "virtio_blk.h"

enum { kVector = 0x51 };
static uint8_t first[kSector] __attribute__((aligned(16))), second[8 * kSector] __attribute__((aligned(16)));
static volatile unsigned interrupts;

static void on_interrupt(struct TrapFrame* frame) {
  (void)frame;
  ++interrupts;
  lapic_end_of_interrupt();
}

static void poll_for(uint16_t used) {
  while (blk_used.index != used) __asm__ volatile("pause");
}
static void sleep_for(uint16_t used) {
  while (blk_used.index != used) wait_for_interrupt();
}

static void transfer(void (*wait)(uint16_t)) {
  for (unsigned i = 0; i < sizeof second; ++i) second[i] = (uint8_t)(i * 7 + (i >> 9));
  const uint16_t start = blk_used.index;
  blk_queue(0, kWrite, 16, second, sizeof second);
  blk_notify();
  wait((uint16_t)(start + 1));
  CHECK_EQUAL(blk_status[0], 0);
  for (unsigned sector = 0; sector < 8; ++sector) {
    blk_queue(0, kRead, 16 + sector, first, kSector);
    blk_notify();
    wait((uint16_t)(start + 2 + sector));
    CHECK_EQUAL(blk_status[0], 0);
    for (unsigned i = 0; i < kSector; ++i) CHECK_EQUAL(first[i], second[sector * kSector + i]);
  }
  for (unsigned slot = 0; slot < 8; ++slot) blk_queue(slot, kRead, 16 + slot, second + slot * kSector, kSector);
  blk_notify();
  wait((uint16_t)(start + 17));
  for (unsigned slot = 0; slot < 8; ++slot) CHECK_EQUAL(blk_status[slot], 0);
  for (unsigned i = 0; i < sizeof second; ++i) CHECK_EQUAL(second[i], (uint8_t)(i * 7 + (i >> 9)));
  blk_queue(0, kRead, *blk_capacity, first, kSector);  // beyond the end
  blk_notify();
  wait((uint16_t)(start + 18));
  CHECK_EQUAL(blk_status[0], 1);
}

void main(void) {
  on_trap(kVector, on_interrupt);
  lapic_enable();
  blk_start(0);
  CHECK_EQUAL(*blk_capacity, 2048);
  transfer(poll_for);
  CHECK_EQUAL(interrupts, 0);
  print("polling\n");

  blk_common->status = 0;
  while (blk_common->status != 0) {
  }
  blk_used.index = 0;
  blk_available.index = 0;
  blk_start(kVector);
  transfer(sleep_for);
  while (interrupts == 0) wait_for_interrupt();  // each request may have been done before anybody slept
  print("interrupts\n");
  pass();
}
