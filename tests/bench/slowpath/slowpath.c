// SPDX-License-Identifier: Apache-2.0
// What the slow paths of memory cost (design section 11 b): first-level TLB misses that the second level serves, page
// walks, page faults, a new address space from cold. Prints "RESULT name nanoseconds" lines; ../slowpath/measure runs it.
// Each figure is the best of many short rounds, so that a busy host disturbs it little.
// bits: 64
#include "guest.h"

enum { P = 1, W = 2, U = 4, kLarge = 0x80 };
enum { kPages = 65536, kFrames = 8192, kTables = kPages / 512, kSpaces = 32, kRounds = 40 };
enum { kCode64 = 0x08, kData = 0x10, kUserData = 0x18, kUserCode = 0x20, kTss = 0x28 };  // sysret wants this order
enum { MSR_EFER = 0xc0000080, MSR_STAR = 0xc0000081, MSR_LSTAR = 0xc0000082, MSR_FMASK = 0xc0000084 };

typedef uint64_t Table[512] __attribute__((aligned(4096)));
extern uint64_t pml4[], pdpt[];
static Table window_pdpt, window_directory, window_tables[kTables], spaces[kSpaces];
static const word kWindow = 0x100000000000;  // its own entry of the top table
static const word kFrameBase = 64 << 20;
static const word kStride = 4096 + 64;       // page after page, each at another cache line

// --- Time ---

static uint64_t now(void) {
  uint32_t low, high;
  __asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high)::"memory");
  return (uint64_t)high << 32 | low;
}

static uint64_t ticks_per_ms = ~(uint64_t)0;

/// The shortest of many: where the host takes the processor away meanwhile, it seems longer.
static void calibrate(void) {
  for (int round = 0; round < 50; ++round) {
    out8(0x61, (in8(0x61) & ~2) | 1);
    out8(0x43, 0xb0);  // channel 2, one shot
    out8(0x42, 1193 & 255);
    out8(0x42, 1193 >> 8);
    const uint64_t start = now();
    while (!(in8(0x61) & 0x20)) {
    }
    const uint64_t ticks = now() - start;
    if (ticks < ticks_per_ms) ticks_per_ms = ticks;
  }
}

static void print_number(uint64_t value) {
  char text[24], *at = text + sizeof text - 1;
  *at = 0;
  do *--at = (char)('0' + value % 10);
  while (value /= 10);
  print(at);
}

/// Tenths of a nanosecond.
static uint64_t tenths(uint64_t ticks, uint64_t count) { return ticks * 10000000 / ticks_per_ms / count; }

static void result(const char* name, uint64_t value) {
  print("RESULT ");
  print(name);
  print(" ");
  print_number(value / 10);
  print(".");
  print_number(value % 10);
  print("\n");
}

static uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

// --- Accesses ---

/// `outer` times: an access to each of `count` pages. Returns the best ticks.
#define DEFINE_TOUCH(name, instruction)                                                              \
  static __attribute__((noinline)) uint64_t name(word base, word stride, word count, unsigned outer) { \
    uint64_t best = ~(uint64_t)0;                                                                    \
    for (int round = 0; round < kRounds; ++round) {                                                  \
      const uint64_t start = now();                                                                  \
      for (unsigned i = 0; i < outer; ++i) {                                                         \
        word at = base, left = count;                                                                \
        __asm__ volatile("1: " instruction "\n add %2, %0\n dec %1\n jnz 1b"                         \
                         : "+r"(at), "+r"(left)                                                      \
                         : "r"(stride)                                                               \
                         : "rax", "memory", "cc");                                                   \
      }                                                                                              \
      const uint64_t ticks = now() - start;                                                          \
      if (ticks < best) best = ticks;                                                                \
    }                                                                                                \
    return best;                                                                                     \
  }
DEFINE_TOUCH(touch_load, "mov (%0), %%rax")
DEFINE_TOUCH(touch_store, "mov %1, (%0)")
DEFINE_TOUCH(touch_rmw, "addq $1, (%0)")
DEFINE_TOUCH(touch_locked, "lock addq $1, (%0)")
DEFINE_TOUCH(touch_crossing, "mov 0xffc(%0), %%rax")
DEFINE_TOUCH(touch_crossing_store, "mov %1, 0xffc(%0)")

static void map_window(void) {
  for (word i = 0; i < kPages; ++i) window_tables[i / 512][i % 512] = (kFrameBase + i % kFrames * 4096) | P | W | U;
  for (word i = 0; i < kTables; ++i) window_directory[i] = (word)window_tables[i] | P | W | U;
  window_pdpt[0] = (word)window_directory | P | W | U;
  pml4[kWindow >> 39 & 511] = (word)window_pdpt | P | W | U;
}

typedef uint64_t Touch(word base, word stride, word count, unsigned outer);

static void measure_refills(const char* hit, const char* hot, const char* spread, Touch* touch) {
  const uint64_t base_hot = tenths(touch(kWindow, 4096, 4, 256), 4 * 256);
  const uint64_t base_spread = tenths(touch(kWindow, kStride, 2000, 1), 2000);
  result(hit, base_hot);
  // Four pages with one first-level index; and so many that nothing stays in the host's first-level cache.
  result(hot, minus(tenths(touch(kWindow, 16 << 20, 4, 256), 4 * 256), base_hot));
  result(spread, minus(tenths(touch(kWindow, kStride, 8000, 1), 8000), base_spread));
}

enum { kChunk = 1000, kChunks = 60 };

/// More pages in turn than the second level holds: each access walks. The sum of each thousand's best.
static uint64_t walk_loads(void) {
  static uint64_t best[kChunks];
  uint64_t sum = 0;
  for (int round = 0; round < kRounds; ++round) {
    word at = kWindow;
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      word left = kChunk;
      const uint64_t start = now();
      __asm__ volatile("1: mov (%0), %%rax\n add %2, %0\n dec %1\n jnz 1b"
                       : "+r"(at), "+r"(left)
                       : "r"(kStride)
                       : "rax", "memory", "cc");
      const uint64_t ticks = now() - start;
      if (round == 0 || ticks < best[chunk]) best[chunk] = ticks;
    }
  }
  for (int chunk = 0; chunk < kChunks; ++chunk) sum += best[chunk];
  return sum;
}

static void measure_memory(void) {
  measure_refills("load-hit", "l2-load", "l2-load-8000-pages", touch_load);
  measure_refills("store-hit", "l2-store", "l2-store-8000-pages", touch_store);
  measure_refills("rmw-hit", "l2-rmw", "l2-rmw-8000-pages", touch_rmw);
  measure_refills("locked-hit", "l2-locked", "l2-locked-8000-pages", touch_locked);
  result("crossing-load", tenths(touch_crossing(kWindow, 4096, 64, 16), 64 * 16));
  result("crossing-store", tenths(touch_crossing_store(kWindow, 4096, 64, 16), 64 * 16));
  const uint64_t base = tenths(touch_load(kWindow, kStride, 2000, 1), 2000);
  result("walk-load", minus(tenths(walk_loads(), kChunk * kChunks), base));
}

// --- Faults ---

struct __attribute__((packed)) TablePointer {
  uint16_t limit;
  word base;
};

__asm__(
    "skip_fault:\n"
    "  add $8, %rsp\n"
    "  addq $3, (%rsp)\n"
    "  iretq\n"
    "just_return:\n"
    "  iretq\n");
extern const char skip_fault[], just_return[];

struct Gate {
  uint16_t offset_low, selector;
  uint8_t stack_table, type;
  uint16_t offset_middle;
  uint32_t offset_high, reserved;
};

static void set_gate(unsigned vector, const void* handler, uint8_t type) {
  struct TablePointer pointer;
  __asm__ volatile("sidt %0" : "=m"(pointer));
  struct Gate* gate = (struct Gate*)pointer.base + vector;
  gate->offset_low = (uint16_t)(word)handler;
  gate->offset_middle = (uint16_t)((word)handler >> 16);
  gate->offset_high = (uint32_t)((word)handler >> 32);
  gate->type = type;
}

static uint64_t fault_loop(word address, unsigned count) {
  const uint64_t start = now();
  word left = count;
  __asm__ volatile("1: mov (%0), %%rax\n dec %1\n jnz 1b" : "+D"(address), "+S"(left)::"rax", "memory", "cc");
  return now() - start;
}

static uint64_t breakpoint_loop(unsigned count) {
  const uint64_t start = now();
  for (unsigned i = 0; i < count; ++i) __asm__ volatile("int3" ::: "memory");
  return now() - start;
}

static void measure_faults(void) {
  set_gate(14, skip_fault, 0x8e);
  set_gate(3, just_return, 0x8e);
  uint64_t fault = ~(uint64_t)0, breakpoint = ~(uint64_t)0;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = fault_loop(kWindow + ((word)1 << 30), 1000), b = breakpoint_loop(1000);
    if (a < fault) fault = a;
    if (b < breakpoint) breakpoint = b;
  }
  result("page-fault-iret", tenths(fault, 1000));
  result("int3-iret", tenths(breakpoint, 1000));
}

// --- Address spaces ---

struct __attribute__((packed)) Tss {
  uint32_t reserved0;
  uint64_t stacks[3], reserved1, interrupt_stacks[7], reserved2;
  uint16_t reserved3, io_map;
};
static struct Tss tss = {.io_map = sizeof(struct Tss)};
static uint64_t user_gdt[7] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff};
static uint8_t trap_stack[8192] __attribute__((aligned(16)));

static void load_descriptors(void) {
  tss.stacks[0] = (word)(trap_stack + sizeof trap_stack);
  const word base = (word)&tss;
  user_gdt[5] = (sizeof tss - 1) | (base & 0xffffff) << 16 | (uint64_t)0x89 << 40 | (base >> 24 & 0xff) << 56;
  user_gdt[6] = base >> 32;
  const struct TablePointer pointer = {sizeof user_gdt - 1, (word)user_gdt};
  __asm__ volatile(
      "lgdt %0\n"
      "push %1; push $1f; lretq\n"
      "1: mov %2, %%ds; mov %2, %%es; mov %2, %%ss\n"
      "ltr %w3" ::"m"(pointer),
      "i"(kCode64), "r"(kData), "r"(kTss)
      : "memory");
  void setup_traps(void);
  setup_traps();  // the code selector has changed
  write_msr(MSR_EFER, read_msr(MSR_EFER) | 1);  // SYSCALL
  write_msr(MSR_STAR, (uint64_t)kCode64 << 32 | (uint64_t)(kUserData - 8) << 48);
  extern const char syscall_entry[];
  write_msr(MSR_LSTAR, (word)syscall_entry);
  write_msr(MSR_FMASK, 0x200);
}

/// run_user(base, count): in ring 3, loads from `count` pages from `base`.
__asm__(
    "run_user:\n"
    "  push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "  mov %rsp, kernel_rsp\n"
    "  mov $user_code, %ecx\n"
    "  mov $2, %r11d\n"
    "  sysretq\n"
    "syscall_entry:\n"
    "  mov kernel_rsp, %rsp\n"
    "  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "  ret\n"
    "user_code:\n"
    "  test %rsi, %rsi\n"
    "  jz 2f\n"
    "1: mov (%rdi), %rax\n"
    "  add $4096, %rdi\n"
    "  dec %rsi\n"
    "  jnz 1b\n"
    "2: syscall\n");
word kernel_rsp;
void run_user(word base, word count);

static void load_cr3(word value) { __asm__ volatile("mov %0, %%cr3" ::"r"(value) : "memory"); }

/// Best ticks of eight rounds through `used` address spaces in turn, `count` pages each.
static uint64_t rounds(unsigned used, word count, word low_bits) {
  uint64_t best = ~(uint64_t)0;
  static unsigned next;
  for (int round = 0; round < kRounds * 4; ++round) {
    const uint64_t start = now();
    for (int i = 0; i < 8; ++i) {
      const unsigned space = next++ % used;
      load_cr3((word)spaces[space] | (low_bits ? low_bits | (space + 1) : 0));
      run_user(kWindow, count);
    }
    const uint64_t ticks = now() - start;
    if (ticks < best) best = ticks;
  }
  return best;
}

static void measure_spaces(void) {
  uint64_t* first = (uint64_t*)(pdpt[0] & ~(uint64_t)0xfff);
  first[0] |= U;  // the first 2 MiB: this program
  pdpt[0] |= U;
  pml4[0] |= U;
  for (int s = 0; s < kSpaces; ++s) {
    for (int i = 0; i < 512; ++i) spaces[s][i] = pml4[i];
  }
  load_descriptors();
  result("switch-same", tenths(rounds(1, 0, 0), 8));
  result("switch-2-spaces", tenths(rounds(2, 0, 0), 8));
  const uint64_t kept = tenths(rounds(2, 64, 0), 8), fresh = tenths(rounds(kSpaces, 64, 0), 8),
                 fresh_none = tenths(rounds(kSpaces, 0, 0), 8);
  result("switch-2-spaces-64-pages", kept);
  result("switch-new-space", fresh_none);
  result("switch-new-space-64-pages", fresh);
  uint32_t id[4];
  cpuid(1, id);
  if (id[2] & 1 << 17) {
    load_cr3((word)pml4);
    __asm__ volatile("mov %%cr4, %%rax; or $0x20000, %%eax; mov %%rax, %%cr4" ::: "rax", "memory");  // PCIDE
    result("switch-pcid", tenths(rounds(2, 0, (word)1 << 63), 8));
    result("switch-pcid-64-pages", tenths(rounds(2, 64, (word)1 << 63), 8));
  }
}

void main(void) {
  calibrate();
  map_window();
  measure_memory();
  measure_faults();
  measure_spaces();
}
