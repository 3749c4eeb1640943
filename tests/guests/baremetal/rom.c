// SPDX-License-Identifier: Apache-2.0
// Stores of all sizes to ROM are lost, and reads go on: the standard VGA's, where its ROM BAR puts it.
// bits: 64
#include "pci.h"

enum { kVgaId = 0x11111234, kRomBar = 0x30, kPlace = 0xe8000000, kSignature = 0xaa55 };

void main(void) {
  const unsigned vga = pci_find(kVgaId);
  CHECK(vga < 32);
  pci_write(vga, PCI_COMMAND, kPciMemory | 1);
  pci_write(vga, kRomBar, kPlace | 1);
  volatile uint8_t* const rom = (volatile uint8_t*)(word)kPlace;
  volatile uint64_t* const words = (volatile uint64_t*)(word)kPlace;
  CHECK_EQUAL(*(volatile uint16_t*)rom, kSignature);
  const uint64_t before = words[0];
  rom[0] = 0;
  CHECK_EQUAL(rom[0], kSignature & 0xff);
  *(volatile uint16_t*)rom = 0x1234;
  *(volatile uint32_t*)rom = 0x12345678;
  words[0] = ~before;
  CHECK_EQUAL(words[0], before);
  for (int i = 0; i < 100; ++i) rom[i & 7] = (uint8_t)i;
  CHECK_EQUAL(words[0], before);
  print("ROM keeps its bytes\n");
  pci_write(vga, kRomBar, (kPlace + 0x100000) | 1);
  CHECK_EQUAL(words[0x100000 / 8], before);
  pci_write(vga, kRomBar, 0);
  print("and goes where it is put\n");
  pass();
}
