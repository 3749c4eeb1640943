// SPDX-License-Identifier: Apache-2.0
// Task switches, virtual-8086 mode with and without CR4.VME, real mode and what it keeps of protected mode.
#include "case.h"
#include "groups.h"

enum { kTask = 0x50, kTask16 = 0x58, kTaskGate = 0x60, kTaskData = 0x68, kTaskAbsent = 0x70, kTaskLdt = 0x78, kTaskSmall = 0x80,
       kTaskBusy = 0x88, kLdtData = 0x90 };
enum { kRescue = 0xc0 };
static uint32_t task[64], task16[32], rescue[64];

static void clear(uint32_t* words, unsigned count) {
  for (unsigned i = 0; i < count; ++i) words[i] = 0;
}

static void task_tables(void) {
  fresh();
  clear(task, 64);
  clear(task16, 32);
  task[1] = kTrapStackTop - 0x400;
  task[2] = kData0;
  task[8] = kCodePage + 0x40;  // EIP
  task[9] = 2;
  for (unsigned i = 0; i < 8; ++i) task[10 + i] = 0xa0a0a000 + i;
  task[14] = kStackTop - 0x400;
  task[16] = kDataPage;
  const uint32_t selectors[6] = {kData0, kCode0, kData0, kData0, kData0, kData0};
  for (unsigned i = 0; i < 6; ++i) task[18 + i] = selectors[i];
  task[25] = 104 << 16;
  uint16_t* t = (uint16_t*)task16;
  t[1] = 0x7000;
  t[2] = kData0;
  t[7] = 0x40;
  t[8] = 2;
  for (unsigned i = 0; i < 8; ++i) t[9 + i] = (uint16_t)(0xa000 + i);
  t[13] = 0x600;
  t[17] = kData0;
  t[18] = kTask16 + 0x50;  // CS: base kCodePage
  t[19] = kTask16 + 0x58;
  t[20] = kData0;
  set_descriptor(kTask, (uint32_t)task, 0x67, 0xe9, 0);
  set_descriptor(kTask16, (uint32_t)task16, 0x2b, 0xe1, 0);
  set_descriptor(kTask16 + 0x50, kCodePage, 0xffff, 0x9b, 4);
  set_descriptor(kTask16 + 0x58, kStackPage, 0xffff, 0x93, 0);
  set_gate(kTaskGate, kTask, 0, 0xe5, 0);
  set_descriptor(kTaskAbsent, (uint32_t)task, 0x67, 0x69, 0);
  set_descriptor(kTaskSmall, (uint32_t)task, 0x66, 0xe9, 0);
  set_descriptor(kTaskBusy, (uint32_t)task, 0x67, 0xeb, 0);
  set_descriptor(kTaskLdt, (uint32_t)case_gdt, 0x1ff, 0x82, 0);
  set_descriptor(kTaskData, 0, 0xfffff, 0x93, 0xc);
}

/// What the switch left in both segments and in the descriptors.
static void task_report(const char* name) {
  report(name);
  show(name);
  show(":tss");
  show_value("old.eip", case_tss[8]);
  show_value("old.flags", case_tss[9]);
  show_value("old.eax", case_tss[10]);
  show_value("old.esp", case_tss[14]);
  show_value("old.es", case_tss[18]);
  show_value("old.cs", case_tss[19]);
  show_value("old.type", case_gdt[kTss / 8] >> 40 & 0xff);
  show_value("link", task[0]);
  show_value("new.flags", task[9]);
  show_value("new.type", case_gdt[kTask / 8] >> 40 & 0xff);
  uint16_t tr, ldt;
  __asm__("str %0\nsldt %1" : "=m"(tr), "=m"(ldt));
  show_value("tr", tr);
  show_value("ldt", ldt);
  word cr0;
  __asm__("mov %%cr0, %0" : "=r"(cr0));
  show_value("ts", cr0 >> 3 & 1);
  show_line();
}

#define TASK(name, regs, text)                                     \
  do {                                                             \
    struct Regs regs_ = (regs);                                    \
    TRY(regs_, text "\nint $0xf0\n.org 0x40 + 771b\npushf\npop %edx\nclts\nint $0xf0"); \
    task_report(name);                                             \
  } while (0)

static void switches(void) {
  task_tables();
  TASK("task.jmp", kernel_regs(), "ljmp $0x50, $0");
  task_tables();
  TASK("task.call", kernel_regs(), "lcall $0x50, $0");
  task_tables();
  TASK("task.call.cpl3", user_regs(), "lcall $0x53, $0");
  task_tables();
  TASK("task.jmp.gate", user_regs(), "ljmp $0x63, $0");
  task_tables();
  TASK("task.call.gate", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_descriptor(kTask, (uint32_t)task, 0x67, 0x89, 0);
  TASK("task.call.dpl0", user_regs(), "lcall $0x53, $0");
  task_tables();
  set_descriptor(kTask, (uint32_t)task, 0x67, 0x89, 0);
  TASK("task.gate.dpl0.tss", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_gate(kTaskGate, kTask, 0, 0x85, 0);
  TASK("task.gate.dpl0", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_gate(kTaskGate, kTask, 0, 0x65, 0);
  TASK("task.gate.absent", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_gate(kTaskGate, kTask | 4, 0, 0xe5, 0);
  TASK("task.gate.local", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_gate(kTaskGate, kTaskData, 0, 0xe5, 0);
  TASK("task.gate.data", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_gate(kTaskGate, kTaskBusy, 0, 0xe5, 0);
  TASK("task.gate.busy", user_regs(), "lcall $0x63, $0");
  task_tables();
  set_gate(kTaskGate, kTaskAbsent, 0, 0xe5, 0);
  TASK("task.gate.tss.absent", user_regs(), "lcall $0x63, $0");
  task_tables();
  TASK("task.absent", kernel_regs(), "lcall $0x70, $0");
  task_tables();
  TASK("task.busy", kernel_regs(), "lcall $0x88, $0");
  task_tables();
  TASK("task.small", kernel_regs(), "lcall $0x80, $0");
  task_tables();
  TASK("task.jmp.self", kernel_regs(), "ljmp $0x38, $0");
  task_tables();
  TASK("task.16", kernel_regs(), "lcall $0x58, $0");
  task_tables();
  set_vector(0x40, kTask, 0, 0xe5, 0);
  TASK("task.int", user_regs(), "int $0x40");
  task_tables();
  set_vector(6, kTask, 0, 0xe5, 0);
  TASK("task.ud", user_regs(), "ud2");
  task_tables();
  set_vector(13, kTask, 0, 0xe5, 0);
  TRY(user_regs(), "hlt\n.org 0x40 + 771b\nmov (%esp), %ebx\nmov $0x10, %eax\nclts");
  task_report("task.gp");
  // Back by IRET with NT
  task_tables();
  TRY(kernel_regs(), "lcall $0x50, $0\nmov $0x77, %ebx\nint $0xf0\n.org 0x40 + 771b\nmov $0x55, %edx\niret\nmov $0x66, %ecx");
  task_report("task.return");
  task_tables();
  TRY(user_regs(), "lcall $0x63, $0\nmov $0x77, %ebx\nint $0xf0\n.org 0x40 + 771b\niret\nmov $0x66, %ecx");
  task_report("task.return.cpl3");
  task_tables();
  set_vector(0x40, kTask, 0, 0xe5, 0);
  TRY(user_regs(), "int $0x40\nmov $0x77, %ebx\nint $0x40\nint $0xf0\n.org 0x40 + 771b\niret\nmov $0x66, %ecx\niret");
  task_report("task.int.return");
  task_tables();
  struct Regs r = kernel_regs();
  case_tss[0] = kTask;
  CASE("iret.nt.available", r, "pushf\norl $0x4000, (%esp)\npopf\niret");
  task_tables();
  case_tss[0] = kTaskData;
  CASE("iret.nt.data", r, "pushf\norl $0x4000, (%esp)\npopf\niret");
  task_tables();
  case_tss[0] = kTask | 4;
  CASE("iret.nt.local", r, "pushf\norl $0x4000, (%esp)\npopf\niret");
  task_tables();
  case_tss[0] = kTaskBusy;
  CASE("iret.nt.busy", r, "pushf\norl $0x4000, (%esp)\npopf\niret\n.org 0x40 + 771b\npushf\npop %edx");
  // Faults of the new task
  static const struct {
    const char* name;
    unsigned field;
    uint32_t value;
  } kFaults[] = {{"cs.data", 19, kData0},   {"cs.null", 19, 0},          {"cs.absent", 19, 0x98},  {"cs.rpl", 19, kCode3},
                 {"ss.null", 20, 0},        {"ss.rpl", 20, kData3},      {"ss.absent", 20, 0xa0}, {"ds.code0", 21, 0xa8},
                 {"ds.absent", 21, 0xa0},   {"es.system", 18, kTss},     {"fs.beyond", 22, 0x200}, {"gs.null", 23, 0},
                 {"ldt.null", 24, 0},       {"ldt.data", 24, kTaskData}, {"ldt.good", 24, kTaskLdt}, {"ldt.local", 24, 0x7c},
                 {"eip.beyond", 19, 0xb0},  {"flags.tf", 9, 0x102},      {"trap", 25, 104 << 16 | 1}, {"flags.ac", 9, 0x40002}};
  for (unsigned i = 0; i < sizeof kFaults / sizeof *kFaults; ++i) {
    task_tables();
    set_descriptor(0x98, 0, 0xfffff, 0x1b, 0xc);
    set_descriptor(0xa0, 0, 0xfffff, 0x13, 0xc);
    set_descriptor(0xa8, 0, 0xfffff, 0x99, 0xc);
    set_descriptor(0xb0, 0, 0xf, 0x9b, 0x4);
    for (unsigned j = 0; j < 64; ++j) rescue[j] = task[j];
    rescue[8] = kCodePage + 0x60;
    set_descriptor(kRescue, (uint32_t)rescue, 0x67, 0x89, 0);
    if (kFaults[i].field == 20 || kFaults[i].field == 19 || kFaults[i].field == 24) {  // the new task has no stack, or no code
      for (unsigned v = 10; v < 14; ++v) set_vector(v, kRescue, 0, 0x85, 0);
    }
    task[kFaults[i].field] = kFaults[i].value;
    TRY(kernel_regs(), "ljmp $0x50, $0\nint $0xf0\n.org 0x40 + 771b\nint $0xf0\n.org 0x60 + 771b\npop %ebx\nclts");
    static char name[64] = "task.fault.";
    char* to = name + 11;
    for (const char* from = kFaults[i].name; *from;) *to++ = *from++;
    *to = 0;
    task_report(name);
    if (kFaults[i].field == 20 || kFaults[i].field == 19 || kFaults[i].field == 24) {
      show(name);
      show(":saved");
      for (unsigned j = 8; j < 24; ++j) show_value("t", task[j]);
      show_line();
    }
  }
}

// --- Virtual-8086 mode ----------------------------------------------------------------------------------------------

static struct Regs virtual_regs(unsigned iopl) {
  struct Regs r = kernel_regs();
  r.flags = kVM | iopl << 12 | 2;
  r.cs = kCodePage >> 4;
  r.ip = 0;
  r.ss = kStackPage >> 4;
  r.sp = 0x800;
  r.ds = r.es = kDataPage >> 4;
  r.fs = 0x1234;
  r.gs = 0xffff;
  r.si = 0;
  r.di = 0x100;
  return r;
}

/// CR4.VME with the redirection map all ones (to the monitor) but for interrupt 0x21.
static void vme_on(void) {
  uint8_t* map = (uint8_t*)case_tss;
  case_tss[25] = 0x88u << 16;
  for (unsigned i = 0; i < 32; ++i) map[0x68 + i] = 0xff;
  map[0x68 + 4] = 0xfd;
  low32(0x21 * 4)[0] = (kCodePage >> 4) << 16 | 0x40;
  word cr4;
  __asm__ volatile("mov %%cr4, %0\nor $1, %0\nmov %0, %%cr4" : "=r"(cr4));
}

#define V86(name, flags_, vme, text)                                    \
  do {                                                                  \
    for (unsigned iopl = 0; iopl < 4; iopl += 3) {                      \
      fresh();                                                          \
      if (vme) vme_on();                                                \
      struct Regs r = virtual_regs(iopl);                               \
      r.flags |= (flags_);                                              \
      TRY(r, ".code16\n" text "\nhlt\n.org 0x40 + 771b\nmovw %sp, %bp\nmovl (%bp), %eax\nmovw 4(%bp), %cx\nhlt"); \
      show(iopl ? "iopl3." : "iopl0.");                                 \
      report(name);                                                     \
    }                                                                   \
  } while (0)

static void virtual_mode(void) {
  for (unsigned vme = 0; vme < 2; ++vme) {
#define V(name, flags, text) V86(vme ? "vme." name : "v86." name, flags, vme, text)
    V("hlt", 0, "nop");
    V("cli", kIF, "cli");
    V("sti", 0, "sti");
    V("sti.vip", kVIP, "sti");
    V("cli.vif", kVIF, "cli");
    V("pushf", 0, "pushf\npopw %dx");
    V("pushf.vif", kVIF, "pushf\npopw %dx");
    V("pushfl", 0, "pushfl\npopl %edx");
    V("popf", 0, "pushw $0x3ed7\npopf");
    V("popf.if", 0, "pushw $0x202\npopf");
    V("popf.vip", kVIP, "pushw $0x202\npopf");
    V("popf.tf", 0, "pushw $0x102\npopf");
    V("popfl", 0, "pushl $0x202\npopfl");
    V("int.21", 0, "int $0x21");
    V("int.21.if", kIF | kVIF, "int $0x21");
    V("int.22", 0, "int $0x22");
    V("int3", 0, "int3");
    V("into", 0, "movb $0x7f, %al\nincb %al\ninto");
    V("iret", 0, "pushw $0x246\npushw $0x2000\npushw $0x40\niret");
    V("iret.vip", kVIP, "pushw $0x246\npushw $0x2000\npushw $0x40\niret");
    V("iretl", 0, "pushl $0x246\npushl $0x2000\npushl $0x40\niretl");
    V("in", 0, "in $0x80, %al\nxorb %al, %al");
    V("in.dx", 0, "movw $0x80, %dx\nin %dx, %al\nxorb %al, %al");
  }
  V86("v86.segment.wrap", 0, 0, "movw $0xffff, %si\nlodsw");
  UNLESS_QEMU("v86.stack.wrap", V86("v86.stack.wrap", 0, 0, "movw $1, %sp\npushw %ax"));
  V86("v86.far", 0, 0, "ljmp $0x2002, $0x18\n.org 0x38 + 771b");
  V86("v86.load", 0, 0, "movw $0x9999, %ax\nmovw %ax, %ds\nmovw %ax, %fs\nmovw %ax, %gs");
  V86("v86.gs.read", 0, 0, "movw %gs:0x10, %dx\nxorw %dx, %dx");
  V86("v86.lar", 0, 0, "larw %ax, %dx");
  V86("v86.arpl", 0, 0, ".byte 0x63, 0xc0");
  V86("v86.lldt", 0, 0, "lldt %ax");
  V86("v86.sgdt", 0, 0, "sgdtl (%si)");
  V86("v86.smsw", 0, 0, "smsww %ax");
  V86("v86.lmsw", 0, 0, "lmsw %ax");
  V86("v86.clts", 0, 0, "clts");
  V86("v86.cr0", 0, 0, "movl %cr0, %eax");
  V86("v86.long.offset", 0, 0, "movl $0x10000, %esi\naddr32 lodsb");
  V86("v86.tf", kTF, 0, "nop\nnop");
  V86("v86.ud", 0, 0, "ud2");
  V86("v86.div", 0, 0, "xorw %cx, %cx\ndivw %cx");
  fresh();
  set_vector(0x0d, kCode0, trap_entry_table[13], 0x8e, 0);
  set_descriptor(kCode3, 0, 0xfffff, 0xfb, 0xc);
  set_vector(6, kCode3, kCodePage, 0xee, 0);
  TRY(virtual_regs(3), ".code16\nud2");
  report("v86.handler.cpl3");
  fresh();
  set_descriptor(0x50, 0, 0xfffff, 0x9f, 0xc);
  set_vector(6, 0x50, kCodePage, 0xee, 0);
  TRY(virtual_regs(3), ".code16\nud2");
  report("v86.handler.conforming");
  // PVI: protected-mode virtual interrupts
  for (unsigned vip = 0; vip < 2; ++vip) {
    fresh();
    word cr4;
    __asm__ volatile("mov %%cr4, %0\nor $2, %0\nmov %0, %%cr4" : "=r"(cr4));
    struct Regs r = user_regs();
    if (vip) r.flags |= kVIP;
    TRY(r, "sti\npushf\npop %eax\ncli\npushf\npop %edx");
    report(vip ? "pvi.vip" : "pvi");
    r.flags |= kVIF;
    __asm__ volatile("mov %0, %%cr4" ::"r"(cr4));
    TRY(r, "cli\npushf\npop %edx\npushl $0x202\npopf");
    report(vip ? "pvi.vip.cli" : "pvi.cli");
  }
  // IRET to virtual-8086 mode from elsewhere than privilege 0 does not go there.
  fresh();
  CASE("iret.vm.cpl3", user_regs(), "pushl $0x20202\npushl $0x23\npushl $0x20020\niret\n.org 0x20 + 771b\nnop");
  fresh();
  low32(kCodePage + 0x2340)[0] = 0xf4f4f4f4;
  CASE("iret.vm.eip", kernel_regs(), "pushl $0\npushl $0\npushl $0x4000\npushl $0x4000\npushl $0x3000\npushl $0x800\npushl $0x20002\npushl $0x2000\npushl $0x12340\niret");
}

// --- Real mode ------------------------------------------------------------------------------------------------------

enum { kRealPage = 0x50000, kRealRegs = kRealPage + 0x800, kKeep = kRealPage + 0x850, kSegment64K = 0x90, kBig = kData0 };
extern const uint8_t real_begin[], real_end[], real_stubs[];
void enter_real(void);

/// Runs code at 2000:0 with 64 KiB segments at 4000, or with `segment` as protected mode loaded it.
static void real_execute(const uint8_t* code, const uint8_t* end, unsigned segment, word flags) {
  fresh();
  set_descriptor(0x88, kRealPage, 0xffff, 0x9b, 0);
  set_descriptor(kSegment64K, 0, 0xffff, 0x93, 0);
  for (unsigned i = 0; i < 64; ++i) low32(kDataPage)[i] = 0x01010101 * i;
  uint8_t* to = (uint8_t*)low32(kRealPage);
  for (const uint8_t* from = real_begin; from < real_end; ++from) *to++ = *from;
  for (unsigned v = 0; v < 16; ++v) low32(v * 4)[0] = kRealPage >> 4 << 16 | ((unsigned)(real_stubs - real_begin) + 8 * v);
  low32(kDone * 4)[0] = kRealPage >> 4 << 16 | ((unsigned)(real_stubs - real_begin) + 8 * 16);
  to = (uint8_t*)low32(kCodePage);
  for (unsigned i = 0; i < 0x100; ++i) to[i] = 0xf4;
  while (code < end) *to++ = *code++;
  struct Regs r = kernel_regs();
  r.flags |= flags;
  r.sp = 0x800;
  r.ip = 0;
  r.cs = kCodePage >> 4;
  r.ss = kStackPage >> 4;
  r.si = 0;
  r.di = 0x100;
  r.ds = r.es = r.fs = r.gs = segment;
  *(struct Regs*)low32(kRealRegs) = r;
  low32(kRealRegs + sizeof r)[0] = 0;
  low32(kKeep)[0] = segment != kSegment64K;
  initial = r;
  if (segment == kSegment64K) initial.ds = initial.es = initial.fs = initial.gs = kDataPage >> 4;
  enter_real();
  outcome.regs = *(struct Regs*)low32(kRealRegs);
  outcome.vector = low32(kRealRegs + sizeof r)[0];
  outcome.error = ~(word)0;
  __asm__ volatile("mov %%dr6, %0" : "=r"(outcome.dr6));
  fresh();
}

#define REAL(name, segment, flags, text)                            \
  do {                                                              \
    const uint8_t *start_, *end_;                                   \
    CODE_OF(".code16\n" text "\nint $0xf0", start_, end_);          \
    real_execute(start_, end_, segment, flags);                     \
    report(name);                                                   \
  } while (0)

static void real_mode(void) {
  REAL("real.nop", kSegment64K, 0, "nop");
  REAL("real.flags", kSegment64K, 0, "pushf\npopw %ax\npushfl\npopl %ebx");
  REAL("real.popfl", kSegment64K, 0, "pushl $0x3c7ed7\nandl $0xfffffeff, (%esp)\npopfl\npushfl\npopl %ebx");
  REAL("real.limit.last", kSegment64K, 0, "movw $0xfffe, %si\nlodsw\nxorw %ax, %ax");
  REAL("real.limit.cross", kSegment64K, 0, "movw $0xffff, %si\nlodsw");
  REAL("real.limit.dword", kSegment64K, 0, "movl $0x10000, %esi\nmovb (%esi), %al");
  REAL("real.stack.cross", kSegment64K, 0, "movw $0xffff, %bp\nmovw (%bp), %ax");
  if (!in_qemu()) REAL("real.jump.beyond", kSegment64K, 0, "movl $0x10000, %eax\njmpl *%eax");
  REAL("real.div", kSegment64K, 0, "xorw %cx, %cx\ndivw %cx");
  REAL("real.ud", kSegment64K, 0, "ud2");
  REAL("real.int3", kSegment64K, 0, "int3");
  REAL("real.into", kSegment64K, 0, "movb $0x7f, %al\nincb %al\ninto");
  REAL("real.bound", kSegment64K, 0, "boundw %ax, (%si)");
  REAL("real.step", kSegment64K, kTF, "nop\nnop");
  REAL("real.icebp", kSegment64K, 0, ".byte 0xf1");
  REAL("real.lar", kSegment64K, 0, "larw %ax, %dx");
  REAL("real.lldt", kSegment64K, 0, "lldt %ax");
  REAL("real.ltr", kSegment64K, 0, "ltr %ax");
  REAL("real.arpl", kSegment64K, 0, ".byte 0x63, 0xc0");
  REAL("real.smsw", kSegment64K, 0, "smsww %ax");
  REAL("real.lmsw", kSegment64K, 0, "movw $0x10, %ax\nlmsw %ax\nsmsww %bx");
  REAL("real.sysenter", kSegment64K, 0, "sysenter");
  REAL("real.load.any", kSegment64K, 0, "movw $0xffff, %ax\nmovw %ax, %ds\nmovw %ax, %gs");
  REAL("real.far", kSegment64K, 0, "lcall $0x2001, $0x10\n.org 0x20 + 771b\npopw %ax\npopw %bx");
  REAL("real.retf", kSegment64K, 0, "pushw $0x2001\npushw $0x10\nlret $4\n.org 0x20 + 771b\nnop");
  REAL("real.iret", kSegment64K, 0, "pushw $0xcd7\npushw $0x2001\npushw $0x10\niret\n.org 0x20 + 771b\nnop");
  REAL("real.iretl", kSegment64K, 0, "pushl $0x3c0cd7\npushl $0x2001\npushl $0x10\niretl\n.org 0x20 + 771b\nnop");
  REAL("real.far.wraps.20", kSegment64K, 0, "movw $0xffff, %ax\nmovw %ax, %ds\nmovb 0x20, %al\nxorw %ax, %ax");
  REAL("real.pusha.odd", kSegment64K, 0, "nop\npusha\npopa");
  // What protected mode left: limits of 4 GiB ("unreal mode") and their base
  REAL("unreal.read", kBig, 0, "movl $0x40004, %esi\nmovl (%esi), %eax");
  REAL("unreal.write", kBig, 0, "movl $0x40040, %esi\nmovl %eax, (%esi)\nmovl (%esi), %ebx");
  REAL("unreal.fs", kBig, 0, "movl $0x40004, %esi\nmovl %fs:(%esi), %eax");
  REAL("unreal.reload.keeps.limit", kBig, 0, "movw $0x1000, %ax\nmovw %ax, %ds\nmovl $0x30008, %esi\nmovl (%esi), %eax");
  REAL("unreal.string", kBig, 0, "movl $0x40004, %esi\nmovl $0x40100, %edi\nmovl $3, %ecx\naddr32 rep movsl\nmovl -4(%edi), %eax");
  REAL("unreal.selector", kBig, 0, "movw %ds, %ax");
  REAL("unreal.stack", kBig, 0, "movl $0x10000, %ebp\nmovl (%ebp), %eax");
}

void task_cases(void) {
  switches();
  virtual_mode();
  real_mode();
  fresh();
}
