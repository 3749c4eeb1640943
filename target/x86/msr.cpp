// SPDX-License-Identifier: Apache-2.0
// Model-specific registers: SDM vol. 4, and the AMD ones that Linux touches on a CPU that says AuthenticAMD.
#include "target/x86/cpu.h"
#include "util/log.h"

namespace emu::x86 {

namespace {

enum Msr : u32 {
  kTsc = 0x10,
  kPlatformId = 0x17,
  kApicBase = 0x1b,
  kFeatureControl = 0x3a,
  kTscAdjust = 0x3b,
  kSpecCtrl = 0x48,
  kPredCmd = 0x49,
  kBiosSignature = 0x8b,
  kUpdateTrigger = 0x79,
  kMtrrCap = 0xfe,
  kArchCapabilities = 0x10a,
  kSysenterCs = 0x174,
  kSysenterEsp = 0x175,
  kSysenterEip = 0x176,
  kMcgCap = 0x179,
  kMcgStatus = 0x17a,
  kMcgCtl = 0x17b,
  kPerfStatus = 0x198,
  kMiscEnable = 0x1a0,
  kDebugCtl = 0x1d9,
  kMtrrVariable = 0x200,
  kPat = 0x277,
  kMtrrDefault = 0x2ff,
  kMcBanks = 0x400,
  kTscDeadline = 0x6e0,
  kX2apicFirst = 0x800,
  kX2apicLast = 0x8ff,
  kXss = 0xda0,
  kCoreThreadCount = 0x35,
  kEfer = 0xc0000080,
  kStar,
  kLstar,
  kCstar,
  kSfmask,
  kFsBase = 0xc0000100,
  kGsBase,
  kKernelGsBase,
  kTscAux,
  kSyscfg = 0xc0010010,
  kHwcr = 0xc0010015,
  kDeCfg = 0xc0011029,
};

constexpr unsigned kMcBankCount = 10;
constexpr u64 kMcgCapValue = kMcBankCount | bit64(8) /* MCG_CTL */ | bit64(24) /* software recovery */;
constexpr u64 kMtrrCapValue = 8 | bit64(8) /* fixed ranges */ | bit64(10) /* write combining */;

struct Range {
  u32 first, last;
};

/// Present, read as zero and ignore writes: what a machine without counters, power management or microcode answers.
constexpr Range kZero[] = {
    {0x17, 0x17},    // platform id
    {0x2a, 0x2a},    // power-on configuration
    {0x34, 0x34},    // SMI count
    {0x79, 0x79},    // microcode update trigger
    {0xc1, 0xc8},    // counters
    {0xcd, 0xce},    // bus frequency, platform information
    {0x186, 0x18d},  // event selects
    {0x199, 0x19c},  // performance control, clock modulation, thermal
    {0x1b0, 0x1b0},  // energy bias
    {0x1db, 0x1de},  // last branch and exception records
    {0x309, 0x30b},
    {0x38d, 0x390},            // fixed counters
    {0xc0010000, 0xc0010007},  // K7 event selects and counters
    {0xc0010016, 0xc001001f},  // IORRs, top of memory, northbridge
    {0xc0010020, 0xc0010020},  // patch loader
    {0xc0010044, 0xc001004d},  // machine-check masks
    {0xc0010055, 0xc0010058},  // interrupt pending (C1E), MMIO configuration
    {0xc0010114, 0xc0010117},  // VM_CR
    {0xc0010140, 0xc0010141},  // OS-visible workarounds
    {0xc0010200, 0xc001020b},  // core counters
    {0xc0011020, 0xc001102f},  // unit configuration
};

/// Absent, as CPUID says; software probes them all the same, so #GP without a line in the log.
constexpr Range kAbsent[] = {
    {0x4e, 0x4f},
    {0x9b, 0x9e},
    {0xe7, 0xe8},
    {0x10b, 0x10b},
    {0x11e, 0x11e},
    {0x122, 0x123},
    {0x140, 0x140},
    {0x150, 0x150},  // overclocking mailbox
    {0x1a1, 0x1af},
    {0x1c4, 0x1c9},
    {0x1f2, 0x1f3},
    {0x1fc, 0x1fc},
    {0x345, 0x345},
    {0x480, 0x491},
    {0x560, 0x571},
    {0x600, 0x6df},
    {0x6e1, 0x6ff},
    {0x770, 0x777},
    {0xc80, 0xc90},
    {0xd90, 0xd90},
    {0x40000000, 0x400001ff},
    {0x4b564d00, 0x4b564dff},
    {0xc0000104, 0xc0000104},
    {0xc00000e7, 0xc00000e9},
    {0xc0000300, 0xc0000302},
    {0xc0010060, 0xc0010074},
    {0xc0010111, 0xc0010113},
    {0xc0010130, 0xc0010131},
    {0xc0010290, 0xc00102ff},
    {0xc0011000, 0xc001101f},
    {0xc0011030, 0xc001103f},
};

template <size_t N>
bool is_in(const Range (&ranges)[N], u32 index) {
  for (const Range& r : ranges) {
    if (index >= r.first && index <= r.last) return true;
  }
  return false;
}

bool is_memory_type(u64 type) { return type < 2 || (type >= 4 && type < 7); }

int fixed_mtrr_index(u32 index) {
  if (index == 0x250) return 0;
  if (index == 0x258 || index == 0x259) return int(index - 0x258) + 1;
  return index >= 0x268 && index <= 0x26f ? int(index - 0x268) + 3 : -1;
}

/// A memory-type range register names types that there are.
bool has_memory_types(u32 index, u64 value) {
  const bool is_base = index >= kMtrrVariable && index < kMtrrVariable + 16 && (index & 1) == 0;
  if (is_base || index == kMtrrDefault) return is_memory_type(value & 0xff);
  if (fixed_mtrr_index(index) < 0) return true;
  for (unsigned i = 0; i < 8; ++i) {
    if (!is_memory_type(value >> 8 * i & 0xff)) return false;
  }
  return true;
}

}  // namespace

/// Registers that just hold what is written; `writable` is which bits may be set (#GP otherwise).
u64* X86Cpu::stored_msr(u32 index, u64& writable) {
  writable = ~u64(0);
  X86State& s = *s_;
  switch (index) {
    case kSysenterCs:
      return &s.sysenter_cs;
    case kSysenterEsp:
      return &s.sysenter_esp;
    case kSysenterEip:
      return &s.sysenter_eip;
    case kStar:
      return &s.star;
    case kSfmask:
      writable = 0xffffffff;
      return &s.sfmask;
    case kTscAux:
      writable = 0xffffffff;
      return &s.tsc_aux;
    case kMcgStatus:
      return &msr_.mcg_status;
    case kMcgCtl:
      return &msr_.mcg_ctl;
    case kMiscEnable:
      return &msr_.misc_enable;
    case kDebugCtl:
      writable = 0xffff;
      return &msr_.debugctl;
    case kSpecCtrl:
      writable = 7 | (has(Cpuid::BhiNo) ? bit64(10) : 0);  // BHI_DIS_S
      return has(Cpuid::SpecCtrl) || has(Cpuid::AmdStibp) ? &msr_.spec_ctrl : nullptr;
    case kMtrrDefault:
      writable = 0xcff;
      return &msr_.mtrr_default;
    case kXss:
      writable = 0;
      return has(Cpuid::Xsaves) ? &msr_.xss : nullptr;
    case kSyscfg:
      return &msr_.syscfg;
    case kHwcr:
      return &msr_.hwcr;
    default:
      break;
  }
  if (index >= kMtrrVariable && index < kMtrrVariable + 16) {
    const bool is_mask = index & 1;
    writable = low_mask(config_.model.phys_bits) & (is_mask ? ~u64(0x7ff) : ~u64(0xf00));
    return &msr_.mtrr_variable[index - kMtrrVariable];
  }
  if (const int fixed = fixed_mtrr_index(index); fixed >= 0) return &msr_.mtrr_fixed[size_t(fixed)];
  if (index >= kMcBanks && index < kMcBanks + 4 * kMcBankCount) return &msr_.mc_banks[index - kMcBanks];
  return nullptr;
}

bool X86Cpu::read_msr(u32 index, u64& value) {
  X86State& s = *s_;
  u64 writable = 0;
  if (const u64* stored = stored_msr(index, writable)) {
    value = *stored;
    return true;
  }
  if (index == kApicBase || index == kTscDeadline || (index >= kX2apicFirst && index <= kX2apicLast)) {
    if (!port_ || !port_->read_register(index, value)) return raise_gp();
    // The controller counts in ticks of the accelerator, the guest in its own time stamps.
    if (index == kTscDeadline && value != 0) value += s.tsc_offset;
    return true;
  }
  switch (index) {
    case kTsc:
      value = read_tsc();
      return true;
    case kTscAdjust:
      value = msr_.tsc_adjust;
      return has(Cpuid::TscAdjust) || raise_gp();
    case kFeatureControl:
      value = 1;
      return true;  // locked, nothing enabled
    case kCoreThreadCount:
      value = u64(config_.topology.cores) << 16 | config_.topology.cores * config_.topology.threads;
      return true;
    case kBiosSignature:
      value = config_.model.vendor == "AuthenticAMD" ? 0x01000065 : u64(1) << 32;
      return true;
    case kMtrrCap:
      value = kMtrrCapValue;
      return true;
    case kArchCapabilities:
      if (!has(Cpuid::ArchCapability)) return raise_gp();
      value = config_.model.features.word(FeatureWord::ArchCapabilities) |
              u64(config_.model.features.word(FeatureWord::ArchCapabilitiesHigh)) << 32;
      return true;
    case kMcgCap:
      value = kMcgCapValue;
      return true;
    case kPerfStatus:
      value = u64(1000) << 40 | 4;
      return true;
    case kPat:
      value = s.pat;
      return true;
    case kEfer:
      value = s.efer;
      return true;
    case kLstar:
      value = s.lstar;
      return true;
    case kCstar:
      value = s.cstar;
      return true;
    case kFsBase:
      value = s.segment_base(FS);
      return has(Cpuid::Lm) || raise_gp();
    case kGsBase:
      value = s.segment_base(GS);
      return has(Cpuid::Lm) || raise_gp();
    case kKernelGsBase:
      value = s.kernel_gs_base;
      return has(Cpuid::Lm) || raise_gp();
    case kDeCfg:
      value = 2;
      return true;  // LFENCE serialises
    default:
      break;
  }
  if (is_in(kZero, index)) {
    value = 0;
    return true;
  }
  if (!is_in(kAbsent, index)) log::unimplemented("read of MSR {:#x} at {:#x}", index, s.hdr.pc);
  return raise_gp();
}

bool X86Cpu::write_msr(u32 index, u64 value) {
  X86State& s = *s_;
  u64 writable = 0;
  if (u64* stored = stored_msr(index, writable)) {
    if (value & ~writable || !has_memory_types(index, value)) return raise_gp();
    if ((index == kSysenterEsp || index == kSysenterEip) && has(Cpuid::Lm) && !is_canonical(value)) return raise_gp();
    if (index >= kMcBanks && index < kMcBanks + 4 * kMcBankCount && (index & 3) == 1 && value != 0) return raise_gp();
    *stored = value;
    return true;
  }
  if (index == kApicBase || index == kTscDeadline || (index >= kX2apicFirst && index <= kX2apicLast)) {
    if (index == kTscDeadline && value != 0) {
      value -= s.tsc_offset;
      if (value == 0) value = 1;  // 0 would disarm
    }
    return (port_ && port_->write_register(index, value)) || raise_gp();
  }
  const auto canonical = [&](u64& target) {
    if (!is_canonical(value)) return raise_gp();
    target = value;
    return true;
  };
  switch (index) {
    case kTsc: {
      const u64 delta = value - read_tsc();
      s.tsc_offset += delta;
      msr_.tsc_adjust += delta;
      return true;
    }
    case kTscAdjust:
      if (!has(Cpuid::TscAdjust)) return raise_gp();
      s.tsc_offset += value - msr_.tsc_adjust;
      msr_.tsc_adjust = value;
      return true;
    case kPredCmd:
      return ((has(Cpuid::SpecCtrl) || has(Cpuid::Ibpb)) && value <= 1) || raise_gp();
    case kBiosSignature:
      return true;  // software writes 0 before it asks
    case kFeatureControl:
    case kMtrrCap:
    case kArchCapabilities:
    case kMcgCap:
    case kCoreThreadCount:
      return raise_gp();
    case kPerfStatus:
      return true;
    case kPat:
      for (unsigned i = 0; i < 8; ++i) {
        const u64 type = value >> (i * 8) & 0xff;
        if (!is_memory_type(type) && type != 7) return raise_gp();
      }
      s.pat = value;
      return true;
    case kEfer:
      return write_efer(value);
    case kLstar:
      return canonical(s.lstar);
    case kCstar:
      return canonical(s.cstar);
    case kFsBase:
      return canonical(s.segment_base(FS));
    case kGsBase:
      return canonical(s.segment_base(GS));
    case kKernelGsBase:
      return canonical(s.kernel_gs_base);
    default:
      break;
  }
  if (is_in(kZero, index)) return true;
  if (!is_in(kAbsent, index)) log::unimplemented("write of MSR {:#x} = {:#x} at {:#x}", index, value, s.hdr.pc);
  return raise_gp();
}

u64 X86Cpu::helper_rdmsr(const u64*) {
  u64 value = 0;
  if (!require_cpl0() || !read_msr(u32(s_->gpr(RCX)), value)) return 0;
  s_->gpr(RAX) = u32(value);
  s_->gpr(RDX) = value >> 32;
  return 0;
}

u64 X86Cpu::helper_wrmsr(const u64*) {
  if (require_cpl0()) write_msr(u32(s_->gpr(RCX)), u64(u32(s_->gpr(RDX))) << 32 | u32(s_->gpr(RAX)));
  return 0;
}

}  // namespace emu::x86
