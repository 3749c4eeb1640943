// SPDX-License-Identifier: Apache-2.0
// Ring 3: entered by iretq, left by syscall, int n and page faults on the TSS stack; back by sysret and iretq.
// bits: 64
#include "guest.h"

enum { kCode64 = 0x08, kData = 0x10, kUserData = 0x18, kUserCode = 0x20, kTss = 0x28 };  // sysret wants this order
enum { P = 1, W = 2, U = 4, kLarge = 0x80 };
enum { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084 };

struct __attribute__((packed)) Tss {
  uint32_t reserved0;
  uint64_t stacks[3], reserved1, interrupt_stacks[7], reserved2;
  uint16_t reserved3, io_map;
};
struct __attribute__((packed)) TablePointer {
  uint16_t limit;
  word base;
};

extern word pml4[], pdpt[];
static struct Tss tss = {.io_map = sizeof(struct Tss)};
static uint64_t gdt[7] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff};
static uint8_t trap_stack[8192] __attribute__((aligned(16))), user_stack[8192] __attribute__((aligned(16)));
static word user_directory[512] __attribute__((aligned(4096)));

static void load_descriptors(void) {
  tss.stacks[0] = (word)(trap_stack + sizeof trap_stack);
  const word base = (word)&tss;
  gdt[5] = (sizeof tss - 1) | (base & 0xffffff) << 16 | (uint64_t)0x89 << 40 | (base >> 24 & 0xff) << 56;
  gdt[6] = base >> 32;
  const struct TablePointer pointer = {sizeof gdt - 1, (word)gdt};
  __asm__ volatile(
      "lgdt %0\n"
      "push %1; push $1f; lretq\n"
      "1: mov %2, %%ds; mov %2, %%es; mov %2, %%ss\n"
      "ltr %w3" ::"m"(pointer),
      "i"(kCode64), "r"(kData), "r"(kTss)
      : "memory");
  void setup_traps(void);
  setup_traps();  // the code selector has changed
}

extern const word trap_entries[256];

/// Makes vector 0x80 callable from ring 3.
static void open_gate(void) {
  struct TablePointer pointer;
  __asm__ volatile("sidt %0" : "=m"(pointer));
  ((uint8_t*)pointer.base)[0x80 * 16 + 5] = 0xee;
}

/// The first 2 MiB (this program) become user pages; 4 GiB + 2 MiB is a user alias that starts at zero.
static void open_pages(void) {
  pml4[0] |= U;
  pdpt[0] |= U;
  word* first = (word*)(pdpt[0] & ~(word)0xfff);
  first[0] |= U;
  pdpt[4] = (word)user_directory | P | W | U;
  user_directory[0] = 0x400000 | kLarge | P | W;  // supervisor
  user_directory[1] = 0x400000 | kLarge | P | U;  // user, read-only
  __asm__ volatile("mov %0, %%cr3" ::"r"(pml4) : "memory");
}

static word calls[8], call_flags;
static unsigned call_count;
static struct TrapFrame last;
static unsigned traps, faults;
static word fault_addresses[2], fault_errors[2], resume;
static bool on_trap_stack = true;

void handle_call(word number, word flags) {
  calls[call_count++ & 7] = number;
  call_flags = flags;
}

/// The syscall entry: number in rdi; rcx and r11 hold return address and flags.
__asm__(
    "syscall_entry:\n"
    "  mov %rsp, user_rsp\n"
    "  mov kernel_stack_top, %rsp\n"
    "  push %rcx\n"
    "  push %r11\n"
    "  mov %r11, %rsi\n"
    "  call handle_call\n"
    "  pop %r11\n"
    "  pop %rcx\n"
    "  mov user_rsp, %rsp\n"
    "  sysretq\n");
word user_rsp, kernel_stack_top;
extern const char syscall_entry[];
static uint8_t syscall_stack[8192] __attribute__((aligned(16)));

static void on_call(struct TrapFrame* frame) {
  ++traps;
  last = *frame;
}
static void on_page_fault(struct TrapFrame* frame) {
  const word here = (word)frame;
  on_trap_stack &= here >= (word)trap_stack && here < (word)(trap_stack + sizeof trap_stack);
  if (faults < 2) fault_addresses[faults] = read_cr2(), fault_errors[faults] = frame->error;
  ++faults;
  frame->ip = resume;
}
/// The user program ends with hlt, which ring 3 may not execute: back to run_user.
static word back_ip, back_sp;
static void on_protection(struct TrapFrame* frame) {
  last = *frame;
  frame->ip = back_ip, frame->sp = back_sp;
  frame->cs = kCode64, frame->ss = kData;
}

static void run_user(void (*program)(void)) {
  __asm__ volatile(
      "push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15\n"
      "movq $1f, %[ip]\n"
      "mov %%rsp, %[sp]\n"
      "push %[data]; push %[stack]; push $0x202; push %[code]; push %[program]\n"
      "iretq\n"
      "1: pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx\n"
      "cli"
      : [ip] "=m"(back_ip), [sp] "=m"(back_sp)
      : [data] "i"(kUserData | 3), [code] "i"(kUserCode | 3), [stack] "r"(user_stack + sizeof user_stack - 8),
        [program] "r"(program)
      : "memory", "cc", "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11");
}

static word seen_cs, value_loaded;

__attribute__((noreturn)) static void user_program(void) {
  word code;
  __asm__ volatile("mov %%cs, %0" : "=r"(code));
  seen_cs = code;
  for (word i = 0; i < 3; ++i) {
    word number = i;
    __asm__ volatile("stc; syscall"
                     : "+D"(number)::"rcx", "r11", "rax", "rdx", "rsi", "r8", "r9", "r10", "memory", "cc");
  }
  __asm__ volatile("int $0x80" ::"a"(0x1234) : "memory");
  word value = 77;
  __asm__ volatile("movq $1f, %[resume]; mov (%[at]), %[value]\n1:"
                   : [resume] "=m"(resume), [value] "+r"(value)
                   : [at] "r"((word)0x100000008)
                   : "memory");
  __asm__ volatile("movq $1f, %[resume]; mov %[at], (%[at])\n1:"
                   : [resume] "=m"(resume)
                   : [at] "r"((word)0x100200010)
                   : "memory");
  value_loaded = value;
  for (;;) __asm__ volatile("hlt");
}

void main(void) {
  load_descriptors();
  open_gate();
  open_pages();
  on_trap(0x80, on_call);
  on_trap(13, on_protection);
  on_trap(14, on_page_fault);
  kernel_stack_top = (word)(syscall_stack + sizeof syscall_stack);
  write_msr(MSR_EFER, read_msr(MSR_EFER) | 1);
  write_msr(MSR_STAR, (uint64_t)(kUserData - 8) << 48 | (uint64_t)kCode64 << 32);
  write_msr(MSR_LSTAR, (word)syscall_entry);
  write_msr(MSR_FMASK, 0x200);

  run_user(user_program);

  CHECK_EQUAL(seen_cs, kUserCode | 3);
  CHECK_EQUAL(call_count, 3);
  CHECK_EQUAL(calls[2], 2);
  CHECK_EQUAL(call_flags & 0x201, 0x201);  // as ring 3 had them, before the mask
  CHECK_EQUAL(traps, 1);
  CHECK_EQUAL(faults, 2);
  CHECK_EQUAL(value_loaded, 77);
  CHECK_EQUAL(fault_addresses[0], 0x100000008);
  CHECK_EQUAL(fault_errors[0], P | U);
  CHECK_EQUAL(fault_addresses[1], 0x100200010);
  CHECK_EQUAL(fault_errors[1], P | W | U);
  CHECK(on_trap_stack);
  CHECK_EQUAL(last.vector, 13);  // hlt in ring 3
  CHECK_EQUAL(last.cs, kUserCode | 3);
  CHECK_EQUAL(last.ss, kUserData | 3);
  CHECK_EQUAL(last.error, 0);
}
