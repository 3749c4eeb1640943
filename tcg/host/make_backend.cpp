// SPDX-License-Identifier: Apache-2.0
#include <cpuid.h>

#include <vector>

#include "tcg/host/x86_64/backend.h"
#include "util/bits.h"
#include "util/string.h"
#include "util/suggest.h"

namespace emu::ir {

namespace {

struct Words {
  unsigned leaf1_ecx = 0, leaf7_ebx = 0, ext1_ecx = 0;
};

Words read_cpuid() {
  Words words;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d)) words.leaf1_ecx = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) words.leaf7_ebx = b;
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) words.ext1_ecx = c;
  return words;
}

/// What x86-64-v3 adds, and AVX-512 as far as the back end uses it.
struct HostFeature {
  std::string_view name;
  unsigned Words::*word;
  unsigned bits;
  bool is_baseline;
};
constexpr unsigned kAvx512Bits = bit(16) | bit(17) | bit(30) | bit(31);  // F, DQ, BW, VL
constexpr HostFeature kHostFeatures[] = {
    {"sse3", &Words::leaf1_ecx, bit(0), true},    {"ssse3", &Words::leaf1_ecx, bit(9), true},
    {"fma", &Words::leaf1_ecx, bit(12), true},    {"cx16", &Words::leaf1_ecx, bit(13), true},
    {"sse4.1", &Words::leaf1_ecx, bit(19), true}, {"sse4.2", &Words::leaf1_ecx, bit(20), true},
    {"movbe", &Words::leaf1_ecx, bit(22), true},  {"popcnt", &Words::leaf1_ecx, bit(23), true},
    {"xsave", &Words::leaf1_ecx, bit(27), true},  {"avx", &Words::leaf1_ecx, bit(28), true},
    {"f16c", &Words::leaf1_ecx, bit(29), true},   {"bmi1", &Words::leaf7_ebx, bit(3), true},
    {"avx2", &Words::leaf7_ebx, bit(5), true},    {"bmi2", &Words::leaf7_ebx, bit(8), true},
    {"lahf", &Words::ext1_ecx, bit(0), true},     {"lzcnt", &Words::ext1_ecx, bit(5), true},
    {"avx512", &Words::leaf7_ebx, kAvx512Bits, false},
};

Result<void> mask(Words& words, std::string_view list) {
  if (list.empty()) return {};
  for (std::string_view item : split(list, ':')) {
    if (!item.starts_with('-')) return error("host-features: '{}' does not start with '-': features only go", item);
    std::vector<std::string> names;
    bool found = false;
    for (const HostFeature& feature : kHostFeatures) {
      names.emplace_back(feature.name);
      if (feature.name != item.substr(1)) continue;
      words.*feature.word &= ~feature.bits;
      found = true;
    }
    if (found) continue;
    return error(Error(fmt::format("host-features: no such feature '{}'", item.substr(1)))
                     .with_hint(did_you_mean(item.substr(1), names)));
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<HostBackend>> make_host_backend(const HostOptions& options) {
  Words words = read_cpuid();
  EMU_TRY(mask(words, options.host_features));
  std::string missing;
  for (const HostFeature& feature : kHostFeatures) {
    if (!feature.is_baseline || (words.*feature.word & feature.bits) == feature.bits) continue;
    missing += (missing.empty() ? "" : ", ") + std::string(feature.name);
  }
  if (!missing.empty()) {
    return error("this host's processor is below x86-64-v3, which translated code needs: it has no {}", missing);
  }
  // The processor may have what the host's kernel does not save; the compiler's library looks at both. Of AVX2, whose
  // registers are all that v3 adds, all compilers know the name.
  if (!__builtin_cpu_supports("avx2")) return error("this host does not offer all of x86-64-v3 to programs");
  tcg::x86_64::HostFeatures features;
  features.avx512vl = options.avx512 && (words.leaf7_ebx & kAvx512Bits) == kAvx512Bits &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq");
  return std::unique_ptr<HostBackend>(std::make_unique<tcg::x86_64::X64Backend>(features));
}

}  // namespace emu::ir
