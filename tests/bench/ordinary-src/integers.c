// SPDX-License-Identifier: Apache-2.0
// integers NAME: textbook programs of integers, as a compiler's defaults make them.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252u;
static uint64_t any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static int place(int row, unsigned columns, unsigned left, unsigned right, int size)
{
    if (row == size) {
        return 1;
    }
    int found = 0;
    for (unsigned open = ~(columns | left | right) & ((1u << size) - 1); open != 0; open &= open - 1) {
        const unsigned here = open & -open;
        found += place(row + 1, columns | here, (left | here) << 1, (right | here) >> 1, size);
    }
    return found;
}
static void queens(void) { printf("%d\n", place(0, 0, 0, 0, 11)); }

// A hash table with chains that grows and is thinned out.
struct node {
    struct node* next;
    uint64_t key, value;
};
static void table(void)
{
    enum { kSlots = 1 << 14 };
    static struct node* slots[kSlots];
    uint64_t sum = 0;
    for (int i = 0; i < 400000; ++i) {
        const uint64_t key = any() % 60000;
        struct node** at = &slots[key * 0x9e3779b97f4a7c15u >> 50];
        while (*at != NULL && (*at)->key != key) {
            at = &(*at)->next;
        }
        if (*at == NULL) {
            *at = calloc(1, sizeof **at);
            (*at)->key = key;
        } else if (((*at)->value += i) % 7 == 0) {
            struct node* gone = *at;
            *at = gone->next;
            sum += gone->value;
            free(gone);
        }
    }
    printf("%llu\n", (unsigned long long)sum);
}

static void primes(void)
{
    enum { kEnd = 4000000 };
    static unsigned char bits[kEnd / 8 + 1];
    int count = 0;
    for (int i = 2; i < kEnd; ++i) {
        if ((bits[i / 8] >> i % 8 & 1) == 0) {
            ++count;
            for (long j = (long)i * i; j < kEnd; j += i) {
                bits[j / 8] |= (unsigned char)(1 << j % 8);
            }
        }
    }
    printf("%d\n", count);
}

// Numbers of a thousand digits and division of 64 and 128 bits.
static void numbers(void)
{
    static uint32_t digits[400] = {1};
    for (uint32_t factor = 2; factor < 900; ++factor) {
        uint64_t carry = 0;
        for (int i = 0; i < 400; ++i) {
            carry += (uint64_t)digits[i] * factor;
            digits[i] = (uint32_t)(carry % 1000000000u);
            carry /= 1000000000u;
        }
    }
    uint64_t sum = 0;
    for (int i = 0; i < 100000; ++i) {
        const unsigned __int128 big = (unsigned __int128)any() * any();
        sum += (uint64_t)(big / (any() | 1)) + any() % (any() >> 40 | 1);
    }
    printf("%u %llu\n", digits[100], (unsigned long long)sum);
}

static int by_value(const void* a, const void* b)
{
    const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
    return (x > y) - (x < y);
}
static void sorting(void)
{
    enum { kCount = 200000 };
    uint32_t* all = malloc(kCount * sizeof *all);
    for (int i = 0; i < kCount; ++i) {
        all[i] = (uint32_t)any();
    }
    qsort(all, kCount, sizeof *all, by_value);
    printf("%u %u\n", all[0], all[kCount / 2]);
}

// Distance of edits between two strings, row by row.
static void edits(void)
{
    enum { kLength = 3000 };
    static char a[kLength], b[kLength];
    static int row[kLength + 1];
    for (int i = 0; i < kLength; ++i) {
        a[i] = (char)('a' + any() % 4);
        b[i] = (char)('a' + any() % 4);
        row[i] = i;
    }
    row[kLength] = kLength;
    for (int i = 0; i < kLength; ++i) {
        int diagonal = row[0];
        row[0] = i + 1;
        for (int j = 0; j < kLength; ++j) {
            const int change = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            const int shorter = (row[j] < row[j + 1] ? row[j] : row[j + 1]) + 1;
            row[j + 1] = change < shorter ? change : shorter;
        }
    }
    printf("%d\n", row[kLength]);
}

static void checksums(void)
{
    static unsigned char data[1 << 16];
    for (size_t i = 0; i < sizeof data; ++i) {
        data[i] = (unsigned char)any();
    }
    uint32_t crc = ~0u, a = 1, b = 0;
    for (int round = 0; round < 20; ++round) {
        for (size_t i = 0; i < sizeof data; ++i) {
            crc ^= data[i];
            for (int bit = 0; bit < 8; ++bit) {
                crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
            }
            a = (a + data[i]) % 65521;
            b = (b + a) % 65521;
        }
    }
    printf("%08x %08x\n", crc, b << 16 | a);
}

int main(int argc, char** argv)
{
    const struct {
        const char* name;
        void (*run)(void);
    } all[] = {{"queens", queens},   {"table", table}, {"primes", primes},      {"numbers", numbers},
               {"sorting", sorting}, {"edits", edits}, {"checksums", checksums}};
    for (size_t i = 0; argc == 2 && i < sizeof all / sizeof *all; ++i) {
        if (strcmp(argv[1], all[i].name) == 0) {
            all[i].run();
            return 0;
        }
    }
    return 2;
}
