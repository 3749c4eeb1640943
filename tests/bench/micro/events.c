// SPDX-License-Identifier: Apache-2.0
// What entering and leaving the kernel costs: nanoseconds per round trip, on debugcon and the serial port.
//     tests/guests/run-baremetal build/release/tests/guests/baremetal/events64.elf build/release/system-emu -accel tcg
// (keep the output: -debugcon stdio instead). Times are by the time-stamp counter against the 8254.
#include "guest.h"

enum { kCode64 = 0x08, kData = 0x10, kUserData = 0x18, kUserCode = 0x20, kTss = 0x28 };  // sysret wants this order
enum { P = 1, W = 2, U = 4, kLarge = 0x80 };
enum { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084 };
enum { kRounds = 200000 };

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
static uint64_t gdt[7] __attribute__((aligned(16))) = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff,
                                                      0x00affb000000ffff};
static uint8_t trap_stack[8192] __attribute__((aligned(4096))), user_stack[8192] __attribute__((aligned(4096)));
static word user_directory[512] __attribute__((aligned(4096)));

void setup_traps(void);

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
  setup_traps();  // the code selector has changed
  __asm__ volatile("mov %0, %%ds; mov %0, %%es" ::"r"(0));
}

/// A gate straight to `entry`, open to ring 3.
static void set_gate(unsigned vector, const char* entry) {
  struct TablePointer pointer;
  __asm__ volatile("sidt %0" : "=m"(pointer));
  uint64_t* gate = (uint64_t*)(pointer.base + vector * 16);
  const word at = (word)entry;
  gate[0] = (at & 0xffff) | (word)kCode64 << 16 | (word)0xee00 << 32 | (at >> 16 & 0xffff) << 48;
  gate[1] = at >> 32;
}

/// The first 2 MiB (this program) become user pages; 4 GiB is a supervisor page.
static void open_pages(void) {
  pml4[0] |= U;
  pdpt[0] |= U;
  word* first = (word*)(pdpt[0] & ~(word)0xfff);
  first[0] |= U;
  pdpt[4] = (word)user_directory | P | W | U;
  user_directory[0] = 0x400000 | kLarge | P | W;
  __asm__ volatile("mov %0, %%cr3" ::"r"(pml4) : "memory");
}

__asm__(
    "syscall_entry: sysretq\n"
    "int_entry: iretq\n"
    "call_entry: swapgs; mov %rsp, user_rsp; mov kernel_stack_top, %rsp; sti; push %r11; cli\n"
    "  pop %r11; mov user_rsp, %rsp; swapgs; sysretq\n"
    // The faulting instruction is the three bytes of mov (%rdi), %rax.
    "fault_entry: addq $3, 8(%rsp); add $8, %rsp; iretq\n");
extern const char syscall_entry[], call_entry[], int_entry[], fault_entry[];
word user_rsp, kernel_stack_top;

static word back_ip, back_sp;
static void on_protection(struct TrapFrame* frame) {
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

static inline uint64_t ticks(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (uint64_t)high << 32 | low;
}

static uint64_t spent;
#define TIMED(...)                                           \
  do {                                                       \
    const uint64_t start_ = ticks();                         \
    for (word i_ = 0; i_ < kRounds; ++i_) __asm__ volatile(__VA_ARGS__); \
    spent = ticks() - start_;                                \
  } while (0)
#define REGS ::: "rax", "rcx", "r11", "memory", "cc"
#define END for (;;) __asm__ volatile("hlt")

__attribute__((noreturn)) static void user_nothing(void) {
  TIMED("nop" REGS);
  END;
}
__attribute__((noreturn)) static void user_syscalls(void) {
  TIMED("syscall" REGS);
  END;
}
__attribute__((noreturn)) static void user_ints(void) {
  TIMED("int $0x80" REGS);
  END;
}
__attribute__((noreturn)) static void user_faults(void) {
  TIMED("mov $0x100000000, %%rdi; mov (%%rdi), %%rax" ::: "rax", "rdi", "memory");
  END;
}

static uint64_t ticks_per_ms;

/// By channel 2 of the 8254, gated through port 0x61.
static void measure_clock(void) {
  out8(0x61, (in8(0x61) & ~2) | 1);
  out8(0x43, 0xb0);
  const unsigned count = 11932;  // 10 ms
  out8(0x42, count & 0xff);
  out8(0x42, count >> 8);
  const uint64_t start = ticks();
  while (!(in8(0x61) & 0x20)) {
  }
  ticks_per_ms = (ticks() - start) / 10;
}

static void print_decimal(uint64_t value) {
  char text[24];
  unsigned at = sizeof text;
  text[--at] = 0;
  do text[--at] = '0' + value % 10, value /= 10;
  while (value);
  print(text + at);
}

static void report(const char* name) {
  print(name);
  print(": ");
  const uint64_t tenths = spent * 10 * 1000000 / ticks_per_ms / kRounds;
  print_decimal(tenths / 10);
  print(".");
  print_decimal(tenths % 10);
  print(" ns\n");
}

int main(void) {
  measure_clock();
  load_descriptors();
  open_pages();
  set_gate(0x80, int_entry);
  on_trap(13, on_protection);
  kernel_stack_top = (word)(trap_stack + sizeof trap_stack / 2);
  write_msr(MSR_EFER, read_msr(MSR_EFER) | 1);
  write_msr(MSR_STAR, (uint64_t)kCode64 << 32 | (uint64_t)(kUserData - 8) << 48);
  write_msr(MSR_FMASK, 0x700);

  run_user(user_nothing);
  report("empty loop, ring 3");
  write_msr(MSR_LSTAR, (word)syscall_entry);
  run_user(user_syscalls);
  report("syscall + sysret");
  write_msr(MSR_LSTAR, (word)call_entry);
  run_user(user_syscalls);
  report("syscall, swapgs, sti, cli, swapgs, sysret");
  run_user(user_ints);
  report("int + iret, from ring 3");
  TIMED("int $0x80" REGS);
  report("int + iret, in ring 0");
  set_gate(14, fault_entry);
  run_user(user_faults);
  report("page fault + iret, from ring 3");
  TIMED("cli; sti; nop" REGS);
  __asm__ volatile("cli");
  report("cli + sti");
  TIMED("pushf; popf" REGS);
  report("pushf + popf");
  TIMED("pause" REGS);
  report("pause");
  uint32_t leaf7[4];
  cpuid(7, leaf7);
  if (leaf7[1] >> 20 & 1) {
    word cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    word* first = (word*)(pdpt[0] & ~(word)0xfff);
    first[0] &= ~(word)U;  // SMAP would refuse us our own data
    __asm__ volatile("mov %0, %%cr3" ::"r"(pml4) : "memory");
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 1 << 21));
    TIMED("stac; clac" REGS);
    report("stac + clac");
  }
  word cr3;
  __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
  TIMED("mov %%cr3, %%rax; mov %%rax, %%cr3" REGS);
  report("mov cr3 (same)");
  pass();
}
