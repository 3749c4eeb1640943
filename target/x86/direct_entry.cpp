// SPDX-License-Identifier: Apache-2.0
// Entry without firmware: the register state that the Linux 32-bit, PVH and multiboot protocols ask of a loader.
#include "target/x86/cpu.h"

namespace emu::x86 {

void X86Cpu::enter_flat32(const FlatEntry& entry) {
  X86State& s = *s_;
  s.cr0 |= kCr0PE;
  s.gdt = {entry.gdt_base, entry.gdt_limit};
  s.idt = {0, 0};
  set_segment(CS, entry.cs, 0, 0xffffffff, 0xc09b00);
  for (const Seg seg : {DS, ES, SS, FS, GS}) set_segment(seg, entry.ds, 0, 0xffffffff, 0xc09300);
  for (unsigned i = 0; i < 16; i++) s.gpr(i) = 0;
  s.gpr(RAX) = entry.eax;
  s.gpr(RBX) = entry.ebx;
  s.gpr(RSI) = entry.esi;
  s.hdr.pc = entry.eip;
  update_mode();
}

}  // namespace emu::x86
