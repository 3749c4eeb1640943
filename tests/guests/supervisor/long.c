// SPDX-License-Identifier: Apache-2.0
// 64-bit mode: gates, stacks, far transfers, IRET, SYSCALL and SYSENTER, canonical addresses, compatibility mode.
#include "case.h"
#include "groups.h"

enum { kGate = 0x80, kSmallTss = 0x90, kConforming = 0xa0, kAbsentCode = 0xa8, kBoth = 0xb0, kLdt = 0xc0, kData1 = 0xd0, kCode1 = 0xd8, kIstStack = kTrapStackTop - 0x600, kNonCanonical = 0 };
#define BAD 0x0000800000000000

static void tables(void) {
  fresh();
  set_descriptor(kConforming, 0, 0xfffff, 0xff, 0xa);
  set_descriptor(kAbsentCode, 0, 0xfffff, 0x7b, 0xa);
  set_descriptor(kBoth, 0, 0xfffff, 0xfb, 0xe);  // L and D
  set_descriptor(kCode1, 0, 0xfffff, 0xbb, 0xa);
  set_descriptor(kData1, 0, 0xfffff, 0xb3, 0xc);
  case_tss[9] = kIstStack;  // IST1
  case_tss[11] = 0;
  case_tss[12] = 0x8000;  // IST2: not canonical
}

static const struct Named kSelectors[] = {
    {"null", 0}, {"null3", 3}, {"code0", kCode0}, {"long0", kLong0}, {"data0", kData0}, {"code3", kCode3}, {"long3", kLong3},
    {"long3.rpl0", kLong3 & ~3}, {"data3", kData3}, {"conforming", kConforming | 3}, {"absent", kAbsentCode | 3}, {"both", kBoth | 3},
    {"tss", kTss}, {"beyond", 0x203}, {"code1", kCode1 | 1}, {"data1", kData1 | 1}, {"hole", 0x1e0},
};
enum { kSelectorCount = sizeof kSelectors / sizeof *kSelectors };

#define EACH(group, regs_function, text)           \
  for (unsigned i = 0; i < kSelectorCount; ++i) {  \
    tables();                                      \
    struct Regs r = regs_function();               \
    r.ax = kSelectors[i].selector;                 \
    TRY(r, text);                                  \
    report_of(group, kSelectors[i].name);              \
  }
#define ONE(name, regs, text) \
  do {                        \
    tables();                 \
    CASE(name, regs, text);   \
  } while (0)

static void transfers(void) {
  EACH("long.mov.ds", user_regs, "mov %eax, %ds");
  EACH("long.mov.ss.cpl3", user_regs, "mov %eax, %ss");
  EACH("long.mov.ss.cpl0", kernel_regs, "mov %eax, %ss\nmov $0x10, %eax\nmov %eax, %ss");
  EACH("long.ltr", kernel_regs, "ltr %ax\nxor %eax, %eax");
  EACH("long.lar", user_regs, "lar %eax, %edx\npushf\npop %rbx\nand $0x40, %ebx");
  EACH("long.jmp.cpl3", user_regs, "movl $0x20018, (%rsi)\nmov %ax, 4(%rsi)\nljmp *(%rsi)\n.org 0x18 + 771b\nnop");
  EACH("long.jmp.cpl0", kernel_regs, "movl $0x20018, (%rsi)\nmov %ax, 4(%rsi)\nljmp *(%rsi)\n.org 0x18 + 771b\nnop");
  EACH("long.call.cpl0", kernel_regs, "movl $0x20018, (%rsi)\nmov %ax, 4(%rsi)\nlcall *(%rsi)\n.org 0x18 + 771b\nnop");
  EACH("long.ret.cpl0", kernel_regs, "push $0x2b\npush $0x30700\npush %rax\npush $0x20018\nlretq\n.org 0x18 + 771b\nnop");
  EACH("long.ret.cpl3", user_regs, "push $0x2b\npush $0x30700\npush %rax\npush $0x20018\nlretq\n.org 0x18 + 771b\nnop");
  EACH("long.ret.ss", kernel_regs, "push %rax\npush $0x30700\npush $0x33\npush $0x20018\nlretq\n.org 0x18 + 771b\nnop");
  EACH("long.iret.cs", kernel_regs, "push $0x2b\npush $0x30700\npush $2\npush %rax\npush $0x20018\niretq\n.org 0x18 + 771b\nnop");
  EACH("long.iret.ss3", kernel_regs, "push %rax\npush $0x30700\npush $2\npush $0x33\npush $0x20018\niretq\n.org 0x18 + 771b\nnop");
  EACH("long.iret.ss0", kernel_regs, "push %rax\npush $0x30700\npush $2\npush $0x18\npush $0x20018\niretq\n.org 0x18 + 771b\nnop");
  EACH("long.iret.compat.ss", kernel_regs, "push %rax\npush $0x30700\npush $2\npush $0x23\npush $0x20018\niretq\n.org 0x18 + 771b\nnop");
  ONE("iret.same.stack", kernel_regs(), "push $0x10\npush $0x30701\npush $2\npush $0x18\npush $0x20018\niretq\n.org 0x18 + 771b\nnop");
  ONE("iret.flags", kernel_regs(), "push $0x10\npush $0x30700\npush $0x3c7ed7 - 0x100\npush $0x18\npush $0x20020\niretq\n.org 0x20 + 771b\nnop");
  ONE("iret.flags.cpl3", user_regs(), "push $0x2b\npush $0x30700\npush $0x3c7ed7 - 0x100 - 0x4000\npush $0x33\npush $0x20020\niretq\n.org 0x20 + 771b\nnop");
  ONE("iret.nt", kernel_regs(), "pushf\norl $0x4000, (%rsp)\npopf\niretq");
  ONE("iret.noncanonical.ip", kernel_regs(), "mov $0x800000000000, %rcx\npush $0x10\npush $0x30700\npush $2\npush $0x18\npush %rcx\niretq");
  ONE("iret.noncanonical.ip.cpl3", kernel_regs(), "mov $0x800000000000, %rcx\npush $0x2b\npush $0x30700\npush $2\npush $0x33\npush %rcx\niretq");
  ONE("iret.noncanonical.sp", kernel_regs(), "mov $0x800000000000, %rcx\npush $0x2b\npush %rcx\npush $2\npush $0x33\npush $0x20020\niretq\n.org 0x20 + 771b\nxor %eax, %eax");
  ONE("iret.long.operand", kernel_regs(), "sub $32, %rsp\nmovl $0x20028, (%rsp)\nmovl $0x18, 4(%rsp)\nmovl $2, 8(%rsp)\nmovl $0x30700, 12(%rsp)\nmovl $0x10, 16(%rsp)\niretl\n.org 0x40 + 771b");
  ONE("ret.noncanonical", user_regs(), "mov $0x800000000000, %rcx\npush %rcx\nret");
  ONE("jmp.noncanonical", user_regs(), "mov $0x800000000000, %rcx\njmp *%rcx");
  ONE("call.noncanonical", user_regs(), "mov $0x800000000000, %rcx\ncall *%rcx");
  ONE("ret.far.noncanonical", kernel_regs(), "mov $0x800000000000, %rcx\npush $0x18\npush %rcx\nlretq");
  ONE("push.noncanonical", user_regs(), "mov $0x800000000000, %rsp\nadd $8, %rsp\npush %rax\npush %rax");
  ONE("pop.noncanonical", user_regs(), "mov $0x800000000000, %rsp\npop %rax");
  ONE("rsp.noncanonical", user_regs(), "mov $0x800000000000, %rsp\nmov (%rsp), %rax");
  ONE("rbp.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nmov (%rbp), %rax");
  ONE("rax.noncanonical", user_regs(), "mov $0x800000000000, %rax\nmov (%rax), %rax");
  ONE("rbp.index.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nxor %eax, %eax\nmov (%rax,%rbp), %rax");
  ONE("ds.rbp.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nmov %ds:(%rbp), %rax");
  ONE("fs.rsp.noncanonical", user_regs(), "mov $0x800000000000, %rsp\nmov %fs:(%rsp), %rax");
  ONE("cross.noncanonical", user_regs(), "mov $0x7ffffffffffc, %rax\nmov (%rax), %rax");
  ONE("call.stack.noncanonical", user_regs(), "mov $0x800000000000, %rsp\ncall . + 5");
  ONE("call.far.stack.noncanonical", user_regs(), "movl $0x20018, (%rsi)\nmovw $0x33, 4(%rsi)\nmov $0x800000000000, %rsp\nlcall *(%rsi)");
  ONE("ret.far.stack.noncanonical", user_regs(), "mov $0x800000000000, %rsp\nlretq");
  ONE("iret.stack.noncanonical", user_regs(), "mov $0x800000000000, %rsp\niretq");
  ONE("enter.noncanonical", user_regs(), "mov $0x800000000000, %rsp\nenter $8, $0");
  ONE("enter.nested.noncanonical", user_regs(), "mov $0x800000000000, %rsp\nenter $8, $2");
  ONE("leave.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nleave");
  ONE("popf.noncanonical", user_regs(), "mov $0x800000000000, %rsp\npopf");
  ONE("fxsave.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nfxsave (%rbp)");
  ONE("cmpxchg16b.noncanonical", user_regs(), "mov $0x800000000000, %rbp\ncmpxchg16b (%rbp)");
  ONE("cmpxchg16b.misaligned", user_regs(), "cmpxchg16b 8(%rsi)");
  ONE("fstenv.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nfnstenv (%rbp)");
  ONE("movaps.misaligned", user_regs(), "movaps 8(%rsi), %xmm0");
  ONE("lss.noncanonical", user_regs(), "mov $0x800000000000, %rbp\nlss (%rbp), %eax");
  static const char* const kInvalid = 0;
  (void)kInvalid;
  ONE("invalid.daa", user_regs(), ".byte 0x27");
  ONE("invalid.pusha", user_regs(), ".byte 0x60");
  ONE("invalid.bound", user_regs(), ".byte 0x62, 0x06");
  ONE("invalid.push.es", user_regs(), ".byte 0x06");
  ONE("invalid.call.far", user_regs(), ".byte 0x9a, 0, 0, 0, 0, 0, 0");
  ONE("invalid.into", user_regs(), ".byte 0xce");
  ONE("invalid.salc", user_regs(), ".byte 0xd6");
  ONE("invalid.lds", user_regs(), ".byte 0xc5, 0x06");
  ONE("compat.in", kernel_regs(), "push $0x2b\npush $0x30700\npush $2\npush $0x23\npush $0x20018\niretq\n.org 0x18 + 771b\n.code32\nmov %cs, %eax\ninc %ecx\ndec %edx\nljmp $0x33, $0x20028\n.org 0x28 + 771b\n.code64\nmov %cs, %ebx");
  ONE("compat.daa", kernel_regs(), "push $0x2b\npush $0x30700\npush $2\npush $0x23\npush $0x20018\niretq\n.org 0x18 + 771b\n.code32\nxor %eax, %eax\ndaa\npusha\npopa");
  ONE("compat.vm", kernel_regs(), "push $0x2b\npush $0x30700\npush $0x20002\npush $0x23\npush $0x20018\niretq\n.org 0x18 + 771b\n.code32\nnop");
  ONE("compat.limit", kernel_regs(), "push $0x2b\npush $0x30700\npush $2\npush $0x23\npush $0x20018\niretq\n.org 0x18 + 771b\n.code32\nmov $0x20, %eax\nmov %eax, %ds\nmov %ds:(%esi), %eax");
}

static void gates(void) {
  static const struct {
    const char* name;
    uint16_t target;
    uint32_t offset;
    uint8_t access, type2;
    uint16_t rpl;
    uint32_t high;
  } kGates[] = {{"to0", kLong0, kCodePage + 0x40, 0xec, 0, 3, 0}, {"dpl0", kLong0, kCodePage + 0x40, 0x8c, 0, 3, 0},
                {"absent", kLong0, kCodePage + 0x40, 0x6c, 0, 3, 0}, {"code32", kCode0, kCodePage + 0x40, 0xec, 0, 3, 0},
                {"data", kData0, kCodePage + 0x40, 0xec, 0, 3, 0}, {"null", 0, kCodePage + 0x40, 0xec, 0, 3, 0},
                {"same", kLong3, kCodePage + 0x40, 0xec, 0, 3, 0}, {"conforming", kConforming, kCodePage + 0x40, 0xec, 0, 3, 0},
                {"upper.type", kLong0, kCodePage + 0x40, 0xec, 5, 3, 0}, {"noncanonical", kLong0, 0, 0xec, 0, 3, 0x8000},
                {"code.absent", kAbsentCode, kCodePage + 0x40, 0xec, 0, 3, 0}, {"16bit", kLong0, kCodePage + 0x40, 0xe4, 0, 3, 0},
                {"code1", kCode1, kCodePage + 0x40, 0xec, 0, 3, 0}, {"task", kTss, 0, 0xe5, 0, 3, 0}};
  for (unsigned jump = 0; jump < 2; ++jump) {
    for (unsigned i = 0; i < sizeof kGates / sizeof *kGates; ++i) {
      tables();
      set_gate(kGate, kGates[i].target, kGates[i].offset, kGates[i].access, 0);
      case_gdt[kGate / 8 + 1] = kGates[i].high | (uint64_t)kGates[i].type2 << 40;
      low32(kDataPage)[0] = 0;
      low32(kDataPage)[1] = kGate | kGates[i].rpl;
      if (jump) {
        TRY(user_regs(), "ljmp *(%rsi)\n.org 0x40 + 771b\nmov %rsp, %rax\nmov %ss, %ebp");
      } else {
        TRY(user_regs(), "lcall *(%rsi)\n.org 0x40 + 771b\nmov %rsp, %rax\nmov (%rsp), %rbx\nmov 8(%rsp), %rcx\nmov 16(%rsp), %rdx\nmov 24(%rsp), %rdi\nmov %ss, %ebp");
      }
      report_of(jump ? "lgate.jmp" : "lgate.call", kGates[i].name);
    }
  }
  ONE("lgate.return", user_regs(), "nop");
  static const struct {
    const char* name;
    uint16_t target;
    word offset;
    uint8_t access, ist;
  } kVectors[] = {{"interrupt", kLong0, kCodePage + 0x40, 0xee, 0}, {"trap", kLong0, kCodePage + 0x40, 0xef, 0},
                  {"ist1", kLong0, kCodePage + 0x40, 0xee, 1}, {"ist2.noncanonical", kLong0, kCodePage + 0x40, 0xee, 2},
                  {"dpl0", kLong0, kCodePage + 0x40, 0x8e, 0}, {"absent", kLong0, kCodePage + 0x40, 0x6e, 0},
                  {"code32", kCode0, kCodePage + 0x40, 0xee, 0}, {"data", kData0, kCodePage + 0x40, 0xee, 0},
                  {"null", 0, kCodePage + 0x40, 0xee, 0}, {"same", kLong3, kCodePage + 0x40, 0xee, 0},
                  {"conforming", kConforming, kCodePage + 0x40, 0xee, 0}, {"noncanonical", kLong0, BAD, 0xee, 0},
                  {"16bit", kLong0, kCodePage + 0x40, 0xe6, 0}, {"task", kTss, 0, 0xe5, 0}, {"code.absent", kAbsentCode, kCodePage + 0x40, 0xee, 0},
                  {"both", kBoth, kCodePage + 0x40, 0xee, 0}, {"code1", kCode1, kCodePage + 0x40, 0xee, 0}};
  for (unsigned from = 0; from < 2; ++from) {
    for (unsigned i = 0; i < sizeof kVectors / sizeof *kVectors; ++i) {
      tables();
      set_vector(0x40, kVectors[i].target, kVectors[i].offset, kVectors[i].access, kVectors[i].ist);
      struct Regs r = from ? user_regs() : kernel_regs();
      r.sp -= 3;
      r.flags |= 0xcd5;
      TRY(r, "int $0x40\n.org 0x40 + 771b\nmov %rsp, %rax\nmov (%rsp), %rbx\nmov 16(%rsp), %rcx\nmov 24(%rsp), %rdx\nmov 32(%rsp), %rdi\nmov %ss, %ebp");
      report_of(from ? "lint.cpl3" : "lint.cpl0", kVectors[i].name);
    }
  }
  tables();
  set_vector(6, kLong0, trap_entry_table[6], 0x0e, 0);
  CASE("lnested.ud.absent", user_regs(), "ud2");
  tables();
  set_vector(13, kLong0, trap_entry_table[13], 0x0e, 0);
  CASE("lnested.gp.absent", user_regs(), "hlt");
  tables();
  set_vector(14, kLong0, trap_entry_table[14], 0x0e, 0);
  CASE("lnested.pf.absent", user_regs(), "mov 0x7fffffff000, %rax");
  ONE("lsmall.idt", kernel_regs(), "sidt (%rsi)\nmovw $0xff, (%rsi)\nlidt (%rsi)\nint $0x80");
}

static void system_calls(void) {
#define STAR_SET write_msr(0xc0000081, (uint64_t)0x20 << 48 | (uint64_t)kCode0 << 32), write_msr(0xc0000082, kCodePage + 0x40), \
    write_msr(0xc0000084, 0x40700), write_msr(0xc0000080, read_msr(0xc0000080) | 1)
  tables();
  case_gdt[1] = case_gdt[3];  // STAR's CS is 64-bit code, as its cached form says
  write_msr(0xc0000080, read_msr(0xc0000080) & ~1ull);
  CASE("syscall.off", user_regs(), "syscall");
  STAR_SET;
  struct Regs r = user_regs();
  r.flags |= 0xcd5;
  tables();
  CASE("syscall", r, "syscall\n.org 0x40 + 771b\nmov %cs, %eax\nmov %ss, %ebx");
  tables();
  CASE("syscall.cpl0", kernel_regs(), "syscall\n.org 0x40 + 771b\nmov %cs, %eax\nmov %ss, %ebx");
  tables();
  CASE("sysret64", kernel_regs(), "mov $0x20020, %ecx\nmov $0x246, %r11d\nsysretq\n.org 0x20 + 771b\nnop");
  tables();
  CASE("sysret32", kernel_regs(), "mov $0x20020, %ecx\nmov $0x3246, %r11d\nsysretl\n.org 0x20 + 771b\nnop");
  tables();
  CASE("sysret.noncanonical", kernel_regs(), "mov $0x800000000000, %rcx\nmov $0x246, %r11d\nsysretq");
  tables();
  CASE("sysret.cpl3", user_regs(), "sysretq");
  tables();
  CASE("sysret.flags", kernel_regs(), "mov $0x20020, %ecx\nmov $0x3c7ed7 - 0x100, %r11d\nsysretq\n.org 0x20 + 771b\nnop");
  tables();
  write_msr(0x174, 0);
  CASE("sysenter.null", user_regs(), "sysenter");
  write_msr(0x174, kLong0);
  write_msr(0x175, kTrapStackTop - 0x700);
  write_msr(0x176, kCodePage + 0x40);
  tables();
  CASE("sysenter", r, "sysenter\n.org 0x40 + 771b\nmov %cs, %eax\nmov %ss, %ebx\nmov %rsp, %rcx");
  tables();
  CASE("sysexit64", kernel_regs(), "mov $0x20020, %edx\nmov $0x30700, %ecx\nsysexitq\n.org 0x20 + 771b\nnop");
  tables();
  CASE("sysexit32", kernel_regs(), "mov $0x20020, %edx\nmov $0x30700, %ecx\nsysexitl\n.org 0x20 + 771b\nnop");
  tables();
  CASE("sysexit.noncanonical", kernel_regs(), "mov $0x800000000000, %rdx\nmov $0x30700, %ecx\nsysexitq");
  tables();
  CASE("sysexit.cpl3", user_regs(), "sysexitl");
  write_msr(0x174, 0);
  tables();
  CASE("sysexit.null", kernel_regs(), "sysexitl");
  ONE("swapgs.cpl3", user_regs(), "swapgs");
  ONE("swapgs.cpl0", kernel_regs(), "swapgs\nswapgs");
  ONE("rdfsbase.off", user_regs(), "rdfsbase %rax");
  ONE("wrfsbase.noncanonical", kernel_regs(), "mov %cr4, %rax\nor $0x10000, %rax\nmov %rax, %cr4\nmov $0x800000000000, %rax\nwrfsbase %rax");
  ONE("wrfsbase", kernel_regs(), "mov %cr4, %rax\nor $0x10000, %rax\nmov %rax, %cr4\nmov $0x12345678, %eax\nwrfsbase %rax\nrdfsbase %rbx\nxor %eax, %eax\nwrfsbase %rax");
  ONE("cr8", kernel_regs(), "mov $5, %eax\nmov %rax, %cr8\nmov %cr8, %rbx\nxor %eax, %eax\nmov %rax, %cr8");
  ONE("cr8.reserved", kernel_regs(), "mov $0x10, %eax\nmov %rax, %cr8");
  ONE("cr8.cpl3", user_regs(), "mov %cr8, %rax");
  ONE("cr0.high", kernel_regs(), "mov %cr0, %rax\nbts $32, %rax\nmov %rax, %cr0");
  UNLESS_QEMU("cr0.pg.clear", ONE("cr0.pg.clear", kernel_regs(), "mov %cr0, %rax\nbtr $31, %rax\nmov %rax, %cr0"));
  UNLESS_QEMU("cr4.pae.clear", ONE("cr4.pae.clear", kernel_regs(), "mov %cr4, %rax\nbtr $5, %rax\nmov %rax, %cr4"));
  UNLESS_QEMU("cr4.high", ONE("cr4.high", kernel_regs(), "mov %cr4, %rax\nbts $40, %rax\nmov %rax, %cr4"));
  UNLESS_QEMU("cr4.la57", ONE("cr4.la57", kernel_regs(), "mov %cr4, %rax\nbts $12, %rax\nmov %rax, %cr4"));
  UNLESS_QEMU("cr3.reserved", ONE("cr3.reserved", kernel_regs(), "mov %cr3, %rax\nbts $62, %rax\nmov %rax, %cr3"));
  ONE("cr2.any", kernel_regs(), "mov $0x800000000000, %rax\nmov %rax, %cr2\nmov %cr2, %rbx");
  ONE("umip.sgdt", user_regs(), "sgdt (%rsi)\nmov 2(%rsi), %rax\nxor %eax, %eax");
  static const char* const kUmip[] = {"sgdt", "sidt", "sldt", "str", "smsw"};
  uint32_t leaf7[4];
  cpuid(7, leaf7);
  if (leaf7[2] >> 2 & 1) {
    for (unsigned i = 0; i < 5; ++i) {
      tables();
      word cr4;
      __asm__ volatile("mov %%cr4, %0\nor $0x800, %0\nmov %0, %%cr4" : "=r"(cr4));
      const struct Regs u = user_regs();
      if (i == 0) TRY(u, "sgdt (%rsi)");
      if (i == 1) TRY(u, "sidt (%rsi)");
      if (i == 2) TRY(u, "sldt %eax");
      if (i == 3) TRY(u, "str %eax");
      if (i == 4) TRY(u, "smsw %eax");
      report_of("umip.on", kUmip[i]);
    }
  } else {
    show("umip absent");
    show_line();
  }
  fresh();
}

/// The low 2 MiB as user pages, too: boot.S maps them for the supervisor only.
static void open_low_pages(void) {
  extern uint64_t pml4[], pdpt[];
  pml4[0] |= 4;
  pdpt[0] |= 4;
  uint64_t* directory = (uint64_t*)(pdpt[0] & ~0xfffull);
  directory[0] |= 4;
  __asm__ volatile("mov %%cr3, %%rax\nmov %%rax, %%cr3" ::: "rax", "memory");
}

void main(void) {
  open_low_pages();
  fresh();
  transfers();
  gates();
  system_calls();
  paging_cases();
  debug_cases();
  msr_cases();
  apic_cases();
  print("END\n");
}
