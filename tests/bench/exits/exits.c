// SPDX-License-Identifier: Apache-2.0
// How many accesses to devices in 10^9 ticks of the time-stamp counter: each leaves the guest under KVM, where the counter
// is the host's. Prints "RESULT name accesses" lines; ./measure runs it. Each figure is the best of many short rounds, so that a busy host disturbs it little.
// bits: 64
#include "guest.h"

enum { kRounds = 10, kAccesses = 512, kWords = 64 };
enum { kPort = 0x80 };  // POST codes: a port that does nothing
static volatile uint32_t* const kHpet = (volatile uint32_t*)0xfed00000;

static uint64_t now(void) {
  uint32_t low, high;
  __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (uint64_t)high << 32 | low;
}

static void print_number(uint64_t value) {
  char text[24], *at = text + sizeof text - 1;
  *at = 0;
  do *--at = (char)('0' + value % 10);
  while (value /= 10);
  print(at);
}

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

static void measure(const char* name, void (*accesses)(void), uint64_t count) {
  uint64_t best = ~(uint64_t)0;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t start = now();
    accesses();
    const uint64_t ticks = now() - start;
    if (ticks < best) best = ticks;
  }
  print("RESULT ");
  print(name);
  print(" ");
  print_number(count * 1000000000 / best);
  print("\n");
}

void main(void) {
  measure("port-write", write_port, kAccesses);
  measure("port-read", read_port, kAccesses);
  measure("port-write-string", write_string, kAccesses / kWords * kWords);
  measure("memory-read", read_memory, kAccesses);
  measure("memory-write", write_memory, kAccesses);
  pass();
}
