// SPDX-License-Identifier: Apache-2.0
// AVX512-FP16. Processors that have it are rare, so most of this is about encodings: what the decoder reads in each
// form of each row, and what host code is made of it, both against objdump. Nothing here executes an FP16 instruction.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>

#include "target/x86/evex_access.h"
#include "target/x86/helpers.h"
#include "target/x86/translate.h"
#include "tcg/host/x86_64/backend.h"
#include "tcg/ir/verify.h"
#include "unit/target/x86/cpu_bench.h"
#include "unit/target/x86/evex_case.h"
#include "unit/target/x86/objdump.h"

namespace emu::x86::test {
namespace {

constexpr Mode kMode64{1u << Mode::kPE | 1u << Mode::kCode64};
constexpr InsnFeatures kWithoutFp16 = kAllFeatures & ~feature_bit(InsnFeature::kAvx512fp16);

std::vector<const Row*> fp16_rows() {
  std::vector<const Row*> rows;
  for (const Row& row : all_rows())
    if (row.feature == InsnFeature::kAvx512fp16) rows.push_back(&row);
  return rows;
}

Insn decoded(std::initializer_list<int> list, InsnFeatures features = kAllFeatures) {
  std::vector<u8> bytes(list.begin(), list.end());
  bytes.resize(15, 0x90);
  Insn insn;
  EXPECT_EQ(decode(bytes, kMode64, features, insn), DecodeStatus::Ok);
  return insn;
}

bool is_undefined(const Insn& insn) { return insn.row == &kUndefinedRow; }

// ---- Decoding -------------------------------------------------------------------------------------------------------

class Fp16Encodings : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!has_objdump()) GTEST_SKIP() << "cannot run here: no objdump that knows AVX512-FP16";
  }
};

TEST_P(Fp16Encodings, ReadAsObjdumpReadsThem) {
  const bool is_64 = GetParam();
  std::mt19937_64 random(3);
  std::vector<EvexCase> cases;
  std::vector<std::vector<u8>> codes;
  for (const Row* row : fp16_rows()) {
    const std::vector<EvexCase> of_row = evex_cases(*row, is_64, 4, random);
    EXPECT_TRUE(!of_row.empty() || row->has(is_64 ? kNo64 : kOnly64)) << row->name;
    for (const EvexCase& c : of_row) {
      EXPECT_EQ(c.insn.row, row) << row->name;
      EXPECT_EQ(c.insn.length, c.code.size()) << row->name;
      cases.push_back(c);
      codes.push_back(c.code);
    }
  }
  const std::vector<std::string> intel = objdump(codes, is_64, Syntax::Intel), att = objdump(codes, is_64, Syntax::Att);
  unsigned wrong = 0;
  for (size_t i = 0; i < cases.size() && wrong < 20; ++i) {
    if (is_undefined(cases[i].insn)) continue;
    unsigned repeats = 0;
    const std::string ours = evex_text(cases[i].insn), theirs = without_repeats(intel[i], repeats);
    without_repeats(att[i], repeats);
    const bool is_same = ours == theirs && repeats == evex_repeats(cases[i].insn);
    EXPECT_TRUE(is_same) << fmt::format("{:02x}", fmt::join(codes[i], " ")) << ": " << ours << " / " << intel[i]
                         << " / " << att[i];
    wrong += !is_same;
  }
  EXPECT_GT(cases.size(), 5000u);
}

INSTANTIATE_TEST_SUITE_P(Bits, Fp16Encodings, testing::Values(false, true),
                         [](const auto& bits) { return bits.param ? "Bits64" : "Bits32"; });

/// The table's rows are all that objdump knows in maps 5 and 6, and no more.
TEST(Fp16Decode, KnowsWhatObjdumpKnows) {
  if (!has_objdump()) GTEST_SKIP() << "cannot run here: no objdump that knows AVX512-FP16";
  std::vector<std::vector<u8>> codes;
  for (unsigned map = 5; map <= 6; ++map)
    for (unsigned opcode = 0; opcode < 256; ++opcode)
      for (unsigned pp = 0; pp < 4; ++pp)
        for (unsigned w = 0; w < 2; ++w)
          for (const u8 vvvv : {0x78, 0x48})
            for (const u8 modrm : {0xc1, 0x01})
              codes.push_back({0x62, u8(0xf0 | map), u8(w << 7 | vvvv | 4 | pp), 0x08, u8(opcode), modrm});
  const std::vector<std::string> texts = objdump(codes, true, Syntax::Intel);
  for (size_t i = 0; i < codes.size(); ++i) {
    Insn insn;
    std::vector<u8> bytes = codes[i];
    bytes.resize(15, 0x90);
    ASSERT_EQ(decode(bytes, kMode64, kAllFeatures, insn), DecodeStatus::Ok);
    const bool theirs =
        !texts[i].empty() && texts[i].find("bad)") == std::string::npos && texts[i].find("bad}") == std::string::npos;
    EXPECT_EQ(!is_undefined(insn), theirs)
        << fmt::format("{:02x}", fmt::join(codes[i], " ")) << ": " << insn.row->name << " / " << texts[i];
  }
}

TEST(Fp16Decode, ShortDisplacementsCountInOperands) {
  EXPECT_EQ(decoded({0x62, 0xf5, 0x74, 0x48, 0x58, 0x40, 0x02}).disp, 128);  // vaddph zmm0, zmm1, [rax+2*64]
  EXPECT_EQ(decoded({0x62, 0xf5, 0x74, 0x58, 0x58, 0x40, 0x02}).disp, 4);    // ..., word [rax+2*2]{1to32}
  EXPECT_EQ(decoded({0x62, 0xf5, 0x7c, 0x48, 0x5a, 0x40, 0x02}).disp, 32);   // vcvtph2pd zmm0, [rax+2*16]
  EXPECT_EQ(decoded({0x62, 0xf5, 0x7c, 0x08, 0x5a, 0x40, 0x02}).disp, 8);    // vcvtph2pd xmm0, dword [rax+2*4]
  EXPECT_EQ(decoded({0x62, 0xf6, 0x76, 0x58, 0xd6, 0x40, 0x02}).disp,
            8);  // vfmulcph zmm0, zmm1, dword [rax+2*4]{1to16}
}

TEST(Fp16Decode, ComplexSourcesMayNotBeTheDestination) {
  EXPECT_FALSE(is_undefined(decoded({0x62, 0xf6, 0x76, 0x48, 0xd6, 0xc2})));  // vfmulcph zmm0, zmm1, zmm2
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf6, 0x76, 0x48, 0xd6, 0xca})));   // vfmulcph zmm1, zmm1, zmm2
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf6, 0x76, 0x48, 0xd6, 0xd2})));   // vfmulcph zmm2, zmm1, zmm2
  EXPECT_FALSE(is_undefined(decoded({0x62, 0xe6, 0x76, 0x48, 0xd6, 0xd2})));  // vfmulcph zmm18, zmm1, zmm2
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xe6, 0x76, 0x40, 0xd6, 0xca})));   // vfmulcph zmm17, zmm17, zmm2
  EXPECT_FALSE(is_undefined(decoded({0x62, 0xf6, 0x76, 0x48, 0xd6, 0x12})));  // vfmulcph zmm2, zmm1, [rdx]
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf6, 0x77, 0x08, 0x57, 0xca})));   // vfcmaddcsh xmm1, xmm1, xmm2
}

TEST(Fp16Decode, ReservedFieldsAreUndefined) {
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf4, 0x74, 0x48, 0x58, 0xc2})));        // map 4
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf7, 0x74, 0x48, 0x58, 0xc2})));        // map 7
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf5, 0xf4, 0x48, 0x58, 0xc2})));        // W
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf5, 0x7d, 0x09, 0x6e, 0xc1})));        // vmovw has no mask
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf5, 0x75, 0x08, 0x6e, 0xc1})));        // nor a second source
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf5, 0x7d, 0x28, 0x6e, 0xc1})));        // nor 256 bits
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf5, 0x7e, 0x89, 0x11, 0x00})));        // stores do not zero
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf6, 0x7d, 0x58, 0x4c, 0xc1})));        // vrcpph does not round
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf3, 0x74, 0xc9, 0xc2, 0xc1, 0x00})));  // vcmpph does not zero
  EXPECT_TRUE(is_undefined(decoded({0xc4, 0xe5, 0x74, 0x58, 0xc2})));              // VEX has no such map
}

TEST(Fp16Decode, WithoutTheFeatureEveryRowIsUndefined) {
  std::mt19937_64 random(4);
  for (const Row* row : fp16_rows()) {
    for (const EvexCase& c : evex_cases(*row, true, 1, random)) {
      Insn insn;
      EXPECT_EQ(decode(c.code, kMode64, kWithoutFp16, insn), DecodeStatus::Ok);
      EXPECT_TRUE(is_undefined(insn)) << row->name;
    }
  }
}

// ---- Memory ---------------------------------------------------------------------------------------------------------

class OneInsn final : public target::GuestCode {
 public:
  explicit OneInsn(std::span<const u8> bytes) : bytes_(bytes) {}
  std::span<const u8> first() const override { return bytes_; }
  std::span<const u8> second() override { return {}; }

 private:
  std::span<const u8> bytes_;
};

constexpr u32 bit_of(Mode::Bit b) { return 1u << b; }
constexpr u32 kUsesAvx512 = kMode64.key | bit_of(Mode::kFlatDS) | bit_of(Mode::kFlatES) | bit_of(Mode::kFlatSS) |
                            bit_of(Mode::kFlatCS) | bit_of(Mode::kOsFxsr) | bit_of(Mode::kOsXsave) |
                            bit_of(Mode::kAvx) | bit_of(Mode::kAvx512) | bit_of(Mode::kZmm);

/// What a masked instruction tells the helper that loads its operand.
EvexAccess masked_access(std::initializer_list<int> list) {
  X86Translator translator(make_helper_table(), kAllFeatures);
  const std::vector<u8> code(list.begin(), list.end());
  OneInsn guest(code);
  ir::Block block;
  ir::Builder builder(block, translator.layout(), translator.helpers());
  translator.translate({.pc = 0x1000, .mode = kUsesAvx512, .max_insns = 1}, guest, builder);
  for (const ir::Op& op : block.ops) {
    if (op.opcode == ir::Opcode::Call && op.c.bits() == H_evex_load)
      return EvexAccess::unpack(block.constant_value(block.call_args(op)[1]));
  }
  ADD_FAILURE() << "no masked load";
  return {};
}

TEST(Fp16Memory, MasksChooseAmongTheElementsInMemory) {
  const auto expect = [](const EvexAccess& a, unsigned element_log2, unsigned bytes, unsigned repeated) {
    EXPECT_EQ(a.mask, 1);
    EXPECT_EQ(a.element_log2, element_log2);
    EXPECT_EQ(a.bytes, bytes);
    EXPECT_EQ(a.repeated, repeated);
  };
  expect(masked_access({0x62, 0xf5, 0x74, 0x49, 0x58, 0x00}), 1, 64, 0);  // vaddph zmm0{k1}, zmm1, [rax]
  expect(masked_access({0x62, 0xf5, 0x74, 0x59, 0x58, 0x00}), 1, 2, 32);  // ..., word [rax]{1to32}
  expect(masked_access({0x62, 0xf5, 0x7c, 0x49, 0x5a, 0x00}), 1, 16, 0);  // vcvtph2pd zmm0{k1}, [rax]
  expect(masked_access({0x62, 0xf5, 0x7c, 0x59, 0x5a, 0x00}), 1, 2, 8);   // ..., word [rax]{1to8}
  expect(masked_access({0x62, 0xf6, 0x7d, 0x59, 0x13, 0x00}), 1, 2, 16);  // vcvtph2psx zmm0{k1}, word [rax]{1to16}
  expect(masked_access({0x62, 0xf6, 0x76, 0x59, 0xd6, 0x00}), 2, 4, 16);  // vfmulcph zmm0{k1}, zmm1, dword [rax]{1to16}
  expect(masked_access({0x62, 0xf5, 0x76, 0x09, 0x58, 0x00}), 1, 2, 0);   // vaddsh xmm0{k1}, xmm1, [rax]
  expect(masked_access({0x62, 0xf5, 0x7e, 0x09, 0x10, 0x00}), 1, 2, 0);   // vmovsh xmm0{k1}, [rax]
}

/// Halves on a page that is not there are not read, and fault if they are.
TEST(Fp16Memory, OnlySelectedHalvesFault) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  const u64 end = 4 << 20;  // behind the last page
  b.put(end - 4, 4, 0x3c003800);
  const EvexAccess access{.slot = 32, .mask = 1, .element_log2 = 1, .bytes = 64};
  b.s().opmask[1] = 3;
  b.call(H_evex_load, end - 4, access.pack());
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.s().vec_tmp[0].bytes[3], 0x3c);
  b.s().opmask[1] = u64(1) << 31;
  b.call(H_evex_load, end - 4, access.pack());
  EXPECT_EQ(b.pending_vector(), kPFv);
}

// ---- Host code ------------------------------------------------------------------------------------------------------

/// Translates and compiles for a host with AVX-512, whatever this one has; nothing is run.
class HostCode {
 public:
  HostCode() : translator_(make_helper_table(), kAllFeatures), backend_({.avx512vl = true}), room_(kRoom) {
    EXPECT_TRUE(backend_.configure(translator_.layout()).has_value());
    size_t used = 0;
    auto thunks = backend_.emit_thunks({room_.data(), room_.data(), kHotAt}, translator_.layout(), {}, used);
    EXPECT_TRUE(thunks.has_value());
    if (thunks) thunks_ = *thunks;
  }

  std::vector<u8> compile(const std::vector<u8>& code) {
    OneInsn guest(code);
    ir::Builder builder(block_, translator_.layout(), translator_.helpers());
    translator_.translate({.pc = 0x1000, .mode = kUsesAvx512, .max_insns = 1}, guest, builder);
    EXPECT_TRUE(ir::verify(block_, translator_.layout(), translator_.helpers()).has_value());
    u8* const hot = room_.data() + kHotAt;
    ir::CompiledBlock compiled;
    const ir::CompileRequest request{.block = &block_,
                                     .layout = &translator_.layout(),
                                     .helpers = &translator_.helpers(),
                                     .thunks = &thunks_,
                                     .hot = {hot, hot, kPart},
                                     .cold = {hot + kPart, hot + kPart, kPart}};
    EXPECT_EQ(backend_.compile(request, compiled), ir::CompileStatus::Ok);
    return {hot, hot + compiled.hot_size};
  }
  tcg::HostVectorHomes homes() const { return *translator_.helpers().helpers[H_evex].vectors; }

 private:
  static constexpr size_t kHotAt = 16 * 1024, kPart = 16 * 1024, kRoom = kHotAt + 2 * kPart;
  X86Translator translator_;
  tcg::x86_64::X64Backend backend_;
  std::vector<u8> room_;
  tcg::ThunkTable thunks_;
  ir::Block block_;
};

/// Reads host code line by line and says which of the guest's registers are where.
class Reader {
 public:
  explicit Reader(tcg::HostVectorHomes homes) : homes_(homes) {
    for (unsigned i = 0; i < 16; ++i) vectors_[i] = i;  // pinned
  }

  /// The guest's instruction as it would be written with the host's registers and slots: "" if it is not there.
  std::string find(const std::vector<std::string>& lines, const std::string& mnemonic) {
    for (size_t i = 0; i < lines.size(); ++i) {
      if (!lines[i].starts_with(mnemonic + " ")) {
        learn(lines[i]);
        continue;
      }
      const std::string dest =
          lines[i].substr(mnemonic.size() + 1, lines[i].find_first_of(",{", mnemonic.size()) - mnemonic.size() - 1);
      find_home(lines, i + 1, dest);
      return rename(lines[i]);
    }
    return "";
  }

  /// Guest's or host's instruction with neutral names. Guest: registers are themselves.
  std::string rename(const std::string& line) const {
    std::string out;
    for (size_t i = 0; i < line.size();) {
      size_t end = i;
      while (end < line.size() && std::isalnum(line[end])) ++end;
      if (line[i] == '[') {
        end = line.find(']', i) + 1;
        out += is_slot(line.substr(i, end - i), tcg::HostVector::kMemorySlot, 0) || is_guest_ ? "[M]"
                                                                                              : line.substr(i, end - i);
      } else if (end == i) {
        out += line[end++];
      } else {
        out += name(line.substr(i, end - i));
      }
      i = end;
    }
    return out;
  }
  void set_guest() { is_guest_ = true; }

 private:
  static bool number(const std::string& text, size_t at, unsigned& n) {
    if (at >= text.size() || !std::isdigit(text[at])) return false;
    n = unsigned(std::strtoul(text.c_str() + at, nullptr, 10));
    return true;
  }
  static bool is_general(const std::string& w) {
    constexpr std::array kNames = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                   "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
    unsigned n = 0;
    return std::ranges::find(kNames, w) != kNames.end() || (w[0] == 'r' && number(w, 1, n));
  }
  std::string name(const std::string& word) const {
    unsigned n = 0;
    if (word.size() > 3 && word.compare(1, 2, "mm") == 0 && number(word, 3, n)) {
      const auto found = vectors_.find(n);
      return fmt::format("{}mm:{}", word[0], is_guest_ ? int(n) : found == vectors_.end() ? -1 : int(found->second));
    }
    if (word.size() == 2 && word[0] == 'k' && number(word, 1, n)) {
      const auto found = masks_.find(n);
      return fmt::format("k:{}", is_guest_ ? int(n) : found == masks_.end() ? -1 : int(found->second));
    }
    if (is_general(word)) {
      const bool is_narrow = word[0] == 'e' || word.back() == 'd';
      return is_guest_ || has_general_ ? (is_narrow ? "general:32" : "general:64") : word;
    }
    return word;
  }
  bool is_slot(const std::string& memory, unsigned slot, unsigned more) const {
    return memory == fmt::format("[rsp+0x{:x}]", homes_.vectors + i32(slot * 64 + more));
  }
  bool vector_slot(const std::string& line, unsigned more, unsigned& slot) const {
    for (slot = 0; slot < 32; ++slot)
      if (line.find(fmt::format("[rsp+0x{:x}]", homes_.vectors + i32(slot * 64 + more))) != std::string::npos)
        return true;
    return false;
  }
  bool mask_slot(const std::string& line, unsigned& mask) const {
    for (mask = 0; mask < 8; ++mask)
      if (line.find(fmt::format("[rsp+0x{:x}]", homes_.masks + i32(mask * 8))) != std::string::npos) return true;
    return false;
  }
  static std::vector<std::string> operands(const std::string& line) {
    std::vector<std::string> list(1);
    for (size_t i = line.find(' ') + 1; i != 0 && i < line.size(); ++i) {
      if (line[i] == ',') {
        list.emplace_back();
      } else {
        list.back() += line[i];
      }
    }
    return list;
  }

  void learn(const std::string& line) {
    const std::vector<std::string> o = operands(line);
    unsigned n = 0, slot = 0;
    if (line.starts_with("vmovups ") && number(o[0], 3, n) && vector_slot(line, 0, slot)) vectors_[n] = slot;
    if (line.starts_with("vinsertf64x4 ") && number(o[0], 3, n) && vector_slot(line, 32, slot)) {
      unsigned low = 0;
      EXPECT_TRUE(number(o[1], 3, low) && vectors_.contains(low) && vectors_[low] == slot) << line;
      vectors_[n] = slot;
    }
    if (line.starts_with("kmovq k") && number(o[0], 1, n) && mask_slot(line, slot)) masks_[n] = slot;
    if (line.starts_with("mov r11,") &&
        line.find(fmt::format("[rsp+0x{:x}]", homes_.vectors + 64 * i32(tcg::HostVector::kGeneralSlot))) !=
            std::string::npos)
      has_general_ = true;
  }

  /// A result that was not read before says where it belongs when it is stored.
  void find_home(const std::vector<std::string>& lines, size_t from, const std::string& dest) {
    unsigned n = 0, slot = 0;
    for (size_t i = from; i < lines.size(); ++i) {
      const std::vector<std::string> o = operands(lines[i]);
      if (o.size() < 2) continue;
      if (dest[0] == 'k' && lines[i].starts_with("kmovq QWORD") && o[1] == dest && mask_slot(lines[i], slot) &&
          number(dest, 1, n))
        return void(masks_[n] = slot);
      if (dest[0] == 'r' && lines[i].starts_with("mov QWORD") && o[1] == "r11") return void(has_general_ = true);
      if (dest.size() < 4 || !number(dest, 3, n) || n < 16) continue;
      unsigned from_register = 0;
      if (lines[i].starts_with("vmovups ZMMWORD") && number(o[1], 3, from_register) && from_register == n &&
          vector_slot(lines[i], 0, slot))
        return void(vectors_[n] = slot);
      if (lines[i].starts_with("vextractf64x4 ") && number(o[1], 3, from_register) && from_register == n &&
          vector_slot(lines[i], 32, slot))
        return void(vectors_[n] = slot);
    }
  }

  tcg::HostVectorHomes homes_;
  std::map<unsigned, unsigned> vectors_, masks_;
  bool has_general_ = false, is_guest_ = false;
};

TEST(Fp16HostCode, IsTheSameInstructionOnTheSameRegisters) {
  if (!has_objdump()) GTEST_SKIP() << "cannot run here: no objdump that knows AVX512-FP16";
  HostCode host;
  std::mt19937_64 random(5);
  std::vector<std::vector<u8>> guest_codes;
  std::vector<u8> all;
  unsigned wrong = 0, compared = 0;
  for (const Row* row : fp16_rows()) {
    guest_codes.clear();
    all.clear();
    for (const EvexCase& c : evex_cases(*row, true, 1, random)) {
      guest_codes.push_back(c.code);
      const std::vector<u8> code = host.compile(c.code);
      all.insert(all.end(), code.begin(), code.end());
      all.insert(all.end(), {0xf4});  // HLT ends one
    }
    const std::vector<std::string> guest = objdump(guest_codes, true, Syntax::Intel);
    const std::vector<std::string> lines = objdump(all);
    size_t at = 0;
    for (size_t i = 0; i < guest.size(); ++i) {
      const auto end = std::find(lines.begin() + long(at), lines.end(), "hlt");
      const std::vector<std::string> own(lines.begin() + long(at), end);
      at = size_t(end - lines.begin()) + 1;
      Reader as_guest(host.homes()), as_host(host.homes());
      as_guest.set_guest();
      const std::string mnemonic = guest[i].substr(0, guest[i].find(' '));
      const std::string wanted = as_guest.rename(guest[i]), found = as_host.find(own, mnemonic);
      ++compared;
      if (wanted == found) continue;
      if (++wrong < 10)
        ADD_FAILURE() << guest[i] << ": " << wanted << " / " << found << "\n"
                      << fmt::format("{}", fmt::join(own, "\n"));
    }
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(compared, 1500u);
}

// ---- Models ---------------------------------------------------------------------------------------------------------

bool host_has_fp16() { return parse_cpu_option("max")->features.has(Cpuid::Avx512fp16); }

TEST(Fp16Model, WhatTheHostLacksIsDroppedInTheSummaryLine) {
  if (host_has_fp16()) GTEST_SKIP() << "cannot run here: this processor has AVX512-FP16";
  const auto model = parse_cpu_option("max,+avx512-fp16");
  ASSERT_TRUE(model);
  EXPECT_FALSE(model->features.has(Cpuid::Avx512fp16));
  EXPECT_EQ(model->dropped, "cpu max: without avx512-fp16");
  EXPECT_FALSE(insn_features(model->features) & feature_bit(InsnFeature::kAvx512fp16));
  const auto enforced = parse_cpu_option("max,+avx512-fp16,enforce");
  ASSERT_FALSE(enforced);
  EXPECT_NE(enforced.error().text().find("avx512-fp16"), std::string::npos);
}

/// What such a CPU's translator makes of every row: #UD.
TEST(Fp16Model, WithoutItEveryRowRaisesUd) {
  const InsnFeatures features = insn_features(parse_cpu_option("max,-avx512-fp16")->features);
  X86Translator translator(make_helper_table(), features);
  std::mt19937_64 random(6);
  for (const Row* row : fp16_rows()) {
    for (const EvexCase& c : evex_cases(*row, true, 1, random)) {
      OneInsn guest(c.code);
      ir::Block block;
      ir::Builder builder(block, translator.layout(), translator.helpers());
      translator.translate({.pc = 0x1000, .mode = kUsesAvx512, .max_insns = 1}, guest, builder);
      ASSERT_EQ(block.ops.back().opcode, ir::Opcode::Trap) << row->name;
      EXPECT_EQ(block.ops.back().c.bits(), u32(kUD)) << row->name;
    }
  }
}

TEST(Fp16Model, IsOnlyInMaxAndGoesWithAvx512) {
  for (const std::string& name : model_names()) {
    if (name == "max") continue;
    EXPECT_FALSE(parse_cpu_option(name)->features.has(Cpuid::Avx512fp16)) << name;
  }
  for (const char* option : {"max,-avx512f", "max,-avx512bw", "max,-avx512-fp16"})
    EXPECT_FALSE(parse_cpu_option(option)->features.has(Cpuid::Avx512fp16)) << option;
  CpuBench b("max");
  EXPECT_EQ(b.cpu.cpuid(7, 0).edx >> 23 & 1, unsigned(host_has_fp16()));
}

}  // namespace
}  // namespace emu::x86::test
