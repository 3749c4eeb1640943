// SPDX-License-Identifier: Apache-2.0
// Every 8-bit operand pair through the arithmetic instructions, results and defined flags against plain C, and
// spot checks of wide multiplication, division, bit and exchange instructions.
#include "guest.h"

enum { CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, OF = 0x800, kAll = CF | PF | AF | ZF | SF | OF };

static word parity_of(uint8_t value) {
  value ^= value >> 4;
  value ^= value >> 2;
  value ^= value >> 1;
  return value & 1 ? 0 : PF;
}

static word sign_zero_parity(uint8_t value) { return parity_of(value) | (value ? 0 : ZF) | (value & 0x80 ? SF : 0); }

static word add_flags(unsigned a, unsigned b, unsigned carry) {
  const unsigned sum = a + b + carry;
  return sign_zero_parity((uint8_t)sum) | (sum > 255 ? CF : 0) | ((a ^ b ^ sum) & 0x10 ? AF : 0) |
         (~(a ^ b) & (a ^ sum) & 0x80 ? OF : 0);
}

static word sub_flags(unsigned a, unsigned b, unsigned borrow) {
  const unsigned difference = a - b - borrow;
  return sign_zero_parity((uint8_t)difference) | (a < b + borrow ? CF : 0) | ((a ^ b ^ difference) & 0x10 ? AF : 0) |
         ((a ^ b) & (a ^ difference) & 0x80 ? OF : 0);
}

/// Runs `instruction` with operands %0 (read and written) and %2, carry set first as given.
#define RUN(instruction, value, operand, carry, flags)               \
  __asm__ volatile("bt $0, %k3\n" instruction "\npushf\npop %1"      \
                   : "+q"(value), "=&r"(flags)                       \
                   : "q"((uint8_t)(operand)), "r"((uint32_t)(carry)) \
                   : "cc")

static void expect(uint8_t got, unsigned expected, word flags, word expected_flags, word defined, int line) {
  if (got != (uint8_t)expected) fail(__FILE__, line, "result", got, (uint8_t)expected);
  if ((flags & defined) != (expected_flags & defined))
    fail(__FILE__, line, "flags", flags & defined, expected_flags & defined);
}

static void add_and_subtract(unsigned a, unsigned b, unsigned carry) {
  uint8_t value;
  word flags;
  value = (uint8_t)a;
  RUN("addb %2, %0", value, b, carry, flags);
  expect(value, a + b, flags, add_flags(a, b, 0), kAll, __LINE__);
  value = (uint8_t)a;
  RUN("adcb %2, %0", value, b, carry, flags);
  expect(value, a + b + carry, flags, add_flags(a, b, carry), kAll, __LINE__);
  value = (uint8_t)a;
  RUN("subb %2, %0", value, b, carry, flags);
  expect(value, a - b, flags, sub_flags(a, b, 0), kAll, __LINE__);
  value = (uint8_t)a;
  RUN("sbbb %2, %0", value, b, carry, flags);
  expect(value, a - b - carry, flags, sub_flags(a, b, carry), kAll, __LINE__);
  value = (uint8_t)a;
  RUN("cmpb %2, %0", value, b, carry, flags);
  expect(value, a, flags, sub_flags(a, b, 0), kAll, __LINE__);
}

static void logic(unsigned a, unsigned b) {
  uint8_t value;
  word flags;
  const word defined = kAll & ~AF;
  value = (uint8_t)a;
  RUN("andb %2, %0", value, b, 1, flags);
  expect(value, a & b, flags, sign_zero_parity((uint8_t)(a & b)), defined, __LINE__);
  value = (uint8_t)a;
  RUN("orb %2, %0", value, b, 1, flags);
  expect(value, a | b, flags, sign_zero_parity((uint8_t)(a | b)), defined, __LINE__);
  value = (uint8_t)a;
  RUN("xorb %2, %0", value, b, 1, flags);
  expect(value, a ^ b, flags, sign_zero_parity((uint8_t)(a ^ b)), defined, __LINE__);
  value = (uint8_t)a;
  RUN("testb %2, %0", value, b, 1, flags);
  expect(value, a, flags, sign_zero_parity((uint8_t)(a & b)), defined, __LINE__);
}

static void one_operand(unsigned a, unsigned carry) {
  uint8_t value;
  word flags;
  value = (uint8_t)a;
  RUN("incb %0", value, 0, carry, flags);
  expect(value, a + 1, flags, (add_flags(a, 1, 0) & ~(word)CF) | carry, kAll, __LINE__);
  value = (uint8_t)a;
  RUN("decb %0", value, 0, carry, flags);
  expect(value, a - 1, flags, (sub_flags(a, 1, 0) & ~(word)CF) | carry, kAll, __LINE__);
  value = (uint8_t)a;
  RUN("negb %0", value, 0, carry, flags);
  expect(value, 0 - a, flags, sub_flags(0, a, 0), kAll, __LINE__);
  value = (uint8_t)a;
  RUN("notb %0", value, 0, carry, flags);
  expect(value, ~a, flags, carry, CF, __LINE__);
}

#define SHIFT(instruction, value, count, carry, flags)                   \
  __asm__ volatile("bt $0, %k3\n" instruction " %%cl, %0\npushf\npop %1" \
                   : "+q"(value), "=&r"(flags)                           \
                   : "c"((uint8_t)(count)), "r"((uint32_t)(carry))       \
                   : "cc")

static void shifts(unsigned a, unsigned count, unsigned carry) {
  uint8_t value;
  word flags;
  const unsigned masked = count & 31;
  const word set_by_shift = masked ? ZF | SF | PF : 0;

  const uint64_t left = (uint64_t)a << masked;
  value = (uint8_t)a;
  SHIFT("shlb", value, count, carry, flags);
  const word left_carry = masked == 0 ? carry : (word)(left >> 8 & 1);
  expect(value, (uint8_t)left, flags, sign_zero_parity((uint8_t)left) | left_carry,
         set_by_shift | (masked <= 8 ? CF : 0), __LINE__);

  value = (uint8_t)a;
  SHIFT("shrb", value, count, carry, flags);
  const word right_carry = masked == 0 ? carry : (word)(a >> (masked - 1) & 1);
  expect(value, a >> masked, flags, sign_zero_parity((uint8_t)(a >> masked)) | right_carry,
         set_by_shift | (masked <= 8 ? CF : 0), __LINE__);

  const int32_t wide = (int8_t)a;
  value = (uint8_t)a;
  SHIFT("sarb", value, count, carry, flags);
  const word arithmetic_carry = masked == 0 ? carry : (word)(wide >> (masked - 1) & 1);
  expect(value, (uint8_t)(wide >> masked), flags, sign_zero_parity((uint8_t)(wide >> masked)) | arithmetic_carry,
         set_by_shift | CF, __LINE__);

  const unsigned turn = masked & 7;
  const uint8_t rotated = (uint8_t)(a << turn | a >> ((8 - turn) & 7));
  value = (uint8_t)a;
  SHIFT("rolb", value, count, carry, flags);
  expect(value, turn ? rotated : a, flags, masked == 0 ? carry : (word)(value & 1), CF, __LINE__);

  unsigned ring = a | carry << 8;  // nine bits
  for (unsigned i = 0; i < masked % 9; ++i) ring = (ring << 1 | ring >> 8) & 0x1ff;
  value = (uint8_t)a;
  SHIFT("rclb", value, count, carry, flags);
  expect(value, (uint8_t)ring, flags, ring >> 8, CF, __LINE__);
}

static void wide_operations(void) {
  uint32_t low = 0xdeadbeef, high;
  word flags;
  __asm__ volatile("mull %3; pushf; pop %2" : "+a"(low), "=d"(high), "=r"(flags) : "r"(0x87654321) : "cc");
  CHECK_EQUAL(low, 0xdeadbeefu * 0x87654321u);
  CHECK_EQUAL(high, 0x75c5b4a0);
  CHECK_EQUAL(flags & (CF | OF), CF | OF);
  low = 0x12345678, high = 0x9;
  __asm__ volatile("divl %2" : "+a"(low), "+d"(high) : "r"(0x12345) : "cc");
  CHECK_EQUAL(low, 0x7f902);
  CHECK_EQUAL(high, 0xf2ee);

  uint32_t index = 77;
  bool zero;
  __asm__("bsfl %2, %0; setz %1" : "=&r"(index), "=q"(zero) : "r"(0x00100800) : "cc");
  CHECK_EQUAL(index, 11);
  CHECK_EQUAL(zero, 0);
  __asm__("bsrl %1, %0" : "=r"(index) : "r"(0x00100800) : "cc");
  CHECK_EQUAL(index, 20);

  uint32_t cell = 5, accumulator = 5;
  __asm__ volatile("lock cmpxchgl %3, %0; setz %1" : "+m"(cell), "=q"(zero), "+a"(accumulator) : "r"(9) : "cc");
  CHECK_EQUAL(cell, 9);
  CHECK_EQUAL(zero, 1);
  __asm__ volatile("lock cmpxchgl %3, %0; setz %1" : "+m"(cell), "=q"(zero), "+a"(accumulator) : "r"(1) : "cc");
  CHECK_EQUAL(cell, 9);
  CHECK_EQUAL(accumulator, 9);
  CHECK_EQUAL(zero, 0);
  uint32_t added = 3;
  __asm__ volatile("lock xaddl %1, %0" : "+m"(cell), "+r"(added)::"cc");
  CHECK_EQUAL(cell, 12);
  CHECK_EQUAL(added, 9);

  uint32_t swapped = 0x11223344;
  __asm__("bswap %0" : "+r"(swapped));
  CHECK_EQUAL(swapped, 0x44332211);
  uint32_t shifted = 0x80000001;
  __asm__("shldl $4, %1, %0" : "+r"(shifted) : "r"(0xabcdef01) : "cc");
  CHECK_EQUAL(shifted, 0x1a);

  word chain_low = ~(word)0, chain_high = 5;  // carry through a two-word addition
  __asm__("add $1, %0; adc $0, %1" : "+r"(chain_low), "+r"(chain_high)::"cc");
  CHECK_EQUAL(chain_low, 0);
  CHECK_EQUAL(chain_high, 6);
}

static void strings(void) {
  static uint8_t source[300], target[300];
  for (int i = 0; i < 300; ++i) source[i] = (uint8_t)(i * 7);
  const void* from = source;
  void* to = target;
  word count = 300;
  __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count)::"memory");
  CHECK_EQUAL(count, 0);
  CHECK_EQUAL((word)to, (word)(target + 300));
  for (int i = 0; i < 300; ++i) CHECK_EQUAL(target[i], (uint8_t)(i * 7));

  to = target, count = 10;
  __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0x01020304) : "memory");
  CHECK_EQUAL(target[39], 1);
  CHECK_EQUAL(target[40], (uint8_t)(40 * 7));

  from = source + 100, to = target + 100, count = 200;
  target[150] ^= 1;
  __asm__ volatile("repe cmpsb" : "+S"(from), "+D"(to), "+c"(count)::"memory", "cc");
  CHECK_EQUAL(count, 149);
  to = source, count = 300;
  __asm__ volatile("repne scasb" : "+D"(to), "+c"(count) : "a"(source[20]) : "memory", "cc");
  CHECK_EQUAL((word)to, (word)(source + 21));

  // Overlapping, backwards.
  from = source + 99, to = source + 100, count = 100;
  __asm__ volatile("std; rep movsb; cld" : "+S"(from), "+D"(to), "+c"(count)::"memory", "cc");
  CHECK_EQUAL(source[1], 0);
  CHECK_EQUAL(source[100], (uint8_t)(99 * 7));
}

void main(void) {
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      add_and_subtract(a, b, 0);
      add_and_subtract(a, b, 1);
      logic(a, b);
    }
    for (unsigned count = 0; count < 34; ++count) {
      shifts(a, count, 0);
      shifts(a, count, 1);
    }
    one_operand(a, 0);
    one_operand(a, 1);
  }
  wide_operations();
  strings();
}
