// SPDX-License-Identifier: Apache-2.0
// Port I/O: SDM vol. 1, chapter 19.
#include "target/x86/cpu.h"
#include "target/x86/string_op.h"

namespace emu::x86 {

using target::Access;
using target::AccessStatus;

/// IOPL, and else the permission map of the TSS.
bool X86Cpu::check_port(u16 port, unsigned bytes) {
  if (!(s_->cr0 & kCr0PE)) return true;
  if (!is_vm86() && s_->cpl() <= bits(s_->rflags_system, 13, 12)) return true;
  const Segment& tr = s_->seg[TR];
  u64 map_base = 0, map = 0;
  const bool is_32 = (tr.attributes >> 8 & 13) == 9;
  if (!is_32 || tr.limit < 0x67) return raise_gp();
  if (!read_system(s_->seg_base[TR] + 0x66, 2, map_base)) return false;
  const u64 at = map_base + port / 8;
  if (at + 1 > tr.limit) return raise_gp();  // two bytes are always read
  if (!read_system(s_->seg_base[TR] + at, 2, map)) return false;
  return (map >> (port & 7) & low_mask(bytes)) == 0 || raise_gp();
}

u64 X86Cpu::helper_port_in(const u64* args) {
  const u16 port = u16(args[0]);
  const unsigned bytes = unsigned(args[1]);
  if (!check_port(port, bytes)) return 0;
  port_accessed(port, bytes);
  return memory_->port_read(port, bytes) & low_mask(bytes * 8);
}

u64 X86Cpu::helper_port_out(const u64* args) {
  const u16 port = u16(args[0]);
  const unsigned bytes = unsigned(args[1]);
  if (!check_port(port, bytes)) return 0;
  port_accessed(port, bytes);
  memory_->port_write(port, bytes, u32(args[2] & low_mask(bytes * 8)));
  return 0;
}

u64 X86Cpu::helper_string_in(const u64* args) {
  StringOp op(*this, unsigned(args[0]), unsigned(args[1]), ES);
  const bool rep = args[2] != 0;
  const u16 port = u16(s_->gpr(RDX));
  const u8 view = current_view();
  if (!check_port(port, op.bytes)) return 0;
  if (rep && op.count() == 0) return 0;
  do {
    u64 to = 0;
    if (!op.destination(op.bytes, true, to)) return 0;
    // The device must not be read if the value has nowhere to go.
    if (!check_alignment(to, op.bytes, view)) return 0;
    if (memory_->probe(wrap_linear(to), op.bytes, Access::Store, view) != AccessStatus::Ok) return 0;
    if (!write(to, op.bytes, view, memory_->port_read(port, op.bytes))) return 0;
    port_accessed(port, op.bytes);
    op.advance(1, false, true, rep);
    if (rep && op.count() != 0 && string_stops()) return restart_instruction(), 0;
  } while (rep && op.count() != 0);
  return 0;
}

u64 X86Cpu::helper_string_out(const u64* args) {
  StringOp op(*this, unsigned(args[0]), unsigned(args[1]), Seg(args[3]));
  const bool rep = args[2] != 0;
  const u16 port = u16(s_->gpr(RDX));
  const u8 view = current_view();
  if (!check_port(port, op.bytes)) return 0;
  if (rep && op.count() == 0) return 0;
  do {
    u64 from = 0, value = 0;
    if (!op.source(op.bytes, from) || !read(from, op.bytes, view, value)) return 0;
    memory_->port_write(port, op.bytes, u32(value));
    port_accessed(port, op.bytes);
    op.advance(1, true, false, rep);
    if (rep && op.count() != 0 && string_stops()) return restart_instruction(), 0;
  } while (rep && op.count() != 0);
  return 0;
}

}  // namespace emu::x86
