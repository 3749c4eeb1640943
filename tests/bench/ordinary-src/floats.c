// SPDX-License-Identifier: Apache-2.0
// floats NAME: textbook programs of floating point, as a compiler's defaults make them.
#include <complex.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Bodies that attract each other, leapfrog steps.
static void bodies(void)
{
    enum { kBodies = 6, kSteps = 200000 };
    double place[kBodies][3], speed[kBodies][3] = {{0}}, mass[kBodies];
    for (int i = 0; i < kBodies; ++i) {
        mass[i] = 1.0 / (i + 1);
        for (int k = 0; k < 3; ++k) {
            place[i][k] = sin(i * 3 + k) * (i + 1);
        }
    }
    for (int step = 0; step < kSteps; ++step) {
        for (int i = 0; i < kBodies; ++i) {
            for (int j = i + 1; j < kBodies; ++j) {
                double between[3], square = 0.01;
                for (int k = 0; k < 3; ++k) {
                    between[k] = place[i][k] - place[j][k];
                    square += between[k] * between[k];
                }
                const double pull = 0.001 / (square * sqrt(square));
                for (int k = 0; k < 3; ++k) {
                    speed[i][k] -= between[k] * mass[j] * pull;
                    speed[j][k] += between[k] * mass[i] * pull;
                }
            }
        }
        for (int i = 0; i < kBodies; ++i) {
            for (int k = 0; k < 3; ++k) {
                place[i][k] += speed[i][k] * 0.001;
            }
        }
    }
    printf("%.15g %.15g\n", place[0][0], speed[5][2]);
}

static void mandelbrot(void)
{
    long inside = 0;
    for (int y = 0; y < 320; ++y) {
        for (int x = 0; x < 480; ++x) {
            const double cr = x / 160.0 - 2.0, ci = y / 160.0 - 1.0;
            double r = 0, i = 0;
            int round = 0;
            for (; round < 100 && r * r + i * i < 4; ++round) {
                const double next = r * r - i * i + cr;
                i = 2 * r * i + ci;
                r = next;
            }
            inside += round;
        }
    }
    printf("%ld\n", inside);
}

// Matrix product in single precision, the inner loop vectorised by the compiler.
static void matrix(void)
{
    enum { kSize = 256 };
    static float a[kSize][kSize], b[kSize][kSize], c[kSize][kSize];
    for (int i = 0; i < kSize; ++i) {
        for (int j = 0; j < kSize; ++j) {
            a[i][j] = (float)(i * 7 % 13) * 0.25f;
            b[i][j] = (float)(j * 5 % 11) * 0.5f;
        }
    }
    for (int round = 0; round < 8; ++round) {
        for (int i = 0; i < kSize; ++i) {
            for (int k = 0; k < kSize; ++k) {
                for (int j = 0; j < kSize; ++j) {
                    c[i][j] += a[i][k] * b[k][j];
                }
            }
        }
    }
    printf("%.9g %.9g\n", (double)c[3][5], (double)c[200][131]);
}

// Fourier transform with complex doubles.
static void transform(double complex* x, int n)
{
    for (int i = 1, j = 0; i < n; ++i) {
        int bit = n >> 1;
        for (; j & bit; bit >>= 1) {
            j ^= bit;
        }
        j ^= bit;
        if (i < j) {
            const double complex t = x[i];
            x[i] = x[j];
            x[j] = t;
        }
    }
    for (int length = 2; length <= n; length *= 2) {
        const double complex turn = cexp(-2 * M_PI * I / length);
        for (int i = 0; i < n; i += length) {
            double complex w = 1;
            for (int k = 0; k < length / 2; ++k) {
                const double complex u = x[i + k], v = x[i + k + length / 2] * w;
                x[i + k] = u + v;
                x[i + k + length / 2] = u - v;
                w *= turn;
            }
        }
    }
}

static void fourier(void)
{
    enum { kSize = 1 << 15 };
    static double complex x[kSize];
    for (int i = 0; i < kSize; ++i) {
        x[i] = sin(i * 0.01) + 0.5 * cos(i * 0.3);
    }
    for (int round = 0; round < 6; ++round) {
        transform(x, kSize);
        for (int i = 0; i < kSize; ++i) {
            x[i] /= 181.0;
        }
    }
    printf("%.10g %.10g\n", creal(x[5]), cimag(x[1000]));
}

// The mathematical library, conversions between integers and doubles, and long doubles.
static void library(void)
{
    double sum = 0;
    for (int i = 1; i < 300000; ++i) {
        const double x = i * 0.001;
        sum += sin(x) * exp(-x * 0.01) + log(x) + pow(x, 0.3) + atan2(x, 2.0) + floor(x) + (double)(long)(x * 3);
    }
    printf("%.12g\n", sum);
}

static void extended(void)
{
    long double sum = 0, term = 1;
    for (int i = 1; i < 2000000; ++i) {
        term = term * 0.999999L + 1.0L / i;
        sum += sqrtl(term);
    }
    printf("%.18Lg\n", sum);
}

int main(int argc, char** argv)
{
    const struct {
        const char* name;
        void (*run)(void);
    } all[] = {{"bodies", bodies},   {"mandelbrot", mandelbrot}, {"matrix", matrix},
               {"fourier", fourier}, {"library", library},       {"extended", extended}};
    for (size_t i = 0; argc == 2 && i < sizeof all / sizeof *all; ++i) {
        if (strcmp(argv[1], all[i].name) == 0) {
            all[i].run();
            return 0;
        }
    }
    return 2;
}
