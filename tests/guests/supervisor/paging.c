// SPDX-License-Identifier: Apache-2.0
// Paging: each combination of permissions, accessed and dirty bits, reserved bits, large pages, what CR0.WP, SMEP, SMAP
// and NX add, supervisor accesses that user code causes.
#include "case.h"
#include "groups.h"

enum { kP = 1, kW = 2, kU = 4, kA = 0x20, kD = 0x40, kPS = 0x80, kG = 0x100 };
#define NX ((uint64_t)1 << 63)
enum { kCr0WP = 0x10000, kCr0PG = 0x80000000u, kCr4PSE = 0x10, kCr4PAE = 0x20, kCr4PGE = 0x80, kCr4LA57 = 0x1000,
       kCr4PCIDE = 0x20000, kCr4SMEP = 0x100000, kCr4SMAP = 0x200000 };
enum { kTargetPage = 0x41000, kTargetCode = 0, kTargetData = 0x800 };

/// Two chains of tables: of the first 2 or 4 MiB, one to one, and of the address under test.
static uint8_t low_tables[5][4096] __attribute__((aligned(4096)));
static uint8_t test_tables[5][4096] __attribute__((aligned(4096)));
static struct {
  const char* name;
  unsigned levels, entry_bytes, bits;
  word address;      // under test
  uint64_t reserved; // a bit of a leaf that must be 0; 0: none
} mode;

static void put_entry(void* table, unsigned index, uint64_t value) {
  if (mode.entry_bytes == 8) {
    ((uint64_t*)table)[index] = value;
  } else {
    ((uint32_t*)table)[index] = (uint32_t)value;
  }
}
static uint64_t get_entry(const void* table, unsigned index) {
  return mode.entry_bytes == 8 ? ((const uint64_t*)table)[index] : ((const uint32_t*)table)[index];
}
static unsigned index_at(word address, unsigned level) {  // 0: the last
  const unsigned shift = 12 + mode.bits * level;
  const unsigned bits = mode.levels == 3 && level == 2 ? 2 : mode.bits;
  return (unsigned)(address >> shift) & ((1u << bits) - 1);
}
static bool is_pdpt(unsigned level) { return mode.levels == 3 && level == 2; }

/// What of the low pages user code may touch.
static void set_low_pages(bool user) {
  const unsigned count = 1u << mode.bits;
  for (unsigned i = 0; i < count; ++i) put_entry(low_tables[0], i, (uint64_t)i << 12 | kP | kW | kA | kD);
  if (!user) return;
  const unsigned pages[] = {kCodePage, kStackPage, kDataPage};
  for (unsigned i = 0; i < 3; ++i) put_entry(low_tables[0], pages[i] >> 12, pages[i] | kP | kW | kU | kA | kD);
}

static void build(uint64_t middle, uint64_t leaf, bool user) {
  for (unsigned level = 0; level < 5; ++level) {
    for (unsigned i = 0; i < 1024; ++i) ((uint32_t*)low_tables[level])[i] = ((uint32_t*)test_tables[level])[i] = 0;
  }
  set_low_pages(user);
  for (unsigned level = 1; level < mode.levels; ++level) {
    put_entry(low_tables[level], 0, (word)low_tables[level - 1] | (is_pdpt(level) ? kP : kP | kW | kU | kA));
    void* table = level == mode.levels - 1 ? low_tables[level] : test_tables[level];
    const uint64_t flags = is_pdpt(level) ? (middle & kP) : middle;
    put_entry(table, index_at(mode.address, level), (word)test_tables[level - 1] | flags);
  }
  put_entry(test_tables[0], index_at(mode.address, 0), kTargetPage | leaf);
}

static uint64_t leaf_now(void) { return get_entry(test_tables[0], index_at(mode.address, 0)); }
static uint64_t middle_now(void) {
  void* table = mode.levels == 2 ? low_tables[1] : test_tables[1];
  return get_entry(table, index_at(mode.address, 1));
}

static word saved_cr0, saved_cr3, saved_cr4;
#ifdef __x86_64__
/// Out of long mode and back: the number of levels changes nowhere else.
void set_paging(word cr3, word cr4, word cr0);
__asm__(".pushsection .text\nset_paging:\n"
        "push $0x08\npush $1f\nlretq\n"
        ".code32\n1: mov %cr0, %eax\nbtr $31, %eax\nmov %eax, %cr0\n"
        "mov %esi, %cr4\nmov %edi, %cr3\nmov %edx, %cr0\nljmp $0x18, $2f\n"
        ".code64\n2: ret\n.popsection");
#endif
static void paging_on(word cr0, word cr4) {
  __asm__("mov %%cr0, %0" : "=r"(saved_cr0));
  __asm__("mov %%cr3, %0" : "=r"(saved_cr3));
  __asm__("mov %%cr4, %0" : "=r"(saved_cr4));
#ifdef __x86_64__
  if (mode.levels == 5) {
    set_paging((word)low_tables[4], saved_cr4 | cr4 | kCr4LA57, (saved_cr0 & ~(word)kCr0WP) | cr0);
    return;
  }
  __asm__ volatile("mov %0, %%cr3\nmov %1, %%cr4\nmov %2, %%cr0" ::"r"((word)low_tables[mode.levels - 1]), "r"(saved_cr4 | cr4),
                   "r"((saved_cr0 & ~(word)kCr0WP) | cr0) : "memory");
#else
  __asm__ volatile("mov %1, %%cr4\nmov %0, %%cr3\nmov %2, %%cr0" ::"r"((word)low_tables[mode.levels - 1]),
                   "r"(saved_cr4 | cr4 | (mode.levels == 3 ? kCr4PAE : kCr4PSE)), "r"(saved_cr0 | cr0 | kCr0PG) : "memory");
#endif
}
static void paging_off(void) {
#ifdef __x86_64__
  if (mode.levels == 5) {
    set_paging(saved_cr3, saved_cr4, saved_cr0);
    return;
  }
  __asm__ volatile("mov %2, %%cr0\nmov %1, %%cr4\nmov %0, %%cr3" ::"r"(saved_cr3), "r"(saved_cr4), "r"(saved_cr0) : "memory");
#else
  __asm__ volatile("mov %2, %%cr0\nmov %1, %%cr4\nmov %0, %%cr3" ::"r"(saved_cr3), "r"(saved_cr4), "r"(saved_cr0) : "memory");
#endif
}

static void copy_code(const uint8_t* from, const uint8_t* end) {
  uint8_t* to = (uint8_t*)low32(kCodePage);
  while (from < end) *to++ = *from++;
}

enum Access { kRead, kWrite, kModify, kFetch, kPush, kAccesses };
static const char* const kAccessNames[] = {"r", "w", "m", "x", "p"};

static void run_access(enum Access access, bool user, word flags, word cr0, word cr4) {
  const uint8_t *start = 0, *end = 0;
  struct Regs r = user ? user_regs() : kernel_regs();
  r.flags |= flags;
  r.si = mode.address + kTargetData;
  low32(kTargetPage)[0] = 0x9090f0cd;  // int $0xf0
  if (access == kRead) CODE_OF("mov (%esi), %al\nint $0xf0", start, end);
  if (access == kWrite) CODE_OF("mov %al, (%esi)\nint $0xf0", start, end);
  if (access == kModify) CODE_OF("addb $0, (%esi)\nint $0xf0", start, end);
#ifdef __x86_64__
  if (access == kRead) CODE_OF("mov (%rsi), %al\nint $0xf0", start, end);
  if (access == kWrite) CODE_OF("mov %al, (%rsi)\nint $0xf0", start, end);
  if (access == kModify) CODE_OF("addb $0, (%rsi)\nint $0xf0", start, end);
  if (access == kPush) CODE_OF("mov %rsp, %rbp\nlea 8(%rsi), %rsp\npush %rax\nmov %rbp, %rsp\nint $0xf0", start, end);
#else
  if (access == kPush) CODE_OF("mov %esp, %ebp\nlea 8(%esi), %esp\npush %eax\nmov %ebp, %esp\nint $0xf0", start, end);
#endif
  if (access == kFetch) r.ip = mode.address + kTargetCode;
  copy_code(start, end);
  paging_on(cr0, cr4);
  execute_there(r);
  paging_off();
}

static void show_result(const char* who, const char* what) {
  print(" ");
  print(who);
  print(what);
  if (outcome.vector == kDone) {
    print("=ok");
  } else if (outcome.vector == 14) {
    print("=e");
    show_hex(outcome.error);
    if (outcome.cr2 != mode.address + kTargetData && outcome.cr2 != mode.address) show_value("cr2", outcome.cr2);
  } else {
    print("=v");
    show_hex(outcome.vector);
  }
  print(leaf_now() & kA ? leaf_now() & kD ? ":AD" : ":A" : leaf_now() & kD ? ":D" : ":");
  if (middle_now() & kA) print("a");
}

static void permissions(const char* setting, word flags, word cr0, word cr4) {
  static const struct {
    const char* name;
    uint64_t flags;
  } kMiddle[] = {{"UW", 7}, {"U", 5}, {"SW", 3}, {"none", 0}};
  const struct {
    const char* name;
    uint64_t flags;
  } kLeaf[] = {{"UW", 7}, {"U", 5}, {"SW", 3}, {"S", 1}, {"none", 6}, {"UWnx", 7 | NX}, {"SWnx", 3 | NX}, {"reserved", 7 | mode.reserved}};
  for (unsigned m = 0; m < sizeof kMiddle / sizeof *kMiddle; ++m) {
    for (unsigned l = 0; l < sizeof kLeaf / sizeof *kLeaf; ++l) {
      if (l >= 5 && mode.entry_bytes != 8) continue;
      show("page.");
      show(mode.name);
      show(".");
      show(setting);
      show(".");
      show(kMiddle[m].name);
      show(".");
      show(kLeaf[l].name);
      for (unsigned user = 0; user < 2; ++user) {
        for (unsigned access = 0; access < kAccesses; ++access) {
          if (access == kPush && !user) continue;  // the trap would need that stack
          build(kMiddle[m].flags, kLeaf[l].flags, user);
          run_access(access, user, flags, cr0, cr4);
          show_result(user ? "u" : "k", kAccessNames[access]);
        }
      }
      show_line();
    }
  }
}

static void one(const char* name, enum Access access, bool user, word cr0, word cr4) {
  run_access(access, user, 0, cr0, cr4);
  show("page.");
  show(mode.name);
  show(".");
  show(name);
  show_result(user ? "u" : "k", kAccessNames[access]);
  show_line();
}

/// An entry of the level `level` that maps a large page.
static void put_large(unsigned level, uint64_t entry) {
  void* table = level == mode.levels - 1 ? low_tables[level] : test_tables[level];
  put_entry(table, index_at(mode.address, level), entry);
}
static uint64_t get_large(unsigned level) {
  void* table = level == mode.levels - 1 ? low_tables[level] : test_tables[level];
  return get_entry(table, index_at(mode.address, level));
}

static void large(const char* name, unsigned level, uint64_t flags, word cr4) {
  for (unsigned access = 0; access < kFetch; ++access) {
    build(7, 7, true);
    put_large(level, flags);
    struct Regs r = user_regs();
    (void)r;
    // The page begins at 0; what is read or written is the data page.
    const word old = mode.address;
    const word offset = kDataPage + 0x200 - kTargetData;
    mode.address += offset;
    const uint8_t *start = 0, *end = 0;
    struct Regs regs = user_regs();
    regs.si = mode.address + kTargetData;
#ifdef __x86_64__
    if (access == kRead) CODE_OF("mov (%rsi), %al\nint $0xf0", start, end);
    if (access == kWrite) CODE_OF("mov %al, (%rsi)\nint $0xf0", start, end);
    if (access == kModify) CODE_OF("addb $0, (%rsi)\nint $0xf0", start, end);
#else
    if (access == kRead) CODE_OF("mov (%esi), %al\nint $0xf0", start, end);
    if (access == kWrite) CODE_OF("mov %al, (%esi)\nint $0xf0", start, end);
    if (access == kModify) CODE_OF("addb $0, (%esi)\nint $0xf0", start, end);
#endif
    copy_code(start, end);
    mode.address = old;
    paging_on(kCr0WP, cr4);
    execute_there(regs);
    paging_off();
    show("page.");
    show(mode.name);
    show(".");
    show(name);
    show(".");
    show(kAccessNames[access]);
    show_value("v", outcome.vector);
    if (outcome.vector == 14) show_value("e", outcome.error);
    show_value("entry", (word)(get_large(level) & 0xfff));
    show_line();
  }
}

static void ldt_access(const char* name, uint64_t leaf, word flags, word cr4, bool accessed) {
  build(7, leaf, true);
  set_descriptor(0x50, (uint32_t)mode.address + kTargetData, 0xff, 0x82, 0);
#ifdef __x86_64__
  case_gdt[0x58 / 8] = mode.address >> 32;
#endif
  uint64_t* ldt = (uint64_t*)low32(kTargetPage + kTargetData);
  ldt[1] = 0x00cff2000000ffff | (uint64_t)accessed << 40;
  struct Regs r = user_regs();
  r.flags |= flags;
  const uint8_t *start = 0, *end = 0;
  CODE_OF("mov $0xf, %eax\nmov %eax, %ds\nint $0xf0", start, end);
  copy_code(start, end);
  paging_on(kCr0WP, cr4);
  __asm__ volatile("lldt %w0" ::"r"(0x50));
  execute_there(r);
  __asm__ volatile("lldt %w0" ::"r"(0));
  paging_off();
  show("page.");
  show(mode.name);
  show(".ldt.");
  show(name);
  show_value("v", outcome.vector);
  if (outcome.error != ~(word)0) show_value("e", outcome.error);
  show_value("leaf", leaf_now() & 0xfff);
  show_value("type", (word)(ldt[1] >> 40 & 0xff));
  show_line();
}

static void all_of_mode(bool has_smap) {
  permissions("wp0", 0, 0, 0);
  permissions("wp1", 0, kCr0WP, 0);
  if (has_smap) {
    permissions("smep", 0, kCr0WP, kCr4SMEP);
    permissions("smap", 0, kCr0WP, kCr4SMAP);
    permissions("smap.ac", kAC, kCr0WP, kCr4SMAP);
    permissions("smap.wp0", 0, 0, kCr4SMAP | kCr4SMEP);
  }
  for (unsigned accessed = 0; accessed < 2; ++accessed) {
    ldt_access(accessed ? "accessed.S" : "S", kP, 0, 0, accessed);
    ldt_access(accessed ? "accessed.SW" : "SW", kP | kW, 0, 0, accessed);
    ldt_access(accessed ? "accessed.UW" : "UW", kP | kW | kU, 0, 0, accessed);
    ldt_access(accessed ? "accessed.none" : "none", 0, 0, 0, accessed);
    if (has_smap) {
      ldt_access(accessed ? "accessed.smap" : "smap", kP | kW | kU, 0, kCr4SMAP, accessed);
      ldt_access(accessed ? "accessed.smap.ac" : "smap.ac", kP | kW | kU, kAC, kCr4SMAP, accessed);
      ldt_access(accessed ? "accessed.smap.S" : "smap.S", kP | kW, kAC, kCr4SMAP, accessed);
    }
  }
  const uint64_t base = kP | kW | kU | kPS;
  large("large", 1, base, 0);
  large("large.readonly", 1, base & ~(uint64_t)kW, 0);
  large("large.supervisor", 1, base & ~(uint64_t)kU, 0);
  large("large.global", 1, base | kG, kCr4PGE);
  large("large.reserved13", 1, base | 0x2000, 0);
  large("large.reserved20", 1, base | 0x100000, 0);
  large("large.bit21", 1, base | 0x200000, 0);
  if (mode.levels >= 3) {
    large("large.nx", 1, base | NX, 0);
    large("large.pat", 1, base | 0x1000, 0);
  }
  if (mode.levels >= 4) {
    large("huge", 2, base, 0);
    large("huge.readonly", 2, base & ~(uint64_t)kW, 0);
    large("huge.reserved13", 2, base | 0x2000, 0);
    large("huge.reserved29", 2, base | 0x20000000, 0);
    large("ps.pml4", 3, base, 0);
    large("reserved.pml4", 3, kP | kW | kU | (uint64_t)1 << 51, 0);
    large("reserved.pdpt", 2, kP | kW | kU | (uint64_t)1 << 51, 0);
  }
  if (mode.levels >= 5) {
    large("ps.pml5", 4, base, 0);
    large("reserved.pml5", 4, kP | kW | kU | (uint64_t)1 << 51, 0);
  }
  if (mode.levels >= 3) large("reserved.directory", 1, kP | kW | kU | mode.reserved, 0);
  build(7, 7 | kA, true);
  one("accessed.already", kWrite, true, kCr0WP, 0);
  build(7, 7 | kA | kD, true);
  one("dirty.already", kRead, true, kCr0WP, 0);
  build(7 | kA, 5 | kD, true);
  one("dirty.readonly", kWrite, true, kCr0WP, 0);
  build(7, 7 | kG, true);
  one("global", kWrite, true, kCr0WP, kCr4PGE);
}

#ifndef __x86_64__
static void pdpte(const char* name, uint64_t entry) {
  fresh();
  build(7, 7, false);
  put_entry(low_tables[2], 1, (word)test_tables[1] | entry);
  const uint8_t *start = 0, *end = 0;
  struct Regs r = kernel_regs();
  r.ax = (word)low_tables[2];
  CODE_OF("mov %eax, %cr3\nint $0xf0", start, end);
  copy_code(start, end);
  put_entry(low_tables[2], 1, 0);
  paging_on(kCr0WP, 0);
  put_entry(low_tables[2], 1, (word)test_tables[1] | entry);
  execute_there(r);
  paging_off();
  show("page.pae.pdpte.");
  show(name);
  show_value("v", outcome.vector);
  show_line();
}

void paging_cases(void) {
  uint32_t leaf7[4];
  cpuid(7, leaf7);
  const bool has_smap = leaf7[1] >> 20 & 1;
  fresh();
  mode = (__typeof__(mode)){"32bit", 2, 4, 10, 0x00800000, 0};
  all_of_mode(has_smap);
  fresh();
  write_msr(0xc0000080, read_msr(0xc0000080) | 0x800);  // NXE
  mode = (__typeof__(mode)){"pae", 3, 8, 9, 0x40000000, (uint64_t)1 << 55};
  all_of_mode(has_smap);
  pdpte("plain", kP);
  pdpte("writable", kP | kW);
  pdpte("user", kP | kU);
  pdpte("bit5", kP | kA);
  pdpte("ps", kP | kPS);
  pdpte("nx", kP | NX);
  pdpte("absent.reserved", kW | kU);
  // Without NXE the bit is reserved.
  write_msr(0xc0000080, read_msr(0xc0000080) & ~0x800ull);
  build(7, 7 | NX, true);
  one("nxe.off", kRead, true, kCr0WP, 0);
  build(7 | NX, 7, true);
  one("nxe.off.directory", kRead, true, kCr0WP, 0);
  fresh();
}
#else
static void pcid(void) {
  uint32_t leaf1[4], leaf7[4];
  cpuid(1, leaf1);
  cpuid(7, leaf7);
  if (!(leaf1[2] >> 17 & 1) || !(leaf7[1] >> 10 & 1)) {
    show("pcid absent");
    show_line();
    return;
  }
#define PCID(name, text)                                                            \
  do {                                                                              \
    fresh();                                                                        \
    struct Regs r = kernel_regs();                                                  \
    __asm__("mov %%cr3, %0" : "=r"(r.bx));                                          \
    const word mine = r.bx;                                                         \
    TRY(r, "mov %cr4, %rax\nor $0x20000, %rax\n" text);                             \
    __asm__ volatile("mov %0, %%cr3" ::"r"(mine));                                  \
    if (outcome.regs.bx == mine) outcome.regs.bx = initial.bx;                      \
    report("pcid." name);                                                           \
  } while (0)
  PCID("on", "mov %rax, %cr4\nxor %eax, %eax");
  PCID("on.cr3.low", "mov %cr3, %rdx\nor $0x18, %rdx\nmov %rdx, %cr3\nmov %rax, %cr4");
  PCID("cr3.pcid", "mov %rax, %cr4\nmov %rbx, %rdx\nor $5, %rdx\nmov %rdx, %cr3\nmov %cr3, %rax\nsub %rbx, %rax\nxor %edx, %edx");
  PCID("cr3.noflush", "mov %rax, %cr4\nbts $63, %rbx\nmov %rbx, %cr3\nmov %cr3, %rax\nbtr $63, %rbx\nsub %rbx, %rax");
  PCID("off.cr3.bit63", "bts $63, %rbx\nmov %rbx, %cr3");
  PCID("off.with.pcid", "mov %rax, %cr4\nmov %rbx, %rdx\nor $5, %rdx\nmov %rdx, %cr3\nbtr $17, %rax\nmov %rax, %cr4\nxor %eax, %eax\nmov %cr3, %rdx\nsub %rbx, %rdx");
  PCID("off.paging", "mov %rax, %cr4\nmov %cr0, %rdx\nbtr $31, %rdx\nmov %rdx, %cr0");
  PCID("invpcid.0", "mov %rax, %cr4\nxor %eax, %eax\nmovq $0, (%rsi)\nmovq $0x20000, 8(%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.0.noncanonical", "mov %rax, %cr4\nxor %eax, %eax\nmovq $0, (%rsi)\nmov $0x800000000000, %rdx\nmov %rdx, 8(%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.1", "mov %rax, %cr4\nmov $1, %eax\nmovq $7, (%rsi)\nmovq $0, 8(%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.1.reserved", "mov %rax, %cr4\nmov $1, %eax\nmovq $0x1000, (%rsi)\nmovq $0, 8(%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.2", "mov %rax, %cr4\nmov $2, %eax\nmovq $0, (%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.2.reserved", "mov %rax, %cr4\nmov $2, %eax\nmovq $0x1000, (%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.3", "mov $3, %eax\nmovq $0, (%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.4", "mov $4, %eax\nmovq $0, (%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.without.1", "mov $1, %eax\nmovq $1, (%rsi)\ninvpcid (%rsi), %rax");
  PCID("invpcid.without.0", "xor %eax, %eax\nmovq $1, (%rsi)\ninvpcid (%rsi), %rax");
  fresh();
  CASE("pcid.invpcid.cpl3", user_regs(), "xor %eax, %eax\ninvpcid (%rsi), %rax");
}

/// Branches and accesses where 57 bits count.
static void wide(const char* name, word target, const uint8_t* start, const uint8_t* end) {
  build(7, 7, false);
  low32(kTargetPage)[0] = 0x9090f0cd;  // int $0xf0
  struct Regs r = kernel_regs();
  r.ax = target;
  copy_code(start, end);
  paging_on(0, 0);
  execute_there(r);
  paging_off();
  if (outcome.regs.ax == target) outcome.regs.ax = initial.ax;
  report_of("page.5level", name);
}
#define WIDE(name, target, text)              \
  do {                                        \
    const uint8_t *start_, *end_;             \
    CODE_OF(text "\nint $0xf0", start_, end_);\
    wide(name, target, start_, end_);         \
  } while (0)

static void five_levels(void) {
  mode = (__typeof__(mode)){"5level", 5, 8, 9, (word)1 << 48, (uint64_t)1 << 51};
  all_of_mode(true);
  const word high = ~(word)0 << 56, beyond = (word)1 << 56;
  WIDE("jmp", mode.address, "jmp *%rax");
  WIDE("call", mode.address, "call *%rax");
  WIDE("ret", mode.address, "push %rax\nret");
  WIDE("ret.16", mode.address, "push %rax\nret $16");
  WIDE("jmp.noncanonical", beyond, "jmp *%rax");
  WIDE("call.noncanonical", beyond, "call *%rax");
  WIDE("ret.noncanonical", beyond, "push %rax\nret $16");
  WIDE("load.noncanonical", beyond, "mov (%rax), %ecx");
  WIDE("load.high", high, "mov (%rax), %ecx");
  WIDE("load.low", (word)1 << 47, "mov (%rax), %ecx");
  WIDE("off", 0, "mov %cr4, %rax\nbtr $12, %rax\nmov %rax, %cr4\nxor %eax, %eax");
  fresh();
  CASE("page.5level.on", kernel_regs(), "mov %cr4, %rax\nbts $12, %rax\nmov %rax, %cr4");
}

void paging_cases(void) {
  uint32_t leaf7[4], extended[4];
  cpuid(7, leaf7);
  cpuid(0x80000001, extended);
  const bool has_smap = leaf7[1] >> 20 & 1;
  fresh();
  mode = (__typeof__(mode)){"4level", 4, 8, 9, (word)1 << 39, (uint64_t)1 << 51};
  all_of_mode(has_smap);
  mode.address = ((word)1 << 39) | 0x12345 << 12;
  build(7, 7, true);
  one("deep", kWrite, true, kCr0WP, 0);
  fresh();
  if (leaf7[2] >> 16 & 1) five_levels();
  fresh();
  pcid();
  fresh();
}
#endif
