// SPDX-License-Identifier: Apache-2.0
#include "target/x86/kvm/state_access.h"

#include <cstring>

#include "target/x86/eflags.h"
#include "target/x86/fpu_image.h"

namespace emu::x86 {
namespace {

// Standard format of XSAVE, SDM vol. 1, 13.4.
constexpr u64 kVectors = 160, kXstateBv = 512, kYmmHigh = 576, kOpmask = 1088, kZmmHigh = 1152, kZmm16 = 1664,
              kPkru = 2688;
constexpr u64 kX87 = 1, kSse = 2, kAvx = 4, kAvx512 = 0xe0, kPkruState = 0x200;

kvm_segment to_kvm(const Segment& segment, u64 base) {
  const u32 a = segment.attributes;
  kvm_segment out{};
  out.base = base;
  out.limit = segment.limit;
  out.selector = segment.selector;
  out.type = u8(a >> 8 & 15);
  out.s = u8(a >> 12 & 1);
  out.dpl = u8(a >> 13 & 3);
  out.present = u8(a >> 15 & 1);
  out.avl = u8(a >> 20 & 1);
  out.l = u8(a >> 21 & 1);
  out.db = u8(a >> 22 & 1);
  out.g = u8(a >> 23 & 1);
  out.unusable = !out.present;
  return out;
}

u32 attributes_of(const kvm_segment& in) {
  const u32 present = in.unusable ? 0u : u32(in.present & 1);
  return u32(in.type & 15) << 8 | u32(in.s & 1) << 12 | u32(in.dpl & 3) << 13 | present << 15 | u32(in.avl & 1) << 20 |
         u32(in.l & 1) << 21 | u32(in.db & 1) << 22 | u32(in.g & 1) << 23;
}

kvm_dtable to_kvm(const DescriptorTable& table) {
  kvm_dtable out{};
  out.base = table.base;
  out.limit = u16(table.limit);
  return out;
}

constexpr struct {
  Seg seg;
  kvm_segment kvm_sregs::*place;
} kSegments[] = {{CS, &kvm_sregs::cs}, {DS, &kvm_sregs::ds}, {ES, &kvm_sregs::es},   {FS, &kvm_sregs::fs},
                 {GS, &kvm_sregs::gs}, {SS, &kvm_sregs::ss}, {LDTR, &kvm_sregs::ldt}, {TR, &kvm_sregs::tr}};

constexpr decltype(&kvm_regs::rax) kRegisters[] = {
    &kvm_regs::rax, &kvm_regs::rcx, &kvm_regs::rdx, &kvm_regs::rbx, &kvm_regs::rsp, &kvm_regs::rbp,
    &kvm_regs::rsi, &kvm_regs::rdi, &kvm_regs::r8,  &kvm_regs::r9,  &kvm_regs::r10, &kvm_regs::r11,
    &kvm_regs::r12, &kvm_regs::r13, &kvm_regs::r14, &kvm_regs::r15};

}  // namespace

// --- General registers, segments, control registers ---

kvm_regs KvmStateAccess::regs() const {
  kvm_regs out{};
  for (unsigned i = 0; i < 16; ++i) out.*kRegisters[i] = s.gpr(i);
  out.rip = cpu.is_code64() ? s.hdr.pc : u32(cpu.instruction_pointer());
  out.rflags = read_rflags(s);
  return out;
}

void KvmStateAccess::fill(kvm_sregs& out) const {
  for (const auto& [seg, place] : kSegments) out.*place = to_kvm(s.seg[seg], s.segment_base(seg));
  out.gdt = to_kvm(s.gdt);
  out.idt = to_kvm(s.idt);
  out.cr0 = s.cr0;
  out.cr2 = s.cr2;
  out.cr3 = s.cr3;
  out.cr4 = s.cr4;
  out.efer = s.efer;
}

void KvmStateAccess::load(const kvm_regs& regs, const kvm_sregs& in) {
  for (const auto& [seg, place] : kSegments) {
    const kvm_segment& from = in.*place;
    load_segment(s, seg, from.selector, from.base, from.limit, attributes_of(from));
  }
  s.gdt = {in.gdt.base, in.gdt.limit};
  s.idt = {in.idt.base, in.idt.limit};
  s.cr0 = in.cr0;
  s.cr2 = in.cr2;
  s.cr3 = in.cr3;
  s.cr4 = in.cr4;
  s.efer = in.efer;
  for (unsigned i = 0; i < 16; ++i) s.gpr(i) = regs.*kRegisters[i];
  write_rflags(s, regs.rflags, kAllFlags);
  cpu.set_ip(regs.rip);
  // Debuggers walk page tables by them; their fault, if any, is not the guest's.
  constexpr u64 kPae = kCr4PAE;
  if ((s.cr0 & kCr0PG) && (s.cr4 & kPae) && !cpu.is_long_mode()) cpu.load_pdptes(s.cr3);
  cpu.pending_ = {};
  s.hdr.leave = tcg::kLeaveNot;
  cpu.walk_cache_.fill({});
  cpu.update_mode();
}

// --- x87 and vectors ---

void KvmStateAccess::fill(XsaveArea& area) const {
  area.fill(0);
  u8* const image = reinterpret_cast<u8*>(area.data());
  cpu.store_fx_x87(image, true);
  image_put<u32>(image, 24, cpu.guest_mxcsr());
  image_put<u32>(image, 28, 0xffff);
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(image + kVectors + i * 16, s.vec[i].bytes, 16);
    std::memcpy(image + kYmmHigh + i * 16, s.vec[i].bytes + 16, 16);
    std::memcpy(image + kZmmHigh + i * 32, s.vec[i].bytes + 32, 32);
    std::memcpy(image + kZmm16 + i * 64, s.vec[16 + i].bytes, 64);
  }
  std::memcpy(image + kOpmask, s.opmask, sizeof s.opmask);
  image_put<u32>(image, kPkru, s.pkru);
  const u64 offered = cpu.has(Cpuid::Xsave) ? cpu.xcr0_valid_bits() : kX87 | kSse;
  image_put<u64>(image, kXstateBv, offered & (kX87 | kSse | kAvx | kAvx512 | kPkruState));
}

/// A component that is not in XSTATE_BV is in its initial state, whatever lies in its place.
void KvmStateAccess::load(const XsaveArea& area) {
  XsaveArea clean = area;
  u8* const image = reinterpret_cast<u8*>(clean.data());
  const u64 present = image_get<u64>(image, kXstateBv);
  if (!(present & kSse)) std::memset(image + kVectors, 0, 256);
  if (!(present & kAvx)) std::memset(image + kYmmHigh, 0, 256);
  if (!(present & 0x20)) std::memset(image + kOpmask, 0, 64);
  if (!(present & 0x40)) std::memset(image + kZmmHigh, 0, 512);
  if (!(present & 0x80)) std::memset(image + kZmm16, 0, 1024);
  if (!(present & kPkruState)) std::memset(image + kPkru, 0, 4);
  if (present & kX87) {
    cpu.load_fx_x87(image, true);
  } else {
    cpu.init_fpu();
  }
  cpu.set_mxcsr(present & (kSse | kAvx) ? image_get<u32>(image, 24) & 0xffff : 0x1f80);
  for (unsigned i = 0; i < 16; ++i) {
    std::memcpy(s.vec[i].bytes, image + kVectors + i * 16, 16);
    std::memcpy(s.vec[i].bytes + 16, image + kYmmHigh + i * 16, 16);
    std::memcpy(s.vec[i].bytes + 32, image + kZmmHigh + i * 32, 32);
    std::memcpy(s.vec[16 + i].bytes, image + kZmm16 + i * 64, 64);
  }
  std::memcpy(s.opmask, image + kOpmask, sizeof s.opmask);
  s.pkru = image_get<u32>(image, kPkru);
  s.avx512_live = 1;
}

kvm_fpu KvmStateAccess::fpu() const {
  kvm_fpu out{};
  u8 image[512] = {};
  cpu.store_fx_x87(image, true);
  for (unsigned i = 0; i < 8; ++i) std::memcpy(out.fpr[i], image + 32 + i * 16, 16);
  out.fcw = image_get<u16>(image, 0);
  out.fsw = image_get<u16>(image, 2);
  out.ftwx = image[4];
  out.last_opcode = image_get<u16>(image, 6);
  out.last_ip = image_get<u64>(image, 8);
  out.last_dp = image_get<u64>(image, 16);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(out.xmm[i], s.vec[i].bytes, 16);
  out.mxcsr = cpu.guest_mxcsr();
  return out;
}

void KvmStateAccess::load(const kvm_fpu& in) {
  u8 image[512] = {};
  for (unsigned i = 0; i < 8; ++i) std::memcpy(image + 32 + i * 16, in.fpr[i], 16);
  image_put<u16>(image, 0, in.fcw);
  image_put<u16>(image, 2, in.fsw);
  image[4] = in.ftwx;
  image_put<u16>(image, 6, in.last_opcode);
  image_put<u64>(image, 8, in.last_ip);
  image_put<u64>(image, 16, in.last_dp);
  cpu.load_fx_x87(image, true);
  for (unsigned i = 0; i < 16; ++i) std::memcpy(s.vec[i].bytes, in.xmm[i], 16);
  cpu.set_mxcsr(in.mxcsr & 0xffff);
}

// --- Debug registers and MSRs ---

kvm_debugregs KvmStateAccess::debug_registers() const {
  kvm_debugregs out{};
  for (unsigned i = 0; i < 4; ++i) out.db[i] = s.dr[i];
  out.dr6 = s.dr[6];
  out.dr7 = s.dr[7];
  return out;
}

void KvmStateAccess::load(const kvm_debugregs& in) {
  for (unsigned i = 0; i < 4; ++i) s.dr[i] = in.db[i];
  s.dr[6] = in.dr6;
  s.dr[7] = in.dr7;
}

u64* KvmStateAccess::msr(u32 index) {
  switch (index) {
    case 0x3b:
      return &cpu.msr_.tsc_adjust;
    case 0x277:
      return &s.pat;
    case 0xc0000082:
      return &s.lstar;
    case 0xc0000083:
      return &s.cstar;
    case 0xc0000102:
      return &s.kernel_gs_base;
    default:
      break;
  }
  u64 writable = 0;
  return cpu.stored_msr(index, writable);
}

// --- CPUID ---

std::array<u32, 4> find_leaf(std::span<const kvm_cpuid_entry2> entries, u32 leaf, u32 subleaf) {
  for (const kvm_cpuid_entry2& e : entries) {
    const bool same = e.function == leaf && (!(e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e.index == subleaf);
    if (same) return {e.eax, e.ebx, e.ecx, e.edx};
  }
  return {};
}

std::vector<kvm_cpuid_entry2> guest_cpuid(const X86Cpu& cpu, u32 kvm_features) {
  std::vector<kvm_cpuid_entry2> list;
  const auto add = [&](u32 leaf, u32 subleaf, bool indexed) {
    const CpuidResult r = cpu.cpuid(leaf, subleaf);
    kvm_cpuid_entry2 entry{};
    entry.function = leaf;
    entry.index = subleaf;
    entry.flags = indexed ? u32(KVM_CPUID_FLAG_SIGNIFCANT_INDEX) : 0u;
    entry.eax = r.eax;
    entry.ebx = r.ebx;
    entry.ecx = r.ecx;
    entry.edx = r.edx;
    list.push_back(entry);
  };
  const auto add_leaf = [&](u32 leaf) {
    const unsigned subleaves = leaf == 4 || leaf == 0x8000001d ? 5
                               : leaf == 7 || leaf == 0xb      ? 3
                               : leaf == 0xd                   ? 10
                                                               : 1;
    for (u32 subleaf = 0; subleaf < subleaves; ++subleaf) add(leaf, subleaf, subleaves > 1);
  };
  const CpuModel& model = cpu.config().model;
  for (u32 leaf = 0; leaf <= model.level; ++leaf) add_leaf(leaf);
  for (u32 leaf = 0x80000000; leaf <= model.extended_level; ++leaf) add_leaf(leaf);
  if (model.show_kvm_leaves && cpu.has(Cpuid::Hypervisor)) {
    kvm_cpuid_entry2 signature{}, features{};
    signature.function = 0x40000000;
    signature.eax = 0x40000001;
    std::memcpy(&signature.ebx, "KVMK", 4);
    std::memcpy(&signature.ecx, "VMKV", 4);
    std::memcpy(&signature.edx, "M\0\0\0", 4);
    features.function = 0x40000001;
    features.eax = kvm_features;
    list.push_back(signature);
    list.push_back(features);
  }
  return list;
}

}  // namespace emu::x86
