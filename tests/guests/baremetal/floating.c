// SPDX-License-Identifier: Apache-2.0
// x87 and SSE2 sums with bit-exact results, rounding modes, conversions, special values, packed integers.
// flags: -msse2 -mfpmath=sse
#include "guest.h"

static uint64_t bits(double value) {
  uint64_t out;
  __builtin_memcpy(&out, &value, 8);
  return out;
}

static void expect_bits(double got, uint64_t expected, int line) {
  const uint64_t found = bits(got);
  if (found >> 32 != expected >> 32) fail(__FILE__, line, "high half", (word)(found >> 32), (word)(expected >> 32));
  if (found != expected) fail(__FILE__, line, "low half", (word)(uint32_t)found, (word)(uint32_t)expected);
}
#define EXPECT_BITS(got, expected) expect_bits(got, expected, __LINE__)

// The harmonic number of 1000 summed from the large end: in 64 bits, and in 80 bits with the x87 default precision.
#define HARMONIC_DOUBLE 0x401df11f45f4e618
#define HARMONIC_SIGNIFICAND 0xef88fa2fa730cec4
#define HARMONIC_EXPONENT 0x4001

static void sse_sum(void) {
  double sum = 0;
  for (int i = 1; i <= 1000; ++i) {
    double term = 1.0;
    const double divisor = i;
    __asm__("divsd %1, %0" : "+x"(term) : "x"(divisor));
    __asm__("addsd %1, %0" : "+x"(sum) : "x"(term));
  }
  EXPECT_BITS(sum, HARMONIC_DOUBLE);
}

static void x87_sum(void) {
  struct __attribute__((packed)) {
    uint64_t significand;
    uint16_t exponent;
  } result;
  __asm__ volatile("fninit; fldz" ::: "memory");
  for (int i = 1; i <= 1000; ++i) __asm__ volatile("fld1; fidivl %0; faddp" ::"m"(i));
  __asm__ volatile("fstpt %0" : "=m"(result));
  CHECK_EQUAL(result.exponent, HARMONIC_EXPONENT);
  CHECK_EQUAL((uint32_t)(result.significand >> 32), (uint32_t)(HARMONIC_SIGNIFICAND >> 32));
  CHECK_EQUAL((uint32_t)result.significand, (uint32_t)HARMONIC_SIGNIFICAND);
}

static void x87_stack_and_status(void) {
  uint16_t status;
  uint32_t integer;
  double root;
  __asm__ volatile("fninit; fld1; fldpi; fldl2e; fnstsw %0" : "=a"(status));
  CHECK_EQUAL(status >> 11 & 7, 5);  // TOP after three pushes
  __asm__ volatile("fxch %%st(2); fistpl %0; fstp %%st(0); fstp %%st(0); fnstsw %1" : "=m"(integer), "=a"(status));
  CHECK_EQUAL(integer, 1);
  CHECK_EQUAL(status >> 11 & 7, 0);
  const double two = 2;
  __asm__ volatile("fldl %1; fsqrt; fstpl %0" : "=m"(root) : "m"(two));
  EXPECT_BITS(root, 0x3ff6a09e667f3bcd);
  __asm__ volatile("fninit; fld1; fldz; fdiv %%st(1), %%st; fnstsw %0; fninit" : "=a"(status));
  CHECK_EQUAL(status & 0x3f, 0);  // 0 / 1
  __asm__ volatile("fninit; fldz; fld1; fdiv %%st(1), %%st; fnstsw %0; fninit" : "=a"(status));
  CHECK_EQUAL(status & 0x3f, 0x04);  // zero divide, masked
}

static void rounding_modes(void) {
  static const uint64_t kThird[4] = {0x3fd5555555555555, 0x3fd5555555555555, 0x3fd5555555555556, 0x3fd5555555555555};
  for (uint32_t mode = 0; mode < 4; ++mode) {
    const uint32_t control = 0x1f80 | mode << 13, normal = 0x1f80;
    double value = 1;
    const double three = 3;
    __asm__ volatile("ldmxcsr %1; divsd %2, %0; ldmxcsr %3" : "+x"(value) : "m"(control), "x"(three), "m"(normal));
    EXPECT_BITS(value, kThird[mode]);
  }
  uint32_t status;
  __asm__ volatile("stmxcsr %0" : "=m"(status));
  CHECK_EQUAL(status, 0x1f80);
}

static void conversions_and_specials(void) {
  int32_t integer;
  const double big = 1e10, half = 2.5, minus = -1;
  __asm__("cvtsd2si %1, %0" : "=r"(integer) : "x"(big));
  CHECK_EQUAL((uint32_t)integer, 0x80000000);
  __asm__("cvtsd2si %1, %0" : "=r"(integer) : "x"(half));
  CHECK_EQUAL(integer, 2);  // to even
  __asm__("cvttsd2si %1, %0" : "=r"(integer) : "x"(-half));
  CHECK_EQUAL((uint32_t)integer, (uint32_t)-2);
  double root;
  __asm__("sqrtsd %1, %0" : "=x"(root) : "x"(minus));
  EXPECT_BITS(root, 0xfff8000000000000);  // the default NaN is negative
  bool parity, carry, zero;
  __asm__("ucomisd %3, %4; setp %0; setc %1; setz %2"
          : "=q"(parity), "=q"(carry), "=q"(zero)
          : "x"(root), "x"(half)
          : "cc");
  CHECK(parity && carry && zero);
  __asm__("comisd %3, %4; setp %0; setc %1; setz %2"
          : "=q"(parity), "=q"(carry), "=q"(zero)
          : "x"(half), "x"(minus)
          : "cc");
  CHECK(!parity && carry && !zero);  // minus < half
}

typedef uint32_t Vector __attribute__((vector_size(16)));

static void packed_integers(void) {
  Vector a = {0xffffffff, 0x7fffffff, 0x00010002, 0x80008000}, b = {1, 1, 0x00030004, 0x80008000};
  Vector sum = a, saturated = a, product = a, shuffled, compared = a;
  uint32_t bits_set;
  __asm__("paddd %1, %0" : "+x"(sum) : "x"(b));
  CHECK_EQUAL(sum[0], 0);
  CHECK_EQUAL(sum[1], 0x80000000);
  __asm__("paddsw %1, %0" : "+x"(saturated) : "x"(b));
  CHECK_EQUAL(saturated[0], 0xffff0000);
  CHECK_EQUAL(saturated[3], 0x80008000);
  __asm__("pmullw %1, %0" : "+x"(product) : "x"(b));
  CHECK_EQUAL(product[2], 0x00030008);
  __asm__("pshufd $0x1b, %1, %0" : "=x"(shuffled) : "x"(a));
  CHECK_EQUAL(shuffled[0], 0x80008000);
  CHECK_EQUAL(shuffled[3], 0xffffffff);
  __asm__("pcmpeqb %1, %0" : "+x"(compared) : "x"(b));
  __asm__("pmovmskb %1, %0" : "=r"(bits_set) : "x"(compared));
  CHECK_EQUAL(bits_set, 0xfa00);
}

void main(void) {
  sse_sum();
  x87_sum();
  x87_stack_and_status();
  rounding_modes();
  conversions_and_specials();
  packed_integers();
}
