// SPDX-License-Identifier: Apache-2.0
// Every translated SIMD and x87 row, random forms and awkward values: IR interpreter against the host CPU.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "unit/target/x86/simd_case.h"

namespace emu::x86::test {
namespace {

using E = Emitter;

/// What AVX-512 adds is left to tests/isa, which can see its registers.
bool is_simd(const Row& row) { return (row.has(kFpuUse) && !row.is_avx512()) || row.emitter == &E::x87_wait; }

std::string hex(const u8* bytes, size_t n) {
  std::string s;
  for (size_t i = n; i-- > 0;) s += fmt::format("{:02x}", bytes[i]);
  return s;
}

std::string difference(const FpuState& want, const FpuState& got, unsigned vectors) {
  std::string s;
  const auto word = [&](const char* name, u32 a, u32 b) {
    if (a != b) s += fmt::format("\n  {}: {:#x} for {:#x}", name, b, a);
  };
  word("FCW", want.get<u16>(FpuState::kControl), got.get<u16>(FpuState::kControl));
  word("FSW", want.get<u16>(FpuState::kStatus), got.get<u16>(FpuState::kStatus));
  word("tags", want.get<u8>(FpuState::kTags), got.get<u8>(FpuState::kTags));
  word("MXCSR", want.get<u32>(FpuState::kMxcsr), got.get<u32>(FpuState::kMxcsr));
  for (unsigned i = 0; i < 8; ++i)
    if (std::memcmp(want.st(i), got.st(i), 10) != 0)
      s += fmt::format("\n  ST({}): {} for {}", i, hex(got.st(i), 10), hex(want.st(i), 10));
  for (unsigned i = 0; i < vectors; ++i)
    if (std::memcmp(want.xmm(i), got.xmm(i), 16) != 0)
      s += fmt::format("\n  XMM{}: {} for {}", i, hex(got.xmm(i), 16), hex(want.xmm(i), 16));
  return s;
}

std::string upper_difference(const Registers& want, const Registers& got, unsigned vectors) {
  std::string s;
  for (unsigned i = 0; i < vectors; ++i)
    if (std::memcmp(want.upper[i], got.upper[i], 16) != 0)
      s += fmt::format("\n  YMM{} high: {} for {}", i, hex(got.upper[i], 16), hex(want.upper[i], 16));
  return s;
}

std::string describe(const SimdCase& c) {
  const FpuState& fpu = c.registers.fpu;
  std::string s = fmt::format(
      "{}: {}\n  before: FCW {:#x} FSW {:#x} tags {:#x} MXCSR {:#x} flags {:#x}", c.insn.row->name,
      [&] {
        std::string bytes;
        for (const u8 b : c.code) bytes += fmt::format("{:02x} ", b);
        return bytes;
      }(),
      fpu.get<u16>(FpuState::kControl), fpu.get<u16>(FpuState::kStatus), fpu.get<u8>(FpuState::kTags),
      fpu.get<u32>(FpuState::kMxcsr), c.registers.flags);
  s += fmt::format("\n  xmm reg {} rm {}", hex(fpu.xmm(c.insn.reg), 16), hex(fpu.xmm(c.insn.rm), 16));
  if (c.insn.row->is_vex)
    s += fmt::format("\n  vvvv {} high reg {} rm {} vvvv {}", hex(fpu.xmm(c.insn.vvvv), 16),
                     hex(c.registers.upper[c.insn.reg], 16), hex(c.registers.upper[c.insn.rm], 16),
                     hex(c.registers.upper[c.insn.vvvv], 16));
  s += fmt::format("\n  ST(0) {} ST(rm) {}", hex(fpu.st(0), 10), hex(fpu.st(c.insn.rm & 7), 10));
  return s;
}

/// The instruction and data pointers in an environment are host addresses on one side, and not kept on the other.
void blank_pointers(const SimdCase& c, u8* operand) {
  if (c.insn.row->emitter != &E::x87_image) return;
  if (c.insn.row->arg != H_fsave && c.insn.row->arg != H_fstenv) return;
  if (c.insn.size == 1) {
    std::memset(operand + 6, 0, 8);
  } else {
    std::memset(operand + 12, 0, 16);
  }
}

struct Tally {
  int rows = 0, compared = 0, faulted = 0, by_helper = 0;
  std::map<std::string, int> failures;
  std::set<std::string> never, missing;
};

class SimdComparison {
 public:
  explicit SimdComparison(NativeHarness& native)
      : native_(native), translated_(u64(native.buffer()), NativeHarness::kBufferSize), maker_(random_, native) {}

  void compare_row(const Row& row, int times) {
    int done = 0;
    for (int attempt = 0; attempt < 20 * times && done < times; ++attempt) {
      const SimdCase c = maker_.make(row);
      if (!c.is_usable) continue;
      compare(c);
      ++done;
    }
    ++tally.rows;
    if (done == 0) tally.never.insert(fmt::format("{} {:02x}", row.name, row.opcode));
  }
  Tally tally;

 private:
  void compare(const SimdCase& c) {
    std::vector<u8> before(NativeHarness::kBufferSize), after(NativeHarness::kBufferSize);
    maker_.fill_memory(c, before);
    std::memcpy(native_.buffer(), before.data(), before.size());
    Registers want = c.registers, got = c.registers;
    const Outcome host = native_.run(c.code, want);
    if (c.insn.is_memory) blank_pointers(c, native_.buffer() + (c.address - u64(native_.buffer())));
    std::memcpy(after.data(), native_.buffer(), after.size());
    std::memcpy(native_.buffer(), before.data(), before.size());
    const Outcome ours = translated_.run(c.code, native_.code_address(), got, maker_.mode());
    if (c.insn.is_memory && host == Outcome::Done)
      blank_pointers(c, native_.buffer() + (c.address - u64(native_.buffer())));

    ++tally.compared;
    tally.faulted += host == Outcome::Fault;
    for (const ir::Op& op : translated_.block().ops) tally.by_helper += op.opcode == ir::Opcode::Call;
    std::string wrong;
    // SHA rows fault where the operand is not aligned, as the manual says; some of AMD's processors do not.
    if (c.insn.row->feature == InsnFeature::kSha && c.insn.is_memory && c.address % 16 != 0) return;
    // VPEXTRQ and VPINSRQ outside 64-bit mode: W is ignored, says the manual; some of AMD's processors raise #UD.
    const bool is_quad = c.insn.row->is_vex && c.insn.vex_w && c.insn.row->size_rule == SizeRule::Y;
    if (is_quad && !native_.is_64() && host == Outcome::Trap) return;
    if (host != ours) wrong += fmt::format(" outcome {} for {}", int(ours), int(host));
    if (host == Outcome::Done && ours == Outcome::Done) {
      const unsigned registers = native_.is_64() ? 16 : 8;
      for (unsigned r = 0; r < registers; ++r)
        if (want.gpr[r] != got.gpr[r]) wrong += fmt::format("\n  r{}: {:#x} for {:#x}", r, got.gpr[r], want.gpr[r]);
      if ((want.flags ^ got.flags) & kArithmetic)
        wrong += fmt::format("\n  flags: {:#x} for {:#x}", got.flags, want.flags);
      // FSTP m80 of an empty register leaves the indefinite in it, where the host leaves the old bits.
      if (c.insn.row->emitter == &E::x87_store80) std::memcpy(got.fpu.st(7), want.fpu.st(7), 10);
      wrong += difference(want.fpu, got.fpu, registers);
      wrong += upper_difference(want, got, registers);
      if (std::memcmp(after.data(), native_.buffer(), after.size()) != 0) {
        const u64 at = c.address - u64(native_.buffer());
        wrong += fmt::format("\n  memory: {} for {}", hex(native_.buffer() + at, std::min<u64>(28, 4096 - at)),
                             hex(&after[at], std::min<u64>(28, 4096 - at)));
      }
    }
    if (!wrong.empty() && tally.failures[c.insn.row->name]++ < 1) ADD_FAILURE() << describe(c) << wrong;
  }

  std::mt19937_64 random_{5};
  NativeHarness& native_;
  TranslatedRun translated_;
  SimdCaseMaker maker_;
};

void compare_every_row(NativeHarness& native, int times) {
  SimdComparison comparison(native);
  Tally& tally = comparison.tally;
  for (const Row& row : all_rows()) {
    if (row.has(kFpuUse) && row.is_missing()) tally.missing.insert(row.name);
    if (is_simd(row) && !row.is_missing() && row.emitter != &E::ldmxcsr) comparison.compare_row(row, times);
  }
  fmt::print("{} rows, {} comparisons, {} faults, {} helper calls\n", tally.rows, tally.compared, tally.faulted,
             tally.by_helper);
  for (const std::string& name : tally.never) fmt::print("no case made for {}\n", name);
  std::string missing;
  for (const std::string& name : tally.missing) missing += " " + name;
  fmt::print("not translated:{}\n", missing);
  for (const auto& [name, count] : tally.failures) fmt::print("{}: {} failures\n", name, count);
  EXPECT_TRUE(tally.never.empty());
}

TEST(TranslateSimd, EveryRowAgreesWithTheHost) {
  NativeHarness native;
  compare_every_row(native, 200);
}

TEST(TranslateSimd, EveryRowAgreesWithTheHostIn32BitCode) {
  NativeHarness native(NativeHarness::Bits::k32);
  compare_every_row(native, 60);
}

/// SIMD and x87 register forms among integer instructions, in one block: flags pass over those that leave them alone,
/// and state of the units from one to the next.
TEST(TranslateSimd, SequencesAgreeWithTheHost) {
  static const std::vector<u8> kInteger[] = {
      {0x48, 0x01, 0xc8},        // add rax, rcx
      {0x48, 0x39, 0xda},        // cmp rdx, rbx
      {0x48, 0x11, 0xf9},        // adc rcx, rdi
      {0x48, 0xff, 0xc6},        // inc rsi
      {0x0f, 0x94, 0xc2},        // setz dl
      {0x48, 0x0f, 0x42, 0xfb},  // cmovb rdi, rbx
      {0x48, 0x21, 0xd0},        // and rax, rdx
  };
  NativeHarness native;
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  std::mt19937_64 random(6);
  SimdCaseMaker maker(random, native);
  std::vector<const Row*> rows;
  for (const Row& row : all_rows()) {
    const bool is_in_memory = row.mod == Mod::Memory || row.emitter == &E::sse_maskmov ||
                              row.emitter == &E::avx_gather || row.emitter == &E::mmx_maskmov;
    const bool is_mmx =
        row.operands[0] == Operand::P || row.operands[0] == Operand::N;  // leaves no x87 stack to speak of
    if (row.has(kFpuUse) && !row.is_avx512() && !row.is_missing() && !is_in_memory && !is_mmx) rows.push_back(&row);
  }
  for (int round = 0; round < 4000; ++round) {
    std::vector<u8> code;
    Registers start;
    const size_t want = 2 + random() % 10;
    for (size_t n = 0; n < want;) {
      if (random() % 3 == 0) {
        const auto& insn = kInteger[random() % std::size(kInteger)];
        code.insert(code.end(), insn.begin(), insn.end());
        ++n;
        continue;
      }
      const SimdCase c = maker.make(*rows[random() % rows.size()]);
      if (!c.is_usable || c.insn.is_memory || c.insn.reg == RSP || c.insn.rm == RSP) continue;
      const bool is_alias = c.insn.opcode == 0xd9 && c.insn.row->reg_field == 3;  // see SimdCaseMaker::make()
      if (is_alias) continue;
      start = c.registers;
      code.insert(code.end(), c.code.begin(), c.code.end());
      ++n;
    }
    Registers expect = start, got = start;
    ASSERT_EQ(native.run(code, expect), Outcome::Done);
    ASSERT_EQ(translated.run(code, native.code_address(), got, TranslatedRun::kUserMode64), Outcome::Done);
    std::string bytes;
    for (const u8 b : code) bytes += fmt::format("{:02x} ", b);
    for (unsigned r = 0; r < 16; ++r) ASSERT_EQ(expect.gpr[r], got.gpr[r]) << bytes << " r" << r;
    ASSERT_EQ(expect.flags & kArithmetic, got.flags & kArithmetic) << bytes;
    ASSERT_EQ(difference(expect.fpu, got.fpu, 16) + upper_difference(expect, got, 16), "") << bytes;
  }
}

Outcome run_with_mode(std::span<const u8> code, u32 mode, u64& arg) {
  NativeHarness native;
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  Registers r;
  const Outcome outcome = translated.run(code, 0x1000, r, mode);
  arg = translated.arg();
  return outcome;
}

TEST(TranslateSimd, ModeBitsDecideBetweenUndefinedAndDeviceNotAvailable) {
  constexpr u32 kUser = TranslatedRun::kUserMode64;
  constexpr u32 kTs = kUser | 1u << Mode::kCr0TS, kEm = kUser | 1u << Mode::kCr0EM,
                kNoFxsr = kUser & ~(1u << Mode::kOsFxsr);
  constexpr u8 kAddps[] = {0x0f, 0x58, 0xc1}, kPaddb[] = {0x0f, 0xfc, 0xc1}, kFld1[] = {0xd9, 0xe8}, kFwait[] = {0x9b};
  struct {
    std::span<const u8> code;
    u32 mode;
    int trap;  ///< -1: none
  } const cases[] = {
      {kAddps, kUser, -1}, {kAddps, kTs, kNM},
      {kAddps, kEm, kUD},  {kAddps, kNoFxsr, kUD},
      {kPaddb, kUser, -1}, {kPaddb, kTs, kNM},
      {kPaddb, kEm, kUD},  {kPaddb, kNoFxsr, -1},
      {kFld1, kUser, -1},  {kFld1, kTs, kNM},
      {kFld1, kEm, kNM},   {kFld1, kNoFxsr, -1},
      {kFwait, kTs, -1},   {kFwait, kTs | 1u << Mode::kCr0MP, kNM},
  };
  for (const auto& c : cases) {
    u64 arg = 0;
    const Outcome outcome = run_with_mode(c.code, c.mode, arg);
    EXPECT_EQ(outcome, c.trap < 0 ? Outcome::Done : Outcome::Trap) << hex(c.code.data(), c.code.size());
    if (c.trap >= 0) {
      EXPECT_EQ(arg, u64(c.trap)) << hex(c.code.data(), c.code.size());
    }
  }
}

/// An unmasked exception that is pending is told by FNSTSW and raised by FWAIT.
TEST(TranslateSimd, PendingUnmaskedExceptionIsRaisedByWait) {
  NativeHarness native;
  TranslatedRun translated(u64(native.buffer()), NativeHarness::kBufferSize);
  Registers r;
  r.fpu.put<u16>(FpuState::kControl, 0x37b);  // zero divide unmasked
  r.fpu.put<u16>(FpuState::kStatus, 0x4);
  const u8 fnstsw[] = {0xdf, 0xe0};
  Registers host = r, ours = r;
  ASSERT_EQ(native.run(fnstsw, host), Outcome::Done);
  ASSERT_EQ(translated.run(fnstsw, native.code_address(), ours, TranslatedRun::kUserMode64), Outcome::Done);
  EXPECT_EQ(u16(host.gpr[RAX]), 0x8084);
  EXPECT_EQ(u16(ours.gpr[RAX]), 0x8084);
  const u8 fwait[] = {0x9b};
  EXPECT_EQ(translated.run(fwait, native.code_address(), r, TranslatedRun::kUserMode64), Outcome::Trap);
  EXPECT_EQ(translated.arg(), u64(kMF));
}

}  // namespace
}  // namespace emu::x86::test
