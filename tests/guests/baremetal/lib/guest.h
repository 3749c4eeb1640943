// SPDX-License-Identifier: Apache-2.0
// What every bare-metal test program shares: output, exit, traps, ports and registers.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uintptr_t word;

// Output goes to debugcon (port 0xe9) and to the first 16550 (0x3f8); run-baremetal compares the two.
void print(const char* text);
void print_hex(word value);

// Leave through isa-debug-exit at port 0xf4: value v ends the emulator with status (v << 1) | 1.
#define EXIT_PASS 0x21  // status 67
#define EXIT_FAIL 0x22  // status 69
__attribute__((noreturn)) void pass(void);
__attribute__((noreturn)) void fail(const char* file, int line, const char* what, word got, word expected);

#define CHECK(condition)                                          \
  do {                                                            \
    if (!(condition)) fail(__FILE__, __LINE__, #condition, 0, 1); \
  } while (0)
#define CHECK_EQUAL(got, expected)                                          \
  do {                                                                      \
    const word got_ = (word)(got), expected_ = (word)(expected);            \
    if (got_ != expected_) fail(__FILE__, __LINE__, #got, got_, expected_); \
  } while (0)

struct TrapFrame {
#ifdef __x86_64__
  word r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
  word vector, error, ip, cs, flags, sp, ss;
#else
  word di, si, bp, unused_sp, bx, dx, cx, ax;
  word vector, error, ip, cs, flags;
#endif
};
typedef void (*TrapHandler)(struct TrapFrame*);
void on_trap(unsigned vector, TrapHandler handler);
void load_idt(void);  // for further processors; the first has it loaded before main

static inline void out8(uint16_t port, uint8_t value) { __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port)); }
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint64_t read_msr(uint32_t number) {
  uint32_t low, high;
  __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
  return (uint64_t)high << 32 | low;
}
static inline void write_msr(uint32_t number, uint64_t value) {
  __asm__ volatile("wrmsr" ::"c"(number), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}
static inline void cpuid(uint32_t leaf, uint32_t out[4]) {
  __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(0));
}
static inline void interrupts_on(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void interrupts_off(void) { __asm__ volatile("cli" ::: "memory"); }
/// Sleeps until the next interrupt: nothing can arrive between sti and hlt.
static inline void wait_for_interrupt(void) { __asm__ volatile("sti; hlt; cli" ::: "memory"); }
static inline word read_cr2(void) {
  word value;
  __asm__ volatile("mov %%cr2, %0" : "=r"(value));
  return value;
}
