// SPDX-License-Identifier: Apache-2.0
// Code written, run, rewritten: in another page, in the page that is running, in the very block that is running,
// byte by byte, and through two pages at once.
#include "guest.h"

static uint8_t code[3 * 4096] __attribute__((aligned(4096)));

typedef uint32_t (*Function)(void);

static void serialise(void) {
  uint32_t ignored[4];
  cpuid(0, ignored);
}

/// mov $value, %eax; ret
static void write_function(uint8_t* at, uint32_t value) {
  at[0] = 0xb8;
  for (int i = 0; i < 4; ++i) at[1 + i] = (uint8_t)(value >> 8 * i);
  at[5] = 0xc3;
}

static void rewritten_in_another_page(void) {
  for (uint32_t i = 0; i < 3000; ++i) {
    write_function(code + 64, i * 77);
    CHECK_EQUAL(((Function)(void*)(code + 64))(), i * 77);
  }
}

static void many_then_one_changes(void) {
  for (uint32_t i = 0; i < 64; ++i) write_function(code + i * 16, i);
  for (uint32_t i = 0; i < 64; ++i) CHECK_EQUAL(((Function)(void*)(code + i * 16))(), i);
  code[16 * 16 + 1] = 99;  // one byte of one immediate
  for (uint32_t i = 0; i < 64; ++i) CHECK_EQUAL(((Function)(void*)(code + i * 16))(), i == 16 ? 99 : i);
}

static void function_across_two_pages(void) {
  uint8_t* at = code + 4096 - 3;  // the immediate spans the boundary
  write_function(at, 0x01020304);
  CHECK_EQUAL(((Function)(void*)at)(), 0x01020304);
  code[4096] = 0x55;  // second page only
  CHECK_EQUAL(((Function)(void*)at)(), 0x01550304);
  code[4095] = 0x66;  // first page only
  CHECK_EQUAL(((Function)(void*)at)(), 0x01556604);
}

/// Patches the instruction right behind the store, in straight line: x86 executes the new one.
static void next_instruction(void) {
  for (uint32_t i = 1; i < 200; ++i) {
    uint32_t result;
    __asm__ volatile(
        "movl %1, 1f + 1\n"  // the immediate of the mov below
        "1: movl $0x7fffffff, %%eax\n"
        "movl %%eax, %0"
        : "=r"(result)
        : "r"(i * 3)
        : "eax", "memory");
    CHECK_EQUAL(result, i * 3);
  }
}

/// A loop that counts in its own immediate.
static void loop_changes_itself(void) {
  uint32_t sum = 0, turns = 500;
  __asm__ volatile(
      "movl $0, 2f + 2\n"
      "1: nop\n"
      "2: addl $0x12345678, %%ecx\n"  // 81 c1 imm32
      "incl 2b + 2\n"
      "decl %1\n"
      "jnz 1b"
      : "+c"(sum), "+d"(turns)
      :
      : "memory", "cc");
  CHECK_EQUAL(sum, 499 * 500 / 2);
}

static void data_next_to_code(void) {
  write_function(code + 256, 42);
  volatile uint32_t* counter = (volatile uint32_t*)(code + 512);
  *counter = 0;
  for (int i = 0; i < 2000; ++i) *counter += ((Function)(void*)(code + 256))();
  CHECK_EQUAL(*counter, 2000 * 42);
}

static void string_store_over_code(void) {
  write_function(code + 128, 7);
  CHECK_EQUAL(((Function)(void*)(code + 128))(), 7);
  uint8_t fresh[6];
  write_function(fresh, 8);
  const void* from = fresh;
  void* to = code + 128;
  word count = 6;
  __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)::"memory");
  serialise();
  CHECK_EQUAL(((Function)(void*)(code + 128))(), 8);
}

void main(void) {
  rewritten_in_another_page();
  many_then_one_changes();
  function_across_two_pages();
  next_instruction();
  loop_changes_itself();
  data_next_to_code();
  string_store_over_code();
}
