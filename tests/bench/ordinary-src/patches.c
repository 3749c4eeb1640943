// SPDX-License-Identifier: Apache-2.0
// patches NAME: code that changes while it is used, as inline caches, breakpoints and counters beside code do.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

enum { kFunctions = 32, kSlot = 128 };
typedef uint32_t (*function)(uint32_t);
static unsigned char* code;

// mov eax, edi; add eax, constant; rol eax, 5; ret
static void make(int slot, uint32_t constant)
{
    unsigned char bytes[] = {0x89, 0xf8, 0x05, 0, 0, 0, 0, 0xc1, 0xc0, 0x05, 0xc3};
    memcpy(bytes + 3, &constant, sizeof constant);
    memcpy(code + slot * kSlot, bytes, sizeof bytes);
}
static void patch(int slot, uint32_t constant) { memcpy(code + slot * kSlot + 3, &constant, sizeof constant); }
static uint32_t call(int slot, uint32_t x) { return ((function)(void*)(code + slot * kSlot))(x); }

// One function of a page gets a constant of its own, all of the page are called.
static uint32_t one(void)
{
    uint32_t x = 1;
    for (int i = 0; i < 2000; ++i) {
        patch(i % kFunctions, (uint32_t)i);
        for (int slot = 0; slot < kFunctions; ++slot) {
            x = call(slot, x);
        }
    }
    return x;
}

// Every function goes to and fro between two constants.
static uint32_t toggle(void)
{
    uint32_t x = 1;
    for (int i = 0; i < 300; ++i) {
        for (int slot = 0; slot < kFunctions; ++slot) {
            patch(slot, i % 2 != 0 ? 77 : 99);
            x = call(slot, x);
        }
    }
    return x;
}

// Each call counts itself, beside its code.
static uint32_t beside(void)
{
    uint32_t x = 1;
    for (int i = 0; i < 20000; ++i) {
        for (int slot = 0; slot < kFunctions; ++slot) {
            x = call(slot, x);
            ++*(volatile uint32_t*)(void*)(code + slot * kSlot + 64);
        }
    }
    return x + *(uint32_t*)(void*)(code + 64);
}

int main(int argc, char** argv)
{
    code = mmap(NULL, kFunctions * kSlot, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED || argc != 2) {
        return 2;
    }
    for (int slot = 0; slot < kFunctions; ++slot) {
        make(slot, (uint32_t)slot);
    }
    const char* name = argv[1];
    printf("%u\n", strcmp(name, "one") == 0 ? one() : strcmp(name, "toggle") == 0 ? toggle() : beside());
    return 0;
}
