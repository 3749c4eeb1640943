// SPDX-License-Identifier: Apache-2.0
// Whetstone (H. J. Curnow and B. A. Wichmann, "A synthetic benchmark", The Computer Journal 19 (1), 1976): its modules
// with the published weights, what each computes against the values that a processor of good standing gives, and the
// speed. whetstone [LOOPS]; one loop is a million Whetstone instructions.
#include <stdio.h>
#include <stdlib.h>
#include <tgmath.h>
#include <time.h>

#ifndef REAL
#define REAL double
#define EXACT_TO 1e-12L
#define EXPECT_2 -0.068342198629951639299L
#define EXPECT_3 -0.053648824359653124461L
#define EXPECT_7X 0.49040731615904542551L
#define EXPECT_7Y 0.49039249795610007077L
#define EXPECT_8 0.99993750062499997533L
#define EXPECT_11 0.83466551951905176843L
#endif
typedef REAL Real;

static const Real kT = 0.499975, kT1 = 0.50025, kT2 = 2.0;
static Real e1[5];  // from 1, as the original counts
static int failures;

static void expect(const char* module, Real value, long double expected) {
  const long double error = fabsl((long double)value - expected);
  if (error <= EXACT_TO * fabsl(expected)) return;
  printf("FAIL whetstone %s: %.20Lg, expected %.20Lg\n", module, (long double)value, expected);
  ++failures;
}

__attribute__((noinline)) static void array_as_parameter(Real e[5]) {
  for (int j = 0; j < 6; ++j) {
    e[1] = (e[1] + e[2] + e[3] - e[4]) * kT;
    e[2] = (e[1] + e[2] - e[3] + e[4]) * kT;
    e[3] = (e[1] - e[2] + e[3] + e[4]) * kT;
    e[4] = (-e[1] + e[2] + e[3] + e[4]) / kT2;
  }
}

__attribute__((noinline)) static void procedure(Real x, Real y, Real* z) {
  const Real x1 = kT * (x + y), y1 = kT * (x1 + y);
  *z = (x1 + y1) / kT2;
}

__attribute__((noinline)) static void exchange(int j, int k, int l) {
  e1[j] = e1[k];
  e1[k] = e1[l];
  e1[l] = e1[j];
}

static void start_elements(void) {
  e1[1] = 1;
  e1[2] = e1[3] = e1[4] = -1;
}

static void elements(long count) {
  start_elements();
  for (long i = 0; i < count; ++i) {
    e1[1] = (e1[1] + e1[2] + e1[3] - e1[4]) * kT;
    e1[2] = (e1[1] + e1[2] - e1[3] + e1[4]) * kT;
    e1[3] = (e1[1] - e1[2] + e1[3] + e1[4]) * kT;
    e1[4] = (-e1[1] + e1[2] + e1[3] + e1[4]) * kT;
  }
}

/// The weights of one loop of the original's ten, so that the values do not depend on LOOPS.
static void run(void) {
  const int n = 10;
  elements(12 * n);
  expect("module 2", e1[1], EXPECT_2);

  start_elements();
  for (int i = 0; i < 14 * n; ++i) array_as_parameter(e1);
  expect("module 3", e1[1], EXPECT_3);

  volatile int j = 1;
  for (int i = 0; i < 345 * n; ++i) {
    j = j == 1 ? 2 : 3;
    j = j > 2 ? 0 : 1;
    j = j < 1 ? 1 : 0;
  }
  expect("module 4", (Real)(j + 1), 2);

  int k = 2, l = 3;
  j = 1;
  for (int i = 0; i < 210 * n; ++i) {
    j = j * (k - j) * (l - k);
    k = l * k - (l - j) * k;
    l = (l - k) * (k + j);
    e1[l - 1] = (Real)(j + k + l);
    e1[k - 1] = (Real)(j * k * l);
  }
  expect("module 6", e1[1] + e1[2] * 16, 102);

  Real x = 0.5, y = 0.5, z = 1;
  for (int i = 0; i < 32 * n; ++i) {
    x = kT * atan(kT2 * sin(x) * cos(x) / (cos(x + y) + cos(x - y) - (Real)1));
    y = kT * atan(kT2 * sin(y) * cos(y) / (cos(x + y) + cos(x - y) - (Real)1));
  }
  expect("module 7", x, EXPECT_7X);
  expect("module 7", y, EXPECT_7Y);

  x = y = z = 1;
  for (int i = 0; i < 899 * n; ++i) procedure(x, y, &z);
  expect("module 8", z, EXPECT_8);

  e1[1] = 1, e1[2] = 2, e1[3] = 3;
  for (int i = 0; i < 616 * n; ++i) exchange(1, 2, 3);
  expect("module 9", e1[1] + 16 * e1[2] + 256 * e1[3], 3 + 16 * 2 + 256 * 3);

  x = 0.75;
  for (int i = 0; i < 93 * n; ++i) x = sqrt(exp(log(x) / kT1));
  expect("module 11", x, EXPECT_11);
}

int main(int argc, char** argv) {
  const long loops = argc > 1 ? atol(argv[1]) : 10;
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (long i = 0; i < loops && failures == 0; ++i) run();
  clock_gettime(CLOCK_MONOTONIC, &end);
  const double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
  printf("SELFTEST-FIGURE whetstone-%s %.0f MWIPS\n", sizeof(Real) == 8 ? "double" : "x87", (double)loops / seconds);
  return failures != 0;
}
