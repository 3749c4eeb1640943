// SPDX-License-Identifier: Apache-2.0
// Instruction lengths against Capstone, over random bytes and over every row.
#include <capstone/capstone.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "target/x86/decode.h"

namespace emu::x86 {
namespace {

constexpr u32 kProtected = 1u << Mode::kPE;

struct Bits {
  const char* name;
  u32 mode;
  cs_mode capstone;
};
constexpr Bits kModes[] = {
    {"16", kProtected, CS_MODE_16},
    {"32", kProtected | 1u << Mode::kCode32, CS_MODE_32},
    {"64", kProtected | 1u << Mode::kCode64, CS_MODE_64},
};

std::string hex(std::span<const u8> bytes) {
  std::string s;
  for (const u8 b : bytes) s += fmt::format("{:02x} ", b);
  return s;
}

/// Near branches with 66 in 64-bit mode: Intel ignores the prefix, Capstone follows AMD, and forgets
/// the 66 after F2 or F3. UD0, UD1: Intel reads a ModRM.
bool is_known_difference(const Bits& bits, const Insn& insn) {
  const std::string_view name = insn.row->name;
  if (name == "UD0" || name == "UD1") return true;
  const bool is_repeated = insn.has(kHasRep) || insn.has(kHasRepne);
  if (insn.has(kHas66) && is_repeated && insn.row->size_rule == SizeRule::F64) return true;
  return bits.capstone == CS_MODE_64 && insn.has(kHas66) && insn.row->size_rule == SizeRule::F64;
}

class DecodeLength : public testing::TestWithParam<Bits> {};

TEST_P(DecodeLength, AgreesWithCapstoneOverRandomBytes) {
  csh handle;
  ASSERT_EQ(cs_open(CS_ARCH_X86, GetParam().capstone, &handle), CS_ERR_OK);
  std::mt19937_64 random(1);
  std::map<std::string, int> disagreements;
  std::map<std::string, std::string> examples;
  int compared = 0;
  for (int round = 0; round < 300'000; ++round) {
    u8 bytes[16];
    for (u8& b : bytes) b = u8(random());
    if (round % 3 == 0) bytes[0] = 0x0f;
    if (round % 5 == 0) bytes[0] = 0x66;
    Insn insn;
    ASSERT_EQ(decode({bytes, 15}, Mode{GetParam().mode}, kAllFeatures, insn), DecodeStatus::Ok);
    if (insn.row == &kUndefinedRow || insn.row == &kMissingEvexRow || insn.row == &kTooLongRow) continue;
    cs_insn* theirs = nullptr;
    if (cs_disasm(handle, bytes, 15, 0x1000, 1, &theirs) == 0) continue;
    ++compared;
    if (theirs->size != insn.length && !is_known_difference(GetParam(), insn)) {
      const std::string key = fmt::format("{} {:02x}", insn.row->name, insn.opcode);
      ++disagreements[key];
      examples[key] = fmt::format("{}: ours {}, {} {} has {}", hex({bytes, 15}), insn.length, theirs->mnemonic,
                                  theirs->op_str, theirs->size);
    }
    cs_free(theirs, 1);
  }
  cs_close(&handle);
  EXPECT_GT(compared, 100'000);
  for (const auto& [key, count] : disagreements) ADD_FAILURE() << key << " x" << count << "  " << examples[key];
}

TEST_P(DecodeLength, KnowsWhatCapstoneKnows) {
  csh handle;
  ASSERT_EQ(cs_open(CS_ARCH_X86, GetParam().capstone, &handle), CS_ERR_OK);
  std::mt19937_64 random(2);
  std::map<std::string, int> unknown;
  std::map<std::string, std::string> examples;
  for (int round = 0; round < 300'000; ++round) {
    u8 bytes[16];
    for (u8& b : bytes) b = u8(random());
    if (round % 3 == 0) bytes[0] = 0x0f;
    Insn insn;
    ASSERT_EQ(decode({bytes, 15}, Mode{GetParam().mode}, kAllFeatures, insn), DecodeStatus::Ok);
    if (insn.row != &kUndefinedRow || insn.has(kHasLock)) continue;
    cs_insn* theirs = nullptr;
    if (cs_disasm(handle, bytes, 15, 0x1000, 1, &theirs) == 0) continue;
    ++unknown[theirs->mnemonic];
    examples[theirs->mnemonic] = hex({bytes, 15});
    cs_free(theirs, 1);
  }
  cs_close(&handle);
  for (const auto& [name, count] : unknown)
    fmt::print("undefined here, known to Capstone ({} bits): {} x{}  {}\n", GetParam().name, name, count,
               examples[name]);
}

INSTANTIATE_TEST_SUITE_P(Modes, DecodeLength, testing::ValuesIn(kModes),
                         [](const auto& param) { return std::string("Bits") + param.param.name; });

TEST(Decode, FifteenBytesAreTheLimit) {
  u8 bytes[16];
  std::fill(std::begin(bytes), std::end(bytes), u8(0x66));
  bytes[15] = 0x90;
  Insn insn;
  EXPECT_EQ(decode({bytes, 16}, Mode{kModes[2].mode}, kAllFeatures, insn), DecodeStatus::Ok);
  EXPECT_EQ(insn.row, &kTooLongRow);
  bytes[14] = 0x90;
  EXPECT_EQ(decode({bytes, 15}, Mode{kModes[2].mode}, kAllFeatures, insn), DecodeStatus::Ok);
  EXPECT_EQ(insn.length, 15);
  EXPECT_NE(insn.row, &kTooLongRow);
}

TEST(Decode, AsksForMoreBytes) {
  const u8 bytes[] = {0x48, 0x8b, 0x84, 0x24, 0, 0, 0};  // mov rax, [rsp + disp32], one byte short
  Insn insn;
  EXPECT_EQ(decode(bytes, Mode{kModes[2].mode}, kAllFeatures, insn), DecodeStatus::Truncated);
}

TEST(Decode, LockIsUndefinedOutsideItsForms) {
  Insn insn;
  const auto is_undefined = [&](std::initializer_list<u8> bytes) {
    EXPECT_EQ(decode({bytes.begin(), bytes.size()}, Mode{kModes[2].mode}, kAllFeatures, insn), DecodeStatus::Ok);
    return insn.row == &kUndefinedRow;
  };
  EXPECT_FALSE(is_undefined({0xf0, 0x01, 0x03}));       // lock add [rbx], eax
  EXPECT_TRUE(is_undefined({0xf0, 0x01, 0xc3}));        // lock add ebx, eax
  EXPECT_TRUE(is_undefined({0xf0, 0x03, 0x03}));        // lock add eax, [rbx]
  EXPECT_TRUE(is_undefined({0xf0, 0x39, 0x03}));        // lock cmp
  EXPECT_TRUE(is_undefined({0xf0, 0x89, 0x03}));        // lock mov
  EXPECT_TRUE(is_undefined({0xf0, 0x0f, 0xa3, 0x03}));  // lock bt
}

TEST(Decode, TablesListMissingRowsByName) {
  int translated = 0, missing = 0;
  for (const Row& row : all_rows()) {
    EXPECT_NE(row.name[0], 0);
    EXPECT_TRUE(row.emitter || row.is_missing()) << row.name;
    ++(row.is_missing() ? missing : translated);
  }
  fmt::print("rows: {} translated, {} missing\n", translated, missing);
}

}  // namespace
}  // namespace emu::x86
