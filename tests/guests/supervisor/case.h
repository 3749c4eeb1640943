// SPDX-License-Identifier: Apache-2.0
// Cases: a piece of code is entered by IRET with the registers, segments and privilege of our choice, and whatever trap
// ends it is printed as a line "name key=value ...". What a line shows depends on the processor only, so that the same
// program's lines can be compared between emulators.
#pragma once

#include "guest.h"

struct Regs {
  word ax, cx, dx, bx, sp, bp, si, di;
#ifdef __x86_64__
  word r8, r9, r10, r11, r12, r13, r14, r15;
#endif
  word ip, flags, cs, ss, ds, es, fs, gs;
};
/// Selectors that cases go through.
struct Named {
  const char* name;
  word selector;
};
struct Outcome {
  struct Regs regs;
  word vector, error, cr2, dr6;
};

// Where cases have their code, stack and data; all low, so that 16-bit code reaches it.
enum { kCodePage = 0x20000, kStackPage = 0x30000, kStackTop = 0x30800, kTrapStackTop = 0x31ff0, kDataPage = 0x40000, kDone = 0xf0 };
enum { kCode0 = 0x08, kData0 = 0x10, kLong0 = 0x18, kCode3 = 0x23, kData3 = 0x2b, kLong3 = 0x33, kTss = 0x38, kFree = 0x48 };
enum { kCF = 1, kTF = 0x100, kIF = 0x200, kIOPL3 = 0x3000, kNT = 0x4000, kRF = 0x10000, kVM = 0x20000, kAC = 0x40000,
       kVIF = 0x80000, kVIP = 0x100000 };
enum { kGdtEntries = 64 };

extern uint64_t case_gdt[kGdtEntries];
extern uint32_t case_tss[];  // with room for both bitmaps
extern struct Outcome outcome;
extern struct Regs initial;

static inline uint32_t* low32(uint32_t at) {
  __asm__("" : "+r"(at));  // the compiler has views on low addresses
  return (uint32_t*)(uintptr_t)at;
}

/// Default tables and control registers; before each case that changed them.
void fresh(void);
struct Regs kernel_regs(void);
struct Regs user_regs(void);
/// A descriptor: access is byte 5 (P, DPL, S, type), flags the upper half of byte 6 (G D L AVL).
void set_descriptor(unsigned selector, uint32_t base, uint32_t limit, uint8_t access, uint8_t flags);
void set_gate(unsigned selector, uint16_t target, uint32_t offset, uint8_t access, uint8_t parameters);
/// Replaces an interrupt vector's gate until the next fresh().
void set_vector(unsigned vector, uint16_t target, word offset, uint8_t access, uint8_t ist);
/// Copies code to kCodePage, enters it with `regs`, and fills `outcome`.
void execute(struct Regs regs, const uint8_t* code, const uint8_t* end);
/// Enters regs.ip as it is.
void execute_there(struct Regs regs);
void report(const char* name);  // the line of `outcome`
void report_of(const char* group, const char* name);  // of "group.name"
void show(const char* name);
void show_value(const char* key, word value);
void show_line(void);
void show_hex(word value);
void show_text(const char* text);
void enter_case(struct Regs* regs);
void collect(void* frame, word ss);
extern word trap_entry_table[256];

/// Cases that make QEMU go off the rails: it shows "skipped" for them.
bool in_qemu(void);
#define UNLESS_QEMU(name, statement)      \
  do {                                    \
    if (in_qemu()) show(name), show_text("skipped"), show_line(); \
    else { statement; }                   \
  } while (0)

// A basic asm, so that text needs no doubled %; 771 is its beginning.
#define CODE_OF_(text, start, end, number)                                                                \
  do {                                                                                                    \
    extern const uint8_t snippet_start_##number[], snippet_end_##number[];                                \
    __asm__ volatile(".pushsection .text.snippets, \"ax\"\nsnippet_start_" #number ":\n771: " text          \
                     CODE_RESUME "\nsnippet_end_" #number ": .popsection");                               \
    start = snippet_start_##number;                                                                       \
    end = snippet_end_##number;                                                                           \
  } while (0)
#define CODE_OF__(text, start, end, number) CODE_OF_(text, start, end, number)
#define CODE_OF(text, start, end) CODE_OF__(text, start, end, __COUNTER__)
#ifdef __x86_64__
#define CODE_RESUME "\n.code64"
#else
#define CODE_RESUME "\n.code32"
#endif

/// Runs assembler text, which need not end: "int $0xf0" is put behind it.
#define TRY(regs, text)                       \
  do {                                        \
    const uint8_t *start_, *end_;             \
    CODE_OF(text "\nint $0xf0", start_, end_);\
    execute(regs, start_, end_);              \
  } while (0)
#define CASE(name, regs, text) \
  do {                         \
    TRY(regs, text);           \
    report(name);              \
  } while (0)
