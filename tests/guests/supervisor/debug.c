// SPDX-License-Identifier: Apache-2.0
// Single step, breakpoints through the debug registers, general detect, ICEBP.
#include "case.h"
#include "groups.h"

#ifdef __x86_64__
#define SI "%rsi"
#define SP "%rsp"
#define AX "rax"
#define BX "rbx"
#else
#define SI "%esi"
#define SP "%esp"
#define AX "eax"
#define BX "ebx"
#endif

static void set_dr(unsigned n, word value) {
  switch (n) {
    case 0: __asm__ volatile("mov %0, %%dr0" ::"r"(value)); break;
    case 1: __asm__ volatile("mov %0, %%dr1" ::"r"(value)); break;
    case 2: __asm__ volatile("mov %0, %%dr2" ::"r"(value)); break;
    case 3: __asm__ volatile("mov %0, %%dr3" ::"r"(value)); break;
    case 6: __asm__ volatile("mov %0, %%dr6" ::"r"(value)); break;
    default: __asm__ volatile("mov %0, %%dr7" ::"r"(value)); break;
  }
}

enum Kind { kExec, kWrite, kIo, kAccess };
/// DR7 for one breakpoint of `length` bytes, enabled locally.
static word dr7_of(unsigned n, enum Kind kind, unsigned length) {
  const unsigned code = length == 8 ? 2 : length - 1;
  return (word)1 << (2 * n) | (word)(kind | code << 2) << (16 + 4 * n);
}

#define STEP(name, regs, flags_, text) \
  do {                                 \
    fresh();                           \
    struct Regs r_ = (regs);           \
    r_.flags |= (flags_);              \
    CASE(name, r_, text);              \
  } while (0)

#define BREAK(name, regs, n, address, kind, length, text) \
  do {                                                    \
    fresh();                                              \
    struct Regs r_ = (regs);                              \
    set_dr(n, address);                                   \
    set_dr(7, dr7_of(n, kind, length));                   \
    CASE(name, r_, text);                                 \
    fresh();                                              \
  } while (0)

static void stepping(void) {
  STEP("step.nop", user_regs(), kTF, "nop\nnop");
  STEP("step.kernel", kernel_regs(), kTF, "nop\nnop");
  STEP("step.jmp", user_regs(), kTF, "jmp . + 5\nnop\nnop\nnop\nnop");
  STEP("step.ud", user_regs(), kTF, "ud2");
  STEP("step.int", user_regs(), kTF, "int $0xf0");
  STEP("step.int3", user_regs(), kTF, "int3");
  STEP("step.icebp", user_regs(), kTF, ".byte 0xf1");
  STEP("step.popf.on", user_regs(), 0, "push $0x102\npopf\nnop\nnop\nnop");
  STEP("step.popf.off", user_regs(), kTF, "popf");
  STEP("step.mov.ss", kernel_regs(), kTF, "mov %ss, %eax\nnop");
  STEP("step.load.ss", kernel_regs(), 0, "mov $0x10, %eax\npush $0x102\npopf\nmov %eax, %ss\nnop\nnop\nnop");
  STEP("step.sti", kernel_regs(), kTF, "sti\nnop");
  STEP("step.rep", user_regs(), kTF, "mov %ecx, %ecx\nnop");
  STEP("step.rep.movs", user_regs(), 0, "mov $3, %ecx\npush $0x102\npopf\nrep movsb\nnop");
  STEP("step.iret", kernel_regs(), 0, "nop\nnop");
  STEP("step.hlt", kernel_regs(), 0, "push $0x102\npopf\nmov %cr0, %" AX "\nxor %eax, %eax");
  STEP("step.rf", user_regs(), kTF | kRF, "nop\nnop");
  STEP("rf.pushf", user_regs(), kRF, "pushf\npop %" AX);
  STEP("rf.int", user_regs(), kRF, "nop\nint $0xf0");
  STEP("rf.ud", user_regs(), kRF, "ud2");
  STEP("rf.int3", user_regs(), kRF, "int3");
  STEP("rf.kept", user_regs(), kRF, "int $0xf0");
  STEP("icebp", user_regs(), 0, ".byte 0xf1");
  STEP("icebp.rf", user_regs(), kRF, ".byte 0xf1");
}

static void breakpoints(void) {
  BREAK("break.exec", user_regs(), 0, kCodePage + 1, kExec, 1, "nop\nmov $1, %eax\nnop");
  BREAK("break.exec.dr3", user_regs(), 3, kCodePage + 1, kExec, 1, "nop\nmov $1, %eax\nnop");
  BREAK("break.exec.kernel", kernel_regs(), 1, kCodePage + 1, kExec, 1, "nop\nmov $1, %eax\nnop");
  BREAK("break.exec.first", user_regs(), 0, kCodePage, kExec, 1, "nop\nnop");
  BREAK("break.exec.middle", user_regs(), 0, kCodePage + 2, kExec, 1, "nop\nmov $1, %eax\nnop");
  BREAK("break.exec.branch", user_regs(), 2, kCodePage + 8, kExec, 1, "jmp . + 8\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop");
  BREAK("break.exec.rf", user_regs(), 0, kCodePage, kExec, 1, "nop\nnop");
  BREAK("break.exec.int", user_regs(), 0, kCodePage, kExec, 1, "int $0xf0");
  BREAK("break.exec.ud", user_regs(), 0, kCodePage, kExec, 1, "ud2");
  BREAK("break.exec.loop", user_regs(), 0, kCodePage + 5, kExec, 1, "mov $3, %ecx\nnop\nloop . - 1");
  BREAK("break.exec.length4", user_regs(), 0, kCodePage + 1, kExec, 4, "nop\nnop\nnop");
  {
    struct Regs r = user_regs();
    r.flags |= kRF;
    BREAK("break.exec.skipped", r, 0, kCodePage, kExec, 1, "nop\nnop");
    r.cx = 3;
    BREAK("break.exec.skipped.once", r, 0, kCodePage, kExec, 1, "nop\nloop . - 1");
    BREAK("break.exec.rf.second", r, 0, kCodePage + 1, kExec, 1, "nop\nnop");
  }
  static const struct {
    const char* name;
    unsigned offset, length;
  } kPlaces[] = {{"1", 0x200, 1}, {"1.at3", 0x203, 1}, {"2", 0x200, 2}, {"2.odd", 0x201, 2}, {"4", 0x200, 4}, {"4.odd", 0x202, 4}, {"8", 0x200, 8}};
  for (unsigned i = 0; i < sizeof kPlaces / sizeof *kPlaces; ++i) {
    for (unsigned kind = kWrite; kind <= kAccess; kind += 2) {
      for (unsigned a = 0; a < 6; ++a) {
        const word at = kDataPage + kPlaces[i].offset;
        static const char* const kNames[] = {"write.dword", "read.dword", "write.byte.at1", "rmw.byte.at3", "write.before", "write.behind"};
        const uint8_t *start = 0, *end = 0;
        if (a == 0) CODE_OF("mov %eax, 0x200(" SI ")\nnop\nint $0xf0", start, end);
        if (a == 1) CODE_OF("mov 0x200(" SI "), %eax\nnop\nint $0xf0", start, end);
        if (a == 2) CODE_OF("mov %al, 0x201(" SI ")\nnop\nint $0xf0", start, end);
        if (a == 3) CODE_OF("addb $1, 0x203(" SI ")\nnop\nint $0xf0", start, end);
        if (a == 4) CODE_OF("mov %ax, 0x1ff(" SI ")\nnop\nint $0xf0", start, end);
        if (a == 5) CODE_OF("mov %eax, 0x204(" SI ")\nnop\nint $0xf0", start, end);
        fresh();
        set_dr(1, at);
        set_dr(7, dr7_of(1, kind, kPlaces[i].length));
        execute(user_regs(), start, end);
        set_dr(7, 0);
        show(kind == kWrite ? "watch.w" : "watch.rw");
        show(kPlaces[i].name);
        show(".");
        report(kNames[a]);
      }
    }
  }
  BREAK("watch.push", user_regs(), 0, kStackTop - sizeof(word), kWrite, 4, "push $1\nnop");
  BREAK("watch.read.stack", user_regs(), 0, kStackTop, kAccess, 4, "mov (" SP "), %eax\nnop");
  BREAK("watch.call", user_regs(), 0, kStackTop - sizeof(word), kWrite, 4, "call . + 6\nnop\nnop\nnop");
  BREAK("watch.rep.movs", user_regs(), 0, kDataPage + 0x102, kWrite, 1, "mov $5, %ecx\nrep movsb\nnop");
  BREAK("watch.rep.stos", user_regs(), 0, kDataPage + 0x108, kWrite, 4, "mov $5, %ecx\nrep stosl\nnop");
  BREAK("watch.rep.lods", user_regs(), 0, kDataPage + 0x8, kAccess, 4, "mov $5, %ecx\nrep lodsl\nnop");
  BREAK("watch.cmpxchg.fails", user_regs(), 0, kDataPage, kWrite, 4, "mov $5, %eax\nlock cmpxchg %ebx, (" SI ")\nnop");
  BREAK("watch.xadd", user_regs(), 0, kDataPage, kWrite, 4, "lock xadd %ebx, (" SI ")\nnop");
  BREAK("watch.bts", user_regs(), 0, kDataPage + 4, kWrite, 4, "mov $33, %eax\nbts %eax, (" SI ")\nnop");
  BREAK("watch.sse", user_regs(), 0, kDataPage + 8, kWrite, 4, "xorps %xmm0, %xmm0\nmovaps %xmm0, (" SI ")\nnop");
  BREAK("watch.fpu", user_regs(), 0, kDataPage + 8, kWrite, 2, "fldz\nfstpt (" SI ")\nnop");
  BREAK("watch.jmp.indirect", user_regs(), 0, kDataPage, kAccess, 4, "movl $0x20010, (" SI ")\nnop\nnop");
  BREAK("watch.kernel", kernel_regs(), 2, kDataPage, kWrite, 4, "mov %eax, (" SI ")\nnop");
  BREAK("watch.then.ud", user_regs(), 2, kDataPage, kWrite, 4, "mov %eax, (" SI ")\nud2");
  BREAK("watch.then.int", user_regs(), 2, kDataPage, kWrite, 4, "mov %eax, (" SI ")\nint $0xf0");
  BREAK("watch.branch", user_regs(), 2, kDataPage, kWrite, 4, "mov %eax, (" SI ")\njmp . + 4\nnop\nnop\nnop");
  // Through the shadow of MOV SS
  BREAK("watch.load.ss", kernel_regs(), 0, kDataPage, kAccess, 4, "movl $0x10, %eax\nmovl $0x10, 16(" SI ")\nmov (" SI "), %ecx\nnop");
  {
    fresh();
    low32(kDataPage)[0] = kData0;
    set_dr(0, kDataPage);
    set_dr(7, dr7_of(0, kAccess, 4));
    CASE("watch.shadow", kernel_regs(), "movw (" SI "), %ss\nnop\nnop");
    fresh();
    low32(kDataPage)[0] = kData0;
    set_dr(0, kDataPage);
    set_dr(7, dr7_of(0, kAccess, 4));
    set_vector(0x40, kernel_regs().cs, kCodePage + 0x40, 0x8e, 0);
    CASE("watch.shadow.int", kernel_regs(), "movw (" SI "), %ss\nint $0x40\n.org 0x40 + 771b\nnop\nint $0xf0");
  }
  // Several at once; what is not enabled
  fresh();
  set_dr(0, kDataPage);
  set_dr(1, kDataPage);
  set_dr(2, kDataPage + 2);
  set_dr(3, kDataPage + 8);
  set_dr(7, dr7_of(0, kWrite, 4) | dr7_of(1, kAccess, 1) | dr7_of(2, kWrite, 2) | dr7_of(3, kWrite, 4));
  CASE("watch.many", user_regs(), "mov %eax, (" SI ")\nnop");
  fresh();
  set_dr(0, kDataPage);
  set_dr(1, kDataPage);
  set_dr(7, dr7_of(0, kWrite, 4) | (dr7_of(1, kWrite, 4) & ~(word)0xff));
  CASE("watch.one.of.two", user_regs(), "mov %eax, (" SI ")\nnop");
  fresh();
  set_dr(0, kDataPage);
  set_dr(7, dr7_of(0, kWrite, 4) & ~(word)0xff);
  CASE("watch.disabled", user_regs(), "mov %eax, (" SI ")\nnop");
  fresh();
  set_dr(0, kDataPage);
  set_dr(7, (dr7_of(0, kWrite, 4) & ~(word)0xff) | 2);
  CASE("watch.global", user_regs(), "mov %eax, (" SI ")\nnop");
  fresh();
  set_dr(0, kDataPage);
  set_dr(1, kCodePage + 2);
  set_dr(7, dr7_of(0, kWrite, 4) | dr7_of(1, kExec, 1));
  CASE("watch.and.exec", user_regs(), "mov %eax, (" SI ")\nnop");
  {
    fresh();
    set_dr(0, kDataPage);
    set_dr(7, dr7_of(0, kWrite, 4));
    struct Regs r = user_regs();
    r.flags |= kTF;
    CASE("watch.and.step", r, "mov %eax, (" SI ")\nnop");
    fresh();
    set_dr(0, kCodePage + 1);
    set_dr(7, dr7_of(0, kExec, 1));
    CASE("break.and.step", r, "nop\nnop\nnop");
    fresh();
    set_dr(6, 0xe00f);
    CASE("dr6.sticky", r, "nop\nnop\nnop");
    fresh();
    set_dr(6, 0xe00f);
    set_dr(0, kDataPage);
    set_dr(7, dr7_of(0, kWrite, 4));
    r.flags &= ~(word)kTF;
    CASE("dr6.sticky.watch", r, "mov %eax, (" SI ")\nnop");
  }
  // I/O
  for (unsigned de = 0; de < 2; ++de) {
    fresh();
    word cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" ::"r"(de ? cr4 | 8 : cr4));
    set_dr(0, 0x80);
    set_dr(7, dr7_of(0, kIo, 1));
    CASE(de ? "io.out" : "io.out.without.de", kernel_regs(), "xor %eax, %eax\nout %al, $0x80\nnop");
    if (!de) continue;
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 8));
    set_dr(0, 0x21);
    set_dr(7, dr7_of(0, kIo, 1));
    CASE("io.in", kernel_regs(), "in $0x21, %al\nxor %eax, %eax\nnop");
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 8));
    set_dr(0, 0x82);
    set_dr(7, dr7_of(0, kIo, 2));
    CASE("io.dword", kernel_regs(), "xor %eax, %eax\nout %eax, $0x80\nnop");
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 8));
    set_dr(7, dr7_of(0, kIo, 2));
    CASE("io.other", kernel_regs(), "xor %eax, %eax\nout %al, $0x80\nnop");
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 8));
    set_dr(0, 0x80);
    set_dr(7, dr7_of(0, kIo, 1));
    CASE("io.outs", kernel_regs(), "mov $0x80, %edx\nmov $3, %ecx\nrep outsb\nnop");
  }
  // General detect, aliases, reserved bits
  fresh();
  set_dr(7, 0x2000);
  CASE("gd.read", kernel_regs(), "mov %dr7, %" AX);
  fresh();
  set_dr(7, 0x2000);
  CASE("gd.write", kernel_regs(), "mov %" AX ", %dr0");
  fresh();
  CASE("dr7.read", kernel_regs(), "mov %dr7, %" AX);
  CASE("dr6.read", kernel_regs(), "mov %dr6, %" AX);
  CASE("dr6.ones", kernel_regs(), "mov $0xffffffff, %eax\nmov %" AX ", %dr6\nmov %dr6, %" BX);
  CASE("dr6.zeros", kernel_regs(), "mov $0, %eax\nmov %" AX ", %dr6\nmov %dr6, %" BX);
  fresh();
  CASE("dr7.ones", kernel_regs(), "mov $0xffffdfff, %eax\nmov %" AX ", %dr7\nmov %dr7, %" BX "\nmov $0, %eax\nmov %" AX ", %dr7");
  fresh();
  CASE("dr4.alias", kernel_regs(), "mov %dr6, %" AX "\n.byte 0x0f, 0x21, 0xe3");
  CASE("dr5.alias", kernel_regs(), "mov %dr7, %" AX "\n.byte 0x0f, 0x21, 0xeb");
  fresh();
  CASE("dr4.de", kernel_regs(), "mov %cr4, %" AX "\nor $8, %eax\nmov %" AX ", %cr4\n.byte 0x0f, 0x21, 0xe3");
  fresh();
#ifdef __x86_64__
  CASE("dr8", kernel_regs(), ".byte 0x44, 0x0f, 0x21, 0xc0");
  CASE("dr6.high", kernel_regs(), "mov $1, %eax\nshl $32, %rax\nmov %rax, %dr6");
  CASE("dr7.high", kernel_regs(), "mov $1, %eax\nshl $32, %rax\nmov %rax, %dr7");
  CASE("dr0.high", kernel_regs(), "mov $1, %eax\nshl $63, %rax\nmov %rax, %dr0\nmov %dr0, %rbx\nxor %eax, %eax\nmov %rax, %dr0");
#endif
  fresh();
}

void debug_cases(void) {
  stepping();
  breakpoints();
}
