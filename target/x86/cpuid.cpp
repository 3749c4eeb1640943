// SPDX-License-Identifier: Apache-2.0
// CPUID: SDM vol. 2, the page of CPUID; AMD's extended leaves after its APM vol. 3, appendix E.
#include <bit>
#include <cstring>

#include "target/x86/cpu.h"

namespace emu::x86 {

namespace {

u32 text_at(const std::string& text, size_t offset) {
  char bytes[4] = {};
  for (size_t i = 0; i < 4 && offset + i < text.size(); ++i) bytes[i] = text[offset + i];
  u32 word = 0;
  std::memcpy(&word, bytes, 4);
  return word;
}

struct Cache {
  unsigned level, type /* 1 data, 2 instruction, 3 unified */, kib, ways, line = 64;
  bool per_package = false;
  unsigned sets() const { return kib * 1024 / ways / line; }
};
constexpr unsigned kCacheCount = 4;
constexpr Cache kCaches[][kCacheCount] = {
    {{1, 1, 32, 8}, {1, 2, 32, 8}, {2, 3, 4096, 16}, {3, 3, 16384, 16, 64, true}},  // CacheSet::Legacy
    {{1, 1, 32, 8}, {1, 2, 64, 4}, {2, 3, 512, 8}, {3, 3, 8192, 16, 64, true}},     // Epyc
    {{1, 1, 32, 8}, {1, 2, 32, 8}, {2, 3, 512, 8}, {3, 3, 16384, 16, 64, true}},    // EpycRome
};

/// Leaf 4 and AMD's 0x8000001D: the same but for the number of cores, which the latter has not.
CpuidResult describe(const Cache& c, const Topology& t, bool with_cores) {
  const u32 sharing = c.per_package ? (1u << t.package_shift()) - 1 : (1u << t.thread_bits()) - 1;
  const u32 cores = with_cores ? (1u << (t.package_shift() - t.thread_bits())) - 1 : 0;
  return {c.type | c.level << 5 | bit(8) | sharing << 14 | cores << 26, (c.line - 1) | (c.ways - 1) << 22,
          c.sets() - 1, c.per_package ? 6u : c.level == 1 || with_cores ? 1u : 0u};
}

/// AMD's code for the ways of a level-2 or level-3 cache.
constexpr u32 associativity(unsigned ways) { return ways == 16 ? 8 : ways == 8 ? 6 : 4; }
/// AMD's leaf 0x80000005.
constexpr u32 first_level(const Cache& c) { return c.kib << 24 | c.ways << 16 | 1 << 8 | c.line; }
constexpr u32 second_level(const Cache& c) { return c.kib << 16 | associativity(c.ways) << 12 | 1 << 8 | c.line; }
constexpr u32 third_level(const Cache& c) { return c.kib / 512 << 18 | associativity(c.ways) << 12 | 1 << 8 | c.line; }

}  // namespace

CpuidResult X86Cpu::cpuid(u32 leaf, u32 subleaf) const {
  const CpuModel& m = config_.model;
  const Topology& t = config_.topology;
  const auto word = [&m](FeatureWord w) { return m.features.word(w); };
  const u32 logical = t.cores * t.threads;
  const bool is_amd = m.vendor == "AuthenticAMD";
  const auto has_bhi_control = [&] { return !is_amd && has(Cpuid::BhiNo) && has(Cpuid::SpecCtrl); };
  const auto& caches = kCaches[size_t(m.caches)];
  if (leaf == 0x40000000 && m.show_hypervisor_leaf && has(Cpuid::Hypervisor)) {
    const std::string signature = "TCGTCGTCGTCG";
    return {0x40000001, text_at(signature, 0), text_at(signature, 4), text_at(signature, 8)};
  }
  if (leaf >= 0x40000000 && leaf < 0x80000000) return {};
  // Beyond the last leaf Intel's CPUs answer as for the last basic one; we answer zero, as AMD's do.
  if (leaf < 0x80000000 ? leaf > m.level : leaf > m.extended_level) return {};

  switch (leaf) {
    case 0:
      return {m.level, text_at(m.vendor, 0), text_at(m.vendor, 8), text_at(m.vendor, 4)};
    case 1: {
      u32 ecx = word(FeatureWord::Leaf1Ecx), edx = word(FeatureWord::Leaf1Edx);
      if (s_->cr4 & kCr4OSXSAVE) ecx |= bit(27);
      if (logical > 1) edx |= bit(28);
      const u32 count = logical > 255 ? 255 : logical;
      return {m.signature(), u32(config_.apic_id & 0xff) << 24 | (logical > 1 ? count << 16 : 0) | 8 << 8 /* CLFLUSH */,
              ecx, edx};
    }
    case 2:
      if (is_amd) return {};
      return {1, 0, 0x4d, 0x2c307d};
    case 4:
      if (is_amd || subleaf >= kCacheCount) return {};
      return describe(caches[subleaf], t, true);
    case 5:
      return has(Cpuid::Monitor) ? CpuidResult{64, 64, 3, 0} : CpuidResult{0, 0, 3, 0};
    case 6:
      return {word(FeatureWord::Leaf6Eax), 0, 0, 0};
    case 7:
      // BHI_CTRL: Linux 6.1 goes by it, not by BHI_NO, when it leaves out the loop that clears the branch history.
      if (subleaf == 2) return {0, 0, 0, has_bhi_control() ? u32(bit(4)) : 0u};
      if (subleaf == 1) return {word(FeatureWord::Leaf7s1Eax), 0, 0, 0};
      if (subleaf != 0) return {};
      return {has_bhi_control() ? 2u : word(FeatureWord::Leaf7s1Eax) != 0 ? 1u : 0u, word(FeatureWord::Leaf7Ebx),
              word(FeatureWord::Leaf7Ecx) | (s_->cr4 & kCr4PKE ? u32(bit(4)) : 0u) /* OSPKE */,
              word(FeatureWord::Leaf7Edx)};
    case 0xb:
      if (subleaf == 0) return {t.thread_bits(), t.threads, 0x100, config_.apic_id};
      if (subleaf == 1) return {t.package_shift(), logical, 0x201, config_.apic_id};
      return {0, 0, subleaf, config_.apic_id};
    case 0xd:
      return cpuid_xsave(subleaf);
    case 0x80000000:
      return {m.extended_level, text_at(m.vendor, 0), text_at(m.vendor, 8), text_at(m.vendor, 4)};
    case 0x80000001: {
      u32 ecx = word(FeatureWord::Ext1Ecx), edx = word(FeatureWord::Ext1Edx);
      if (is_amd) {
        if (logical > 1) ecx |= bit(1);                   // CMP_LEGACY
        edx |= word(FeatureWord::Leaf1Edx) & 0x0183f3ff;  // AMD repeats these
      }
      return {is_amd ? m.signature() : 0, 0, ecx, edx};
    }
    case 0x80000002:
    case 0x80000003:
    case 0x80000004: {
      const size_t at = (leaf - 0x80000002) * 16;
      return {text_at(m.brand, at), text_at(m.brand, at + 4), text_at(m.brand, at + 8), text_at(m.brand, at + 12)};
    }
    case 0x80000005:
      if (!is_amd) return {};
      return {0x01ff01ff, 0x01ff01ff, first_level(caches[0]), first_level(caches[1])};
    case 0x80000006:
      return {0, is_amd ? 0x42004200u : 0u, second_level(caches[2]), is_amd ? third_level(caches[3]) : 0u};
    case 0x80000007:
      return {0, 0, 0, word(FeatureWord::Ext7Edx)};
    case 0x80000008: {
      const u32 linear = m.features.has(Cpuid::La57) ? 57 : 48;
      const u32 core_bits = t.package_shift();
      const u32 ecx = logical > 1 ? (logical - 1) | core_bits << 12 : 0;
      return {m.phys_bits | (has(Cpuid::Lm) ? linear << 8 : 32u << 8), word(FeatureWord::Ext8Ebx), ecx, 0};
    }
    case 0x8000000a:
      if (!has(Cpuid::Svm)) return {};
      return {1, 16, 0, word(FeatureWord::ExtAEdx)};
    case 0x8000001d:
      if (!has(Cpuid::Topoext) || subleaf >= kCacheCount) return {};
      return describe(caches[subleaf], t, false);
    case 0x8000001e: {
      if (!has(Cpuid::Topoext)) return {};
      const u32 core = (config_.apic_id & ((1u << t.package_shift()) - 1)) >> t.thread_bits();
      return {config_.apic_id, (t.threads - 1) << 8 | (core & 0xff), (config_.apic_id >> t.package_shift()) & 0xff, 0};
    }
    case 0x80000021:
      return {word(FeatureWord::Ext21Eax), 0, 0, 0};
    default:
      return {};
  }
}

u64 X86Cpu::helper_cpuid(const u64*) {
  const CpuidResult r = cpuid(u32(s_->gpr(RAX)), u32(s_->gpr(RCX)));
  s_->gpr(RAX) = r.eax;
  s_->gpr(RBX) = r.ebx;
  s_->gpr(RCX) = r.ecx;
  s_->gpr(RDX) = r.edx;
  return 0;
}

}  // namespace emu::x86
