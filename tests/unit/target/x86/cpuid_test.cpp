// SPDX-License-Identifier: Apache-2.0
#include "target/x86/translate.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

TEST(Models, MaxHasWhatLinuxWants) {
  const auto model = parse_cpu_option("max");
  ASSERT_TRUE(model) << model.error().text();
  for (Cpuid f : {Cpuid::Sse2, Cpuid::Lm, Cpuid::Pcid, Cpuid::X2apic, Cpuid::TscDeadline, Cpuid::Smap, Cpuid::RdclNo}) {
    EXPECT_TRUE(model->features.has(f)) << int(f);
  }
  EXPECT_FALSE(model->features.has(Cpuid::La57));
  EXPECT_TRUE(model->dropped.empty());
}

TEST(Models, FeaturesByEverySpelling) {
  const auto model = parse_cpu_option("max,-smap,pcid=off,+la57,lahf_lm=off,phys-bits=36");
  ASSERT_TRUE(model) << model.error().text();
  EXPECT_FALSE(model->features.has(Cpuid::Smap));
  EXPECT_FALSE(model->features.has(Cpuid::Pcid));
  EXPECT_FALSE(model->features.has(Cpuid::LahfLm));
  EXPECT_TRUE(model->features.has(Cpuid::La57));
  EXPECT_EQ(model->phys_bits, 36u);
}

TEST(Models, ErrorsNameTheNearestSpelling) {
  EXPECT_NE(parse_cpu_option("maxx").error().text().find("'max'"), std::string::npos);
  EXPECT_NE(parse_cpu_option("max,+smpa").error().text().find("'smap'"), std::string::npos);
  EXPECT_NE(parse_cpu_option("max,phys-bit=40").error().text().find("'phys-bits'"), std::string::npos);
  EXPECT_FALSE(parse_cpu_option("max,phys-bits=99"));
  EXPECT_FALSE(parse_cpu_option("max,smap=perhaps"));
  EXPECT_FALSE(parse_cpu_option("max,"));
}

TEST(Models, UntranslatedFeaturesAreNamedOnce) {
  const auto model = parse_cpu_option("max,+avx512-fp16,+vmx");
  ASSERT_TRUE(model);
  EXPECT_EQ(model->dropped, "cpu max: without vmx, avx512-fp16");
  EXPECT_FALSE(parse_cpu_option("max,+avx512-fp16,enforce=on"));
}

TEST(Models, EncodingsFollowFeatures) {
  EXPECT_TRUE(insn_features(parse_cpu_option("max")->features) & feature_bit(InsnFeature::kRdtscp));
  EXPECT_FALSE(insn_features(parse_cpu_option("max,-rdtscp")->features) & feature_bit(InsnFeature::kRdtscp));
}

TEST(Models, HelpListsModelsAndFeatures) {
  const std::string help = cpu_help();
  EXPECT_NE(help.find("qemu64"), std::string::npos);
  EXPECT_NE(help.find(" smap"), std::string::npos);
  EXPECT_NE(help.find("[avx512-fp16]"), std::string::npos);
}

TEST(Topology, ApicIdsLeaveRoomForPowersOfTwo) {
  const Topology t{.sockets = 2, .cores = 3, .threads = 2};
  EXPECT_EQ(t.package_shift(), 3u);
  EXPECT_EQ(t.apic_id(5), 5u);
  EXPECT_EQ(t.apic_id(6), 8u);
  EXPECT_EQ(t.apic_id(11), 13u);
}

TEST(CpuidLeaves, VendorBrandAndHypervisor) {
  CpuBench b;
  const CpuidResult zero = b.cpu.cpuid(0, 0);
  EXPECT_EQ(zero.ebx, 0x68747541u);  // "Auth"
  EXPECT_EQ(zero.edx, 0x69746e65u);  // "enti"
  const CpuidResult hv = b.cpu.cpuid(0x40000000, 0);
  EXPECT_EQ(hv.ebx, 0x54474354u);
  EXPECT_EQ(hv.ecx, 0x43544743u);                          // "CGTC"
  EXPECT_EQ(b.cpu.cpuid(0x80000002, 0).eax, 0x554d4551u);  // "QEMU"
}

TEST(CpuidLeaves, OsxsaveFollowsCr4) {
  CpuBench b;
  EXPECT_FALSE(b.cpu.cpuid(1, 0).ecx & bit(27));
  b.enter_long(kCr4OSXSAVE);
  EXPECT_TRUE(b.cpu.cpuid(1, 0).ecx & bit(27));
}

TEST(CpuidLeaves, TimeStampsAreGuestTimeWhereTheModelSaysSo) {
  EXPECT_EQ(CpuBench("max").cpu.cpuid(0x80000007, 0).edx, bit(8));
  EXPECT_EQ(CpuBench("Haswell").cpu.cpuid(0x80000007, 0).edx, 0u);
  EXPECT_EQ(CpuBench("qemu64,+invtsc").cpu.cpuid(0x80000007, 0).edx, bit(8));
}

TEST(CpuidLeaves, TopologyOfTwoCores) {
  CpuBench b("Haswell", 1);
  EXPECT_EQ(b.cpu.cpuid(1, 0).ebx >> 24, 1u);
  EXPECT_EQ(b.cpu.cpuid(1, 0).ebx >> 16 & 0xff, 2u);
  EXPECT_TRUE(b.cpu.cpuid(1, 0).edx & bit(28));
  EXPECT_EQ(b.cpu.cpuid(0xb, 1), (CpuidResult{1, 2, 0x201, 1}));
  EXPECT_EQ(b.cpu.cpuid(0x80000008, 0).ecx, 1u | 1u << 12);
  EXPECT_EQ(b.cpu.cpuid(4, 0).eax >> 26, 1u);
}

TEST(CpuidLeaves, AmdTopologyAndCaches) {
  CpuBench b("EPYC", 1);
  EXPECT_EQ(b.cpu.cpuid(4, 0), (CpuidResult{}));
  EXPECT_EQ(b.cpu.cpuid(0x80000005, 0), (CpuidResult{0x01ff01ff, 0x01ff01ff, 0x20080140, 0x40040140}));
  EXPECT_EQ(b.cpu.cpuid(0x80000006, 0), (CpuidResult{0, 0x42004200, 0x02006140, 0x00408140}));
  EXPECT_EQ(b.cpu.cpuid(0x8000001d, 0), (CpuidResult{0x121, 0x01c0003f, 0x3f, 1}));
  EXPECT_EQ(b.cpu.cpuid(0x8000001d, 1), (CpuidResult{0x122, 0x00c0003f, 0xff, 1}));
  EXPECT_EQ(b.cpu.cpuid(0x8000001d, 2), (CpuidResult{0x143, 0x01c0003f, 0x3ff, 0}));
  EXPECT_EQ(b.cpu.cpuid(0x8000001d, 3), (CpuidResult{0x4163, 0x03c0003f, 0x1fff, 6}));
  EXPECT_EQ(b.cpu.cpuid(0x8000001d, 4), (CpuidResult{}));
  EXPECT_EQ(b.cpu.cpuid(0x8000001e, 0), (CpuidResult{1, 1, 0, 0}));  // core 1 of node 0
}

TEST(CpuidLeaves, XsaveSize) {
  CpuBench b("max,-avx512f,-pku");
  EXPECT_EQ(b.cpu.cpuid(0xd, 0), (CpuidResult{7, 576, 832, 0}));
  EXPECT_EQ(b.cpu.cpuid(0xd, 5), (CpuidResult{}));
  CpuBench wide;
  if (!wide.cpu.has(Cpuid::Avx512f)) GTEST_SKIP() << "cannot run here: this processor has no AVX-512";
  EXPECT_EQ(wide.cpu.cpuid(0xd, 0), (CpuidResult{0x2e7, 576, 2696, 0}));
  EXPECT_EQ(wide.cpu.cpuid(0xd, 7), (CpuidResult{1024, 1664, 0, 0}));
}

TEST(CpuidLeaves, HelperFillsRegisters) {
  CpuBench b;
  b.s().gpr(RAX) = 0xffff'ffff'8000'0000;
  b.call(H_cpuid);
  EXPECT_EQ(b.s().gpr(RAX), 0x80000021u);
}

// --- MSRs -----------------------------------------------------------------------------------------------------------

TEST(Msrs, TimeStampAndAdjust) {
  CpuBench b;
  b.services.now = 5000;
  EXPECT_EQ(b.call(H_rdtsc), 5000u);
  b.write_msr(0x10, 100);
  EXPECT_EQ(b.call(H_rdtsc), 100u);
  EXPECT_EQ(b.read_msr(0x3b), u64(-4900));
  b.write_msr(0x3b, 0);
  EXPECT_EQ(b.read_msr(0x10), 5000u);
  b.port.registers[0x6e0] = 0;
  b.write_msr(0x10, 100);
  b.write_msr(0x6e0, 300);
  EXPECT_EQ(b.port.registers[0x6e0], 5200u);
  EXPECT_EQ(b.read_msr(0x6e0), 300u);
}

TEST(Msrs, UnknownOnesFault) {
  CpuBench b;
  b.read_msr(0x12345678);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.read_msr(0x1b);  // the port does not know it
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Msrs, PatAndMtrrsAreChecked) {
  CpuBench b;
  b.write_msr(0x277, 0x0007040600070402);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.write_msr(0x277, 0x0407050600070106);
  EXPECT_EQ(b.pending_vector(), -1);
  b.write_msr(0x20f, 0xff'ffff'f800);
  EXPECT_EQ(b.read_msr(0x20f), 0xff'ffff'f800u);
  EXPECT_EQ(b.read_msr(0xfe), 0x508u);
  b.write_msr(0x26f, 0x0606060606060606);
  EXPECT_EQ(b.read_msr(0x26f), 0x0606060606060606u);
}

TEST(Msrs, EferGuardsLongMode) {
  CpuBench b;
  b.write_msr(0xc0000080, bit64(12));
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuBench c;
  c.enter_long();
  c.write_msr(0xc0000080, kEferNXE);
  EXPECT_EQ(c.pending_vector(), kGP);
}

/// What Linux 6.1, SeaBIOS and OVMF touch on such a CPU: each answers, or is known to be absent.
TEST(Msrs, ArchCapabilitiesAndOthersAnswer) {
  CpuBench b;
  b.enter_long();
  for (u32 index : {0x10au, 0x8bu, 0x17u, 0x179u, 0x400u, 0x427u, 0x1d9u, 0x1a0u, 0x48u, 0xc0010015u, 0xc0010055u,
                    0xc0011029u, 0xc0010000u, 0xc0010004u, 0xc0000103u, 0x2ffu, 0x250u}) {
    b.read_msr(index);
    EXPECT_EQ(b.pending_vector(), -1) << std::hex << index;
    CpuTestAccess::drop(b.cpu);
  }
  EXPECT_TRUE(b.read_msr(0x10a) & 1);
  EXPECT_TRUE(b.read_msr(0x10a) >> 62 & 1);  // ITS_NO
}

TEST(Dump, LooksLikeInfoRegisters) {
  CpuBench b;
  b.enter_long();
  const std::string text = b.cpu.dump_registers();
  EXPECT_EQ(text.rfind("RAX=", 0), 0u) << text;
  EXPECT_NE(text.find("CS =0040 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]"), std::string::npos) << text;
  EXPECT_NE(text.find("TR =0030"), std::string::npos);
  EXPECT_NE(text.find("XMM15="), std::string::npos);
}

}  // namespace
}  // namespace emu::x86
