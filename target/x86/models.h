// SPDX-License-Identifier: Apache-2.0
// CPU models and features: what -cpu accepts, and what CPUID answers from.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "util/result.h"
#include "util/types.h"

namespace emu::target {
class Acceleration;
}

namespace emu::x86 {

/// CPUID registers that hold feature bits.
enum class FeatureWord : u8 {
  Leaf1Ecx,
  Leaf1Edx,
  Leaf7Ebx,
  Leaf7Ecx,
  Leaf7Edx,
  Leaf7s1Eax,  ///< subleaf 1
  LeafD1Eax,
  Ext1Ecx,  ///< 0x80000001
  Ext1Edx,
  Ext7Edx,  ///< 0x80000007
  Ext8Ebx,  ///< 0x80000008
  ExtAEdx,   ///< 0x8000000a
  Ext21Eax,  ///< 0x80000021
  Leaf6Eax,
  ArchCapabilities,  ///< low half of IA32_ARCH_CAPABILITIES
  ArchCapabilitiesHigh,
  Count
};

/// One bit each; the names are in models.inc.
enum class Cpuid : u16 {
#define X86_FEATURE(id, word, bit_number, spelling, translated, instructions) id,
#include "target/x86/models.inc"
#undef X86_FEATURE
  Count
};

struct CpuidFeatures {
  std::array<u32, size_t(FeatureWord::Count)> words{};

  u32 word(FeatureWord w) const { return words[size_t(w)]; }
  bool has(Cpuid feature) const;
  void set(Cpuid feature, bool on = true);
};

/// Sockets, cores a socket and threads a core.
struct Topology {
  unsigned sockets = 1, cores = 1, threads = 1;
  /// Bits of the APIC id below the core and below the package number.
  unsigned thread_bits() const;
  unsigned package_shift() const;
  /// The APIC id of the n-th CPU, numbered thread first.
  u32 apic_id(unsigned index) const;
};

/// Which caches CPUID describes.
enum class CacheSet : u8 { Legacy, Epyc, EpycRome };

/// A resolved -cpu option.
struct CpuModel {
  std::string name;
  std::string vendor;  ///< twelve characters
  std::string brand;   ///< at most 48 characters
  unsigned family = 6, model = 0, stepping = 0;
  unsigned phys_bits = 40;
  u32 level = 0xd, extended_level = 0x80000008;
  CacheSet caches = CacheSet::Legacy;
  CpuidFeatures features;
  u32 tsc_khz = 0;  ///< tsc-frequency=: of the time stamp counter; 0: as it comes
  bool show_hypervisor_leaf = true;
  bool show_kvm_leaves = true;  ///< kvm=on: where the host's processor runs the guest, it may know
  /// Asked for by the model or the user, but not to be had: "cpu Haswell: without hle, rtm"; empty if nothing, and
  /// with check=off.
  std::string dropped;
  std::vector<std::string> dropped_features;  ///< the same by name

  u32 signature() const;  ///< CPUID.1:EAX
};

/// What a processor that runs guests itself has for them.
struct HostCpu {
  CpuidFeatures features;
  std::string vendor, brand;
  unsigned family = 6, model = 0, stepping = 0, phys_bits = 40;
  u32 level = 0, extended_level = 0;
};
/// By its CPUID (eax, ebx, ecx, edx of a leaf and subleaf) and IA32_ARCH_CAPABILITIES.
using CpuidSource = std::function<std::array<u32, 4>(u32 leaf, u32 subleaf)>;
HostCpu describe_host(const CpuidSource& cpuid, u64 arch_capabilities);
/// What `from` runs guests on; nothing where their code is translated.
std::optional<HostCpu> describe_host(const target::Acceleration* from);

/// "max", "qemu64,+smep,-x2apic,avx=off,phys-bits=36". Errors: unknown model, feature or property, with the nearest
/// spelling; a value that is no number or switch. With `host` guests run on it: there is a model "host", which is all
/// it has, as "max" is, and models have the features that it has, not those that are translated.
Result<CpuModel> parse_cpu_option(std::string_view option, const HostCpu* host = nullptr);
/// The models there are, each with its "-v1" spelling, and what a resolved one is made of, by the names that -cpu
/// takes.
std::vector<std::string> model_names();
std::vector<std::pair<std::string, bool>> model_features(const CpuModel& model);
/// `-cpu help`.
std::string cpu_help();

}  // namespace emu::x86
