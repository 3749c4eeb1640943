// SPDX-License-Identifier: Apache-2.0
// A driver of virtio-blk-pci (modern, split ring, one queue) for bare-metal programs. Virtio 1.2, 2.7, 4.1 and 5.2.
#pragma once

#include "lapic.h"
#include "pci.h"

enum { kBlkId = 0x10421af4, kQueue = 64, kSector = 512, kNextFlag = 1, kWriteFlag = 2, kNoInterrupt = 1 };
enum { kRead = 0, kWrite = 1, kNoVector = 0xffff };
enum { kAcknowledge = 1, kDriver = 2, kDriverOk = 4, kFeaturesOk = 8 };

struct BlkCommon {
  uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
  uint16_t config_vector, queues;
  uint8_t status, generation;
  uint16_t queue_select, queue_size, queue_vector, queue_enable, notify_offset;
  uint32_t descriptors[2], driver_area[2], device_area[2];
};
struct BlkDescriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};
struct BlkHeader {
  uint32_t type, reserved;
  uint64_t sector;
};

static struct BlkDescriptor blk_descriptors[kQueue] __attribute__((aligned(16)));
static struct {
  volatile uint16_t flags, index, ring[kQueue], event;
} blk_available __attribute__((aligned(2)));
static struct {
  volatile uint16_t flags, index;
  struct {
    volatile uint32_t id, length;
  } ring[kQueue];
  volatile uint16_t event;
} blk_used __attribute__((aligned(4)));
static volatile struct BlkCommon* blk_common;
static volatile uint16_t* blk_doorbell;
static volatile uint64_t* blk_capacity;
static struct BlkHeader blk_headers[kQueue / 3];
static volatile uint8_t blk_status[kQueue / 3];

/// Vector 0 of MSI-X becomes this interrupt, sent to the first CPU.
static inline void blk_set_msix(unsigned device, unsigned at, uint8_t vector) {
  const uint32_t table = pci_read(device, at + 4);
  volatile uint32_t* const entry = (volatile uint32_t*)(pci_bar(device, table & 7) + (table & ~7u));
  entry[0] = kLapicBase | (*lapic(LAPIC_ID) >> 24) << 12;
  entry[1] = 0;
  entry[2] = vector;
  entry[3] = 0;
  pci_write(device, at, (pci_read(device, at) & 0xbfff0000u) | 0x80000000u);
}

/// `vector` 0: no interrupts.
static inline void blk_start(uint8_t vector) {
  const unsigned device = pci_find(kBlkId);
  CHECK(device < 32);
  pci_write(device, PCI_COMMAND, kPciMemory | kPciMaster);
  uint32_t multiplier = 0;
  word notify = 0;
  for (unsigned at = pci_read8(device, PCI_CAPABILITIES); at != 0; at = pci_read8(device, at + 1)) {
    const uint8_t id = pci_read8(device, at);
    if (id == kPciMsix && vector != 0) blk_set_msix(device, at, vector);
    const uint8_t kind = pci_read8(device, at + 3), bar = pci_read8(device, at + 4);
    if (id != kPciVendor || kind == 5 || bar != 4) continue;
    const word place = pci_bar(device, bar) + pci_read(device, at + 8);
    if (kind == 1) blk_common = (volatile struct BlkCommon*)place;
    if (kind == 2) notify = place, multiplier = pci_read(device, at + 16);
    if (kind == 4) blk_capacity = (volatile uint64_t*)place;
  }
  CHECK(blk_common != 0 && notify != 0 && blk_capacity != 0);
  volatile struct BlkCommon* const common = blk_common;
  common->status = 0;
  while (common->status != 0) {
  }
  common->status = kAcknowledge;
  common->status = kAcknowledge | kDriver;
  common->driver_feature_select = 0;
  common->driver_feature = 0;
  common->driver_feature_select = 1;
  common->driver_feature = 1;  // VERSION_1 alone
  common->status = kAcknowledge | kDriver | kFeaturesOk;
  CHECK(common->status & kFeaturesOk);
  common->config_vector = kNoVector;
  common->queue_select = 0;
  CHECK(common->queue_size >= kQueue);
  common->queue_size = kQueue;
  common->queue_vector = vector != 0 ? 0 : kNoVector;
  CHECK_EQUAL(common->queue_vector, vector != 0 ? 0 : kNoVector);
  common->descriptors[0] = (uint32_t)(word)blk_descriptors, common->descriptors[1] = 0;
  common->driver_area[0] = (uint32_t)(word)&blk_available, common->driver_area[1] = 0;
  common->device_area[0] = (uint32_t)(word)&blk_used, common->device_area[1] = 0;
  blk_doorbell = (volatile uint16_t*)(notify + common->notify_offset * multiplier);
  common->queue_enable = 1;
  blk_available.flags = vector != 0 ? 0 : kNoInterrupt;
  common->status = kAcknowledge | kDriver | kFeaturesOk | kDriverOk;
}

/// Puts request `slot` (below kQueue / 3) into the ring, without telling.
static inline void blk_queue(unsigned slot, uint32_t type, uint64_t sector, void* data, uint32_t bytes) {
  struct BlkDescriptor* const d = &blk_descriptors[3 * slot];
  blk_headers[slot] = (struct BlkHeader){.type = type, .sector = sector};
  blk_status[slot] = 0xff;
  d[0] = (struct BlkDescriptor){(word)&blk_headers[slot], sizeof blk_headers[slot], kNextFlag, (uint16_t)(3 * slot + 1)};
  d[1] = (struct BlkDescriptor){(word)data, bytes, (uint16_t)(kNextFlag | (type == kRead ? kWriteFlag : 0)),
                                (uint16_t)(3 * slot + 2)};
  d[2] = (struct BlkDescriptor){(word)&blk_status[slot], 1, kWriteFlag, 0};
  blk_available.ring[blk_available.index % kQueue] = (uint16_t)(3 * slot);
  __asm__ volatile("" ::: "memory");
  blk_available.index++;
}
static inline void blk_notify(void) {
  __asm__ volatile("lock addl $0, (%%rsp)" ::: "memory", "cc");  // no mfence: a KVM without SSE executes this, too
  *blk_doorbell = 0;
}
