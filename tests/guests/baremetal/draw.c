// SPDX-License-Identifier: Apache-2.0
// Draws into the frame buffer of the standard VGA, lets the person look, and draws again: dirty pages come from there.
// Console: "drawn" after each picture; a byte on the first serial line lets it go on.
// bits: 64
#include "pci.h"

enum { kVgaId = 0x11111234, kDispiIndex = 0x1ce, kDispiData = 0x1cf, kWidth = 640, kHeight = 480 };

static void out16(uint16_t port, uint16_t value) { __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port)); }
static void set_dispi(uint16_t index, uint16_t value) {
  out16(kDispiIndex, index);
  out16(kDispiData, value);
}

static void wait_for_byte(void) {
  while (!(in8(0x3fd) & 1)) {
  }
  (void)in8(0x3f8);
}

void main(void) {
  const unsigned vga = pci_find(kVgaId);
  CHECK(vga < 32);
  pci_write(vga, PCI_COMMAND, kPciMemory | 1);
  set_dispi(4, 0);
  set_dispi(1, kWidth);
  set_dispi(2, kHeight);
  set_dispi(3, 32);
  set_dispi(4, 0x41);
  out8(0x3c0, 0x20);  // the screen is on
  volatile uint32_t* const pixels = (volatile uint32_t*)pci_bar(vga, 0);
  for (unsigned y = 0; y < kHeight; ++y) {
    for (unsigned x = 0; x < kWidth; x += 1 + (y & 7)) pixels[y * kWidth + x] = x << 16 | y << 4 | (x ^ y);
  }
  print("drawn\n");
  wait_for_byte();
  for (unsigned y = 100; y < 104; ++y) {
    for (unsigned x = 0; x < kWidth; ++x) pixels[y * kWidth + x] = 0x00ff00;
  }
  print("drawn\n");
  wait_for_byte();
  pass();
}
