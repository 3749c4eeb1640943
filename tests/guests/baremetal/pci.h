// SPDX-License-Identifier: Apache-2.0
// PCI configuration space by mechanism 1, for bare-metal programs. PCI 3.0, 3.2.2.3 and 6.1.
#pragma once

#include "guest.h"

enum {
  PCI_ID = 0x00,
  PCI_COMMAND = 0x04,
  PCI_BAR0 = 0x10,
  PCI_CAPABILITIES = 0x34,
  kPciMemory = 2,
  kPciMaster = 4,
  kPciMsix = 0x11,
  kPciVendor = 0x09,
};

static inline void out32(uint16_t port, uint32_t value) { __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
/// `device` is on bus 0, function 0; `offset` a multiple of 4.
static inline uint32_t pci_read(unsigned device, unsigned offset) {
  out32(0xcf8, 0x80000000u | device << 11 | (offset & 0xfc));
  return in32(0xcfc);
}
static inline void pci_write(unsigned device, unsigned offset, uint32_t value) {
  out32(0xcf8, 0x80000000u | device << 11 | (offset & 0xfc));
  out32(0xcfc, value);
}
static inline uint8_t pci_read8(unsigned device, unsigned offset) {
  return (uint8_t)(pci_read(device, offset) >> 8 * (offset & 3));
}
/// The first of these on bus 0; 32: there is none.
static inline unsigned pci_find(uint32_t id) {
  unsigned device = 0;
  while (device < 32 && pci_read(device, PCI_ID) != id) ++device;
  return device;
}
/// Where a memory BAR lies, of 32 or 64 bits.
static inline word pci_bar(unsigned device, unsigned bar) {
  const uint32_t low = pci_read(device, PCI_BAR0 + 4 * bar);
  word address = low & ~15u;
  if ((low & 6) == 4) address |= (word)((uint64_t)pci_read(device, PCI_BAR0 + 4 * bar + 4) << 32);
  return address;
}
