// SPDX-License-Identifier: Apache-2.0
// AVX-512: how EVEX is decoded, which elements of masked operands fault, and what XSAVE and the mode make of the state.
// What instructions compute is tests/isa's affair.
#include <gtest/gtest.h>

#include "target/x86/decode.h"
#include "target/x86/evex_access.h"
#include "target/x86/mode_key.h"
#include "tcg/abi/host_vector.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

constexpr Mode kMode64{1u << Mode::kPE | 1u << Mode::kCode64};
constexpr u64 kArea = 0x200000, kUnmapped = u64(1) << 40;

Insn decoded(std::initializer_list<int> list, InsnFeatures features = kAllFeatures) {
  std::vector<u8> bytes(list.begin(), list.end());
  bytes.resize(15, 0x90);
  Insn insn;
  EXPECT_EQ(decode(bytes, kMode64, features, insn), DecodeStatus::Ok);
  return insn;
}

bool is_undefined(const Insn& insn) { return insn.row == &kUndefinedRow; }

TEST(EvexDecode, FieldsOfThePrefix) {
  const Insn insn = decoded({0x62, 0x21, 0x05, 0xcb, 0xfe, 0xe1});  // vpaddd zmm28{k3}{z}, zmm15, zmm17
  ASSERT_STREQ(insn.row->name, "VPADDD");
  EXPECT_EQ(insn.reg, 28);
  EXPECT_EQ(insn.vvvv, 15);
  EXPECT_EQ(insn.rm, 17);
  EXPECT_EQ(insn.mask, 3);
  EXPECT_TRUE(insn.zeroing);
  EXPECT_EQ(insn.length_log2, 6);
  EXPECT_EQ(insn.length, 6);
}

TEST(EvexDecode, ShortDisplacementsCountInOperands) {
  EXPECT_EQ(decoded({0x62, 0xf1, 0x75, 0x48, 0xfe, 0x40, 0x02}).disp, 128);  // vpaddd zmm0, zmm1, [rax+2*64]
  EXPECT_EQ(decoded({0x62, 0xf1, 0x75, 0x58, 0xfe, 0x40, 0x02}).disp, 8);    // ..., dword [rax+2*4]{1to16}
  EXPECT_EQ(decoded({0x62, 0xf1, 0x75, 0x08, 0xfe, 0x40, 0xff}).disp, -16);  // xmm
  EXPECT_EQ(decoded({0x62, 0xf1, 0x76, 0x08, 0x58, 0x40, 0x03}).disp, 12);   // vaddss
  EXPECT_EQ(decoded({0x62, 0xf2, 0x7d, 0x48, 0x21, 0x40, 0x01}).disp, 16);   // vpmovsxbd zmm0, [rax+16]
}

TEST(EvexDecode, ReservedFieldsAreUndefined) {
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf1, 0x75, 0x68, 0xfe, 0xc2})));        // L'L = 3
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf9, 0x75, 0x48, 0xfe, 0xc2})));        // a reserved bit
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf1, 0x71, 0x48, 0xfe, 0xc2})));        // the bit that is always 1
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf1, 0x75, 0xc8, 0xfe, 0xc2})));        // z without a mask
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf1, 0x75, 0x58, 0xfe, 0xc2})));        // b with registers
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf1, 0x75, 0x58, 0xfc, 0x00})));        // bytes are not broadcast
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf1, 0x75, 0xca, 0x76, 0xc2})));        // a compare does not zero
  EXPECT_TRUE(is_undefined(decoded({0x62, 0xf2, 0x7d, 0x48, 0x90, 0x04, 0x08})));  // a gather needs a mask
  EXPECT_TRUE(is_undefined(decoded({0x66, 0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2})));
  EXPECT_FALSE(is_undefined(decoded({0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2})));
}

TEST(EvexDecode, RoundingTakesThePlaceOfTheLength) {
  const Insn insn = decoded({0x62, 0xf1, 0x74, 0x18, 0x58, 0xc2});  // vaddps zmm0, zmm1, zmm2, {rn-sae}
  EXPECT_STREQ(insn.row->name, "VADDPS");
  EXPECT_EQ(insn.length_log2, 6);
  EXPECT_EQ(insn.evex_ll, 0);
}

TEST(EvexDecode, FeaturesMakeRows) {
  const InsnFeatures no_vl = kAllFeatures & ~feature_bit(InsnFeature::kAvx512vl);
  const InsnFeatures no_f = kAllFeatures & ~feature_bit(InsnFeature::kAvx512f);
  const InsnFeatures no_bw = kAllFeatures & ~feature_bit(InsnFeature::kAvx512bw);
  const auto exists = [](std::initializer_list<int> bytes, InsnFeatures features) {
    const Insn insn = decoded(bytes, features);
    return !is_undefined(insn) && !insn.row->is_missing();
  };
  EXPECT_TRUE(exists({0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2}, no_vl));
  EXPECT_FALSE(exists({0x62, 0xf1, 0x75, 0x28, 0xfe, 0xc2}, no_vl));
  EXPECT_FALSE(exists({0x62, 0xf1, 0x75, 0x48, 0xfe, 0xc2}, no_f));
  EXPECT_FALSE(exists({0x62, 0xf1, 0x75, 0x48, 0xfc, 0xc2}, no_bw));
}

TEST(HostVector, SurvivesItsWord) {
  using Kind = tcg::HostVector::Kind;
  const tcg::HostVector v{.map = 3,
                          .pp = 2,
                          .opcode = 0xa5,
                          .imm = 0x5a,
                          .has_imm = true,
                          .w = true,
                          .z = true,
                          .ll = 3,
                          .mask = 5,
                          .length = 2,
                          .reg = {Kind::Mask, 7},
                          .vvvv = {Kind::Vector, 31},
                          .rm = {Kind::Memory, 33},
                          .dest = tcg::HostVector::Dest::Reg,
                          .makes_flags = true};
  const u64 word = v.pack();
  EXPECT_EQ(tcg::HostVector::unpack(word).pack(), word);
  const tcg::HostVector same = tcg::HostVector::unpack(word);
  EXPECT_EQ(same.vvvv.index, 31);
  EXPECT_EQ(same.rm.index, 33);
  EXPECT_TRUE(same.makes_flags);
  EXPECT_FALSE(same.reads_dest);
}

/// Elements that the mask leaves out may lie on a page that is not there.
TEST(EvexMemory, OnlySelectedElementsFault) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  X86State& s = b.s();
  const u64 end = 4 << 20;  // behind the last page
  b.put(end - 8, 8, 0x2222222211111111);
  const EvexAccess access{.slot = 32, .mask = 1, .element_log2 = 2, .bytes = 64};
  s.opmask[1] = 3;
  b.call(H_evex_load, end - 8, access.pack());
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(s.vec[32 - 32].bytes[0], 0);  // the registers are left alone
  EXPECT_EQ(s.vec_tmp[0].bytes[4], 0x22);
  EXPECT_EQ(s.vec_tmp[0].bytes[8], 0);
  s.opmask[1] = 7;
  b.call(H_evex_load, end - 8, access.pack());
  EXPECT_EQ(b.pending_vector(), kPFv);
}

TEST(EvexMemory, StoreThatFaultsStoresNothing) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  X86State& s = b.s();
  const u64 end = 4 << 20;
  std::fill_n(s.vec[5].bytes, 64, 0x77);
  const EvexAccess access{.slot = 5, .mask = 2, .element_log2 = 0, .bytes = 64};
  s.opmask[2] = 0x5;
  b.call(H_evex_store, end - 3, access.pack());
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.get(end - 3, 3), 0x770077u);
  b.put(end - 3, 3, 0);
  s.opmask[2] = 0xd;
  b.call(H_evex_store, end - 3, access.pack());
  EXPECT_EQ(b.pending_vector(), kPFv);
  EXPECT_EQ(b.get(end - 3, 3), 0u);
}

TEST(EvexMemory, CompactOperandsAreAsLongAsTheMask) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  X86State& s = b.s();
  const u64 end = 4 << 20;
  const EvexAccess access{.slot = 32, .mask = 3, .element_log2 = 3, .bytes = 64, .compact = true};
  s.opmask[3] = 0x81;
  s.vec_tmp[0].bytes[8] = 9;
  b.call(H_evex_store, end - 16, access.pack());
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.get(end - 8, 8), 9u);
  s.opmask[3] = 0x83;
  b.call(H_evex_store, end - 16, access.pack());
  EXPECT_EQ(b.pending_vector(), kPFv);
}

/// One that faults in the middle has loaded what came before, and its mask says what is left.
TEST(EvexMemory, GatherKeepsWhatIsDone) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  X86State& s = b.s();
  b.put(kArea, 8, 0x1111);
  b.put(kArea + 8, 8, 0x2222);
  std::fill_n(s.vec[20].bytes, 64, 0xee);
  const u64 indexes[8] = {0, 1, kUnmapped >> 3, 0, 0, 0, 0, 0};
  std::memcpy(s.vec[30].bytes, indexes, 64);
  s.opmask[4] = 0xf;
  const EvexGather g{.reg = 20,
                     .index = 30,
                     .mask = 4,
                     .scale = 3,
                     .index_log2 = 3,
                     .element_log2 = 3,
                     .length_log2 = 6,
                     .segment = DS,
                     .address_log2 = 3};
  b.call(H_evex_gather, kArea, g.pack());
  EXPECT_EQ(b.pending_vector(), kPFv);
  EXPECT_EQ(s.opmask[4], 0xcu);
  EXPECT_EQ(s.vec[20].bytes[0], 0x11);
  EXPECT_EQ(s.vec[20].bytes[8], 0x22);
  EXPECT_EQ(s.vec[20].bytes[16], 0xee);
}

class Avx512State : public testing::Test {
 protected:
  void SetUp() override {
    if (!b.cpu.has(Cpuid::Avx512f)) GTEST_SKIP() << "cannot run here: this processor has no AVX-512";
    b.enter_long(kCr4OSXSAVE);
    set_xcr0(0xe7);
  }
  void set_xcr0(u64 value) {
    b.s().gpr(RCX) = 0;
    b.s().gpr(RDX) = 0;
    b.s().gpr(RAX) = value;
    b.call(H_xsetbv);
  }
  CpuBench b;
};

TEST_F(Avx512State, ComponentsComeInOnePiece) {
  for (const u64 bad : {u64(0x27), u64(0x47), u64(0x87), u64(0xe3)}) {
    set_xcr0(bad);
    EXPECT_EQ(b.pending_vector(), kGP) << bad;
    CpuTestAccess::drop(b.cpu);
  }
}

TEST_F(Avx512State, XsaveRoundTrip) {
  X86State& s = b.s();
  s.opmask[7] = 0x1234;
  s.vec[3].bytes[40] = 0x33;
  s.vec[31].bytes[63] = 0x44;
  s.gpr(RAX) = 0xe7;
  s.gpr(RDX) = 0;
  b.call(H_xsave, kArea, 1, 0);
  EXPECT_EQ(b.get(kArea + 512, 8) & 0xe0, 0xe0u);
  EXPECT_EQ(b.get(kArea + 1088 + 56, 8), 0x1234u);
  EXPECT_EQ(b.get(kArea + 1152 + 3 * 32 + 8, 1), 0x33u);
  EXPECT_EQ(b.get(kArea + 1664 + 15 * 64 + 63, 1), 0x44u);
  s.opmask[7] = 0;
  s.vec[3].bytes[40] = s.vec[31].bytes[63] = 0;
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(s.opmask[7], 0x1234u);
  EXPECT_EQ(s.vec[3].bytes[40], 0x33);
  EXPECT_EQ(s.vec[31].bytes[63], 0x44);
  EXPECT_EQ(s.avx512_live, 1u);
  b.put(kArea + 512, 8, 3);
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(s.opmask[7], 0u);
  EXPECT_EQ(s.vec[3].bytes[40], 0);
  EXPECT_EQ(s.avx512_live, 0u);  // nothing above bit 255: such code need not keep it zero
}

/// The first instruction on zmm registers asks for the mode that has them.
TEST_F(Avx512State, ModeFollowsUse) {
  const auto is_on = [&] { return Mode{b.cpu.mode_key()}.has(Mode::kZmm); };
  EXPECT_TRUE(Mode{b.cpu.mode_key()}.has(Mode::kAvx512));
  EXPECT_FALSE(is_on());
  b.cpu.handle_trap(kTrapAvx512);
  EXPECT_TRUE(is_on());
  EXPECT_EQ(b.pending_vector(), -1);
  set_xcr0(7);
  EXPECT_FALSE(is_on());
}

}  // namespace
}  // namespace emu::x86
