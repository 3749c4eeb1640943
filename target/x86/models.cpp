// SPDX-License-Identifier: Apache-2.0
#include "target/x86/models.h"

#include "target/x86/translate.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <bit>
#include <bitset>
#include <cctype>
#include <charconv>
#include <vector>

#include "target/acceleration.h"
#include "target/x86/decode.h"
#include "util/bits.h"
#include "util/check.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::x86 {

namespace {

enum class Translated : u8 { kNo, kYes, kRows };

struct FeatureInfo {
  Cpuid id;
  FeatureWord word;
  unsigned bit_number;
  const char* name;
  Translated translated;
  InsnFeature instructions;
};

constexpr FeatureInfo kFeatures[] = {
#define X86_FEATURE(id, word, bit_number, spelling, translated, instructions) \
  {Cpuid::id, FeatureWord::word, bit_number, spelling, Translated::translated, InsnFeature::instructions},
#include "target/x86/models.inc"
#undef X86_FEATURE
};
static_assert(std::size(kFeatures) == size_t(Cpuid::Count));

const FeatureInfo& info(Cpuid feature) { return kFeatures[size_t(feature)]; }

bool has_all_rows(InsnFeature feature) {
  bool any = false;
  for (const Row& row : all_rows()) {
    if (row.feature != feature && row.feature_256 != feature) continue;
    if (row.is_missing()) return false;
    any = true;
  }
  return any;
}

/// Instructions that are the host's own, one to one: a guest has them where the host does. The rest of what is
/// translated so belongs to the baseline of the host's back end.
bool is_on_host(InsnFeature feature) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0, ebx7 = 0, ecx7 = 0, edx7 = 0, eax71 = 0;
  bool avx512 = false;
#if defined(__x86_64__)
  __cpuid_count(7, 1, eax71, ebx, ecx, edx);
  __cpuid_count(7, 0, eax, ebx7, ecx7, edx7);
  avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  __cpuid(1, eax, ebx, ecx, edx);
#endif
  switch (feature) {
    case InsnFeature::kAesni:
      return ecx >> 25 & 1;
    case InsnFeature::kPclmul:
      return ecx >> 1 & 1;
    case InsnFeature::kSha:
      return ebx7 >> 29 & 1;
    case InsnFeature::kGfni:
      return ecx7 >> 8 & 1;
    case InsnFeature::kVaes:
      return ecx7 >> 9 & 1;
    case InsnFeature::kVpclmul:
      return ecx7 >> 10 & 1;
    case InsnFeature::kAvx512f:
    case InsnFeature::kAvx512cd:
    case InsnFeature::kAvx512bw:
    case InsnFeature::kAvx512dq:
    case InsnFeature::kAvx512vl:
      return avx512;
    case InsnFeature::kAvx512ifma:
      return avx512 && (ebx7 >> 21 & 1);
    case InsnFeature::kAvx512vbmi:
      return avx512 && (ecx7 >> 1 & 1);
    case InsnFeature::kAvx512vbmi2:
      return avx512 && (ecx7 >> 6 & 1);
    case InsnFeature::kAvx512vnni:
      return avx512 && (ecx7 >> 11 & 1);
    case InsnFeature::kAvx512bitalg:
      return avx512 && (ecx7 >> 12 & 1);
    case InsnFeature::kAvx512vpopcnt:
      return avx512 && (ecx7 >> 14 & 1);
    case InsnFeature::kAvx512bf16:
      return avx512 && (eax71 >> 5 & 1);
    case InsnFeature::kAvx512fp16:
      return avx512 && (edx7 >> 23 & 1);
    default:
      return true;
  }
}

using FeatureSet = std::bitset<std::size(kFeatures)>;

FeatureSet find_translated() {
  FeatureSet set;
  for (const FeatureInfo& f : kFeatures) {
    const bool translated =
        f.translated == Translated::kYes || (f.translated == Translated::kRows && has_all_rows(f.instructions));
    set[size_t(f.id)] = translated && is_on_host(f.instructions);
  }
  return set;
}

bool is_translated(const FeatureInfo& f) {
  static const FeatureSet kSet = find_translated();  // looks at every row: once
  return kSet[size_t(f.id)];
}

/// What every model has: the interrupt controller's faster interface, and the mark of a virtual machine.
constexpr Cpuid kAlways[] = {Cpuid::Hypervisor, Cpuid::X2apic};
/// Translated code does not speculate past what the guest may see. Said as hardware without those flaws says it, so
/// that guests leave out their mitigations. Leaf 7 is needed to find it, so 32-bit models of QEMU's day are left as
/// they are.
constexpr Cpuid kWithoutFlaws[] = {
    Cpuid::SpecCtrl, Cpuid::ArchCapability, Cpuid::RdclNo,       Cpuid::IbrsAll, Cpuid::SkipL1dfl,  Cpuid::SsbNo,
    Cpuid::MdsNo,    Cpuid::PschangeMcNo,   Cpuid::TaaNo,        Cpuid::BhiNo,   Cpuid::SbdrSsdpNo, Cpuid::FbsdpNo,
    Cpuid::PsdpNo,   Cpuid::PbrsbNo,        Cpuid::GdsNo,        Cpuid::RfdsNo,  Cpuid::ItsNo};
constexpr Cpuid kAmdWithoutFlaws[] = {Cpuid::BtcNo, Cpuid::LfenceRdtsc, Cpuid::SrsoNo};

struct Model {
  std::string_view name;
  const char* vendor;
  unsigned family, model, stepping;
  const char* brand;
  u32 level, extended_level;
  CacheSet caches;
  std::string_view base, features;

  bool is_max() const { return name == "max"; }
};

constexpr Model kModels[] = {
#define X86_MODEL(name, vendor, family, model, stepping, brand, level, extended_level, caches, base, features) \
  {name, vendor, family, model, stepping, brand, level, extended_level, CacheSet::caches, base, features},
#include "target/x86/model_rows.inc"
#undef X86_MODEL
};

const Model* find_model(std::string_view name) {
  for (const Model& model : kModels) {
    if (name == model.name) return &model;
    if (!model.is_max() && name.starts_with(model.name) && name.substr(model.name.size()) == "-v1") return &model;
  }
  return nullptr;
}

/// QEMU accepts '-', '_' and '.' for one another in feature names.
std::string normalise(std::string_view name) {
  std::string out = to_lower(name);
  for (char& c : out) {
    if (c == '_' || c == '.') c = '-';
  }
  if (out == "xd") return "nx";
  if (out == "sse4") return "sse4-2";
  if (out == "pni") return "sse3";
  return out;
}

const FeatureInfo* find_feature(std::string_view name) {
  const std::string wanted = normalise(name);
  for (const FeatureInfo& feature : kFeatures) {
    if (normalise(feature.name) == wanted) return &feature;
  }
  return nullptr;
}

constexpr std::string_view kNumbers[] = {"family", "model",  "stepping",     "phys-bits",
                                         "level",  "xlevel", "tsc-frequency"};
constexpr std::string_view kStrings[] = {"vendor", "model-id"};
constexpr std::string_view kSwitches[] = {"check",      "enforce", "host-phys-bits", "kvm",           "l3-cache",
                                          "migratable", "pmu",     "tcg-cpuid",      "hv-passthrough"};

Result<void> unknown_property(std::string_view key) {
  std::vector<std::string> candidates;
  for (const FeatureInfo& feature : kFeatures) candidates.emplace_back(feature.name);
  for (std::string_view name : kNumbers) candidates.emplace_back(name);
  for (std::string_view name : kStrings) candidates.emplace_back(name);
  for (std::string_view name : kSwitches) candidates.emplace_back(name);
  return error(
      Error(fmt::format("-cpu: no such feature or property '{}'", key)).with_hint(did_you_mean(key, candidates)));
}

Result<unsigned> number(std::string_view key, std::string_view text, u64 low, u64 high) {
  const u64 value = EMU_TRY(parse_u64(text), fmt::format("-cpu {}", key));
  if (value < low || value > high) return error("-cpu {}: {} is not between {} and {}", key, value, low, high);
  return unsigned(value);
}

/// Hertz, with K, M or G for thousands: "2500000000", "2.5G". In kilohertz.
Result<u32> frequency_khz(std::string_view key, std::string_view text) {
  constexpr std::string_view kUnits = "KMG";
  const char* const end = text.data() + text.size();
  double hertz = 0;
  const auto [rest, failure] = std::from_chars(text.data(), end, hertz, std::chars_format::fixed);
  const size_t unit = rest + 1 == end ? kUnits.find(char(std::toupper(*rest))) : std::string_view::npos;
  if (failure != std::errc() || (rest != end && unit == std::string_view::npos)) {
    return error("-cpu {}: '{}' is no frequency", key, text);
  }
  for (size_t i = 0; rest != end && i <= unit; ++i) hertz *= 1000;
  constexpr double kLeast = 1e6, kMost = 1e12;
  if (!(hertz >= kLeast && hertz <= kMost)) return error("-cpu {}: {} is not between 1M and 1000G", key, text);
  return u32(hertz / 1000);
}

struct Parsed {
  CpuModel model;
  CpuidFeatures wanted;
  CpuidFeatures asked;  ///< by name, not by the model
  const HostCpu* host = nullptr;
  bool check = true, enforce = false;
  bool level_set = false, extended_level_set = false;
};

void set_asked(Parsed& parsed, Cpuid feature, bool on) {
  parsed.wanted.set(feature, on);
  parsed.asked.set(feature, on);
}

Result<void> apply_property(Parsed& parsed, const std::string& key, std::string_view value) {
  CpuModel& m = parsed.model;
  const auto is = [&key](const auto& list) {
    for (std::string_view name : list) {
      if (name == key) return true;
    }
    return false;
  };
  if (is(kSwitches)) {
    const bool on = EMU_TRY(parse_bool(value), fmt::format("-cpu {}", key));
    if (key == "check") parsed.check = on;
    if (key == "enforce") parsed.enforce = on;
    if (key == "tcg-cpuid") m.show_hypervisor_leaf = on;
    if (key == "kvm") m.show_kvm_leaves = on;
    return {};
  }
  if (key == "vendor") {
    if (value.size() != 12) return error("-cpu vendor: '{}' is not twelve characters long", value);
    m.vendor = value;
  } else if (key == "model-id") {
    m.brand = value.substr(0, 48);
  } else if (key == "family") {
    m.family = EMU_TRY(number(key, value, 0, 0xff + 0xf));
  } else if (key == "model") {
    m.model = EMU_TRY(number(key, value, 0, 0xff));
  } else if (key == "stepping") {
    m.stepping = EMU_TRY(number(key, value, 0, 15));
  } else if (key == "phys-bits") {
    m.phys_bits = EMU_TRY(number(key, value, 32, 52));
  } else if (key == "level") {
    m.level = EMU_TRY(number(key, value, 1, 0x1f));
    parsed.level_set = true;
  } else if (key == "xlevel") {
    m.extended_level = EMU_TRY(number(key, value, 0x80000000, 0x80000021));
    parsed.extended_level_set = true;
  } else if (key == "tsc-frequency") {
    if (parsed.host == nullptr) {
      return error(Error("-cpu tsc-frequency: the time stamp counter of translated guests has a rate of its own")
                       .with_hint("leave it out, or use -accel kvm"));
    }
    m.tsc_khz = EMU_TRY(frequency_khz(key, value));
  } else {
    const FeatureInfo* feature = find_feature(key);
    if (!feature) return unknown_property(key);
    set_asked(parsed, feature->id, EMU_TRY(parse_bool(value), fmt::format("-cpu {}", key)));
  }
  return {};
}

Result<void> apply_piece(Parsed& parsed, std::string_view piece) {
  if (piece.empty()) return error("-cpu {}: empty feature", parsed.model.name);
  if (piece[0] == '+' || piece[0] == '-') {
    const FeatureInfo* feature = find_feature(piece.substr(1));
    if (!feature) return unknown_property(piece.substr(1));
    set_asked(parsed, feature->id, piece[0] == '+');
    return {};
  }
  const size_t equals = piece.find('=');
  if (equals == std::string_view::npos) return apply_property(parsed, std::string(piece), "on");
  return apply_property(parsed, std::string(piece.substr(0, equals)), piece.substr(equals + 1));
}

void add_rows_of(const Model& model, CpuidFeatures& set) {
  if (!model.base.empty()) add_rows_of(*find_model(model.base), set);
  for (std::string_view name : split(model.features, ' ')) {
    if (name.empty()) continue;
    const FeatureInfo* feature = find_feature(name);
    EMU_CHECK(feature);
    set.set(feature->id);
  }
}

CpuidFeatures model_features(const Model& model, const HostCpu* host) {
  CpuidFeatures set;
  if (host != nullptr) {
    if (model.is_max()) return host->features;
    add_rows_of(model, set);
    for (Cpuid f : kAlways) set.set(f, host->features.has(f));
    return set;
  }
  if (model.is_max()) {
    for (const FeatureInfo& f : kFeatures) {
      // Only on request: a fifth paging level makes every walk of a guest that uses it longer, MWAIT sleeps less well
      // than HLT.
      if (f.id != Cpuid::La57 && f.id != Cpuid::Monitor && is_translated(f)) set.set(f.id);
    }
    return set;
  }
  add_rows_of(model, set);
  for (Cpuid f : kAlways) set.set(f);
  if (!set.has(Cpuid::Lm)) return set;
  for (Cpuid f : kWithoutFlaws) set.set(f);
  if (model.family == 23) {
    for (Cpuid f : kAmdWithoutFlaws) set.set(f);
  }
  return set;
}

/// A feature whose leaf the model would not show raises the model's last leaf.
void raise_levels(CpuModel& m) {
  constexpr struct {
    FeatureWord word;
    u32 leaf;
  } kLeaves[] = {
      {FeatureWord::Leaf6Eax, 6},         {FeatureWord::Leaf7Ebx, 7},         {FeatureWord::Leaf7Ecx, 7},
      {FeatureWord::Leaf7Edx, 7},         {FeatureWord::Leaf7s1Eax, 7},       {FeatureWord::LeafD1Eax, 0xd},
      {FeatureWord::Ext1Ecx, 0x80000001}, {FeatureWord::Ext1Edx, 0x80000001}, {FeatureWord::Ext8Ebx, 0x80000008},
      {FeatureWord::Ext7Edx, 0x80000007}, {FeatureWord::ExtAEdx, 0x8000000a}, {FeatureWord::Ext21Eax, 0x80000021}};
  for (const auto& [word, leaf] : kLeaves) {
    u32& level = leaf < 0x80000000 ? m.level : m.extended_level;
    if (m.features.word(word) != 0) level = std::max(level, leaf);
  }
  if (m.features.has(Cpuid::Xsave)) m.level = std::max(m.level, 0xdu);
  if (m.features.has(Cpuid::Topoext)) m.extended_level = std::max(m.extended_level, 0x8000001eu);
}

/// Features without which others mean nothing; what is needed comes before what needs it.
constexpr struct {
  Cpuid feature, needs;
} kNeeds[] = {{Cpuid::Xsaveopt, Cpuid::Xsave},       {Cpuid::Xsavec, Cpuid::Xsave},
              {Cpuid::Xgetbv1, Cpuid::Xsave},        {Cpuid::Xsaves, Cpuid::Xsave},
              {Cpuid::Avx, Cpuid::Xsave},            {Cpuid::Avx2, Cpuid::Avx},
              {Cpuid::Fma, Cpuid::Avx},              {Cpuid::F16c, Cpuid::Avx},
              {Cpuid::Vaes, Cpuid::Avx},             {Cpuid::Vpclmulqdq, Cpuid::Avx},
              {Cpuid::Pcid, Cpuid::Lm},              {Cpuid::Invpcid, Cpuid::Lm},
              {Cpuid::Fsgsbase, Cpuid::Lm},          {Cpuid::La57, Cpuid::Lm},
              {Cpuid::LahfLm, Cpuid::Lm},            {Cpuid::Pku, Cpuid::Lm},
              {Cpuid::Pdpe1gb, Cpuid::Lm},           {Cpuid::X2apic, Cpuid::Apic},
              {Cpuid::TscDeadline, Cpuid::Apic},     {Cpuid::Mmxext, Cpuid::Sse},
              {Cpuid::Avx512f, Cpuid::Avx2},         {Cpuid::Avx512f, Cpuid::Fma},
              {Cpuid::Avx512dq, Cpuid::Avx512f},     {Cpuid::Avx512cd, Cpuid::Avx512f},
              {Cpuid::Avx512bw, Cpuid::Avx512f},     {Cpuid::Avx512vl, Cpuid::Avx512f},
              {Cpuid::Avx512ifma, Cpuid::Avx512f},   {Cpuid::Avx512vbmi, Cpuid::Avx512bw},
              {Cpuid::Avx512vbmi2, Cpuid::Avx512bw}, {Cpuid::Avx512vnni, Cpuid::Avx512f},
              {Cpuid::Avx512bitalg, Cpuid::Avx512bw}, {Cpuid::Avx512vpopcnt, Cpuid::Avx512f},
              {Cpuid::Avx512bf16, Cpuid::Avx512bw},  {Cpuid::Avx512fp16, Cpuid::Avx512bw}};

/// Takes away what is not translated and what lacks its foundation, and says so in one line: of the latter only what
/// was asked for by name.
Result<void> drop_missing(Parsed& parsed) {
  std::string missing, baseless;
  const auto drop = [&parsed](std::string& list, const FeatureInfo& f, const std::string& what) {
    parsed.wanted.set(f.id, false);
    list += (list.empty() ? "" : ", ") + what;
    parsed.model.dropped_features.emplace_back(f.name);
  };
  for (const FeatureInfo& f : kFeatures) {
    if (!parsed.wanted.has(f.id)) continue;
    if (parsed.host != nullptr ? parsed.host->features.has(f.id) : is_translated(f)) continue;
    drop(missing, f, f.name);
  }
  const auto drop_baseless = [&](const FeatureInfo& f, Cpuid needs) {
    if (!parsed.wanted.has(f.id) || parsed.wanted.has(needs)) return;
    if (parsed.asked.has(f.id)) return drop(baseless, f, fmt::format("{} (needs {})", f.name, info(needs).name));
    parsed.wanted.set(f.id, false);
  };
  for (const auto& need : kNeeds) drop_baseless(info(need.feature), need.needs);
  for (const FeatureInfo& f : kFeatures) {
    const bool is_capability = f.word == FeatureWord::ArchCapabilities || f.word == FeatureWord::ArchCapabilitiesHigh;
    if (is_capability) drop_baseless(f, Cpuid::ArchCapability);
  }
  if (missing.empty() && baseless.empty()) return {};
  const std::string_view separator = missing.empty() || baseless.empty() ? "" : ", ";
  if (parsed.enforce) {
    const char* why = parsed.host != nullptr ? "not offered by this host's KVM" : "not translated, or not on this host";
    return error("-cpu {},enforce: {}{}{}{}{}", parsed.model.name, missing.empty() ? "" : why,
                 missing.empty() ? "" : ": ", missing, separator, baseless);
  }
  if (parsed.check)
    parsed.model.dropped = fmt::format("cpu {}: without {}{}{}", parsed.model.name, missing, separator, baseless);
  return {};
}

}  // namespace

bool CpuidFeatures::has(Cpuid feature) const {
  const FeatureInfo& f = info(feature);
  return words[size_t(f.word)] >> f.bit_number & 1;
}

void CpuidFeatures::set(Cpuid feature, bool on) {
  const FeatureInfo& f = info(feature);
  u32& word = words[size_t(f.word)];
  word = on ? word | bit(f.bit_number) : word & ~bit(f.bit_number);
}

unsigned Topology::thread_bits() const { return unsigned(std::bit_width(threads - 1)); }
unsigned Topology::package_shift() const { return thread_bits() + unsigned(std::bit_width(cores - 1)); }

u32 Topology::apic_id(unsigned index) const {
  const unsigned thread = index % threads, core = index / threads % cores, socket = index / threads / cores;
  return thread | core << thread_bits() | socket << package_shift();
}

u32 CpuModel::signature() const {
  const u32 base_family = family > 15 ? 15 : family;
  const u32 extended_family = family > 15 ? family - 15 : 0;
  return stepping | (model & 15) << 4 | base_family << 8 | (model >> 4) << 16 | extended_family << 20;
}

HostCpu describe_host(const CpuidSource& cpuid, u64 arch_capabilities) {
  enum Register { kEax, kEbx, kEcx, kEdx };
  constexpr struct {
    FeatureWord word;
    u32 leaf, subleaf;
    Register source;
  } kWords[] = {{FeatureWord::Leaf1Ecx, 1, 0, kEcx},           {FeatureWord::Leaf1Edx, 1, 0, kEdx},
                {FeatureWord::Leaf7Ebx, 7, 0, kEbx},           {FeatureWord::Leaf7Ecx, 7, 0, kEcx},
                {FeatureWord::Leaf7Edx, 7, 0, kEdx},           {FeatureWord::Leaf7s1Eax, 7, 1, kEax},
                {FeatureWord::LeafD1Eax, 0xd, 1, kEax},        {FeatureWord::Ext1Ecx, 0x80000001, 0, kEcx},
                {FeatureWord::Ext1Edx, 0x80000001, 0, kEdx},   {FeatureWord::Ext8Ebx, 0x80000008, 0, kEbx},
                {FeatureWord::ExtAEdx, 0x8000000a, 0, kEdx},   {FeatureWord::Ext21Eax, 0x80000021, 0, kEax},
                {FeatureWord::Leaf6Eax, 6, 0, kEax},           {FeatureWord::Ext7Edx, 0x80000007, 0, kEdx}};
  HostCpu host;
  const auto text = [](std::initializer_list<u32> words) {
    std::string out;
    for (u32 word : words) {
      for (unsigned i = 0; i < 4; ++i) out += char(word >> 8 * i & 0xff);
    }
    return out;
  };
  const auto basic = cpuid(0, 0), extended = cpuid(0x80000000, 0), signature = cpuid(1, 0);
  host.level = basic[kEax];
  host.extended_level = std::max(extended[kEax], 0x80000000u);
  host.vendor = text({basic[kEbx], basic[kEdx], basic[kEcx]});
  for (u32 leaf = 0x80000002; leaf <= 0x80000004 && leaf <= host.extended_level; ++leaf) {
    const auto part = cpuid(leaf, 0);
    host.brand += text({part[0], part[1], part[2], part[3]});
  }
  host.brand.resize(host.brand.find('\0') == std::string::npos ? host.brand.size() : host.brand.find('\0'));
  const u32 s = signature[kEax];
  host.stepping = s & 15;
  host.family = (s >> 8 & 15) + ((s >> 8 & 15) == 15 ? s >> 20 & 0xff : 0);
  host.model = (s >> 4 & 15) | (s >> 16 & 15) << 4;
  if (host.extended_level >= 0x80000008) host.phys_bits = std::clamp(cpuid(0x80000008, 0)[kEax] & 0xff, 32u, 52u);
  for (const auto& [word, leaf, subleaf, source] : kWords) {
    const u32 last = leaf < 0x80000000 ? host.level : host.extended_level;
    if (leaf <= last) host.features.words[size_t(word)] = cpuid(leaf, subleaf)[source];
  }
  constexpr u32 kOsxsave = 1u << 27, kOspke = 1u << 4;  // the guest's own doing
  host.features.words[size_t(FeatureWord::Leaf1Ecx)] &= ~kOsxsave;
  host.features.words[size_t(FeatureWord::Leaf7Ecx)] &= ~kOspke;
  host.features.words[size_t(FeatureWord::ArchCapabilities)] = u32(arch_capabilities);
  host.features.words[size_t(FeatureWord::ArchCapabilitiesHigh)] = u32(arch_capabilities >> 32);
  return host;
}

std::optional<HostCpu> describe_host(const target::Acceleration* from) {
  if (from == nullptr) return std::nullopt;
  constexpr u32 kArchCapabilities = 0x10a;
  return describe_host([from](u32 leaf, u32 subleaf) { return from->host_cpuid(leaf, subleaf); },
                       from->host_feature_msr(kArchCapabilities));
}

Result<CpuModel> parse_cpu_option(std::string_view option, const HostCpu* host) {
  const std::vector<std::string_view> pieces = split(option, ',');
  const bool is_host = pieces[0] == "host" || pieces[0] == "host-x86_64-cpu";
  if (is_host && host == nullptr) {
    return error(Error("-cpu host: guest code is translated, so it does not run on the host's processor")
                     .with_hint("use -cpu max, or -accel kvm"));
  }
  const Model* found = find_model(is_host ? "max" : pieces[0]);
  if (!found) {
    if (const size_t suffix = pieces[0].find("-x86_64-cpu"); suffix != std::string_view::npos) {
      return parse_cpu_option(std::string(pieces[0].substr(0, suffix)) + std::string(option.substr(pieces[0].size())),
                              host);
    }
    const std::string near = did_you_mean(pieces[0], model_names());
    return error(Error(fmt::format("unknown CPU model '{}'", pieces[0]))
                     .with_hint(near.empty() ? "'-cpu help' lists the models" : near));
  }
  Parsed parsed;
  CpuModel& m = parsed.model;
  m.name = is_host ? "host" : pieces[0];
  m.vendor = found->vendor;
  m.brand = found->brand;
  m.family = found->family;
  m.model = found->model;
  m.stepping = found->stepping;
  m.level = found->level;
  m.extended_level = found->extended_level;
  m.caches = found->caches;
  parsed.host = host;
  parsed.wanted = model_features(*found, host);
  if (host != nullptr) {
    // SYSCALL and its like differ between vendors, and the guest's are this processor's.
    m.vendor = host->vendor;
    m.phys_bits = std::min(m.phys_bits, host->phys_bits);
    if (found->is_max()) {
      m.brand = host->brand;
      m.family = host->family;
      m.model = host->model;
      m.stepping = host->stepping;
      m.phys_bits = host->phys_bits;
      m.level = std::min(host->level, 0x1fu);
      m.extended_level = std::min(host->extended_level, 0x80000021u);
    }
  }
  if (!parsed.wanted.has(Cpuid::Lm)) m.phys_bits = parsed.wanted.has(Cpuid::Pse36) ? 36 : 32;
  for (size_t i = 1; i < pieces.size(); ++i) EMU_TRY(apply_piece(parsed, pieces[i]));
  EMU_TRY(drop_missing(parsed));
  m.features = parsed.wanted;
  CpuModel raised = m;
  raise_levels(raised);
  if (!parsed.level_set) m.level = raised.level;
  if (!parsed.extended_level_set) m.extended_level = raised.extended_level;
  return std::move(parsed.model);
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const Model& model : kModels) {
    names.emplace_back(model.name);
    if (!model.is_max()) names.push_back(fmt::format("{}-v1", model.name));
  }
  return names;
}

std::vector<std::pair<std::string, bool>> model_features(const CpuModel& model) {
  std::vector<std::pair<std::string, bool>> features;
  for (const FeatureInfo& f : kFeatures) features.emplace_back(f.name, model.features.has(f.id));
  return features;
}

std::string cpu_help() {
  std::string out = "Available CPUs:\n";
  for (const Model& model : kModels) {
    const char* text = model.is_max() ? "everything that is translated and this host can run" : model.brand;
    out += fmt::format("  {:<16} {}\n", model.name, text);
  }
  out += fmt::format("  {:<16} {}\n", "host", "this host's processor, with -accel kvm only");
  out += "Each but max and host is also called NAME-v1.\n";
  out += "\nRecognized features (those in brackets are not translated, or not on this host, and are left out):\n ";
  size_t column = 1;
  for (const FeatureInfo& f : kFeatures) {
    const std::string word = is_translated(f) ? fmt::format(" {}", f.name) : fmt::format(" [{}]", f.name);
    if (column + word.size() > 100) {
      out += "\n ";
      column = 1;
    }
    out += word;
    column += word.size();
  }
  return out + "\n";
}

InsnFeatures insn_features(const CpuidFeatures& cpuid) {
  InsnFeatures set = feature_bit(InsnFeature::kBase);
  for (size_t i = 0; i < std::size(kFeatures); i++) {
    if (cpuid.has(Cpuid(i))) set |= feature_bit(kFeatures[i].instructions);
  }
  return set;
}

}  // namespace emu::x86
