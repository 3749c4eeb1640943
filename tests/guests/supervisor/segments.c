// SPDX-License-Identifier: Apache-2.0
// Segment loads, limits, types and privileges; far transfers through code segments and call gates; interrupts; IRET.
#include "case.h"
#include "groups.h"

enum { kData16 = 0x50, kSmall = 0x58, kDown = 0x60, kReadOnly = 0x68, kAbsent = 0x70, kExecOnly = 0x78, kConforming = 0x80,
       kCode16 = 0x88, kCode1 = 0x90, kData1 = 0x98, kGate = 0xa0, kLdt = 0xa8, kSystem = 0xb0, kCode2 = 0xb8,
       kAbsentCode = 0xc0, kConforming3 = 0xc8, kSmallCode = 0xd0, kStack16 = 0xd8, kHole = 0xe0, kStack1 = 0x98 };

static void tables(void) {
  fresh();
  set_descriptor(kData16, kDataPage, 0xffff, 0xf3, 0);
  set_descriptor(kSmall, kDataPage, 0xfff, 0xf3, 4);
  set_descriptor(kDown, kDataPage, 0xfff, 0xf7, 4);
  set_descriptor(kReadOnly, 0, 0xfffff, 0xf1, 0xc);
  set_descriptor(kAbsent, 0, 0xfffff, 0x73, 0xc);
  set_descriptor(kExecOnly, 0, 0xfffff, 0xf9, 0xc);
  set_descriptor(kConforming, 0, 0xfffff, 0x9f, 0xc);
  set_descriptor(kConforming3, 0, 0xfffff, 0xff, 0xc);
  set_descriptor(kCode16, kCodePage, 0xffff, 0x9b, 0);
  set_descriptor(kCode1, 0, 0xfffff, 0xbb, 0xc);
  set_descriptor(kData1, 0, 0xfffff, 0xb3, 0xc);
  set_descriptor(kCode2, 0, 0xfffff, 0xdb, 0xc);
  set_descriptor(kLdt, (uint32_t)case_gdt, 0x3f, 0x82, 0);
  set_descriptor(kSystem, (uint32_t)case_tss, 0x67, 0xeb, 0);  // busy: no way in
  set_descriptor(kAbsentCode, 0, 0xfffff, 0x7b, 0xc);
  set_descriptor(kSmallCode, kCodePage, 0x1f, 0xfb, 4);
  set_descriptor(kStack16, kStackPage, 0xffff, 0x93, 0);
  for (unsigned i = 0; i < 64; ++i) low32(kDataPage)[i] = 0x01010101 * i;
}

static const struct Named kSelectors[] = {
    {"null", 0},          {"null3", 3},           {"code0", kCode0},       {"data0", kData0},        {"data0.rpl3", kData0 | 3},
    {"code3", kCode3},    {"data3", kData3},      {"data3.rpl0", kData3 & ~3}, {"data1", kData1 | 1},    {"data1.rpl0", kData1},
    {"readonly", kReadOnly | 3}, {"absent", kAbsent | 3}, {"execonly", kExecOnly | 3}, {"conforming", kConforming | 3}, {"conforming.rpl0", kConforming},
    {"tss", kSystem | 3}, {"ldt", kLdt | 3},      {"hole", kHole | 3},     {"beyond", 0x203},        {"local", 7},  {"small", kSmall | 3},
};
enum { kSelectorCount = sizeof kSelectors / sizeof *kSelectors };

#define EACH_SELECTOR(group, regs_function, text)                  \
  for (unsigned i = 0; i < kSelectorCount; ++i) {                  \
    tables();                                                      \
    struct Regs r = regs_function();                               \
    r.ax = kSelectors[i].selector;                                 \
    low32(kDataPage)[0] = 0x10;                                    \
    low32(kDataPage)[1] = kSelectors[i].selector;                  \
    TRY(r, text);                                                  \
    report_of(group, kSelectors[i].name);                              \
  }

static void loads(void) {
  EACH_SELECTOR("mov.ds.cpl3", user_regs, "mov %ax, %ds");
  EACH_SELECTOR("mov.ds.cpl0", kernel_regs, "mov %ax, %ds");
  EACH_SELECTOR("mov.ss.cpl3", user_regs, "mov %ax, %ss");
  EACH_SELECTOR("mov.ss.cpl0", kernel_regs, "mov %ax, %ss\nmov $0x10, %eax\nmov %eax, %ss");
  EACH_SELECTOR("pop.fs.cpl3", user_regs, "push %eax\npop %fs");
  EACH_SELECTOR("les.cpl3", user_regs, "les (%esi), %edx");
  EACH_SELECTOR("lss.cpl3", user_regs, "lss (%esi), %edx");
  EACH_SELECTOR("lar.cpl3", user_regs, "lar %eax, %edx\npushf\npop %ebx\nand $0x40, %ebx");
  EACH_SELECTOR("lsl.cpl3", user_regs, "lsl %eax, %edx\npushf\npop %ebx\nand $0x40, %ebx");
  EACH_SELECTOR("verr.cpl3", user_regs, "verr %ax\npushf\npop %ebx\nand $0x40, %ebx");
  EACH_SELECTOR("verw.cpl3", user_regs, "verw %ax\npushf\npop %ebx\nand $0x40, %ebx");
  EACH_SELECTOR("lldt.cpl0", kernel_regs, "lldt %ax\nsldt %edx");
  EACH_SELECTOR("ltr.cpl0", kernel_regs, "ltr %ax\nstr %edx");
  // The accessed bit.
  tables();
  set_descriptor(kHole, 0, 0xfffff, 0xf2, 0xc);
  struct Regs r = user_regs();
  r.ax = kHole | 3;
  TRY(r, "mov %ax, %ds");
  show("accessed.data");
  show_value("type", case_gdt[kHole / 8] >> 40 & 0xff);
  show_line();
  tables();
  set_descriptor(kHole, 0, 0xfffff, 0xf2, 0xc);
  r = user_regs();
  r.ax = kHole | 3;
  TRY(r, "lar %eax, %edx\nverr %ax\nverw %ax\nlsl %eax, %ecx");
  show("accessed.lar");
  show_value("type", case_gdt[kHole / 8] >> 40 & 0xff);
  show_line();
  tables();
  set_descriptor(kHole, 0, 0xfffff, 0xfa, 0xc);
  TRY(user_regs(), "ljmp $0xe3, $0x20007");
  show("accessed.code");
  show_value("type", case_gdt[kHole / 8] >> 40 & 0xff);
  show_line();
}

#define LIMIT(name, selector, address, text)  \
  do {                                        \
    tables();                                 \
    struct Regs r = user_regs();              \
    r.ds = (selector);                        \
    r.si = (address);                         \
    CASE(name, r, text);                      \
  } while (0)

static void limits(void) {
  LIMIT("limit.byte.last", kSmall | 3, 0xfff, "mov (%esi), %al");
  LIMIT("limit.byte.beyond", kSmall | 3, 0x1000, "mov (%esi), %al");
  LIMIT("limit.word.cross", kSmall | 3, 0xfff, "mov (%esi), %ax");
  LIMIT("limit.dword.last", kSmall | 3, 0xffc, "mov (%esi), %eax");
  LIMIT("limit.dword.cross", kSmall | 3, 0xffd, "mov (%esi), %eax");
  LIMIT("limit.dword.wrap", kSmall | 3, 0xfffffffe, "mov (%esi), %eax");
  LIMIT("limit.store.cross", kSmall | 3, 0xffe, "mov %eax, (%esi)");
  LIMIT("limit.rmw.cross", kSmall | 3, 0xffe, "addl $1, (%esi)");
  LIMIT("limit.down.inside", kDown | 3, 0x1000, "mov (%esi), %eax");
  LIMIT("limit.down.below", kDown | 3, 0xfff, "mov (%esi), %al");
  LIMIT("limit.down.cross", kDown | 3, 0xffd, "mov (%esi), %eax");
  LIMIT("limit.16bit", kData16 | 3, 0xfffe, "mov (%esi), %eax");
  LIMIT("limit.null.read", 0, 0, "mov (%esi), %al");
  LIMIT("limit.null.write", 3, 0, "mov %al, (%esi)");
  LIMIT("type.readonly.write", kReadOnly | 3, kDataPage, "mov %eax, (%esi)");
  LIMIT("type.readonly.rmw", kReadOnly | 3, kDataPage, "lock incl (%esi)");
  LIMIT("type.code.write", kCode3, kDataPage, "mov %eax, (%esi)");
  LIMIT("type.code.read", kCode3, kDataPage, "mov (%esi), %eax");
  LIMIT("type.cs.write", kData3, kDataPage, "mov %eax, %cs:(%esi)");
  LIMIT("limit.push", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $2, %esp\npush %eax");
  LIMIT("limit.push.beyond", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $0x1004, %esp\npush %eax");
  LIMIT("limit.pop.beyond", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $0xffe, %esp\npop %eax");
  LIMIT("limit.call.stack", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $0x2002, %esp\ncall . + 5");
  LIMIT("limit.enter", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $0x1010, %esp\nenter $0x20, $0");
  LIMIT("limit.pusha", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $0x8, %esp\npusha");
  LIMIT("limit.bp", kData3, 0, "mov $0x5b, %eax\nmov %eax, %ss\nmov $0x1000, %ebp\nmov (%ebp), %eax");
  LIMIT("limit.code.jump", kData3, 0, "ljmp $0xd3, $7\njmp . + 0x30");
  LIMIT("limit.code.run", kData3, 0, "ljmp $0xd3, $0x1e\n.skip 25, 0x90\nmov $1, %eax");
  LIMIT("limit.code.far", kData3, 0, "ljmp $0xd3, $0x20");
  LIMIT("limit.string", kSmall | 3, 0xff8, "mov $4, %ecx\nrep lodsl");
  LIMIT("limit.string.write", kData3, kDataPage, "mov $0x5b, %eax\nmov %eax, %es\nmov $0xff8, %edi\nmov $4, %ecx\nrep stosl");
  LIMIT("bound.in", kData3, kDataPage, "movl $1, (%esi)\nmovl $9, 4(%esi)\nmov $9, %eax\nbound %eax, (%esi)");
  LIMIT("bound.out", kData3, kDataPage, "movl $1, (%esi)\nmovl $9, 4(%esi)\nmov $10, %eax\nbound %eax, (%esi)");
}

static void privileges(void) {
  tables();
#define AS_USER(name, text) do { tables(); CASE("user." name, user_regs(), text); } while (0)
#define AS_KERNEL(name, text) do { tables(); CASE("kernel." name, kernel_regs(), text); } while (0)
  AS_USER("hlt", "hlt");
  AS_USER("cli", "cli");
  AS_USER("sti", "sti");
  AS_USER("in", "in $0x80, %al\nxor %eax, %eax");
  AS_USER("out", "out %al, $0x80");
  AS_USER("lgdt", "lgdt (%esi)");
  AS_USER("sgdt", "sgdt (%esi)");
  AS_USER("smsw", "smsw %ax");
  AS_USER("lmsw", "lmsw %ax");
  AS_USER("clts", "clts");
  AS_USER("mov.cr0", "mov %cr0, %eax");
  AS_USER("mov.cr1", "mov %cr1, %eax");
  AS_USER("mov.dr7", "mov %dr7, %eax");
  AS_USER("rdmsr", "rdmsr");
  AS_USER("wrmsr", "wrmsr");
  AS_USER("invlpg", "invlpg (%esi)");
  AS_USER("wbinvd", "wbinvd");
  AS_USER("ltr", "ltr %ax");
  AS_USER("lldt", "lldt %ax");
  AS_USER("rdpmc", "mov $0x7fffffff, %ecx\nrdpmc");
  AS_USER("int3", "int3");
  AS_USER("into", "mov $0x7fffffff, %eax\ninc %eax\ninto");
  AS_USER("into.clear", "xor %eax, %eax\ninto");
  AS_USER("int.dpl0", "int $0x50");
  AS_USER("int.13", "int $13");
  AS_USER("int.beyond", "int $0xff");
  AS_USER("icebp", ".byte 0xf1");
  AS_USER("ud2", "ud2");
  AS_USER("div0", "xor %ecx, %ecx\ndiv %ecx");
  AS_USER("rsm", "rsm");
  AS_USER("sysexit", "sysexit");
  AS_USER("monitor", "xor %ecx, %ecx\nmov %esi, %eax\nmonitor");
  AS_USER("lock.nop", ".byte 0xf0, 0x90");
  AS_USER("lock.mov", ".byte 0xf0, 0x89, 0x06");
  AS_USER("long", ".byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90");
  AS_USER("mov.cs", ".byte 0x8e, 0xc8");
  AS_USER("mov.sreg6", ".byte 0x8e, 0xf0");
  AS_USER("les.register", ".byte 0xc4, 0xc0");
  AS_KERNEL("mov.cr1", "mov %cr1, %eax");
  AS_KERNEL("mov.cr5", "mov %cr5, %eax");
  UNLESS_QEMU("kernel.cr0.pg.without.pe", AS_KERNEL("cr0.pg.without.pe", "mov $0x80000000, %eax\nmov %eax, %cr0"));
  AS_KERNEL("cr0.nw.without.cd", "mov %cr0, %eax\nor $0x20000000, %eax\nmov %eax, %cr0");
  UNLESS_QEMU("kernel.cr4.reserved", AS_KERNEL("cr4.reserved", "mov %cr4, %eax\nor $0x80000000, %eax\nmov %eax, %cr4"));
  AS_KERNEL("cr4.pcide", "mov %cr4, %eax\nor $0x20000, %eax\nmov %eax, %cr4");
  UNLESS_QEMU("kernel.cr4.bit15", AS_KERNEL("cr4.bit15", "mov %cr4, %eax\nor $0x8000, %eax\nmov %eax, %cr4"));
  AS_KERNEL("cr0.et", "mov %cr0, %eax\nand $0x10, %eax\nmov %eax, %edx");
  AS_KERNEL("lmsw.pe", "lmsw %ax\nxor %eax, %eax\nlmsw %ax\nsmsw %edx\nand $0xf, %edx");
  AS_KERNEL("int.beyond", "sidt (%esi)\nmovw $0x77, (%esi)\nlidt (%esi)\nint $0xff");
  AS_KERNEL("rsm", "rsm");
  AS_KERNEL("xgetbv.1", "mov %cr4, %eax\nor $0x40000, %eax\nmov %eax, %cr4\nmov $2, %ecx\nxgetbv");
  AS_KERNEL("xsetbv.0", "mov %cr4, %eax\nor $0x40000, %eax\nmov %eax, %cr4\nxor %ecx, %ecx\nxor %edx, %edx\nxor %eax, %eax\nxsetbv");
  AS_KERNEL("xsetbv.avx.without.sse", "mov %cr4, %eax\nor $0x40000, %eax\nmov %eax, %cr4\nxor %ecx, %ecx\nxor %edx, %edx\nmov $5, %eax\nxsetbv");
  AS_KERNEL("ts.fpu", "mov %cr0, %eax\nor $8, %eax\nmov %eax, %cr0\nfnop");
  AS_KERNEL("ts.sse", "mov %cr0, %eax\nor $8, %eax\nmov %eax, %cr0\nxorps %xmm0, %xmm0");
  AS_KERNEL("ts.wait", "mov %cr0, %eax\nor $8, %eax\nmov %eax, %cr0\nfwait");
  AS_KERNEL("em.fpu", "mov %cr0, %eax\nor $4, %eax\nmov %eax, %cr0\nfnop");
  AS_KERNEL("em.sse", "mov %cr0, %eax\nor $4, %eax\nmov %eax, %cr0\nxorps %xmm0, %xmm0");
  AS_KERNEL("umip.off", "sgdt (%esi)\nsmsw %eax\nand $1, %eax");
  // IOPL and the I/O map
  for (unsigned iopl = 0; iopl < 4; iopl += 3) {
    tables();
    struct Regs r = user_regs();
    r.flags |= iopl << 12;
    CASE(iopl ? "iopl3.cli.sti" : "iopl0.cli.sti", r, "cli\nsti\npushf\npop %eax");
    tables();
    CASE(iopl ? "iopl3.popf" : "iopl0.popf", r, "pushl $0x3202\npopf\npushf\npop %eax");
    tables();
    CASE(iopl ? "iopl3.in" : "iopl0.in", r, "mov $0x80, %edx\nin %dx, %al\nxor %eax, %eax");
  }
  tables();
  ((uint8_t*)case_tss)[0x88 + 0x80 / 8] = 0xfe;
  CASE("iomap.free", user_regs(), "mov $0x80, %edx\nin %dx, %al\nxor %eax, %eax");
  tables();
  ((uint8_t*)case_tss)[0x88 + 0x80 / 8] = 0xfd;
  CASE("iomap.word.taken", user_regs(), "mov $0x80, %edx\nin %dx, %ax\nxor %eax, %eax");
  tables();
  case_tss[25] = 0x2100u << 16;
  CASE("iomap.beyond", user_regs(), "mov $0x80, %edx\nin %dx, %al\nxor %eax, %eax");
  // Alignment
  tables();
  struct Regs r = user_regs();
  r.flags |= kAC;
  CASE("align.am.clear", r, "mov 1(%esi), %eax");
  tables();
  r.cx = 0;
  word cr0;
  __asm__ volatile("mov %%cr0, %0\nor $0x40000, %0\nmov %0, %%cr0" : "=r"(cr0));
  CASE("align.dword", r, "mov 1(%esi), %eax");
  tables();
  __asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
  CASE("align.word", r, "mov 2(%esi), %eax");
  tables();
  __asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
  CASE("align.push", r, "dec %esp\npush %eax");
  tables();
  __asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
  CASE("align.far", r, "lds 2(%esi), %eax");
}

static void far_transfers(void) {
  EACH_SELECTOR("jmp.far.cpl3", user_regs, "movl $0x20010, (%esi)\nljmp *(%esi)\n.skip 8, 0x90\nnop");
  EACH_SELECTOR("jmp.far.cpl0", kernel_regs, "movl $0x20010, (%esi)\nljmp *(%esi)\n.skip 8, 0x90\nnop");
  EACH_SELECTOR("call.far.cpl3", user_regs, "movl $0x20010, (%esi)\nlcall *(%esi)\n.skip 8, 0x90\nnop");
  EACH_SELECTOR("ret.far.cpl0", kernel_regs, "pushl $0x2b\npushl $0x30700\npush %eax\npushl $0x20020\nlret\n.skip 24, 0x90\nnop");
  EACH_SELECTOR("ret.far.cpl3", user_regs, "pushl $0x2b\npushl $0x30700\npush %eax\npushl $0x20020\nlret\n.skip 24, 0x90\nnop");
  EACH_SELECTOR("ret.far.ss", kernel_regs, "push %eax\npushl $0x30700\npushl $0x23\npushl $0x20020\nlret\n.skip 24, 0x90\nnop");
  EACH_SELECTOR("iret.cs", kernel_regs, "pushl $0x2b\npushl $0x30700\npushl $2\npush %eax\npushl $0x20020\niret\n.skip 24, 0x90\nnop");
  EACH_SELECTOR("iret.ss", kernel_regs, "push %eax\npushl $0x30700\npushl $2\npushl $0x23\npushl $0x20020\niret\n.skip 24, 0x90\nnop");
  static const struct Named kCodes[] = {{"absent", kAbsentCode | 3}, {"conforming3", kConforming3 | 3}, {"code1", kCode1 | 1}, {"code1.rpl3", kCode1 | 3}, {"code2", kCode2 | 2}};
  for (unsigned i = 0; i < sizeof kCodes / sizeof *kCodes; ++i) {
    tables();
    struct Regs r = kernel_regs();
    r.ax = kCodes[i].selector;
    TRY(r, "pushl $0x2b\npushl $0x30700\npush %eax\npushl $0x20020\nlret\n.skip 24, 0x90\nnop");
    report_of("ret.far.cpl0", kCodes[i].name);
    tables();
    r = user_regs();
    r.ax = kCodes[i].selector;
    TRY(r, "movl $0x20010, (%esi)\nmov %ax, 4(%esi)\nljmp *(%esi)\n.skip 8, 0x90\nnop");
    report_of("jmp.far.cpl3", kCodes[i].name);
  }
  // What an outer return leaves of data segments: those of higher privilege become null.
  tables();
  struct Regs r = kernel_regs();
  r.ds = kData0;
  r.es = kData3;
  r.fs = kConforming;
  r.gs = kData1 | 1;
  CASE("ret.outer.segments", r, "pushl $0x2b\npushl $0x30700\npushl $0x23\npushl $0x20020\nlret\n.skip 24, 0x90\nnop");
  tables();
  CASE("iret.outer.segments", r, "pushl $0x2b\npushl $0x30700\npushl $2\npushl $0x23\npushl $0x20020\niret\n.skip 24, 0x90\nnop");
  tables();
  CASE("ret.far.adjust", kernel_regs(), "pushl $0x2b\npushl $0x30700\npushl $5\npushl $6\npushl $0x23\npushl $0x20020\nlret $8\n.skip 24, 0x90\nnop");
  tables();
  CASE("ret.far.adjust.same", kernel_regs(), "pushl $5\npushl $6\npushl $0x08\npushl $0x20020\nlret $8\n.skip 24, 0x90\nnop");
  tables();
  CASE("iret.same", kernel_regs(), "pushl $0x3002\npushl $0x08\npushl $0x20020\niret\n.skip 24, 0x90\nnop");
  tables();
  CASE("iret.user.flags", user_regs(), "pushl $0x247fd7 & ~0x4100\npushl $0x23\npushl $0x20020\niret\n.skip 24, 0x90\nnop");
  tables();
  CASE("iret.user.flags16", user_regs(), "ljmp $0xd3, $7\npushw $0x3e97\npushw $0xd3\npushw $0x18\n.byte 0x66\niret\n.org 0x18 + 771b");
  tables();
  CASE("iret.kernel.flags", kernel_regs(), "pushl $0x3c7ed7 & ~0x24100\npushl $0x08\npushl $0x20020\niret\n.skip 24, 0x90\nnop");
  tables();
  CASE("iret.eip.limit", kernel_regs(), "pushl $0x2b\npushl $0x30700\npushl $2\npushl $0xd3\npushl $0x20\niret");
  tables();
  CASE("ret.near.limit", user_regs(), "ljmp $0xd3, $7\npushl $0x1000\nret");
  // To 16-bit code and back
  tables();
  CASE("jmp.far.16bit", kernel_regs(), "ljmp $0x88, $7\n.code16\nmov $0x1234, %ax\npush %ax\nint $0xf0\n.code32");
  tables();
  r = kernel_regs();
  r.ss = kStack16;
  r.sp = 0x12340800;
  CASE("stack16.push", r, "push %eax\npush %ax");
  tables();
  CASE("stack16.wrap", r, "mov $4, %sp\npush %eax\npush %eax");
}

static void gates(void) {
  static const struct {
    const char* name;
    uint16_t target;
    uint8_t access, parameters;
    unsigned rpl;
  } kGates[] = {
      {"to0", kCode0, 0xec, 0, 3},          {"to0.params", kCode0, 0xec, 3, 3}, {"dpl0", kCode0, 0x8c, 0, 3},
      {"dpl0.rpl0", kCode0, 0x8c, 0, 0},    {"absent", kCode0, 0x6c, 0, 3},     {"null", 0, 0xec, 0, 3},
      {"conforming", kConforming, 0xec, 0, 3}, {"data", kData0, 0xec, 0, 3},    {"same", kCode3, 0xec, 0, 3},
      {"code1", kCode1, 0xec, 0, 3},        {"code.absent", kAbsentCode, 0xec, 0, 3}, {"beyond", 0x200, 0xec, 0, 3},
      {"ldt.target", 4, 0xec, 0, 3},      {"execonly", kExecOnly, 0xec, 0, 3},
  };
  for (unsigned jump = 0; jump < 2; ++jump) {
    for (unsigned i = 0; i < sizeof kGates / sizeof *kGates; ++i) {
      tables();
      set_gate(kGate, kGates[i].target, kCodePage + 0x20, kGates[i].access, kGates[i].parameters);
      case_tss[3] = kTrapStackTop - 0x800;
      case_tss[4] = kStack1 | 1;
      struct Regs r = user_regs();
      low32(kDataPage)[0] = 0;
      low32(kDataPage)[1] = kGate | kGates[i].rpl;
      if (jump) {
        TRY(r, "pushl $0x77\npushl $0x88\npushl $0x99\nljmp *(%esi)\n.org 0x20 + 771b\nmov %esp, %eax\nmov (%esp), %ebx\nmov 4(%esp), %ecx\nmov 8(%esp), %edx\nmov %ss, %ebp");
        report_of("gate.jmp", kGates[i].name);
      } else {
        TRY(r, "pushl $0x77\npushl $0x88\npushl $0x99\nlcall *(%esi)\n.org 0x20 + 771b\nmov %esp, %eax\nmov (%esp), %ebx\nmov 4(%esp), %ecx\nmov 8(%esp), %edx\nmov 16(%esp), %edi\nmov %ss, %ebp");
        report_of("gate.call", kGates[i].name);
      }
    }
  }
  tables();
  set_gate(kGate, kCode16, 0x20, 0xe4, 2);
  CASE("gate.call.16bit", user_regs(), "pushl $0x55667788\npushl $0x11223344\nlcall $0xa3, $0\n.org 0x20 + 771b\n.code16\nmov %esp, %eax\nmovl (%esp), %ebx\nmovl 4(%esp), %ecx\nmovl 8(%esp), %edx\n");
  // Stacks of the TSS that cannot be had
  static const struct Named kStacks[] = {{"null", 0}, {"rpl", kData0 | 3}, {"dpl", kData3}, {"readonly", kReadOnly}, {"beyond", 0x200}, {"code", kCode0}, {"small", kHole}};
  for (unsigned i = 0; i < sizeof kStacks / sizeof *kStacks; ++i) {
    for (unsigned absent = 0; absent < 2; ++absent) {
      tables();
      set_descriptor(kHole, kDataPage, 0x10, absent ? 0x13 : 0x93, 4);
      // Entered at privilege 1, whose own stack works, so that the fault is delivered there... by privilege 0.
      set_gate(kGate, kCode1, kCodePage + 0x20, 0xec, 0);
      case_tss[3] = i == 6 ? 0x8 : kTrapStackTop - 0x800;
      case_tss[4] = i == 6 ? kHole : kStacks[i].selector;
      if (i == 6) set_descriptor(kHole, kDataPage, 0x10, absent ? 0x33 : 0xb3, 4), case_tss[4] |= 1;
      low32(kDataPage)[1] = kGate | 3;
      TRY(user_regs(), "lcall *(%esi)\n.org 0x20 + 771b\nnop");
      report_of(absent ? "gate.stack.absent" : "gate.stack", kStacks[i].name);
    }
  }
  tables();
  set_descriptor(kTss, (uint32_t)case_tss, 0x10, 0x89, 0);
  set_gate(kGate, kCode1, kCodePage + 0x20, 0xec, 0);
  __asm__ volatile("ltr %w0" ::"r"(kTss));
  low32(kDataPage)[1] = kGate | 3;
  CASE("gate.tss.limit", user_regs(), "lcall *(%esi)\n.org 0x20 + 771b\nnop");
}

static void interrupts(void) {
  static const struct {
    const char* name;
    uint16_t target;
    uint8_t access;
  } kGates[] = {{"interrupt", kCode0, 0xee}, {"trap", kCode0, 0xef},   {"dpl0", kCode0, 0x8e},      {"absent", kCode0, 0x6e},
                {"null", 0, 0xee},           {"data", kData0, 0xee},   {"conforming", kConforming, 0xee}, {"same", kCode3, 0xee},
                {"code.absent", kAbsentCode, 0xee}, {"call.gate", kCode0, 0xec}, {"ldt", 4, 0xee}, {"beyond", 0x200, 0xee},
                {"task.absent", kTss, 0x65}, {"task.notss", kData0, 0xe5}, {"task.ldt", 4, 0xe5}, {"task.busy", kTss, 0xe5},
                {"code1", kCode1, 0xee},     {"zero", 0, 0},           {"segment", kCode0, 0xfe}};
  for (unsigned from = 0; from < 2; ++from) {
    for (unsigned i = 0; i < sizeof kGates / sizeof *kGates; ++i) {
      tables();
      case_tss[3] = kTrapStackTop - 0x800;
      case_tss[4] = kStack1 | 1;
      set_vector(0x40, kGates[i].target, kCodePage + 0x20, kGates[i].access, 0);
      struct Regs r = from ? user_regs() : kernel_regs();
      r.flags |= kAC | kNT * 0 | 0xcd5;
      TRY(r, "int $0x40\n.org 0x20 + 771b\nmov (%esp), %ebx\nmov 4(%esp), %ecx\nmov 8(%esp), %edx\nmov %ss, %ebp");
      report_of(from ? "int.cpl3" : "int.cpl0", kGates[i].name);
    }
  }
  // 16-bit gates
  tables();
  set_vector(0x40, kCode16, 0x20, 0xe6, 0);
  CASE("int.16bit", user_regs(), "int $0x40\n.org 0x20 + 771b\n.code16\nmov %esp, %eax\nmovl (%esp), %ebx\nmovl 4(%esp), %ecx\nmovl 8(%esp), %edx\n");
  tables();
  set_vector(0x40, kCode16, 0x20, 0xe7, 0);
  CASE("trap.16bit", kernel_regs(), "int $0x40\n.org 0x20 + 771b\n.code16\nmov %esp, %eax\nmovl (%esp), %ebx\nmovl 4(%esp), %ecx\n");
  // A fault whose handler cannot be had becomes another one, or a double fault.
  tables();
  set_vector(6, kCode0, 0, 0x0e, 0);
  CASE("nested.ud.absent", user_regs(), "ud2");
  tables();
  set_vector(0, kCode0, 0, 0x0e, 0);
  CASE("nested.de.absent", user_regs(), "xor %ecx, %ecx\ndiv %ecx");
  tables();
  set_vector(13, kCode0, 0, 0x0e, 0);
  CASE("nested.gp.absent", user_regs(), "hlt");
  tables();
  set_vector(13, kCode0, 0, 0x0e, 0);
  CASE("nested.int.dpl0", user_regs(), "int $0x50");
  tables();
  set_vector(6, 0x200, 0, 0x8e, 0);
  CASE("nested.ud.beyond", user_regs(), "ud2");
  tables();
  set_vector(3, kCode0, 0, 0x6e, 0);
  CASE("nested.int3.absent", user_regs(), "int3");
  tables();
  set_vector(1, kCode0, 0, 0x0e, 0);
  CASE("nested.icebp.absent", user_regs(), ".byte 0xf1");
  tables();
  set_vector(1, kCode0, trap_entry_table[1], 0x8e, 0);
  CASE("icebp.dpl0", user_regs(), ".byte 0xf1");
  tables();
  set_vector(3, kCode0, trap_entry_table[3], 0x8e, 0);
  CASE("int3.dpl0", user_regs(), "int3");
  tables();
  set_vector(4, kCode0, trap_entry_table[4], 0x8e, 0);
  CASE("into.dpl0", user_regs(), "mov $0x7fffffff, %eax\ninc %eax\ninto");
}

void segment_cases(void) {
  loads();
  limits();
  privileges();
  far_transfers();
  gates();
  interrupts();
  fresh();
}
