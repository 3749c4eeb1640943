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

void X86Cpu::enter_real(u16 cs, u16 ip) {
  set_segment(CS, cs, u64(cs) << 4, 0xffff, 0x9300);
  set_ip(ip);
  update_mode();
}

/// SDM volume 3, "Memory Type Range Registers". 0 is uncached, 5 write-protected, 6 write-back, a byte each.
void X86Cpu::set_firmware_mtrrs(u32 uncached_base) {
  constexpr u64 kWriteBack = 0x0606'0606'0606'0606, kWriteProtected = 0x0505'0505'0505'0505;
  constexpr u64 kEnabled = bit64(11), kFixedEnabled = bit64(10), kValid = bit64(11);
  // 64 KiB and 16 KiB ranges up to 0xa0000, VGA memory, then eight registers of 4 KiB ranges.
  msr_.mtrr_fixed.fill(kWriteProtected);
  msr_.mtrr_fixed[0] = msr_.mtrr_fixed[1] = kWriteBack;
  msr_.mtrr_fixed[2] = 0;
  msr_.mtrr_variable[0] = uncached_base;
  msr_.mtrr_variable[1] = (low_mask(config_.model.phys_bits) & ~(0x1'0000'0000u - u64(uncached_base) - 1)) | kValid;
  msr_.mtrr_default = kEnabled | kFixedEnabled | 6;
}

}  // namespace emu::x86
