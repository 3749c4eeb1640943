// SPDX-License-Identifier: Apache-2.0
// Checks of one floating-point format, after W. Kahan's paranoia: radix, precision, guard digits, rounding, the sticky
// bit, zeros, overflow, gradual underflow, exceptions, conversions. To be included with REAL, NAME (text), DIGITS (of the
// significand), LARGEST and TINIEST (exponents of the largest power of two and of the smallest number), CHECK_FORMAT (the
// function's name).

static REAL CONCAT(hide_, CHECK_FORMAT)(REAL value) {
  volatile REAL hidden = value;
  return hidden;
}
#define HIDE(x) CONCAT(hide_, CHECK_FORMAT)(x)

static REAL CONCAT(power_, CHECK_FORMAT)(int exponent) {
  REAL result = 1;
  for (; exponent > 0; --exponent) result = HIDE(result * 2);
  for (; exponent < 0; ++exponent) result = HIDE(result / 2);
  return result;
}
#define POWER(exponent) CONCAT(power_, CHECK_FORMAT)(exponent)

static void CHECK_FORMAT(void) {
  const char* const format = NAME;
  // Volatile, so that each operation takes place where it stands.
  volatile REAL zero = 0, one = 1, two = 2, three = 3, half = 0.5f;

  // Small integers are exact.
  EXPECT(zero + zero == zero && one - one == zero && one > zero && one + one == two);
  EXPECT(three * three == 9 && HIDE(9) * three == 27 && HIDE(32) - HIDE(27) - 4 - one == zero);
  EXPECT(HIDE(240) / 3 == 80 && HIDE(240) / 4 == 60 && HIDE(240) / 5 == 48);
  EXPECT(half + half == one && -half + half == zero && half * half - HIDE(0.25f) == zero);

  // Radix and precision, found as in Malcolm's method.
  REAL w = 1;
  do w = HIDE(w + w);
  while (HIDE(HIDE(w + one) - w) - one == zero);
  REAL y = 1, radix = 0;
  for (; radix == zero; y = HIDE(y + y)) radix = HIDE(HIDE(w + y) - w);
  EXPECT(radix == two);
  int digits = 0;
  for (w = one; HIDE(HIDE(w + one) - w) == one; w = HIDE(w * radix)) ++digits;
  EXPECT(digits == DIGITS);
  volatile REAL u2 = POWER(1 - DIGITS), u1 = POWER(-DIGITS);  // the distance of 1 to its neighbours
  EXPECT(HIDE(one + u2) > one && HIDE(one - u1) < one);

  // A digit to guard each operation, and a sticky bit: all round to the nearest, ties to even.
  EXPECT(HIDE(one - u1) * one == one - u1 && HIDE(one + u2) / one == one + u2);
  EXPECT(HIDE(two - HIDE(two - u2)) == u2 && HIDE(one - HIDE(one - u1)) == u1);
  EXPECT(HIDE(one + u1) == one && HIDE(HIDE(one + u2) + u1) == one + two * u2);
  EXPECT(HIDE(one + HIDE(u1 + two * u1 * u1)) == one + u2 && HIDE(one + HIDE(u1 - u1 * u1)) == one);
  EXPECT(HIDE(HIDE(one + u2) * HIDE(one + u2)) == one + two * u2);
  EXPECT(HIDE(HIDE(one - u1) * HIDE(one + u2)) == one && HIDE(HIDE(one - u1) * HIDE(one - u1)) == one - u2);
  EXPECT(HIDE(HIDE(1.5f) * HIDE(one + u2)) == HIDE(1.5f) + two * u2);
  EXPECT(HIDE(one / HIDE(one + u2)) == one - u2 && HIDE(one / HIDE(one - u1)) == one + u2);
  EXPECT(HIDE(HIDE(one + u2) / HIDE(one - u1)) == one + two * u2);

  // Quotients and roots of random integers against integer arithmetic.
  uint64_t seed = 88172645463325252u;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t limit = ~0ull >> (64 - DIGITS);
    const uint64_t a = (next_random(&seed) & limit) | 1, b = (next_random(&seed) & limit) | 1;
    const REAL quotient = HIDE(HIDE((REAL)a) / HIDE((REAL)b));
    EXPECT_OF(quotient == (REAL)divide_rounded(a, b, DIGITS) * POWER(divided_exponent), a, b);
    const uint64_t root = (next_random(&seed) & (~0ull >> (64 - DIGITS / 2))) | 1;
    EXPECT_OF(REAL_SQRT(HIDE((REAL)(root * root))) == (REAL)root, root, 0);
    EXPECT_OF(REAL_SQRT(HIDE((REAL)a)) <= REAL_SQRT(HIDE((REAL)a + (REAL)a * u2)), a, 0);
    EXPECT_OF((uint64_t)(REAL)a == a && (int64_t) - (REAL)(a >> 1) == -(int64_t)(a >> 1), a, 0);
  }

  // Zeros, comparisons, what is not a number.
  volatile REAL infinity = HIDE(one / zero), nan = HIDE(zero / zero);
  EXPECT(zero == -zero && HIDE(one / -zero) == -infinity && HIDE(one / REAL_SQRT(-zero)) == -infinity);
  EXPECT(infinity > one && -infinity < -one && HIDE(infinity - infinity) != zero && HIDE(one / infinity) == zero);
  EXPECT(!(nan == nan) && nan != nan && !(nan < one) && !(nan >= one) && !(one > nan));

  // Overflow and gradual underflow.
  volatile REAL largest = HIDE(POWER(LARGEST) * (two - u2));
  EXPECT(largest < infinity && HIDE(largest * one) == largest && HIDE(largest + largest) == infinity);
  EXPECT(HIDE(largest + HIDE(POWER(LARGEST) * u1)) == infinity);
  EXPECT(HIDE(largest + HIDE(POWER(LARGEST) * u1 * (one - u1))) == largest);
  volatile REAL tiniest = POWER(TINIEST), least_normal = POWER(2 - LARGEST - 1);
  EXPECT(tiniest > zero && HIDE(tiniest / two) == zero && HIDE(tiniest * HIDE(0.75f)) == tiniest);
  EXPECT(HIDE(least_normal - tiniest) > zero && HIDE(least_normal - tiniest) < least_normal);
  EXPECT(HIDE(HIDE(least_normal - tiniest) + tiniest) == least_normal && HIDE(tiniest * HIDE(1.5f)) == two * tiniest);
  for (int i = 0; i < DIGITS; ++i) EXPECT_OF(HIDE(tiniest * POWER(i)) == POWER(TINIEST + i), i, 0);

  // Directed rounding.
  fesetround(FE_UPWARD);
  const REAL up = HIDE(one / three), up_root = REAL_SQRT(two), up_tie = HIDE(one + u1 * u1);
  fesetround(FE_DOWNWARD);
  const REAL down = HIDE(one / three), down_root = REAL_SQRT(two), down_sum = HIDE(one - u1 * u1);
  const REAL minus_zero = HIDE(one - one);
  fesetround(FE_TOWARDZERO);
  const REAL cut = HIDE(-one / three), cut_largest = HIDE(largest * two);
  fesetround(FE_TONEAREST);
  EXPECT(up - down == u1 / 2 && -cut == down && up_root - down_root == u2 && up_tie == one + u2 && down_sum == one - u1);
  EXPECT(cut_largest == largest && HIDE(one / minus_zero) == -infinity);

  // Exceptions, each by itself.
  EXPECT_EXCEPTIONS(HIDE(one + one), 0);
  EXPECT_EXCEPTIONS(HIDE(one / three), FE_INEXACT);
  EXPECT_EXCEPTIONS(HIDE(one / zero), FE_DIVBYZERO);
  EXPECT_EXCEPTIONS(HIDE(zero / zero), FE_INVALID);
  EXPECT_EXCEPTIONS(REAL_SQRT(-one), FE_INVALID);
  EXPECT_EXCEPTIONS(HIDE(largest * two), FE_OVERFLOW | FE_INEXACT);
  EXPECT_EXCEPTIONS(HIDE(tiniest / two), FE_UNDERFLOW | FE_INEXACT);
  EXPECT_EXCEPTIONS(HIDE(least_normal / two), 0);
  EXPECT_EXCEPTIONS(HIDE((REAL)(int)HIDE(1.5f)), FE_INEXACT);

  // Integer powers by multiplication and by the library.
  REAL product = 1;
  for (int i = 1; i * 8 < DIGITS * 5; ++i) {
    product = HIDE(product * three);
    EXPECT_OF(REAL_POW(three, HIDE((REAL)i)) == product, i, 0);
  }
}

#undef HIDE
#undef POWER
#undef CHECK_FORMAT
#undef REAL
#undef NAME
#undef DIGITS
#undef LARGEST
#undef TINIEST
#undef REAL_SQRT
#undef REAL_POW
