// SPDX-License-Identifier: Apache-2.0
// The arithmetic of float, double and the x87's format: paranoia.h for each. Prints one line per check that fails.
// cflags: -frounding-math -fno-builtin
#include <fenv.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>

#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)
#define EXPECT_OF(condition, a, b)                                                                    \
  do {                                                                                                \
    ++checks;                                                                                         \
    if (!(condition)) failed(format, __LINE__, #condition, (uint64_t)(a), (uint64_t)(b));             \
  } while (0)
#define EXPECT(condition) EXPECT_OF(condition, 0, 0)
#define EXPECT_EXCEPTIONS(expression, expected)                     \
  do {                                                              \
    feclearexcept(FE_ALL_EXCEPT);                                   \
    (void)(expression);                                             \
    EXPECT_OF(fetestexcept(FE_ALL_EXCEPT) == (expected), fetestexcept(FE_ALL_EXCEPT), expected); \
  } while (0)

static unsigned long checks, failures;
static int divided_exponent;

static void failed(const char* format, int line, const char* condition, uint64_t a, uint64_t b) {
  if (++failures <= 20) printf("FAIL paranoia %s, line %d: %s (%#llx, %#llx)\n", format, line, condition,
                               (unsigned long long)a, (unsigned long long)b);
}

static uint64_t next_random(uint64_t* state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/// a / b rounded to the nearest number of that many digits, in units of 2 to divided_exponent.
static uint64_t divide_rounded(uint64_t a, uint64_t b, int digits) {
  uint64_t quotient = a / b, rest = a % b;
  divided_exponent = 0;
  while (!(quotient >> (digits - 1))) {
    const int carry = (int)(rest >> 63);
    rest <<= 1;
    const int bit = carry || rest >= b;
    if (bit) rest -= b;
    quotient = quotient << 1 | (uint64_t)bit;
    --divided_exponent;
  }
  // rest < b, so that twice the rest is compared without a carry; odd divisors leave no ties but exact ones.
  if (rest > b - rest || (rest == b - rest && (quotient & 1))) ++quotient;
  return quotient;
}

#define REAL float
#define NAME "float"
#define DIGITS 24
#define LARGEST 127
#define TINIEST (-149)
#define REAL_SQRT(x) HIDE(sqrtf(x))
#define REAL_POW(x, y) HIDE(powf(x, y))
#define CHECK_FORMAT check_float
#include "paranoia.h"

#define REAL double
#define NAME "double"
#define DIGITS 53
#define LARGEST 1023
#define TINIEST (-1074)
#define REAL_SQRT(x) HIDE(sqrt(x))
#define REAL_POW(x, y) HIDE(pow(x, y))
#define CHECK_FORMAT check_double
#include "paranoia.h"

#define REAL long double
#define NAME "long double"
#define DIGITS 64
#define LARGEST 16383
#define TINIEST (-16445)
#define REAL_SQRT(x) HIDE(sqrtl(x))
#define REAL_POW(x, y) HIDE(powl(x, y))
#define CHECK_FORMAT check_long_double
#include "paranoia.h"

int main(void) {
  check_float();
  check_double();
  check_long_double();
  printf("SELFTEST-FIGURE paranoia %lu checks\n", checks);
  return failures != 0;
}
