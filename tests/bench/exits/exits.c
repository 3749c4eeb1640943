// SPDX-License-Identifier: Apache-2.0
// How many accesses to devices in 10^9 ticks of the time-stamp counter: each leaves the guest under KVM, where the
// counter is the host's. Prints "RESULT name accesses" lines; ./measure runs it. Each figure is the best of many short
// rounds, so that a busy host disturbs it little.
// bits: 64
#include "bench.h"

enum { kRounds = 10, kAccesses = 512, kWords = 64 };
enum { kPort = 0x80 };  // POST codes: a port that does nothing
static volatile uint32_t* const kHpet = (volatile uint32_t*)0xfed00000;

static void write_port(void) {
  for (int i = 0; i < kAccesses; ++i) out8(kPort, 0);
}
static void read_port(void) {
  for (int i = 0; i < kAccesses; ++i) in8(kPort);
}
/// A string instruction may leave once for many elements.
static void write_string(void) {
  static uint8_t text[kWords];
  for (int i = 0; i < kAccesses / kWords; ++i) {
    const uint8_t* from = text;
    uint64_t count = kWords;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"((uint16_t)kPort) : "memory");
  }
}
static void read_memory(void) {
  for (int i = 0; i < kAccesses; ++i) (void)kHpet[0];
}
static void write_memory(void) {
  for (int i = 0; i < kAccesses; ++i) kHpet[1] = 0;  // the upper half of the capabilities: read-only
}

void main(void) {
  measure("port-write", write_port, kAccesses, kRounds);
  measure("port-read", read_port, kAccesses, kRounds);
  measure("port-write-string", write_string, kAccesses / kWords * kWords, kRounds);
  measure("memory-read", read_memory, kAccesses, kRounds);
  measure("memory-write", write_memory, kAccesses, kRounds);
  pass();
}
