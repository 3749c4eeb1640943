// SPDX-License-Identifier: Apache-2.0
// Every CPU model: what it says of itself, and that nothing is advertised which is not there.
#include "target/x86/models.h"

#include <cpuid.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "target/x86/decode.h"
#include "target/x86/translate.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

struct Feature {
  Cpuid id;
  const char* name;
  FeatureWord word;
  unsigned bit_number;
  InsnFeature instructions;
};
constexpr Feature kFeatures[] = {
#define X86_FEATURE(id, word, bit_number, spelling, translated, instructions) \
  {Cpuid::id, spelling, FeatureWord::word, bit_number, InsnFeature::instructions},
#include "target/x86/models.inc"
#undef X86_FEATURE
};

bool has_missing_row(InsnFeature feature) {
  return feature != InsnFeature::kBase && std::ranges::any_of(all_rows(), [&](const Row& row) {
           return (row.feature == feature || row.feature_256 == feature) && row.is_missing();
         });
}

class EveryModel : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto parsed = parse_cpu_option(GetParam());
    ASSERT_TRUE(parsed) << parsed.error().text();
    model = std::move(*parsed);
  }
  CpuModel model;
};

TEST_P(EveryModel, AdvertisesNothingThatADecoderRowLacks) {
  for (const Feature& f : kFeatures) {
    EXPECT_FALSE(model.features.has(f.id) && has_missing_row(f.instructions)) << f.name;
  }
}

TEST_P(EveryModel, HasNoBitWithoutAName) {
  CpuidFeatures named;
  for (const Feature& f : kFeatures) named.set(f.id);
  for (size_t i = 0; i < size_t(FeatureWord::Count); i++) {
    EXPECT_EQ(model.features.words[i] & ~named.words[i], 0u) << "word " << i;
  }
}

TEST_P(EveryModel, SaysWhoItIs) {
  EXPECT_EQ(model.name, GetParam());
  EXPECT_TRUE(model.vendor == "GenuineIntel" || model.vendor == "AuthenticAMD") << model.vendor;
  EXPECT_FALSE(model.brand.empty());
  EXPECT_LE(model.brand.size(), 48u);
  CpuBench b(GetParam().c_str());
  EXPECT_EQ(b.cpu.cpuid(1, 0).eax, model.signature());
  EXPECT_EQ(b.cpu.cpuid(0, 0).eax, model.level);
  EXPECT_EQ(b.cpu.cpuid(0x80000000, 0).eax, model.extended_level);
}

TEST_P(EveryModel, ListsWhatItDroppedInOneLine) {
  EXPECT_EQ(model.dropped.empty(), model.dropped_features.empty());
  EXPECT_EQ(model.dropped.find('\n'), std::string::npos);
  for (const std::string& name : model.dropped_features) {
    EXPECT_NE(model.dropped.find(name), std::string::npos) << name;
    const auto* f = std::ranges::find_if(kFeatures, [&](const Feature& known) { return known.name == name; });
    ASSERT_NE(f, std::end(kFeatures));
    EXPECT_FALSE(model.features.has(f->id)) << name;
  }
  const auto quiet = parse_cpu_option(GetParam() + ",check=off");
  EXPECT_TRUE(quiet->dropped.empty());
  EXPECT_EQ(quiet->dropped_features, model.dropped_features);
  const auto enforced = parse_cpu_option(GetParam() + ",enforce");
  EXPECT_EQ(enforced.has_value(), model.dropped_features.empty());
  for (const std::string& name : model.dropped_features) {
    EXPECT_NE(enforced.error().text().find(name), std::string::npos);
  }
}

TEST_P(EveryModel, WithLongModeIsFreeOfFlaws) {
  if (!model.features.has(Cpuid::Lm)) return;  // the last leaf does not reach to where that is said
  for (Cpuid f : {Cpuid::ArchCapability, Cpuid::RdclNo, Cpuid::IbrsAll, Cpuid::MdsNo, Cpuid::TaaNo, Cpuid::SsbNo,
                  Cpuid::PschangeMcNo, Cpuid::GdsNo, Cpuid::BhiNo, Cpuid::ItsNo}) {
    EXPECT_TRUE(model.features.has(f)) << int(f);
  }
  EXPECT_GE(model.level, 7u);
}

TEST_P(EveryModel, IsKnownByItsVersion) {
  if (GetParam() == "max" || GetParam().ends_with("-v1")) return;
  const auto versioned = parse_cpu_option(GetParam() + "-v1");
  ASSERT_TRUE(versioned) << versioned.error().text();
  EXPECT_EQ(versioned->features.words, model.features.words);
  EXPECT_EQ(versioned->signature(), model.signature());
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::ranges::replace(name, '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Models, EveryModel, testing::ValuesIn(model_names()), test_name);

TEST(ModelTable, HasTheModelsThatWereAskedFor) {
  const std::vector<std::string> list = model_names();
  const std::set<std::string> names(list.begin(), list.end());
  EXPECT_EQ(names.size(), list.size());
  for (const char* name : {"qemu64", "kvm64", "Nehalem", "Westmere", "SandyBridge", "IvyBridge", "Haswell", "Broadwell",
                           "Skylake-Client", "Skylake-Server", "Icelake-Server", "EPYC", "EPYC-Rome"}) {
    EXPECT_TRUE(names.contains(name)) << name;
    EXPECT_TRUE(names.contains(std::string(name) + "-v1")) << name;
  }
  EXPECT_TRUE(names.contains("max"));
}

TEST(ModelTable, SignaturesAreThoseOfTheProcessors) {
  const std::pair<const char*, u32> signatures[] = {
      {"qemu64", 0x60fb1},         {"kvm64", 0xf61},           {"Nehalem", 0x106a3},   {"Westmere", 0x206c1},
      {"SandyBridge", 0x206a1},    {"IvyBridge", 0x306a9},     {"Haswell", 0x306c4},   {"Broadwell", 0x306d2},
      {"Skylake-Client", 0x506e3}, {"Skylake-Server", 0x50654}, {"EPYC", 0x800f12},     {"EPYC-Rome", 0x830f10},
      {"Icelake-Server", 0x80660}};
  for (const auto& [name, signature] : signatures) EXPECT_EQ(parse_cpu_option(name)->signature(), signature) << name;
}

TEST(ModelTable, HaswellGoesWithoutTransactions) {
  const auto model = parse_cpu_option("Haswell");
  EXPECT_TRUE(std::ranges::find(model->dropped_features, "hle") != model->dropped_features.end());
  EXPECT_NE(model->dropped.find("cpu Haswell: without"), std::string::npos);
  const auto without = parse_cpu_option("Haswell,-hle,-rtm,enforce");
  EXPECT_TRUE(without) << without.error().text();
}

TEST(ModelTable, WrongNamesAreAnsweredWithTheNearest) {
  EXPECT_NE(parse_cpu_option("haswel").error().text().find("'Haswell'"), std::string::npos);
  EXPECT_NE(parse_cpu_option("EPYC_Rome").error().text().find("'EPYC-Rome'"), std::string::npos);
  EXPECT_NE(parse_cpu_option("Haswell-v9").error().text().find("'Haswell-v1'"), std::string::npos);
  EXPECT_FALSE(parse_cpu_option("max-v1"));
  EXPECT_FALSE(parse_cpu_option("Haswell-v1-v1"));
}

TEST(ModelTable, WhatIsAskedForWithoutItsFoundationIsNamed) {
  const auto model = parse_cpu_option("qemu64,+avx2");
  ASSERT_TRUE(model);
  EXPECT_FALSE(model->features.has(Cpuid::Avx2));
  EXPECT_EQ(model->dropped, "cpu qemu64: without avx2 (needs avx)");
  EXPECT_EQ(model->dropped_features, std::vector<std::string>{"avx2"});
  EXPECT_EQ(parse_cpu_option("qemu64,+avx2,enforce").error().text(), "-cpu qemu64,enforce: avx2 (needs avx)");
  EXPECT_TRUE(parse_cpu_option("qemu64,+avx2,+avx,+xsave,enforce"));
  EXPECT_TRUE(parse_cpu_option("Nehalem,-lm,check=off")->dropped.empty());
}

TEST(ModelTable, WhatGoesWithItsFoundationByTheWayIsNot) {
  const auto model = parse_cpu_option("Westmere,-lm");
  ASSERT_TRUE(model);
  EXPECT_FALSE(model->features.has(Cpuid::LahfLm));
  EXPECT_TRUE(model->dropped.empty()) << model->dropped;
}

TEST(ModelTable, SwitchesAreWrittenInEachWay) {
  for (const char* on : {"qemu64,+smep", "qemu64,smep=on", "qemu64,smep=yes", "qemu64,smep"}) {
    const auto model = parse_cpu_option(on);
    ASSERT_TRUE(model) << on << ": " << model.error().text();
    EXPECT_TRUE(model->features.has(Cpuid::Smep)) << on;
  }
  for (const char* off : {"Haswell,-smep", "Haswell,smep=off", "Haswell,smep=no", "Haswell-v1,smep=off"}) {
    const auto model = parse_cpu_option(off);
    ASSERT_TRUE(model) << off << ": " << model.error().text();
    EXPECT_FALSE(model->features.has(Cpuid::Smep)) << off;
  }
  EXPECT_FALSE(parse_cpu_option("qemu64,smep=perhaps"));
}

TEST(ModelTable, HalfPrecisionIsThereWithTheHostOnly) {
  u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
  __cpuid_count(7, 0, eax, ebx, ecx, edx);
  const bool on_host = __builtin_cpu_supports("avx512bw") && (edx >> 23 & 1);
  EXPECT_EQ(parse_cpu_option("max")->features.has(Cpuid::Avx512fp16), on_host);
  const auto asked = parse_cpu_option("max,+avx512_fp16");
  ASSERT_TRUE(asked);
  EXPECT_EQ(asked->features.has(Cpuid::Avx512fp16), on_host);
  if (on_host) return;
  EXPECT_NE(asked->dropped.find("avx512-fp16"), std::string::npos) << asked->dropped;
  const auto enforced = parse_cpu_option("max,+avx512_fp16,enforce");
  ASSERT_FALSE(enforced);
  EXPECT_NE(enforced.error().text().find("avx512-fp16"), std::string::npos);
}

/// Whether 64-bit or 32-bit code that begins with these bytes is an instruction of the model.
bool is_defined(const char* option, std::initializer_list<u8> bytes, bool code64) {
  std::vector<u8> code(bytes);
  code.resize(15);
  const u32 mode = 1u << Mode::kPE | 1u << (code64 ? Mode::kCode64 : Mode::kCode32);
  Insn insn;
  decode(code, Mode{mode}, insn_features(parse_cpu_option(option)->features), insn);
  return insn.row != &kUndefinedRow;
}

TEST(ModelTable, InstructionsNeedTheFeatureThatTheyCameWith) {
  for (u8 lahf : {0x9e, 0x9f}) {
    EXPECT_TRUE(is_defined("qemu64", {lahf}, true));
    EXPECT_FALSE(is_defined("kvm64", {lahf}, true)) << "without lahf-lm";
    EXPECT_TRUE(is_defined("kvm64", {lahf}, false));
  }
  EXPECT_TRUE(is_defined("qemu64", {0x48, 0x0f, 0xc7, 0x08}, true));
  EXPECT_FALSE(is_defined("qemu64,-cx16", {0x48, 0x0f, 0xc7, 0x08}, true)) << "CMPXCHG16B";
  EXPECT_TRUE(is_defined("qemu64,-cx16", {0x0f, 0xc7, 0x08}, true)) << "CMPXCHG8B";
  EXPECT_TRUE(is_defined("qemu64", {0xda, 0xc1}, true));
  EXPECT_FALSE(is_defined("qemu64,-cmov", {0xda, 0xc1}, true)) << "FCMOVB";
  EXPECT_FALSE(is_defined("qemu64,-cmov", {0xdb, 0xf1}, true)) << "FCOMI";
  EXPECT_TRUE(is_defined("qemu64,-cmov", {0xd8, 0xd1}, true)) << "FCOM";
  EXPECT_TRUE(is_defined("qemu64", {0xdb, 0x08}, true));
  EXPECT_FALSE(is_defined("qemu64,-sse3", {0xdb, 0x08}, true)) << "FISTTP";
}

TEST(ModelTable, FeaturesRaiseTheLastLeaf) {
  EXPECT_EQ(parse_cpu_option("qemu32")->level, 4u);
  EXPECT_EQ(parse_cpu_option("qemu32,+smep")->level, 7u);
  EXPECT_EQ(parse_cpu_option("qemu32,+smep,level=4")->level, 4u);
  EXPECT_EQ(parse_cpu_option("Nehalem,+xsave")->level, 0xdu);
  EXPECT_EQ(parse_cpu_option("EPYC")->extended_level, 0x80000021u);
  EXPECT_EQ(parse_cpu_option("EPYC,xlevel=0x8000001e")->extended_level, 0x8000001eu);
}

}  // namespace
}  // namespace emu::x86
