// SPDX-License-Identifier: Apache-2.0
// Model-specific registers: which values fault, what is read back. Only architectural ones, as the models differ.
#include "case.h"
#include "groups.h"

static void write_read(const char* name, uint32_t number, uint64_t value) {
  fresh();
  struct Regs r = kernel_regs();
  r.cx = number;
  r.ax = (uint32_t)value;
  r.dx = value >> 32;
  TRY(r, "rdmsr");
  const bool readable = outcome.vector == kDone;
  const word low = outcome.regs.ax, high = outcome.regs.dx;
  TRY(r, "wrmsr\nrdmsr");
  show("msr.");
  show(name);
  show_value("v", outcome.vector);
  if (!readable) show_text("unreadable");
  if (outcome.vector == kDone) show_value("same", (uint32_t)outcome.regs.ax == (uint32_t)value && (uint32_t)outcome.regs.dx == value >> 32);
  show_line();
  if (!readable || outcome.vector != kDone) return;
  r.ax = low;
  r.dx = high;
  TRY(r, "wrmsr");
}

void msr_cases(void) {
  const uint64_t bad = 0x0000800000000000, high = (uint64_t)1 << 32;
  const uint64_t efer = read_msr(0xc0000080);
  write_read("none", 0x1234, 0);
  write_read("none.high", 0xc0001234, 0);
  write_read("none.40000000", 0x40000100, 0);
  write_read("efer.same", 0xc0000080, efer);
  write_read("efer.lma.clear", 0xc0000080, efer & ~0x400ull);
  write_read("efer.lme.clear", 0xc0000080, efer & ~0x100ull);
  write_read("efer.reserved1", 0xc0000080, efer | 2);
  write_read("efer.reserved16", 0xc0000080, efer | 0x10000);
  write_read("efer.high", 0xc0000080, efer | high);
  write_read("star", 0xc0000081, 0x123456789abcdef0);
  write_read("lstar", 0xc0000082, 0x7fffffffffff);
  write_read("lstar.noncanonical", 0xc0000082, bad);
  write_read("cstar", 0xc0000083, 0x1234);
  write_read("cstar.noncanonical", 0xc0000083, bad);
  write_read("sfmask", 0xc0000084, 0x3fffff);
  write_read("sfmask.high", 0xc0000084, high);
  write_read("fsbase", 0xc0000100, 0xffff800000000000);
  write_read("fsbase.noncanonical", 0xc0000100, bad);
  write_read("gsbase.noncanonical", 0xc0000101, bad);
  write_read("kernelgsbase.noncanonical", 0xc0000102, bad);
  write_read("kernelgsbase", 0xc0000102, 0xffffffffffffffff);
  write_read("tscaux", 0xc0000103, 0x12345678);
  write_read("tscaux.high", 0xc0000103, high);
  write_read("sysenter.cs", 0x174, 0x1234);
  write_read("sysenter.esp", 0x175, 0x1234567);
  write_read("sysenter.esp.noncanonical", 0x175, bad);
  write_read("sysenter.eip.noncanonical", 0x176, bad);
  write_read("pat", 0x277, 0x0706050400010406 & ~0x0202020202020202ull);
  write_read("pat.2", 0x277, 0x0007040600070402);
  write_read("pat.3", 0x277, 0x0007040603070406);
  write_read("pat.8", 0x277, 0x0807040600070406);
  write_read("apicbase.reserved", 0x1b, read_msr(0x1b) | 1);
  write_read("apicbase.reserved9", 0x1b, read_msr(0x1b) | 0x200);
  write_read("apicbase.high", 0x1b, read_msr(0x1b) | (uint64_t)1 << 60);
  write_read("apicbase.x2.without.enable", 0x1b, (read_msr(0x1b) & ~0x800ull) | 0x400);
  write_read("mtrr.def", 0x2ff, 0xc06);
  write_read("mtrr.def.type2", 0x2ff, 0xc02);
  write_read("mtrr.def.reserved", 0x2ff, 0x1c06);
  write_read("mtrr.cap", 0xfe, 0);
  write_read("mtrr.fixed", 0x250, 0x0606060606060606);
  write_read("mtrr.fixed.bad", 0x250, 0x0606060606060602);
  write_read("mtrr.base", 0x200, 0x80000006);
  write_read("mtrr.base.type2", 0x200, 0x80000002);
  write_read("mtrr.base.reserved", 0x200, 0x80000106);
  write_read("mtrr.mask.reserved", 0x201, 0x100);
  write_read("debugctl.bit63", 0x1d9, (uint64_t)1 << 63);
  write_read("xss", 0xda0, 1);
  write_read("x2apic.off", 0x802, 0);
  fresh();
  struct Regs r = user_regs();
  r.cx = 0x10;
  CASE("msr.rdmsr.cpl3", r, "rdmsr");
  fresh();
  CASE("msr.wrmsr.cpl3", r, "wrmsr");
  fresh();
  r = kernel_regs();
  r.cx = 0xffffffff00000174;
  CASE("msr.high.rcx", r, "xor %eax, %eax\nxor %edx, %edx\nwrmsr\nrdmsr");
  fresh();
}
