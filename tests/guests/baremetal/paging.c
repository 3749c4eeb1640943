// SPDX-License-Identifier: Apache-2.0
// Page tables of our own: faults with CR2 and error code for each reason, accessed and dirty bits, INVLPG, write
// protection, and (64 bits) no-execute. The window under test is one 4 KiB page away from everything else.
#include "guest.h"

enum { P = 1, W = 2, U = 4, A = 0x20, D = 0x40, kLarge = 0x80 };
enum { kErrorPresent = 1, kErrorWrite = 2, kErrorFetch = 16 };

typedef word Entry;
enum { kEntries = 4096 / sizeof(Entry) };

static Entry table[kEntries] __attribute__((aligned(4096)));
static uint8_t frame_a[4096] __attribute__((aligned(4096))), frame_b[4096] __attribute__((aligned(4096)));

#ifdef __x86_64__
#define SET_RESUME "movq $1f, %[resume]\n"
#define SET_DX "rdx"
static const word kWindow = 0x123456789000;  // its own entry at every level
#define NX ((word)1 << 63)
static Entry upper[kEntries] __attribute__((aligned(4096))), directory[kEntries] __attribute__((aligned(4096)));
extern Entry pml4[];

static void map_window_tables(void) {
  pml4[kWindow >> 39 & 511] = (word)upper | P | W | U;
  upper[kWindow >> 30 & 511] = (word)directory | P | W | U;
  directory[kWindow >> 21 & 511] = (word)table | P | W | U;
}
#else
#define SET_RESUME "movl $1f, %[resume]\n"
#define SET_DX "edx"
static const word kWindow = 0x91234000;
static Entry directory[kEntries] __attribute__((aligned(4096)));

static void map_window_tables(void) {
  for (word i = 0; i < kEntries; ++i) directory[i] = i << 22 | kLarge | P | W;
  directory[kWindow >> 22] = (word)table | P | W | U;
  __asm__ volatile(
      "mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4\n"  // PSE
      "mov %0, %%cr3\n"
      "mov %%cr0, %%eax; or $0x80010000, %%eax; mov %%eax, %%cr0"  // PG, WP
      ::"r"(directory)
      : "eax", "memory");
}
#endif

static Entry* entry(void) { return &table[kWindow >> 12 & (kEntries - 1)]; }
static void map(const void* frame, word bits) { *entry() = (word)frame | bits; }
static void flush(void) { __asm__ volatile("invlpg (%0)" ::"r"(kWindow) : "memory"); }

static unsigned faults;
static word fault_address, fault_error, resume;

static void on_page_fault(struct TrapFrame* frame) {
  ++faults;
  fault_address = read_cr2();
  fault_error = frame->error;
  frame->ip = resume;
}

static uint32_t load(word address) {
  uint32_t value = 0xbad;
  __asm__ volatile(SET_RESUME "mov (%[at]), %[value]\n1:"
                   : [resume] "=m"(resume), [value] "+r"(value)
                   : [at] "r"(address)
                   : "memory");
  return value;
}

static void store(word address, uint32_t value) {
  __asm__ volatile(SET_RESUME "mov %[value], (%[at])\n1:"
                   : [resume] "=m"(resume)
                   : [at] "r"(address), [value] "r"(value)
                   : "memory");
}

static void expect_fault(word address, word error) {
  CHECK_EQUAL(faults, 1);
  CHECK_EQUAL(fault_address, address);
  CHECK_EQUAL(fault_error, error);
  faults = 0;
}

static void not_present(void) {
  map(frame_a, 0);
  flush();
  CHECK_EQUAL(load(kWindow + 0x10), 0xbad);
  expect_fault(kWindow + 0x10, 0);
  store(kWindow + 0xffc, 1);
  expect_fault(kWindow + 0xffc, kErrorWrite);
  CHECK_EQUAL(*entry() & (A | D), 0);
}

static void becomes_present_without_flush(void) {
  map(frame_a, P | W);  // a processor never caches "not present"
  store(kWindow + 8, 0x11223344);
  CHECK_EQUAL(load(kWindow + 8), 0x11223344);
  CHECK_EQUAL(faults, 0);
  CHECK_EQUAL(*(uint32_t*)(frame_a + 8), 0x11223344);
}

static void accessed_and_dirty(void) {
  map(frame_a, P | W);
  flush();
  load(kWindow);
  CHECK_EQUAL(*entry() & (A | D), A);
  store(kWindow, 5);
  CHECK_EQUAL(*entry() & (A | D), A | D);
}

static void write_protected(void) {
  map(frame_a, P);
  flush();
  CHECK_EQUAL(load(kWindow + 8), 0x11223344);
  store(kWindow + 8, 0);
  expect_fault(kWindow + 8, kErrorPresent | kErrorWrite);
  CHECK_EQUAL(*(uint32_t*)(frame_a + 8), 0x11223344);
}

static void invlpg_shows_the_new_frame(void) {
  *(uint32_t*)(frame_b + 8) = 0x55667788;
  map(frame_a, P | W);
  flush();
  CHECK_EQUAL(load(kWindow + 8), 0x11223344);
  map(frame_b, P | W);
  flush();
  CHECK_EQUAL(load(kWindow + 8), 0x55667788);
}

static void access_over_the_page_end(void) {
  map(frame_a, P | W);
  flush();
  *(uint16_t*)(frame_a + 0xffe) = 0xabcd;
  CHECK_EQUAL(load(kWindow + 0xffe), 0xbad);
  expect_fault(kWindow + 0x1000, 0);  // the first byte that is not mapped
  store(kWindow + 0xffe, 0);
  expect_fault(kWindow + 0x1000, kErrorWrite);
  CHECK_EQUAL(*(uint16_t*)(frame_a + 0xffe), 0xabcd);  // and nothing was written
}

/// Jumps to the window, where `jmp *%reg` comes back; a fetch fault resumes at the same place.
static void run_window(void) {
  frame_a[0] = 0xff, frame_a[1] = 0xe2;  // jmp *%edx / *%rdx
  __asm__ volatile(SET_RESUME "mov %[resume], %%" SET_DX "\njmp *%[at]\n1:"
                   : [resume] "=m"(resume)
                   : [at] "r"(kWindow)
                   : "memory", "edx");
}

static void execution(void) {
  map(frame_a, P);
  flush();
  run_window();
  CHECK_EQUAL(faults, 0);
  map(frame_a, 0);
  flush();
  run_window();
#ifdef __x86_64__
  expect_fault(kWindow, kErrorFetch);
  map(frame_a, P | NX);
  flush();
  run_window();
  expect_fault(kWindow, kErrorPresent | kErrorFetch);
  CHECK_EQUAL((uint16_t)load(kWindow), 0xe2ff);  // still readable
#else
  expect_fault(kWindow, 0);  // no fetch bit without NX
#endif
}

void main(void) {
  map_window_tables();
  on_trap(14, on_page_fault);
  not_present();
  becomes_present_without_flush();
  accessed_and_dirty();
  write_protected();
  invlpg_shows_the_new_frame();
  access_over_the_page_end();
  execution();
}
