// SPDX-License-Identifier: Apache-2.0
// Output, exit and trap dispatch of the bare-metal test programs.
#include "guest.h"

enum { kDebugcon = 0xe9, kUart = 0x3f8, kUartLineStatus = kUart + 5, kTransmitterEmpty = 0x20, kDebugExit = 0xf4 };

static void put(char c) {
  out8(kDebugcon, (uint8_t)c);
  while (!(in8(kUartLineStatus) & kTransmitterEmpty)) {
  }
  out8(kUart, (uint8_t)c);
}

void print(const char* text) {
  while (*text) put(*text++);
}

void print_hex(word value) {
  print("0x");
  for (int shift = sizeof value * 8 - 4; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
}

static void print_decimal(unsigned value) {
  if (value >= 10) print_decimal(value / 10);
  put((char)('0' + value % 10));
}

__attribute__((noreturn)) static void leave(uint8_t value) {
  while (!(in8(kUartLineStatus) & 0x40)) {  // until the last character has left the shift register
  }
  out8(kDebugExit, value);
  for (;;) __asm__ volatile("cli; hlt");
}

void pass(void) {
  print("PASS\n");
  leave(EXIT_PASS);
}

void fail(const char* file, int line, const char* what, word got, word expected) {
  print("FAIL ");
  print(file);
  print(":");
  print_decimal((unsigned)line);
  print(": ");
  print(what);
  print(" is ");
  print_hex(got);
  print(", expected ");
  print_hex(expected);
  print("\n");
  leave(EXIT_FAIL);
}

struct Gate {
  uint16_t offset_low, selector;
  uint8_t stack_table, type;
  uint16_t offset_middle;
#ifdef __x86_64__
  uint32_t offset_high, reserved;
#endif
};
struct __attribute__((packed)) TablePointer {
  uint16_t limit;
  word base;
};

extern const word trap_entries[256];
static struct Gate idt[256];
static TrapHandler handlers[256];

void on_trap(unsigned vector, TrapHandler handler) { handlers[vector] = handler; }

void load_idt(void) {
  const struct TablePointer pointer = {sizeof idt - 1, (word)idt};
  __asm__ volatile("lidt %0" ::"m"(pointer));
}

void setup_traps(void) {
  uint16_t code;
  __asm__("mov %%cs, %0" : "=r"(code));
  for (int i = 0; i < 256; ++i) {
    const word entry = trap_entries[i];
    idt[i] = (struct Gate){
        .offset_low = (uint16_t)entry, .selector = code, .type = 0x8e, .offset_middle = (uint16_t)(entry >> 16)};
#ifdef __x86_64__
    idt[i].offset_high = (uint32_t)(entry >> 32);
#endif
  }
  load_idt();
  out8(0x21, 0xff);  // firmware may have left the timer running through the 8259s, on vector 8
  out8(0xa1, 0xff);
}

void trap(struct TrapFrame* frame) {
  if (handlers[frame->vector]) return handlers[frame->vector](frame);
  print("unexpected trap ");
  print_hex(frame->vector);
  print(" error ");
  print_hex(frame->error);
  print(" cr2 ");
  print_hex(read_cr2());
  print("\n");
  fail("trap", 0, "ip", frame->ip, 0);
}
