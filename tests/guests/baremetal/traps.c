// SPDX-License-Identifier: Apache-2.0
// Software interrupts and faults: vector, error code, saved address and flags, and the return from each.
#include "guest.h"

static unsigned count;
static struct TrapFrame last;

static void record(struct TrapFrame* frame) {
  ++count;
  last = *frame;
}

static word resume;
static void record_and_skip(struct TrapFrame* frame) {
  record(frame);
  frame->ip = resume;
}

#ifdef __x86_64__
#define SET_RESUME "movq $2f, %[resume]\n"
#define STACK_POINTER "%%rsp"
#else
#define SET_RESUME "movl $2f, %[resume]\n"
#define STACK_POINTER "%%esp"
#endif

/// Runs one faulting instruction; `at` receives its address.
#define FAULTING(instruction, ...)                                       \
  ({                                                                     \
    word at_;                                                            \
    __asm__ volatile(SET_RESUME "mov $1f, %[at]\n1: " instruction "\n2:" \
                     : [resume] "=m"(resume), [at] "=&r"(at_)            \
                     : __VA_ARGS__                                       \
                     : "memory", "cc");                                  \
    at_;                                                                 \
  })

static void software_interrupts(void) {
  on_trap(3, record);
  on_trap(0x80, record);
  word after;
  __asm__ volatile("mov $1f, %0\n int3\n1:" : "=&r"(after)::"memory");
  CHECK_EQUAL(count, 1);
  CHECK_EQUAL(last.vector, 3);
  CHECK_EQUAL(last.ip, after);
  __asm__ volatile("mov $1f, %0\n int $0x80\n1:" : "=&r"(after)::"memory");
  CHECK_EQUAL(count, 2);
  CHECK_EQUAL(last.vector, 0x80);
  CHECK_EQUAL(last.ip, after);
  CHECK_EQUAL(last.error, 0);
}

static void registers_and_flags_survive(void) {
  word carry, ax = 0x1234, flags;
  __asm__ volatile("stc; std; int3; pushf; pop %2; cld; setc %b0; movzbl %b0, %k0"
                   : "=&q"(carry), "+a"(ax), "=&r"(flags)::"memory", "cc");
  CHECK_EQUAL(carry & 1, 1);
  CHECK_EQUAL(ax, 0x1234);
  CHECK_EQUAL(flags & 0x401, 0x401);
  CHECK_EQUAL(last.flags & 0x401, 0x401);
  CHECK_EQUAL(last.ax, 0x1234);
}

static void faults(void) {
  on_trap(0, record_and_skip);
  on_trap(6, record_and_skip);
  on_trap(13, record_and_skip);

  word at = FAULTING("divl %%ecx", "c"(0), "a"(1), "d"(0));
  CHECK_EQUAL(last.vector, 0);
  CHECK_EQUAL(last.ip, at);
  at = FAULTING("divl %%ecx", "c"(2), "a"(0), "d"(2));  // quotient does not fit
  CHECK_EQUAL(last.vector, 0);
  CHECK_EQUAL(last.ip, at);
  at = FAULTING("ud2", "a"(0));
  CHECK_EQUAL(last.vector, 6);
  CHECK_EQUAL(last.ip, at);
  at = FAULTING("mov %%ax, %%es", "a"(0x28));  // beyond the GDT: the selector is the error code
  CHECK_EQUAL(last.vector, 13);
  CHECK_EQUAL(last.error, 0x28);
  CHECK_EQUAL(last.ip, at);
#ifdef __x86_64__
  at = FAULTING("mov (%%rax), %%al", "a"(0x8000000000000000));  // not canonical
  CHECK_EQUAL(last.vector, 13);
  CHECK_EQUAL(last.error, 0);
  CHECK_EQUAL(last.ip, at);
#endif
}

static unsigned steps;
static void single_step(struct TrapFrame* frame) {
  ++steps;
  if (steps == 3) frame->flags &= ~(word)0x100;
}

static void trap_flag(void) {
  on_trap(1, single_step);
  __asm__ volatile("pushf; orl $0x100, (" STACK_POINTER "); popf; nop; nop; nop; nop" ::: "memory", "cc");
  CHECK_EQUAL(steps, 3);
}

void main(void) {
  software_interrupts();
  registers_and_flags_survive();
  faults();
  trap_flag();
}
