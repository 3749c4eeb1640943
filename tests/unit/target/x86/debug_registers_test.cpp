// SPDX-License-Identifier: Apache-2.0
#include "target/x86/debug_registers.h"

#include <gtest/gtest.h>

#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

class DebugRegisters : public testing::Test {
 protected:
  void use(const char* model) {
    bench_ = std::make_unique<CpuBench>(model);
    registers_ = make_debug_registers(bench_->cpu);
  }
  /// Number and size by name; number 999: none.
  std::pair<unsigned, unsigned> find(std::string_view name) const {
    unsigned number = 0;
    for (const auto& feature : registers_->features()) {
      for (const auto& r : feature.registers) {
        if (r.name == name) return {number, r.bytes()};
        number++;
      }
    }
    return {999, 0};
  }
  u64 get(std::string_view name) const {
    const auto [number, bytes] = find(name);
    EXPECT_NE(number, 999u) << name;
    std::vector<u8> value(bytes);
    registers_->read(number, value);
    u64 word = 0;
    std::memcpy(&word, value.data(), std::min<std::size_t>(8, bytes));
    return word;
  }
  bool set(std::string_view name, u64 word) {
    const auto [number, bytes] = find(name);
    EXPECT_NE(number, 999u) << name;
    std::vector<u8> value(bytes);
    std::memcpy(value.data(), &word, std::min<std::size_t>(8, bytes));
    return registers_->write(number, value);
  }
  X86State& s() { return bench_->cpu.state(); }

  std::unique_ptr<CpuBench> bench_;
  std::unique_ptr<target::DebugRegisters> registers_;
};

TEST_F(DebugRegisters, NumbersAreGdbsOfX86_64) {
  use("max");
  EXPECT_EQ(registers_->architecture(), "i386:x86-64");
  const std::pair<const char*, unsigned> kKnown[] = {
      {"rax", 0}, {"rbx", 1},  {"rcx", 2},    {"rdx", 3},     {"rsi", 4},   {"rdi", 5},   {"rbp", 6},
      {"rsp", 7}, {"r8", 8},   {"rip", 16},   {"eflags", 17}, {"cs", 18},   {"ss", 19},   {"ds", 20},
      {"gs", 23}, {"st0", 24}, {"fctrl", 32}, {"fop", 39},    {"xmm0", 40}, {"mxcsr", 56}};
  for (const auto& [name, number] : kKnown) EXPECT_EQ(find(name).first, number) << name;
  EXPECT_EQ(find("st0").second, 10u);
  EXPECT_EQ(find("eflags").second, 4u);
}

TEST_F(DebugRegisters, ACpuWithoutLongModeHasTheLayoutOfI386) {
  use("qemu32");
  EXPECT_EQ(registers_->architecture(), "i386");
  EXPECT_EQ(find("eip").first, 8u);
  EXPECT_EQ(find("st0").first, 16u);
  EXPECT_EQ(find("xmm7").first, 39u);
  EXPECT_EQ(find("xmm8").first, 999u);
}

TEST_F(DebugRegisters, AvxIsThereWhenTheCpuHasIt) {
  use("max");
  EXPECT_NE(find("ymm15h").first, 999u);
  use("qemu64");
  EXPECT_EQ(find("ymm0h").first, 999u);
}

TEST_F(DebugRegisters, Avx512AndKeysAreThereWhenTheCpuHasThem) {
  use("max");
  if (!bench_->cpu.has(Cpuid::Avx512f)) GTEST_SKIP() << "cannot run here: this processor has no AVX-512";
  for (const char* name : {"xmm16", "xmm31", "ymm16h", "ymm31h", "k0", "k7", "zmm0h", "zmm31h", "pkru"}) {
    EXPECT_NE(find(name).first, 999u) << name;
  }
  EXPECT_EQ(find("zmm0h").second, 32u);
  use("qemu64");
  for (const char* name : {"xmm16", "k0", "zmm0h", "pkru"}) EXPECT_EQ(find(name).first, 999u) << name;
}

TEST_F(DebugRegisters, UpperHalvesOfVectorsAreWrittenOnceTheGuestHasEnabledThem) {
  use("max");
  if (!bench_->cpu.has(Cpuid::Avx512f)) GTEST_SKIP() << "cannot run here: this processor has no AVX-512";
  bench_->enter_long();
  for (const char* name : {"xmm16", "ymm31h", "k3", "zmm5h"}) {
    EXPECT_FALSE(set(name, 0x1234)) << name;
    EXPECT_EQ(get(name), 0u);
  }
  s().cr4 |= kCr4OSXSAVE;
  s().xcr0 = kXcr0Avx512 | 1;
  for (const char* name : {"xmm16", "ymm31h", "k3"}) EXPECT_TRUE(set(name, 0x1234)) << name;
  EXPECT_EQ(s().avx512_live, 0u);
  EXPECT_TRUE(set("zmm5h", 0x5678));
  EXPECT_EQ(s().avx512_live, 1u) << "now instructions have to clear it";
  EXPECT_EQ(s().opmask[3], 0x1234u);
  EXPECT_EQ(s().vec[16].bytes[0], 0x34);
  EXPECT_EQ(s().vec[31].bytes[16], 0x34);
  EXPECT_EQ(s().vec[5].bytes[32], 0x78);
  const std::string dump = bench_->cpu.dump_registers();
  EXPECT_NE(dump.find("Opmask03=0000000000001234"), std::string::npos);
  EXPECT_NE(dump.find("ZMM05=0000000000000000 0000000000000000 0000000000000000 0000000000005678 "), std::string::npos);
  s().xcr0 = 7;
  EXPECT_NE(bench_->cpu.dump_registers().find("\nYMM15="), std::string::npos);
  s().xcr0 = 3;
  EXPECT_NE(bench_->cpu.dump_registers().find(" XMM15="), std::string::npos);
}

TEST_F(DebugRegisters, ProtectionKeysAreWritten) {
  use("max");
  bench_->enter_long();
  EXPECT_TRUE(set("pkru", 0x5555'5554));
  EXPECT_EQ(s().pkru, 0x5555'5554u);
}

TEST_F(DebugRegisters, AllAreReadAndTakeTheirOwnValueBack) {
  use("max");
  bench_->enter_long();
  unsigned number = 0;
  for (const auto& feature : registers_->features()) {
    for (const auto& r : feature.registers) {
      std::vector<u8> value(r.bytes()), again(r.bytes());
      registers_->read(number, value);
      EXPECT_TRUE(registers_->write(number, value)) << r.name;
      registers_->read(number, again);
      EXPECT_EQ(value, again) << r.name;
      number++;
    }
  }
  EXPECT_FALSE(bench_->cpu.has_pending_fault());
}

TEST_F(DebugRegisters, ValuesArriveInTheState) {
  use("max");
  bench_->enter_long();
  EXPECT_TRUE(set("r15", 0x123456789abcdef0));
  EXPECT_EQ(s().gpr(R15), 0x123456789abcdef0u);
  EXPECT_TRUE(set("eflags", kCF | kZF | kDF | kIF | 2));
  EXPECT_EQ(read_rflags(s()), u64(kCF | kZF | kDF | kIF | 2));
  EXPECT_EQ(s().df, -1);
  EXPECT_TRUE(set("rip", 0x4242));
  EXPECT_EQ(s().hdr.pc, 0x4242u);
  EXPECT_TRUE(set("fs_base", 0x7000));
  EXPECT_EQ(s().segment_base(FS), 0x7000u);
  EXPECT_FALSE(set("fs_base", u64(1) << 60)) << "not canonical";
  EXPECT_TRUE(set("mxcsr", 0x1f82));
  EXPECT_EQ(get("mxcsr"), 0x1f82u);
  EXPECT_TRUE(set("fctrl", 0x27f));
  EXPECT_EQ(get("fctrl"), 0x27fu);
  EXPECT_TRUE(set("cr4", s().cr4 | kCr4DE));
  EXPECT_TRUE(s().cr4 & kCr4DE);
}

TEST_F(DebugRegisters, WhatTheCpuRefusesIsRefusedWithoutAFault) {
  use("max");
  bench_->enter_long();
  EXPECT_FALSE(set("cr0", kCr0PG));
  EXPECT_FALSE(set("cr4", ~u64(0)));
  EXPECT_FALSE(set("efer", ~u64(0)));
  EXPECT_FALSE(set("cs", 0x1234));
  EXPECT_FALSE(set("tr", 0x1234));
  EXPECT_FALSE(bench_->cpu.has_pending_fault());
}

TEST_F(DebugRegisters, RealModeSelectorsMoveTheirBases) {
  use("max");
  EXPECT_TRUE(set("ds", 0x1234));
  EXPECT_EQ(get("ds_base"), 0x12340u);
  EXPECT_TRUE(set("rip", 0x10));
  EXPECT_TRUE(set("cs", 0x2000));
  EXPECT_EQ(get("rip"), 0x10u);
  EXPECT_EQ(s().hdr.pc, 0x20010u);
}

}  // namespace
}  // namespace emu::x86
