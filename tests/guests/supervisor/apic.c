// SPDX-License-Identifier: Apache-2.0
// The local APIC as far as it does not depend on time: registers, self interrupts, priorities, EOI, timer modes.
#include "case.h"
#include "groups.h"

enum { kId = 0x20, kVersion = 0x30, kTpr = 0x80, kPpr = 0xa0, kEoi = 0xb0, kLdr = 0xd0, kDfr = 0xe0, kSvr = 0xf0, kIsr = 0x100,
       kIrr = 0x200, kEsr = 0x280, kIcrLow = 0x300, kIcrHigh = 0x310, kTimer = 0x320, kLint0 = 0x350, kLint1 = 0x360,
       kError = 0x370, kInitial = 0x380, kCurrent = 0x390, kDivide = 0x3e0 };
enum { kSelf = 0x40000, kAssert = 0x4000 };

static uint32_t get(unsigned reg) { return *(volatile uint32_t*)(word)(0xfee00000 + reg); }
static void set(unsigned reg, uint32_t value) { *(volatile uint32_t*)(word)(0xfee00000 + reg) = value; }

static void settle(void) {
  for (unsigned i = 0; i < 2000; ++i) __asm__ volatile("pause");
}

static void state(const char* name) {
  show("apic.");
  show(name);
  show_value("tpr", get(kTpr));
  show_value("ppr", get(kPpr));
  for (unsigned i = 0; i < 8; ++i) {
    if (get(kIrr + 16 * i) != 0) show_value("irr", (word)i << 32 | get(kIrr + 16 * i));
    if (get(kIsr + 16 * i) != 0) show_value("isr", (word)i << 32 | get(kIsr + 16 * i));
  }
  show_line();
}

/// Enters code with interrupts on: which vector comes?
static void open(const char* name) {
  fresh();
  struct Regs r = kernel_regs();
  r.flags |= kIF;
  TRY(r, "nop\nnop\nnop");
  show("apic.");
  show(name);
  show_value("v", outcome.vector);
  show_line();
}

static void written(const char* name, unsigned reg, uint32_t value) {
  const uint32_t old = get(reg);
  set(reg, value);
  show("apic.reg.");
  show(name);
  show_value("value", get(reg));
  show_line();
  set(reg, old);
}

void apic_cases(void) {
  fresh();
  write_msr(0x1b, read_msr(0x1b) | 0x800);
  set(kSvr, 0x1ff);
  set(kTpr, 0);
  for (unsigned i = 0; i < 8; ++i) set(kEoi, 0);
  set(kLint0, 0x10000);
  set(kLint1, 0x10000);
  set(kTimer, 0x10000);
  state("idle");
  written("tpr", kTpr, 0xffffffff);
  written("ldr", kLdr, 0xffffffff);
  written("dfr", kDfr, 0);
  written("svr", kSvr, 0x1a5);
  written("icr.high", kIcrHigh, 0xffffffff);
  written("timer", kTimer, 0xffffffff & ~0x40000u);
  written("lint0", kLint0, 0xffffffff);
  written("error", kError, 0xffffffff);
  written("divide", kDivide, 0xffffffff);
  written("id.readable", kTpr, 0x20);
  // Self interrupts and priorities
  set(kIcrLow, kSelf | kAssert | 0x61);
  settle();
  state("self.requested");
  open("self.taken");
  state("self.in.service");
  set(kIcrLow, kSelf | kAssert | 0x62);
  settle();
  state("same.class.requested");
  open("same.class.blocked");
  set(kIcrLow, kSelf | kAssert | 0x75);
  settle();
  open("higher.taken");
  state("higher.in.service");
  set(kEoi, 0);
  state("higher.ended");
  open("lower.still.blocked");
  set(kEoi, 0);
  open("lower.taken");
  set(kEoi, 0);
  state("all.ended");
  // TPR
  set(kTpr, 0x70);
  set(kIcrLow, kSelf | kAssert | 0x71);
  settle();
  state("tpr.holds");
  open("tpr.blocks");
  set(kTpr, 0x6f);
  open("tpr.lets.through");
  state("tpr.ppr");
  set(kEoi, 0);
  set(kTpr, 0);
  __asm__ volatile("mov %0, %%cr8" ::"r"((word)7));
  state("cr8.tpr");
  __asm__ volatile("mov %0, %%cr8" ::"r"((word)0));
  // Two at once: the higher vector first
  set(kIcrLow, kSelf | kAssert | 0x81);
  settle();
  set(kIcrLow, kSelf | kAssert | 0x91);
  settle();
  state("two.requested");
  open("two.first");
  open("two.second.blocked");
  set(kEoi, 0);
  open("two.second");
  set(kEoi, 0);
  // The same vector twice while in service is kept once.
  set(kIcrLow, kSelf | kAssert | 0x81);
  settle();
  open("again.first");
  set(kIcrLow, kSelf | kAssert | 0x81);
  set(kIcrLow, kSelf | kAssert | 0x81);
  settle();
  state("again.requested");
  set(kEoi, 0);
  open("again.second");
  set(kEoi, 0);
  open("again.none");
  // Timer
  set(kDivide, 0xb);
  set(kTimer, 0x51);
  set(kInitial, 100);
  for (unsigned i = 0; i < 20000000 && get(kIrr + 0x20) == 0; ++i) {
  }
  state("timer.fired");
  open("timer.taken");
  set(kEoi, 0);
  set(kTimer, 0x10052);
  set(kInitial, 100);
  for (unsigned i = 0; i < 100000 && get(kCurrent) != 0; ++i) {
  }
  settle();
  state("timer.masked");
  set(kTimer, 0x20053);
  set(kInitial, 100000);
  for (unsigned i = 0; i < 20000000 && get(kIrr + 0x20) == 0; ++i) {
  }
  show("apic.timer.periodic");
  show_value("running", get(kCurrent) != 0);
  show_line();
  set(kInitial, 0);
  open("timer.periodic.taken");
  set(kEoi, 0);
  // An illegal vector is an error.
  set(kEsr, 0);
  set(kIcrLow, kSelf | kAssert | 0x5);
  settle();
  set(kEsr, 0);
  show("apic.esr.illegal");
  show_value("esr", get(kEsr));
  show_line();
  for (unsigned i = 0; i < 4; ++i) set(kEoi, 0);
  // Software disabled
  set(kSvr, 0xff);
  show("apic.disabled");
  show_value("timer", get(kTimer));
  show_value("lint0", get(kLint0));
  set(kLint0, 0x700);
  show_value("lint0.unmask", get(kLint0));
  show_line();
  set(kSvr, 0x1ff);
  // x2APIC
  uint32_t leaf1[4];
  cpuid(1, leaf1);
  if (!(leaf1[2] >> 21 & 1)) {
    show("apic.x2 absent");
    show_line();
    return;
  }
  write_msr(0x1b, read_msr(0x1b) | 0xc00);
  static const struct {
    const char* name;
    uint32_t number;
    uint64_t value;
  } kRegs[] = {{"tpr", 0x808, 0x20}, {"tpr.reserved", 0x808, 0x100}, {"eoi", 0x80b, 0}, {"eoi.1", 0x80b, 1}, {"ldr", 0x80d, 0},
               {"dfr", 0x80e, 0}, {"svr", 0x80f, 0x1ff}, {"svr.reserved", 0x80f, 0x80000000}, {"esr", 0x828, 0}, {"esr.1", 0x828, 1},
               {"icr2", 0x831, 0}, {"timer", 0x832, 0x10020}, {"timer.reserved", 0x832, 0x80000000}, {"self", 0x83f, 0x66},
               {"self.reserved", 0x83f, 0x100}, {"initial", 0x838, 0}, {"current", 0x839, 0}, {"none", 0x840, 0}, {"id", 0x802, 1}};
  for (unsigned i = 0; i < sizeof kRegs / sizeof *kRegs; ++i) {
    fresh();
    struct Regs r = kernel_regs();
    r.cx = kRegs[i].number;
    r.ax = kRegs[i].value;
    r.dx = 0;
    TRY(r, "wrmsr");
    const word vector = outcome.vector;
    TRY(r, "rdmsr");
    show("apic.x2.");
    show(kRegs[i].name);
    show_value("write", vector);
    show_value("read", outcome.vector);
    show_line();
  }
  open("x2.self.taken");
  write_msr(0x80b, 0);
  fresh();
  struct Regs r = kernel_regs();
  r.cx = 0x1b;
  CASE("apic.x2.to.x1", r, "rdmsr\nbtr $10, %eax\nwrmsr");
  write_msr(0x1b, read_msr(0x1b) & ~0xc00ull);
  write_msr(0x1b, read_msr(0x1b) | 0x800);
  fresh();
}
