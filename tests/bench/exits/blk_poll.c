// SPDX-License-Identifier: Apache-2.0
// Requests of 4 KiB to a virtio disk in 10^9 ticks of the host, by a driver that polls: one at a time, and sixteen.
// Wants what virtio_blk.c wants; ./measure runs it.
// bits: 64
#include "../../guests/baremetal/virtio_blk.h"
#include "bench.h"

enum { kRounds = 16, kRequests = 64, kDeep = 16, kBytes = 4096, kBlocks = (1 << 20) / kBytes };

static uint8_t buffers[kDeep][kBytes] __attribute__((aligned(4096)));
static unsigned place;

static void request(unsigned slot, uint32_t type) {
  place = (place * 109 + 89) % kBlocks;
  blk_queue(slot, type, place * (kBytes / kSector), buffers[slot], kBytes);
}

static void transfer(uint32_t type, unsigned depth) {
  for (unsigned done = 0; done < kRequests; done += depth) {
    const uint16_t end = (uint16_t)(blk_used.index + depth);
    for (unsigned slot = 0; slot < depth; ++slot) request(slot, type);
    blk_notify();
    while (blk_used.index != end) __asm__ volatile("pause");
    for (unsigned slot = 0; slot < depth; ++slot) CHECK_EQUAL(blk_status[slot], 0);
  }
}

static void read_one(void) { transfer(kRead, 1); }
static void read_many(void) { transfer(kRead, kDeep); }
static void write_one(void) { transfer(kWrite, 1); }

void main(void) {
  blk_start(0);
  measure("disk-read", read_one, kRequests, kRounds);
  measure("disk-read-16", read_many, kRequests, kRounds);
  measure("disk-write", write_one, kRequests, kRounds);
  pass();
}
