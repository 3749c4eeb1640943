// SPDX-License-Identifier: Apache-2.0
// Registers as text, in the layout that `info registers` has in QEMU.
#include <bit>
#include <cstring>

#include "target/x86/cpu.h"
#include "target/x86/eflags.h"
#include "target/x86/mode_key.h"

namespace emu::x86 {

namespace {

const char* kSegmentNames[] = {"ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDT", "TR "};
const char* kLegacyNames[] = {"EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"};
const char* kLongNames[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                            "R8 ", "R9 ", "R10", "R11", "R12", "R13", "R14", "R15"};
constexpr Gpr kOrder[] = {RAX, RBX, RCX, RDX, RSI, RDI, RBP, RSP, R8, R9, R10, R11, R12, R13, R14, R15};

std::string segment_kind(const Segment& seg, bool is_system, bool long_mode) {
  const u32 a = seg.attributes;
  if (!(a & bit(15))) return "";
  const unsigned dpl = a >> 13 & 3, type = a >> 8 & 15;
  if (is_system || !(a & bit(12))) {
    constexpr const char* kLegacy[] = {
        "Reserved", "TSS16-avl", "LDT",      "TSS16-busy", "CallGate16", "TaskGate", "IntGate16", "TrapGate16",
        "Reserved", "TSS32-avl", "Reserved", "TSS32-busy", "CallGate32", "Reserved", "IntGate32", "TrapGate32"};
    constexpr const char* kLong[] = {"<hiword>",   "Reserved", "LDT",       "Reserved",  "Reserved", "Reserved",
                                     "Reserved",   "Reserved", "Reserved",  "TSS64-avl", "Reserved", "TSS64-busy",
                                     "CallGate64", "Reserved", "IntGate64", "TrapGate64"};
    return fmt::format(" DPL={} {}", dpl, (long_mode ? kLong : kLegacy)[type]);
  }
  if (type & 8) {
    const char* kind = a & bit(21) ? "CS64" : a & bit(22) ? "CS32" : "CS16";
    return fmt::format(" DPL={} {} [{}{}{}]", dpl, kind, type & 4 ? 'C' : '-', type & 2 ? 'R' : '-',
                       type & 1 ? 'A' : '-');
  }
  const char* kind = a & bit(22) || long_mode ? "DS  " : "DS16";
  return fmt::format(" DPL={} {} [{}{}{}]", dpl, kind, type & 4 ? 'E' : '-', type & 2 ? 'W' : '-',
                     type & 1 ? 'A' : '-');
}

/// As wide as the guest has enabled them, the highest bits first.
std::string dump_vectors(const X86State& s, bool wide) {
  constexpr u64 kXcr0Avx = 6;
  const bool zmm = has_avx512(s), ymm = (s.cr4 & kCr4OSXSAVE) && (s.xcr0 & kXcr0Avx) == kXcr0Avx;
  std::string out;
  for (unsigned i = 0; zmm && i < 8; ++i) {
    out += fmt::format("Opmask{:02}={:016x}{}", i, s.opmask[i], i % 4 == 3 ? "\n" : " ");
  }
  const unsigned count = !wide ? 8 : zmm ? 32 : 16, words = zmm ? 8 : ymm ? 4 : 2;
  for (unsigned i = 0; i < count; ++i) {
    out += fmt::format("{}MM{:02}=", zmm ? 'Z' : ymm ? 'Y' : 'X', i);
    for (unsigned word = words; word-- > 0;) {
      u64 value = 0;
      std::memcpy(&value, s.vec[i].bytes + 8 * word, 8);
      out += fmt::format("{:016x}{}", value, word != 0 || (words == 2 && i % 2 == 0) ? " " : "\n");
    }
  }
  return out;
}

}  // namespace

std::string X86Cpu::dump_registers() const {
  const X86State& s = *s_;
  const bool wide = is_code64();
  const unsigned digits = wide ? 16 : 8;
  const u64 flags = read_rflags(s);
  const auto hex = [digits](u64 v) { return fmt::format("{:0{}x}", digits == 8 ? u32(v) : v, digits); };
  std::string out;
  for (unsigned i = 0; i < (wide ? 16u : 8u); ++i) {
    const Gpr r = kOrder[i];
    out += fmt::format("{}={}{}", wide ? kLongNames[r] : kLegacyNames[r], hex(s.gpr(r)), i % 4 == 3 ? "\n" : " ");
  }
  const char letters[] = {
      flags & kDF ? 'D' : '-', flags & kOF ? 'O' : '-', flags & kSF ? 'S' : '-', flags & kZF ? 'Z' : '-',
      flags & kAF ? 'A' : '-', flags & kPF ? 'P' : '-', flags & kCF ? 'C' : '-', 0};
  out += fmt::format("{}={} {}={:08x} [{}] CPL={} II={} A20={} SMM=0 HLT={}\n", wide ? "RIP" : "EIP",
                     hex(instruction_pointer()), wide ? "RFL" : "EFL", u32(flags), letters, s.cpl(),
                     s.inhibit_interrupts, a20_mask_.load() == ~u64(0) ? 1 : 0, halt_ == target::Halt::Halted ? 1 : 0);
  for (unsigned i = 0; i < 8; ++i) {
    out += fmt::format("{}={:04x} {} {:08x} {:08x}{}\n", kSegmentNames[i], s.seg[i].selector, hex(s.segment_base(i)),
                       s.seg[i].limit, s.seg[i].attributes, segment_kind(s.seg[i], i >= LDTR, is_long_mode()));
  }
  out += fmt::format("GDT=     {} {:08x}\nIDT=     {} {:08x}\n", hex(s.gdt.base), s.gdt.limit, hex(s.idt.base),
                     s.idt.limit);
  out += fmt::format("CR0={:08x} CR2={} CR3={} CR4={:08x}\n", u32(s.cr0), hex(s.cr2), hex(s.cr3), u32(s.cr4));
  out += fmt::format("DR0={:016x} DR1={:016x} DR2={:016x} DR3={:016x} \nDR6={:016x} DR7={:016x}\n", s.dr[0], s.dr[1],
                     s.dr[2], s.dr[3], s.dr[6], s.dr[7]);
  out += fmt::format("CCS={:016x} CCD={:016x} CCO={}\nEFER={:016x}\n", s.hdr.cc_b, s.hdr.cc_a, s.hdr.cc_op, s.efer);
  const u16 status = fpu_status();
  out += fmt::format("FCW={:04x} FSW={:04x} [ST={}] FTW={:02x} MXCSR={:08x}\n", s.hdr.fpu_control & 0xffff, status,
                     status >> 11 & 7, s.hdr.fpu_image[4], guest_mxcsr());
  for (unsigned i = 0; i < 8; ++i) {
    u64 significand = 0;
    u16 exponent = 0;
    std::memcpy(&significand, s.hdr.fpu_image + 32 + i * 16, 8);
    std::memcpy(&exponent, s.hdr.fpu_image + 32 + i * 16 + 8, 2);
    out += fmt::format("FPR{}={:016x} {:04x}{}", i, significand, exponent, i & 1 ? "\n" : " ");
  }
  return out + dump_vectors(s, wide);
}

std::string X86Cpu::summary() const {
  return fmt::format("CPU {} at {:04x}:{:#x}, CPL {}, RSP {:#x}, CR0 {:#x}, CR3 {:#x}, CR4 {:#x}, EFER {:#x}",
                     config_.index, s_->seg[CS].selector, instruction_pointer(), s_->cpl(), s_->gpr(RSP), s_->cr0,
                     s_->cr3, s_->cr4, s_->efer);
}

}  // namespace emu::x86
