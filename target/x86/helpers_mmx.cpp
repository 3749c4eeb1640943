// SPDX-License-Identifier: Apache-2.0
// MMX registers: the significands of the x87 registers, by physical number. SDM vol. 1, 9.2 and 9.5.
#include "target/x86/cpu.h"
#include "target/x86/fpu_image.h"

namespace emu::x86 {

using target::AccessStatus;

namespace {

/// With TOP 0, MMi is ST(i).
u8* enter_mmx(FpuImage& fpu, u64 reg) {
  fpu.set_top(0);
  fpu.set_tags(0xff);
  return fpu.st(unsigned(reg & 7));
}

}  // namespace

u64 X86Cpu::helper_mmx_read(const u64* args) {
  FpuImage fpu(s_->hdr);
  return image_get<u64>(enter_mmx(fpu, args[0]), 0);
}

u64 X86Cpu::helper_mmx_write(const u64* args) {
  FpuImage fpu(s_->hdr);
  u8* reg = enter_mmx(fpu, args[0]);
  image_put<u64>(reg, 0, args[1]);
  image_put<u16>(reg, 8, 0xffff);
  return 0;
}

u64 X86Cpu::helper_emms(const u64*) {
  FpuImage fpu(s_->hdr);
  fpu.set_top(0);
  fpu.set_tags(0);
  return 0;
}

u64 X86Cpu::helper_maskmovq(const u64* args) {
  const u8 view = current_view();
  if (!check_alignment(args[0], 8, view)) return 0;  // see helper_maskmov()
  const auto is_selected = [&](unsigned i) { return args[2] >> (8 * i + 7) & 1; };
  for (unsigned i = 0; i < 8; ++i) {
    if (is_selected(i) && memory_->probe(wrap_operand(args[0] + i), 1, target::Access::Store, view) != AccessStatus::Ok)
      return 0;
  }
  for (unsigned i = 0; i < 8; ++i) {
    if (is_selected(i) && !write(wrap_operand(args[0] + i), 1, view, u8(args[1] >> (8 * i)))) return 0;
  }
  return 0;
}

}  // namespace emu::x86
