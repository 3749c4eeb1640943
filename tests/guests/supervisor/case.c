// SPDX-License-Identifier: Apache-2.0
#include "case.h"

struct Outcome outcome;
struct Regs initial;
__attribute__((aligned(16))) uint64_t case_gdt[kGdtEntries];
__attribute__((aligned(128))) uint32_t case_tss[0x900];  // 104 bytes, maps up to 0x2088
enum { kTssBytes = 0x2100 };
static uint64_t case_idt[512];
static word base_cr0, base_cr3, base_cr4;
static bool have_base;

struct __attribute__((packed)) TablePointer {
  uint16_t limit;
  word base;
};

static void fill(void* to, size_t bytes) {
  for (uint8_t* p = to; bytes > 0; --bytes) *p++ = 0;
}

void set_descriptor(unsigned selector, uint32_t base, uint32_t limit, uint8_t access, uint8_t flags) {
  case_gdt[selector / 8] = (uint64_t)(limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
                           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

void set_gate(unsigned selector, uint16_t target, uint32_t offset, uint8_t access, uint8_t parameters) {
  case_gdt[selector / 8] = (uint64_t)(offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)parameters << 32 |
                           (uint64_t)access << 40 | (uint64_t)(offset >> 16) << 48;
#ifdef __x86_64__
  case_gdt[selector / 8 + 1] = 0;
#endif
}

void set_vector(unsigned vector, uint16_t target, word offset, uint8_t access, uint8_t ist) {
  const uint64_t low = (uint64_t)(offset & 0xffff) | (uint64_t)target << 16 | (uint64_t)ist << 32 |
                       (uint64_t)access << 40 | (uint64_t)(offset >> 16 & 0xffff) << 48;
#ifdef __x86_64__
  case_idt[vector * 2] = low;
  case_idt[vector * 2 + 1] = offset >> 32;
#else
  case_idt[vector] = low;
#endif
}

#ifdef __x86_64__
enum { kHandlerCode = kLong0 };
#else
enum { kHandlerCode = kCode0 };
#endif

void fresh(void) {
  if (!have_base) {
    __asm__("mov %%cr0, %0" : "=r"(base_cr0));
    base_cr0 &= ~(word)0x60000000;
    __asm__("mov %%cr3, %0" : "=r"(base_cr3));
    __asm__("mov %%cr4, %0" : "=r"(base_cr4));
    have_base = true;
    out8(0x3fb, 0x83);  // 115200 baud, 8 bits
    out8(0x3f8, 1);
    out8(0x3f9, 0);
    out8(0x3fb, 3);
  }
  word zero = 0;
  __asm__ volatile("mov %0, %%dr7" ::"r"(zero));
#ifdef __x86_64__
  __asm__ volatile("mov %0, %%cr3\nmov %1, %%cr4\nmov %2, %%cr0" ::"r"(base_cr3), "r"(base_cr4), "r"(base_cr0) : "memory");
#else
  __asm__ volatile("mov %2, %%cr0\nmov %1, %%cr4\nmov %0, %%cr3" ::"r"(base_cr3), "r"(base_cr4), "r"(base_cr0) : "memory");
#endif
  __asm__ volatile("mov %0, %%dr6\nmov %0, %%dr0\nmov %0, %%dr1\nmov %0, %%dr2\nmov %0, %%dr3" ::"r"(zero));
  fill(low32(kStackPage), 0x2000);
  fill(low32(kDataPage), 0x1000);
  fill(case_gdt, sizeof case_gdt);
  set_descriptor(kCode0, 0, 0xfffff, 0x9b, 0xc);
  set_descriptor(kData0, 0, 0xfffff, 0x93, 0xc);
  set_descriptor(kLong0, 0, 0xfffff, 0x9b, 0xa);
  set_descriptor(kCode3, 0, 0xfffff, 0xfb, 0xc);
  set_descriptor(kData3, 0, 0xfffff, 0xf3, 0xc);
  set_descriptor(kLong3, 0, 0xfffff, 0xfb, 0xa);
  set_descriptor(kTss, (uint32_t)(uintptr_t)case_tss, kTssBytes - 1, 0x89, 0);
  fill(case_tss, sizeof case_tss);
#ifdef __x86_64__
  for (unsigned i = 0; i < 3; ++i) case_tss[1 + 2 * i] = kTrapStackTop;  // RSP0..2
  case_tss[25] = 104 << 16;
#else
  for (unsigned i = 0; i < 3; ++i) {
    case_tss[1 + 2 * i] = kTrapStackTop;
    case_tss[2 + 2 * i] = kData0;
  }
  case_tss[25] = 0x88 << 16;
#endif
  ((uint8_t*)case_tss)[kTssBytes - 1] = 0xff;
  const struct TablePointer gdt_pointer = {sizeof case_gdt - 1, (word)case_gdt};
  __asm__ volatile("lgdt %0" ::"m"(gdt_pointer));
  __asm__ volatile("ltr %w0" ::"r"(kTss));
  __asm__ volatile("lldt %w0" ::"r"(0));
  for (unsigned v = 0; v < 256; ++v) set_vector(v, kHandlerCode, trap_entry_table[v], v == kDone || v == 3 || v == 4 ? 0xee : 0x8e, 0);
  const struct TablePointer idt_pointer = {256 * sizeof(word) * 2 - 1, (word)case_idt};
  __asm__ volatile("lidt %0" ::"m"(idt_pointer));
}

static struct Regs common_regs(void) {
  return (struct Regs){.ax = 0x11111111, .cx = 0x22222222, .dx = 0x33333333, .bx = 0x44444444, .sp = kStackTop,
                       .bp = 0x66666666, .si = kDataPage, .di = kDataPage + 0x100, .ip = kCodePage, .flags = 2};
}

struct Regs kernel_regs(void) {
  struct Regs r = common_regs();
  r.cs = kHandlerCode;
  r.ss = r.ds = r.es = r.fs = r.gs = kData0;
  return r;
}

struct Regs user_regs(void) {
  struct Regs r = common_regs();
#ifdef __x86_64__
  r.cs = kLong3;
#else
  r.cs = kCode3;
#endif
  r.ss = r.ds = r.es = r.fs = r.gs = kData3;
  return r;
}

void execute(struct Regs regs, const uint8_t* code, const uint8_t* end) {
  uint8_t* to = (uint8_t*)low32(kCodePage);
  for (unsigned i = 0; i < 0x100; ++i) to[i] = 0xf4;
  while (code < end) *to++ = *code++;
  execute_there(regs);
}

void execute_there(struct Regs regs) {
  word zero = 0;
  initial = regs;
  enter_case(&regs);
  __asm__ volatile("mov %%dr6, %0" : "=r"(outcome.dr6));
  __asm__ volatile("mov %0, %%dr7" ::"r"(zero));
  __asm__ volatile("mov %%cr2, %0" : "=r"(outcome.cr2));
}

// --- Traps ----------------------------------------------------------------------------------------------------------

#ifdef __x86_64__
struct Frame {
  word ax, cx, dx, bx, bp, si, di, r8, r9, r10, r11, r12, r13, r14, r15;
  word vector, error, ip, cs, flags, sp, ss;
};

void collect(void* at, word ss) {
  const struct Frame* f = at;
  (void)ss;
  uint16_t ds, es, fs, gs;
  __asm__("mov %%ds, %0\nmov %%es, %1\nmov %%fs, %2\nmov %%gs, %3" : "=r"(ds), "=r"(es), "=r"(fs), "=r"(gs));
  outcome.regs = (struct Regs){f->ax, f->cx, f->dx, f->bx, f->sp, f->bp, f->si, f->di, f->r8, f->r9, f->r10, f->r11,
                               f->r12, f->r13, f->r14, f->r15, f->ip, f->flags, f->cs, f->ss, ds, es, fs, gs};
  outcome.vector = f->vector;
  outcome.error = (int)f->error == -1 ? ~(word)0 : f->error;
}
#else
struct Frame {
  word gs, fs, es, ds, di, si, bp, ignored, bx, dx, cx, ax;
  word vector, error, ip, cs, flags;
  word sp, ss;          // from an outer privilege
  word ves, vds, vfs, vgs;  // from virtual-8086 mode
};

void collect(void* at, word ss) {
  const uint64_t d = case_gdt[(ss & 0xffff) / 8];
  const uint32_t base = (uint32_t)(d >> 16 & 0xffffff) | (uint32_t)(d >> 56) << 24;
  const uint32_t mask = d >> 54 & 1 ? ~0u : 0xffff;
  const struct Frame* f = (const struct Frame*)low32(base + ((uint32_t)at & mask));
  const bool is_virtual = f->flags & kVM;
  const bool is_outer = is_virtual || (f->cs & 3) != 0;
  outcome.regs = (struct Regs){.ax = f->ax, .cx = f->cx, .dx = f->dx, .bx = f->bx, .bp = f->bp, .si = f->si,
                               .di = f->di, .ip = f->ip, .flags = f->flags, .cs = f->cs & 0xffff};
  outcome.regs.sp = is_outer ? f->sp : ((uint32_t)at & mask) + (uint32_t)__builtin_offsetof(struct Frame, sp);
  outcome.regs.ss = (is_outer ? f->ss : ss) & 0xffff;
  outcome.regs.ds = (is_virtual ? f->vds : f->ds) & 0xffff;
  outcome.regs.es = (is_virtual ? f->ves : f->es) & 0xffff;
  outcome.regs.fs = (is_virtual ? f->vfs : f->fs) & 0xffff;
  outcome.regs.gs = (is_virtual ? f->vgs : f->gs) & 0xffff;
  outcome.vector = f->vector;
  outcome.error = f->error;
}
#endif

// --- Output: a line at a time ---------------------------------------------------------------------------------------

bool in_qemu(void) {
  static int answer = -1;  // it saves no RF with a fault
  if (answer < 0) {
    TRY(kernel_regs(), "ud2");
    answer = !(outcome.regs.flags & kRF);
  }
  return answer;
}

static void put_text(const char* text) { print(text); }

void show_hex(word value) {
  char text[2 * sizeof(word) + 1];
  unsigned n = sizeof text - 1;
  text[n] = 0;
  do {
    text[--n] = "0123456789abcdef"[value & 15];
    value >>= 4;
  } while (value != 0);
  put_text(text + n);
}

void report_of(const char* group, const char* name) {
  static char text[96];
  char* to = text;
  while (*group) *to++ = *group++;
  *to++ = '.';
  while (*name) *to++ = *name++;
  *to = 0;
  report(text);
}

void show(const char* name) { put_text(name); }
void show_text(const char* text) {
  put_text(" ");
  put_text(text);
}
void show_value(const char* key, word value) {
  put_text(" ");
  put_text(key);
  put_text("=");
  show_hex(value);
}
void show_line(void) { put_text("\n"); }

static const char* const kNames[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di",
#ifdef __x86_64__
                                     "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
#endif
                                     "ip", "flags", "cs", "ss", "ds", "es", "fs", "gs"};

void report(const char* name) {
  show(name);
  show_value("v", outcome.vector);
  if (outcome.error != ~(word)0) show_value("e", outcome.error);
  if (outcome.vector == 14) show_value("cr2", outcome.cr2);
  if (outcome.vector == 1) show_value("dr6", outcome.dr6);
  const word* was = (const word*)&initial;
  const word* is = (const word*)&outcome.regs;
  for (unsigned i = 0; i < sizeof kNames / sizeof *kNames; ++i) {
    if (&is[i] == &outcome.regs.flags) {
      show_value("flags", is[i] & ~(word)kRF);
      show_value("rf", is[i] >> 16 & 1);
    } else if (&is[i] == &outcome.regs.ip || is[i] != was[i]) {
      show_value(kNames[i], is[i]);
    }
  }
  show_line();
}
