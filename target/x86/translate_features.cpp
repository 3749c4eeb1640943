// SPDX-License-Identifier: Apache-2.0
// insn_features(): which encodings a CPU model has.
#include "target/x86/translate.h"

namespace emu::x86 {
namespace {

struct Link {
  InsnFeature insn;
  Cpuid cpuid;
};

constexpr Link kLinks[] = {
    {InsnFeature::kCmov, Cpuid::Cmov},         {InsnFeature::kFpu, Cpuid::Fpu},
    {InsnFeature::kMmx, Cpuid::Mmx},           {InsnFeature::kSse, Cpuid::Sse},
    {InsnFeature::kSse2, Cpuid::Sse2},         {InsnFeature::kSse3, Cpuid::Sse3},
    {InsnFeature::kSsse3, Cpuid::Ssse3},       {InsnFeature::kSse41, Cpuid::Sse41},
    {InsnFeature::kSse42, Cpuid::Sse42},       {InsnFeature::kSse4a, Cpuid::Sse4a},
    {InsnFeature::kPopcnt, Cpuid::Popcnt},     {InsnFeature::kLzcnt, Cpuid::Abm},
    {InsnFeature::kBmi1, Cpuid::Bmi1},         {InsnFeature::kBmi2, Cpuid::Bmi2},
    {InsnFeature::kMovbe, Cpuid::Movbe},       {InsnFeature::kAdx, Cpuid::Adx},
    {InsnFeature::kAesni, Cpuid::Aes},         {InsnFeature::kPclmul, Cpuid::Pclmulqdq},
    {InsnFeature::kSha, Cpuid::ShaNi},         {InsnFeature::kAvx, Cpuid::Avx},
    {InsnFeature::kAvx2, Cpuid::Avx2},         {InsnFeature::kFma, Cpuid::Fma},
    {InsnFeature::kF16c, Cpuid::F16c},         {InsnFeature::kCx16, Cpuid::Cx16},
    {InsnFeature::kRdtscp, Cpuid::Rdtscp},     {InsnFeature::kRdpid, Cpuid::Rdpid},
    {InsnFeature::kRdrand, Cpuid::Rdrand},     {InsnFeature::kRdseed, Cpuid::Rdseed},
    {InsnFeature::kFsgsbase, Cpuid::Fsgsbase}, {InsnFeature::kInvpcid, Cpuid::Invpcid},
    {InsnFeature::kSmap, Cpuid::Smap},         {InsnFeature::kXsave, Cpuid::Xsave},
    {InsnFeature::kXsaveopt, Cpuid::Xsaveopt}, {InsnFeature::kXsavec, Cpuid::Xsavec},
    {InsnFeature::kXsaves, Cpuid::Xsaves},     {InsnFeature::kMonitor, Cpuid::Monitor},
    {InsnFeature::kClflush, Cpuid::Clflush},   {InsnFeature::kClflushopt, Cpuid::Clflushopt},
    {InsnFeature::kClwb, Cpuid::Clwb},         {InsnFeature::kFxsr, Cpuid::Fxsr},
    {InsnFeature::kSyscall, Cpuid::Syscall},   {InsnFeature::kSep, Cpuid::Sep},
    {InsnFeature::kCx8, Cpuid::Cx8},           {InsnFeature::kPku, Cpuid::Pku},
    {InsnFeature::kPrefetchw, Cpuid::Prefetch3dnow},
};

}  // namespace

InsnFeatures insn_features(const CpuidFeatures& cpuid) {
  InsnFeatures set = feature_bit(InsnFeature::kBase);
  for (const Link& link : kLinks)
    if (cpuid.has(link.cpuid)) set |= feature_bit(link.insn);
  return set;
}

}  // namespace emu::x86
