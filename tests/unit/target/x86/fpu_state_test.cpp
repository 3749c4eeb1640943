// SPDX-License-Identifier: Apache-2.0
#include "target/x86/evex_access.h"
#include "target/x86/fpu_image.h"
#include "unit/target/x86/cpu_bench.h"

namespace emu::x86 {
namespace {

constexpr u64 kArea = 0x200000;

void set_st(CpuBench& b, unsigned i, long double value) { std::memcpy(FpuImage(b.env()).st(i), &value, 10); }
long double get_st(CpuBench& b, unsigned i) {
  long double value = 0;
  std::memcpy(&value, FpuImage(b.env()).st(i), 10);
  return value;
}
/// Two values on the stack: TOP = 6, ST(0) = 2.5, ST(1) = -1.
void fill_state(CpuBench& b) {
  FpuImage fpu(b.env());
  fpu.init();
  fpu.set_control(0x27f);
  fpu.set_status(6 << 11 | 0x4100);
  fpu.set_tags(0xc0);
  set_st(b, 0, 2.5L);
  set_st(b, 1, -1.0L);
  for (unsigned i = 0; i < 16; ++i) std::memset(b.s().vec[i].bytes, int(i + 1), 16);
  b.call(H_load_mxcsr, 0x9fc0);
}

TEST(Fxsave, RoundTrip) {
  CpuBench b;
  b.enter_long();
  fill_state(b);
  b.call(H_fxsave, kArea, 1);
  EXPECT_EQ(b.get(kArea, 2), 0x27fu);
  EXPECT_EQ(b.get(kArea + 2, 2), 0x7100u);
  EXPECT_EQ(b.get(kArea + 4, 1), 0xc0u);
  EXPECT_EQ(b.get(kArea + 8, 8), 0u);  // nothing has run
  EXPECT_EQ(b.get(kArea + 24, 4), 0x9fc0u);
  EXPECT_EQ(b.get(kArea + 28, 4), 0xffffu);
  EXPECT_EQ(b.get(kArea + 160 + 240, 1), 16u);

  b.cpu.reset();
  CpuBench c;
  c.enter_long();
  std::copy_n(&b.memory.ram[kArea], 512, &c.memory.ram[kArea]);
  c.call(H_fxrstor, kArea, 1);
  EXPECT_EQ(get_st(c, 0), 2.5L);
  EXPECT_EQ(get_st(c, 1), -1.0L);
  EXPECT_EQ(FpuImage(c.env()).top(), 6u);
  EXPECT_EQ(c.env().fpu_control, 0x27fu);
  EXPECT_EQ(image_get<u16>(c.env().fpu_image, 0) & 0x3f, 0x3f);
  EXPECT_EQ(c.s().vec[15].bytes[7], 16);
  EXPECT_EQ(c.call(H_store_mxcsr), 0x9fc0u);
}

TEST(Fxsave, MisalignedOrReservedFaults) {
  CpuBench b;
  b.enter_long();
  b.call(H_fxsave, kArea + 8, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.put(kArea + 24, 4, 0x10000);
  b.call(H_fxrstor, kArea, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Fxsave, PageFaultChangesNothing) {
  CpuBench b;
  b.enter_long();
  b.put(CpuBench::pte_address(kArea + 0x1000), 8, 0);
  b.call(H_fxsave, kArea + 0xf80, 0);
  EXPECT_EQ(b.pending_vector(), kPFv);
  EXPECT_EQ(b.get(kArea + 0xf80, 8), 0u);
}

TEST(Fxsave, UnmaskedExceptionShowsInTheSummaryBit) {
  CpuBench b;
  b.enter_long();
  FpuImage fpu(b.env());
  fpu.init();
  fpu.set_control(0x37e);  // invalid operation unmasked
  fpu.set_status(1);
  b.call(H_fxsave, kArea, 0);
  EXPECT_EQ(b.get(kArea + 2, 2), 0x8081u);
}

/// FNSTENV's words from the instruction pointer on.
struct Environment {
  u32 ip, cs_and_opcode, dp, ds;
  bool operator==(const Environment&) const = default;
};
Environment stored_environment(CpuBench& b) {
  b.call(H_fstenv, kArea, 4);
  return {u32(b.get(kArea + 12, 4)), u32(b.get(kArea + 16, 4)), u32(b.get(kArea + 20, 4)), u32(b.get(kArea + 24, 4))};
}
/// FDIV m64 at 0x8100 with its operand at DS:0x1234, as translated code tells of it.
void run_fdiv(CpuBench& b) {
  b.s().fpu_ip = 0x8100;
  b.s().fpu_opcode = 0x431;
  b.s().fpu_dp = 0x1234;
  b.s().fpu_data_segment = DS;
}
void leave_exception_pending(CpuBench& b) {
  FpuImage fpu(b.env());
  fpu.set_control(0x37b);
  fpu.set_status(4);
}

TEST(FpuPointers, AmdShowsEachInstructionToFnstenvAndPendingOnesToFxsave) {
  CpuBench b("EPYC-Rome");
  b.enter_protected();
  run_fdiv(b);
  b.put(kArea + 0x1000 + 6, 8, ~u64(0));
  b.call(H_fxsave, kArea + 0x1000, 0);
  EXPECT_EQ(b.get(kArea + 0x1006, 8), 0u);  // with RstrFpErrPtrs zeros are written where nothing is pending
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x4310008, 0x1234, 0xffff0010}));
  leave_exception_pending(b);
  b.call(H_fxsave, kArea + 0x1000, 0);
  EXPECT_EQ(b.get(kArea + 0x1006, 2), 0x431u);
  EXPECT_EQ(b.get(kArea + 0x1008, 8), 0x8'0000'8100u);
  EXPECT_EQ(b.get(kArea + 0x1010, 8), 0x10'0000'1234u);
}

TEST(FpuPointers, OlderAmdLeavesTheirPlaceAlone) {
  CpuBench b("EPYC");
  b.enter_protected();
  run_fdiv(b);
  b.put(kArea + 6, 8, 0x5555);
  b.call(H_fxsave, kArea, 0);
  EXPECT_EQ(b.get(kArea + 6, 8), 0x5555u);
  b.put(kArea + 8, 4, 0x7777);
  b.call(H_fxrstor, kArea, 0);
  EXPECT_EQ(stored_environment(b).ip, 0x8100u);
}

TEST(FpuPointers, IntelKeepsTheOpcodeOfExceptionsOnly) {
  CpuBench b("Nehalem");
  b.enter_protected();
  run_fdiv(b);
  b.call(H_fxsave, kArea + 0x1000, 0);
  EXPECT_EQ(b.get(kArea + 0x1008, 8), 0x8'0000'8100u);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x8, 0x1234, 0xffff0010}));
  run_fdiv(b);
  leave_exception_pending(b);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x4310008, 0x1234, 0xffff0010}));
  b.s().fpu_ip = 0x8200;  // FLD1: the operand and the exception's opcode stay
  b.s().fpu_opcode = 0x1e8;
  EXPECT_EQ(stored_environment(b), (Environment{0x8200, 0x4310008, 0x1234, 0xffff0010}));
}

TEST(FpuPointers, FeaturesTakeAwayTheOperandAndSelectors) {
  CpuBench b("Nehalem,+fdp-excptn-only,+zero-fcs-fds");
  b.enter_protected();
  run_fdiv(b);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0, 0, 0xffff0000}));
  run_fdiv(b);
  leave_exception_pending(b);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x4310000, 0x1234, 0xffff0000}));
}

TEST(FpuPointers, SelectorsAreThoseOfTheInstruction) {
  CpuBench b("EPYC-Rome");
  b.enter_protected();
  run_fdiv(b);
  b.put_descriptor(kSpare, 0x1000, 0xffffffff, 0xc09b00);
  b.call(H_load_segment, DS, kUserData);
  b.call(H_far_jump, kSpare, 0x9000, 4);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x4310008, 0x1234, 0xffff0010}));
  run_fdiv(b);
  EXPECT_EQ(stored_environment(b).ip, 0x7100u) << "an offset in its segment";
}

TEST(FpuPointers, RealModeShowsLinearAddresses) {
  CpuBench b("EPYC-Rome");
  b.cpu.enter_real(0x1234, 0x10);
  b.call(H_load_segment, DS, 0x2000);
  run_fdiv(b);
  b.s().fpu_ip = 0x12345;
  EXPECT_EQ(stored_environment(b), (Environment{0xffff2345, 0x1431, 0xffff1234, 0x2000}));
}

TEST(FpuPointers, HandlerOfAnErrorFindsItsInstruction) {
  CpuBench b("Nehalem");
  b.enter_protected();
  b.put_gate32(kMF, kKernelCode, kHandler, 14, 0);
  run_fdiv(b);
  leave_exception_pending(b);
  b.env().pc = 0x8107;  // the next one waits
  b.call(H_x87_pending);
  EXPECT_EQ(b.pending_vector(), kMF);
  b.deliver();
  EXPECT_EQ(b.env().pc, kHandler);
  EXPECT_EQ(b.get(b.s().gpr(RSP), 4), 0x8107u);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x4310008, 0x1234, 0xffff0010}));
}

TEST(FpuPointers, FnclexAndFninitActOnThem) {
  CpuBench b("Nehalem");
  b.enter_protected();
  run_fdiv(b);
  leave_exception_pending(b);
  b.call(H_x87_op, u64(ir::X87Op::ClearExceptions), 0, 0);
  EXPECT_EQ(stored_environment(b), (Environment{0x8100, 0x4310008, 0x1234, 0xffff0010}));
  run_fdiv(b);
  b.call(H_x87_op, u64(ir::X87Op::Init), 0, 0);
  EXPECT_EQ(stored_environment(b), (Environment{0, 0, 0, 0xffff0000}));
}

TEST(Xsave, StandardRoundTripAndInit) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.s().gpr(RCX) = 0;
  b.s().gpr(RAX) = 3;
  b.s().gpr(RDX) = 0;
  b.call(H_xsetbv);
  fill_state(b);
  b.s().gpr(RAX) = 3;
  b.call(H_xsave, kArea, 1, 0);
  EXPECT_EQ(b.get(kArea + 512, 8), 3u);
  EXPECT_EQ(b.get(kArea + 520, 8), 0u);
  b.put(kArea + 512, 8, 2);  // x87 in its initial state
  std::memset(b.s().vec[3].bytes, 0, 16);
  b.s().gpr(RAX) = 3;
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.s().vec[3].bytes[0], 4);
  EXPECT_EQ(b.env().fpu_control, 0x37fu);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0);
}

TEST(Xsave, BadHeadersFault) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.s().xcr0 = 3;
  b.s().gpr(RAX) = 3;
  b.s().gpr(RDX) = 0;
  b.put(kArea + 512, 8, 4);  // AVX is not enabled
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
  CpuTestAccess::drop(b.cpu);
  b.put(kArea + 512, 8, 3);
  b.put(kArea + 520, 8, 1);  // compaction bits without bit 63
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Xsave, CompactedForm) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.s().xcr0 = 3;
  fill_state(b);
  b.s().gpr(RAX) = 3;
  b.s().gpr(RDX) = 0;
  b.call(H_xsave, kArea, 1, 2);
  EXPECT_EQ(b.get(kArea + 520, 8), 3 | bit64(63));
  b.call(H_fsave, kArea + 0x1000, 4);
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(get_st(b, 0), 2.5L);
}

/// The upper halves follow the header in the standard format; XSAVEOPT leaves out what is not in use.
TEST(Xsave, AvxComponent) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE | kCr4OSFXSR);
  b.s().xcr0 = 7;
  fill_state(b);
  std::fill_n(b.s().vec[15].bytes + 16, 16, 0x5a);
  b.s().gpr(RAX) = 7;
  b.s().gpr(RDX) = 0;
  b.call(H_xsave, kArea, 1, 0);
  EXPECT_EQ(b.get(kArea + 512, 8), 7u);
  EXPECT_EQ(b.get(kArea + 576 + 15 * 16, 8), 0x5a5a5a5a5a5a5a5au);

  std::fill_n(b.s().vec[15].bytes + 16, 16, 0);
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.s().vec[15].bytes[31], 0x5a);

  std::fill_n(b.s().vec[15].bytes + 16, 16, 0);
  b.call(H_xsave, kArea, 1, 1);
  EXPECT_EQ(b.get(kArea + 512, 8), 3u);
  EXPECT_EQ(b.get(kArea + 576 + 15 * 16, 8), 0x5a5a5a5a5a5a5a5au);  // left as it was
  std::fill_n(b.s().vec[15].bytes + 16, 16, 1);
  b.call(H_xrstor, kArea, 1, 0);
  EXPECT_EQ(b.s().vec[15].bytes[31], 0);  // to its initial state
}

/// What the compacted format leaves out takes no room.
TEST(Xsave, CompactedFormMovesTheComponents) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE | kCr4OSFXSR);
  b.s().xcr0 = 7;
  fill_state(b);
  std::fill_n(b.s().vec[2].bytes + 16, 16, 0x77);
  b.s().gpr(RAX) = 4;
  b.s().gpr(RDX) = 0;
  b.call(H_xsave, kArea, 1, 2);
  EXPECT_EQ(b.get(kArea + 520, 8), 4 | bit64(63));
  EXPECT_EQ(b.get(kArea + 512, 8), 4u);
  EXPECT_EQ(b.get(kArea + 576 + 2 * 16, 8), 0x7777777777777777u);
  std::fill_n(b.s().vec[2].bytes + 16, 16, 0);
  b.call(H_xrstor, kArea, 1, 1);  // XRSTORS
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.s().vec[2].bytes[31], 0x77);
}

TEST(Xsave, XgetbvTellsWhatIsInUse) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE | kCr4OSFXSR);
  b.s().xcr0 = 7;
  b.s().gpr(RCX) = 1;
  b.call(H_xgetbv);
  EXPECT_EQ(b.s().gpr(RAX) & 6, 0u);
  b.s().vec[9].bytes[20] = 1;
  b.call(H_xgetbv);
  EXPECT_EQ(b.s().gpr(RAX) & 6, 4u);
}

TEST(Xsave, XsetbvRefusesWhatMayNotBe) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE | kCr4OSFXSR);
  b.s().gpr(RCX) = 0;
  b.s().gpr(RDX) = 0;
  for (const u64 bad : {u64(0), u64(2), u64(5), u64(0x17), u64(0x67)}) {
    b.s().gpr(RAX) = bad;
    b.call(H_xsetbv);
    EXPECT_EQ(b.pending_vector(), kGP) << bad;
    CpuTestAccess::drop(b.cpu);
  }
  EXPECT_EQ(b.s().hdr.wide_vectors, 0u);
  b.s().gpr(RAX) = 7;
  b.call(H_xsetbv);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.s().xcr0, 7u);
  EXPECT_EQ(b.s().hdr.wide_vectors, 1u);
}

/// A gather that faults in the middle has loaded what came before, and its mask says what is left.
TEST(MaskedMove, PartsWrapAt4GiBInCompatibilityMode) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.call(H_far_jump, kKernelCode, 0x8000, 4);
  ASSERT_FALSE(b.cpu.is_code64());
  // The upper half of MASKMOVDQU's sixteen bytes lies at address 0.
  for (unsigned i = 8; i < 16; ++i) b.s().vec[1].bytes[i] = 0x80;
  for (unsigned i = 0; i < 16; ++i) b.s().vec[2].bytes[i] = u8(i);
  b.call(H_maskmov, 0xffff'fff8, 2, 1);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.get(0, 8), 0x0f0e'0d0c'0b0a'0908u);
}

TEST(Gather, FaultKeepsWhatIsDone) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE | kCr4OSFXSR);
  X86State& s = b.s();
  const u64 kUnmapped = u64(1) << 40;
  b.put(kArea, 8, 0x1111);
  b.put(kArea + 8, 8, 0x2222);
  std::fill_n(s.vec[1].bytes, 32, 0xee);                    // destination
  std::fill_n(s.vec[2].bytes, 32, 0xff);                    // mask
  const u64 indexes[4] = {0, 1, kUnmapped >> 3, 0};
  std::memcpy(s.vec[3].bytes, indexes, 32);
  b.call(H_gather, kArea, 1 | 2 << 4 | 3 << 8 | 3 << 12 | 0x33 << 16 | 32u << 24 | u64(DS) << 32 | u64(3) << 40);
  EXPECT_EQ(b.pending_vector(), kPFv);
  u64 got[4], mask[4];
  std::memcpy(got, s.vec[1].bytes, 32);
  std::memcpy(mask, s.vec[2].bytes, 32);
  EXPECT_EQ(got[0], 0x1111u);
  EXPECT_EQ(got[1], 0x2222u);
  EXPECT_EQ(got[2], 0xeeeeeeeeeeeeeeeeu);
  EXPECT_EQ(mask[0] | mask[1], 0u);
  EXPECT_EQ(mask[2] & mask[3], ~u64(0));
}

/// Lanes that the mask leaves out may lie on a page that is not there.
TEST(MaskedMove, OnlyChosenLanesFault) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE | kCr4OSFXSR);
  X86State& s = b.s();
  std::fill_n(s.vec[2].bytes, 32, 0);
  s.vec[2].bytes[3] = 0x80;  // lane 0
  b.put(kArea, 4, 0x12345678);
  std::fill_n(s.vec[1].bytes, 32, 0xee);
  b.call(H_load_masked, kArea, 1 | 2 << 8 | 2 << 16 | 32 << 24);
  EXPECT_EQ(b.pending_vector(), -1);
  u32 lanes[8];
  std::memcpy(lanes, s.vec[1].bytes, 32);
  EXPECT_EQ(lanes[0], 0x12345678u);
  EXPECT_EQ(lanes[1], 0u);
  s.vec[2].bytes[7] = 0x80;
  b.call(H_store_masked, (u64(1) << 40) - 4, 1 | 2 << 8 | 2 << 16 | 32 << 24);
  EXPECT_EQ(b.pending_vector(), kPFv);
}

TEST(MaskedMove, OnlyChosenLanesNeedTheSegment) {
  CpuBench b;
  b.enter_long(kCr4OSXSAVE);
  b.call(H_far_jump, kKernelCode, 0x8000, 4);
  b.s().seg_range[FS] = {0, 0x200007, 0, 0x200007};
  b.put(kArea, 8, 0x2222222211111111);
  std::memset(b.s().vec[2].bytes, 0, 16);
  b.s().vec[2].bytes[7] = 0x80;  // the second of four
  const u64 kind = 1 | 2 << 8 | 2 << 16 | 16 << 24 | ElementBase{FS, 2}.pack() << 32;
  b.call(H_load_masked, kArea, kind);
  EXPECT_EQ(b.pending_vector(), -1);
  EXPECT_EQ(b.s().vec[1].bytes[4], 0x22);
  b.s().vec[2].bytes[11] = 0x80;
  b.call(H_load_masked, kArea, kind);
  EXPECT_EQ(b.pending_vector(), kGP);
}

TEST(Fsave, FullTagsAndRoundTrip) {
  CpuBench b;
  b.enter_protected();
  fill_state(b);
  set_st(b, 1, 0.0L);
  b.call(H_fsave, kArea, 4);
  EXPECT_EQ(b.get(kArea + 8, 2), 0x4fffu);  // R7 zero, R6 valid, rest empty
  EXPECT_EQ(b.get(kArea, 2), 0x27fu);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0);
  EXPECT_EQ(b.env().fpu_control, 0x37fu);
  b.call(H_frstor, kArea, 4);
  EXPECT_EQ(get_st(b, 0), 2.5L);
  EXPECT_EQ(FpuImage(b.env()).top(), 6u);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0xc0);
}

TEST(Fldenv, MovesTopButNotTheRegisters) {
  CpuBench b;
  b.enter_protected();
  fill_state(b);
  b.call(H_fstenv, kArea, 4);
  EXPECT_EQ(b.env().fpu_control & 0x3f, 0x3fu);
  b.put(kArea + 4, 2, 7 << 11);
  b.call(H_fldenv, kArea, 4);
  EXPECT_EQ(FpuImage(b.env()).top(), 7u);
  EXPECT_EQ(get_st(b, 0), -1.0L);  // R7
  EXPECT_EQ(get_st(b, 7), 2.5L);   // R6
}

TEST(Fldenv, RealModeHasLinearPointers) {
  CpuBench b;
  b.put(kArea, 2, 0x37f);
  b.put(kArea + 6, 2, 0x5678);   // IP
  b.put(kArea + 8, 2, 0x9123);   // and its upper four bits, over the opcode
  b.put(kArea + 10, 2, 0xdef0);  // DP
  b.put(kArea + 12, 2, 0xa000);
  b.call(H_fldenv, kArea, 2);
  b.call(H_fstenv, kArea + 0x100, 2);
  EXPECT_EQ(b.get(kArea + 0x106, 8), 0xa000'def0'9123'5678u);
  b.call(H_fstenv, kArea + 0x200, 4);
  EXPECT_EQ(b.get(kArea + 0x20c, 2), 0x5678u);
  EXPECT_EQ(b.get(kArea + 0x210, 4), 0x9123u);
  EXPECT_EQ(b.get(kArea + 0x214, 2), 0xdef0u);
  EXPECT_EQ(b.get(kArea + 0x218, 4), 0xa000u);
  b.call(H_fldenv, kArea + 0x200, 4);
  b.call(H_fstenv, kArea + 0x300, 2);
  EXPECT_EQ(b.get(kArea + 0x306, 8), 0xa000'def0'9123'5678u);
  b.call(H_fsave, kArea + 0x400, 2);  // and initialises
  b.call(H_fstenv, kArea + 0x500, 2);
  EXPECT_EQ(b.get(kArea + 0x506, 8), 0u);
}

TEST(Decimal, LoadAndStore) {
  CpuBench b;
  b.enter_protected();
  FpuImage(b.env()).init();
  const u8 packed[10] = {0x89, 0x67, 0x45, 0x23, 0x01, 0, 0, 0, 0, 0x80};
  std::copy_n(packed, 10, &b.memory.ram[kArea]);
  b.call(H_fbld, kArea);
  EXPECT_EQ(get_st(b, 0), -123456789.0L);
  EXPECT_EQ(FpuImage(b.env()).top(), 7u);
  set_st(b, 0, -123456789.5L);  // a tie: to even
  b.call(H_fbstp, kArea + 16);
  EXPECT_EQ(b.get(kArea + 16, 8), 0x123456790u);
  EXPECT_EQ(b.get(kArea + 24, 2), 0x8000u);
  EXPECT_EQ(FpuImage(b.env()).tags(), 0);
  EXPECT_TRUE(FpuImage(b.env()).status() & 0x20);
}

TEST(Decimal, TooLargeStoresTheIndefinite) {
  CpuBench b;
  b.enter_protected();
  FpuImage fpu(b.env());
  fpu.init();
  fpu.set_status(7 << 11);
  fpu.set_tags(0x80);
  set_st(b, 0, 1e18L);
  b.call(H_fbstp, kArea);
  EXPECT_EQ(b.get(kArea, 8), 0xc000000000000000u);
  EXPECT_EQ(b.get(kArea + 8, 2), 0xffffu);
}

}  // namespace
}  // namespace emu::x86
