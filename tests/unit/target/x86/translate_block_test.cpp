// SPDX-License-Identifier: Apache-2.0
// Block shape, mode-dependent forms, privilege and fault order.
#include <algorithm>
#include <random>

#include "target/x86/fpu_image.h"
#include "unit/target/x86/translate_bench.h"

namespace emu::x86::test {
namespace {

using Status = target::TranslateResult::Status;

// ---- Shape
// -----------------------------------------------------------------------------------------------------------

TEST(TranslateBlock, ContinuesPastANotTakenBranch) {
  Bench b;
  b.translate({0x74, 0x10, 0xff, 0xc0, 0xeb, 0x20}, 0x1000, kLong);  // jz; inc eax; jmp
  EXPECT_EQ(b.block().guest_insns, 3u);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitDirect);
  EXPECT_EQ(b.block().constant_value(b.block().ops.back().a), 0x1026u);
}

TEST(TranslateBlock, EndsAtThePageEndAndContinuesBehindIt) {
  Bench b;
  b.translate({0x90, 0x90}, 0x1ffe, kLong);
  EXPECT_EQ(b.block().guest_bytes, 2u);
  EXPECT_EQ(b.block().constant_value(b.block().ops.back().a), 0x2000u);
}

TEST(TranslateBlock, LeavesAStraddlingInstructionToItsOwnBlock) {
  Bench b;
  auto r = b.translate({0x90, 0x48, 0x01}, 0x1ffd, kLong, {0xd8});
  EXPECT_FALSE(r.straddles);
  EXPECT_EQ(b.block().guest_bytes, 1u);
  r = b.translate({0x48, 0x01}, 0x1ffe, kLong, {0xd8, 0x90});
  EXPECT_TRUE(r.straddles);
  EXPECT_EQ(b.block().guest_insns, 1u);
  EXPECT_EQ(b.block().guest_bytes, 3u);
}

TEST(TranslateBlock, ReportsAFetchFaultAtTheNextPage) {
  Bench b;
  const auto r = b.translate({0x48, 0x01}, 0x1ffe, kLong);
  EXPECT_EQ(r.status, Status::FetchFault);
  EXPECT_EQ(r.fault_address, 0x2000u);
}

TEST(TranslateBlock, StopsBeforeABreakpoint) {
  Bench b;
  b.translate({0x90, 0x90, 0x90, 0x90}, 0x1000, kLong, {}, {.break_after = 0x1002});
  EXPECT_EQ(b.block().guest_insns, 2u);
  b.translate({0x90, 0x90, 0x90, 0x90}, 0x1000, kLong, {}, {.break_after = 0x1000});
  EXPECT_EQ(b.block().guest_insns, 4u);
}

/// Rmw and Cas operations that a LOCK instruction becomes.
size_t atomics(std::initializer_list<u8> code, u32 mode, bool is_only_cpu) {
  Bench b;
  b.translate(code, 0x1000, mode, {}, {.is_only_cpu = is_only_cpu});
  return size_t(std::count_if(b.block().ops.begin(), b.block().ops.end(), [](const ir::Op& op) {
    return op.opcode == ir::Opcode::Rmw || op.opcode == ir::Opcode::Cas;
  }));
}

TEST(TranslateBlock, UserCodeOnTheOnlyCpuLocksWhereItMeansABarrier) {
  constexpr u32 kUser = kLong | 3u << Mode::kCplShift;
  for (const auto& code : {std::initializer_list<u8>{0xf0, 0x48, 0x01, 0x03},              // lock add [rbx], rax
                           std::initializer_list<u8>{0xf0, 0x48, 0x0f, 0xc1, 0x03},        // lock xadd [rbx], rax
                           std::initializer_list<u8>{0xf0, 0x48, 0x0f, 0xb1, 0x0b},        // lock cmpxchg [rbx], rcx
                           std::initializer_list<u8>{0xf0, 0xff, 0x03},                    // lock inc dword [rbx]
                           std::initializer_list<u8>{0xf0, 0xf7, 0x13},                    // lock not dword [rbx]
                           std::initializer_list<u8>{0xf0, 0xf7, 0x1b},                    // lock neg dword [rbx]
                           std::initializer_list<u8>{0xf0, 0x83, 0x0b, 0x01},              // lock or dword [rbx], 1
                           std::initializer_list<u8>{0xf0, 0x0f, 0xba, 0x2b, 0x00}}) {     // lock bts dword [rbx], 0
    EXPECT_EQ(atomics(code, kUser, true), 0u) << unsigned(code.begin()[1]);
    EXPECT_EQ(atomics(code, kUser, false), 1u);
    EXPECT_EQ(atomics(code, kLong, true), 1u);  // a kernel's may mean a device
  }
  EXPECT_EQ(atomics({0xf0, 0x83, 0x0c, 0x24, 0x00}, kUser, true), 1u);  // lock or dword [rsp], 0
  EXPECT_EQ(atomics({0x48, 0x87, 0x03}, kUser, true), 1u);              // xchg [rbx], rax
}

TEST(TranslateBlock, HoldsAtMost64Instructions) {
  Bench b;
  b.translate(std::vector<u8>(200, 0x90), 0x1000, kLong);
  EXPECT_EQ(b.block().guest_insns, 64u);
}

TEST(TranslateBlock, HoldsAtMostFiveConditionalBranches) {
  Bench b;
  std::vector<u8> code;
  for (int i = 0; i < 8; ++i) code.insert(code.end(), {0x90, 0x74, 0x40});  // nop, jz
  b.translate(code, 0x1000, kLong);
  EXPECT_EQ(b.block().guest_insns, 10u);
  EXPECT_EQ(b.block().guest_bytes, 15u);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitDirect);
}

TEST(TranslateBlock, HasOneInstructionUnderTrapFlagAndInterruptShadow) {
  Bench b;
  b.translate({0x90, 0x90}, 0x1000, kLong | m(Mode::kTF));
  EXPECT_EQ(b.block().guest_insns, 1u);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitSystem);
  EXPECT_EQ(b.last_reason(), u32(kSysInterruptWindow) | u32(kSysStepped));

  b.state().inhibit_interrupts = 1;
  const auto r = b.run({0x74, 0x10, 0x90}, 0x1000, kLong | m(Mode::kInhibit));  // jz, not taken
  EXPECT_EQ(r.reason, tcg::ExitReason::System);
  EXPECT_EQ(r.arg, u64(kSysInterruptWindow));
  EXPECT_EQ(r.pc, 0x1002u);
  EXPECT_EQ(b.state().inhibit_interrupts, 0u);
}

TEST(TranslateBlock, MovSsLeavesAnInterruptShadow) {
  Bench b;
  b.translate({0x8e, 0xd0, 0x90}, 0x1000, kFlat32);
  EXPECT_EQ(b.block().guest_insns, 1u);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitSystem);
  EXPECT_EQ(b.last_reason(), u32(kSysInterruptWindow));
}

TEST(TranslateBlock, StiGoesOnUnlessASignalWaits) {
  Bench b;
  auto r = b.run({0xfb, 0x48, 0xff, 0xc0, 0x48, 0xff, 0xc1, 0xc3}, 0x1000, kLong);  // sti; inc rax; inc rcx; ret
  EXPECT_EQ(r.reason, tcg::ExitReason::Lookup);
  EXPECT_TRUE(b.state().rflags_system & kIF);
  EXPECT_EQ(b.state().inhibit_interrupts, 0u);
  EXPECT_EQ(b.state().gpr(RCX), 1u);

  b.state().rflags_system = 2;
  b.state().signals = 1;
  r = b.run({0xfb, 0x48, 0xff, 0xc0, 0x48, 0xff, 0xc1, 0xc3}, 0x1000, kLong);
  EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
  EXPECT_EQ(r.arg, u64(kTrapShadow));
  EXPECT_EQ(r.pc, 0x1001u);
  EXPECT_TRUE(b.state().rflags_system & kIF);
  EXPECT_EQ(b.state().inhibit_interrupts, 1u);
  EXPECT_EQ(b.state().gpr(RAX), 1u);
}

TEST(TranslateBlock, StiAtTheEndOfABlockLeavesItsShadow) {
  Bench b;
  auto r = b.run({0xfb}, 0x1fff, kLong);
  EXPECT_EQ(r.reason, tcg::ExitReason::System);
  EXPECT_EQ(r.arg, u64(kSysInterruptWindow));
  EXPECT_EQ(b.state().inhibit_interrupts, 1u);
  b.translate({0xfb, 0x90}, 0x1000, kLong & ~m(Mode::kIopl));  // the helper decides
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitSystem);
}

TEST(TranslateBlock, StacAndClacChangeTheModeWhereSmapCounts) {
  Bench b;
  const u32 smap = kLong | m(Mode::kSmap);
  b.translate({0x0f, 0x01, 0xcb, 0x90}, 0x1000, smap);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitMode);
  EXPECT_EQ(b.last_reason(), smap | m(Mode::kSmapOverride));
  b.translate({0x0f, 0x01, 0xca, 0x90}, 0x1000, smap | m(Mode::kSmapOverride));
  EXPECT_EQ(b.last_reason(), smap);
  b.translate({0x0f, 0x01, 0xcb, 0x90, 0xc3}, 0x1000, kLong);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitIndirect);
}

TEST(TranslateBlock, BranchesToBadAddressesTrapAtTheBranch) {
  Bench b;
  b.state().gpr(RAX) = 0x0000'8000'0000'0000;
  const auto r = b.run({0x90, 0xff, 0xe0}, 0x1000, kLong);
  EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
  EXPECT_EQ(r.arg, kTrapBadTarget);
  EXPECT_EQ(r.pc, 0x1001u);
  b.state().gpr(RAX) = 0xffff'8000'0000'0000;
  EXPECT_EQ(b.run({0x90, 0xff, 0xe0}, 0x1000, kLong).reason, tcg::ExitReason::Lookup);
}

TEST(TranslateBlock, HintsCallsAndReturns) {
  Bench b;
  b.translate({0xff, 0xd0}, 0x1000, kLong);
  EXPECT_EQ(b.last_opcode(), ir::Opcode::ExitIndirect);
  EXPECT_EQ(ir::indirect_hint(b.last_reason()), 1u);
  EXPECT_TRUE(ir::indirect_checks(b.last_reason()));
  b.translate({0xc2, 0x10, 0x00}, 0x1000, kLong);
  EXPECT_EQ(ir::indirect_hint(b.last_reason()), 2u);
  EXPECT_TRUE(ir::indirect_checks(b.last_reason()));
  b.translate({0xff, 0xd0}, 0x1000, kLong & ~m(Mode::kCode64));
  EXPECT_FALSE(ir::indirect_checks(b.last_reason()));
}

// ---- Faults find the state of the instruction's start
// ----------------------------------------------------------------

TEST(TranslateBlock, FaultingPushLeavesTheStackPointer) {
  Bench b;
  b.state().gpr(RSP) = 0x10'0000'0000;
  const auto r = b.run({0xff, 0xc0, 0x50}, 0x1000, kLong);  // inc eax; push rax
  EXPECT_EQ(r.reason, tcg::ExitReason::Fault);
  EXPECT_EQ(r.pc, 0x1002u);
  EXPECT_EQ(b.state().gpr(RSP), 0x10'0000'0000u);
  EXPECT_EQ(b.state().gpr(RAX), 1u);
}

TEST(TranslateBlock, FlagsAreExactAtAFaultAlthoughOverwrittenLater) {
  Bench b;
  b.state().gpr(RAX) = ~u64(0);
  b.state().gpr(RBX) = 1ull << 40;
  const auto r = b.run({0x48, 0x83, 0xc0, 0x01, 0x48, 0x8b, 0x0b, 0x48, 0x31, 0xc9}, 0x1000, kLong);
  EXPECT_EQ(r.reason, tcg::ExitReason::Fault);
  const tcg::EnvHeader& h = b.state().hdr;
  EXPECT_EQ(tcg::pack_flags(h.cc_op, h.cc_a, h.cc_b), u64(kCF | kZF | kAF | kPF));
}

TEST(TranslateBlock, FlagsAreExactWhereABlockHasNoMoreExits) {
  Bench b;
  b.state().gpr(RAX) = 1;
  b.state().gpr(RBX) = 0x40;
  std::vector<u8> code;
  // add [bx], al, which may trap; add cx, dx
  for (int i = 0; i < 40; ++i) code.insert(code.end(), {0x00, 0x07, 0x01, 0xd1});
  b.translate(code, 0x7c00, kProtected16);
  const unsigned stores = (b.block().guest_insns + 1) / 2;
  ASSERT_LT(stores, 32u);
  ASSERT_EQ(b.block().guest_insns % 2, 1u) << "the last one is the store";
  b.poke(0x40, 0x100 - stores, 1);
  b.run(code, 0x7c00, kProtected16);
  EXPECT_EQ(b.peek(0x40, 1), 0u);
  const tcg::EnvHeader& h = b.state().hdr;
  EXPECT_EQ(tcg::pack_flags(h.cc_op, h.cc_a, h.cc_b), u64(kCF | kZF | kAF | kPF));
}

TEST(TranslateBlock, DeadFlagsAreNotProduced) {
  Bench b;
  b.translate({0x01, 0xd8, 0x29, 0xd8, 0xeb, 0xfe}, 0x1000, kLong);  // add; sub; jmp
  unsigned sets = 0;
  for (const ir::Op& op : b.block().ops) sets += op.opcode == ir::Opcode::SetFlags;
  EXPECT_EQ(sets, 1u);
}

// ---- Privilege and validity
// ------------------------------------------------------------------------------------------

TEST(TranslateBlock, PrivilegedInstructionsFaultOutsideRing0) {
  Bench b;
  for (const std::vector<u8>& code : std::vector<std::vector<u8>>{{0xf4},
                                                                  {0x0f, 0x06},
                                                                  {0x0f, 0x22, 0xd8},
                                                                  {0x0f, 0x20, 0xc0},
                                                                  {0x0f, 0x30},
                                                                  {0x0f, 0x01, 0x10},
                                                                  {0x0f, 0x09}}) {
    const auto r = b.run(code, 0x1000, kLongUser);
    EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
    EXPECT_EQ(r.arg, u64(trap_code(kGP, 0)));
  }
}

TEST(TranslateBlock, MonitorAndMwaitAreUndefinedOutsideRing0) {
  for (const u8 last : {u8(0xc8), u8(0xc9)}) {
    for (const u32 mode : {kLongUser, kVm86}) {
      Bench b;
      const auto r = b.run({0x0f, 0x01, last}, 0x1000, mode);
      EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
      EXPECT_EQ(r.arg, u64(trap_code(kUD)));
    }
  }
}

TEST(TranslateBlock, FaultingX87StoreHasSetNoFlags) {
  Bench b;
  FpuImage fpu(b.state().hdr);
  fpu.init();
  fpu.set_tags(1);
  const long double third = 1.0L / 3;
  std::memcpy(fpu.st(0), &third, 10);
  b.state().gpr(RAX) = 0x7fff'0000;
  const auto r = b.run({0xd9, 0x18}, 0x1000, kLong);  // fstp dword [rax], inexact
  EXPECT_EQ(r.reason, tcg::ExitReason::Fault);
  EXPECT_EQ(FpuImage(b.state().hdr).status(), 0u);
  EXPECT_EQ(FpuImage(b.state().hdr).tags(), 1u);
}

TEST(TranslateBlock, RealAndVirtual8086ModeLackProtectedInstructions) {
  Bench b;
  for (const u32 mode : {kReal, kVm86})
    for (const std::vector<u8>& code :
         std::vector<std::vector<u8>>{{0x0f, 0x00, 0xc0}, {0x0f, 0x02, 0xc0}, {0x63, 0xc0}})
      EXPECT_EQ(b.run(code, 0x1000, mode).arg, u64(kUD));
}

TEST(TranslateBlock, MissingRowsRaiseUndefinedOpcode) {
  Bench b;
  for (const std::vector<u8>& code :
       std::vector<std::vector<u8>>{{0x62, 0xf2, 0x7f, 0x48, 0x68, 0xc1}, {0xc5, 0xf8, 0x77}, {0x0f, 0x0b}}) {
    const auto r = b.run(code, 0x1000, kLong);
    EXPECT_EQ(r.reason, tcg::ExitReason::Trap);
    EXPECT_EQ(r.arg, u64(kUD));
  }
}

TEST(TranslateBlock, PushfNeedsIoplInVirtual8086Mode) {
  Bench b;
  EXPECT_EQ(b.run({0x9c}, 0x1000, kVm86).arg, u64(trap_code(kGP, 0)));
  b.run({0x9c}, 0x1000, kVm86 | m(Mode::kIopl));
  EXPECT_EQ(g_helper_called, int(H_read_flags));
}

TEST(TranslateBlock, AlignmentChecksFollowTheMode) {
  Bench b;
  b.translate({0x8b, 0x03}, 0x1000, kLongUser | m(Mode::kAlignCheck));
  EXPECT_TRUE(b.block().mems[0].align_fault);
  EXPECT_EQ(b.block().mems[0].align_log2, 2);
}

// ---- Anything at all translates to valid IR
// --------------------------------------------------------------------------

TEST(TranslateBlock, RandomBytesGiveValidIrInEveryMode) {
  Bench b;
  std::mt19937_64 random(7);
  const u32 modes[] = {kLong,
                       kLongUser,
                       kFlat32,
                       kReal,
                       kProtected16,
                       kVm86,
                       kProtected16 | m(Mode::kCode32),
                       kFlat32 | m(Mode::kTF),
                       kReal | m(Mode::kInhibit),
                       kLongUser | m(Mode::kAlignCheck),
                       kProtected16 | m(Mode::kTF),
                       kFlat32 & ~m(Mode::kStack32)};
  for (int round = 0; round < 12'000; ++round) {
    std::vector<u8> code(128);
    for (u8& byte : code) byte = u8(random());
    if (round % 4 == 0) code[0] = 0x0f;
    const u32 mode = modes[size_t(round) % std::size(modes)];
    b.translate(code, 0x1f80, mode, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
    ASSERT_FALSE(HasFailure()) << "round " << round;
  }
}

/// The name of an op that may fault behind a write of the same instruction; null if there is none. The interrupt shadow
/// is not part of what a fault must preserve.
const char* fault_behind_write(const ir::Block& block, const ir::HelperTable& helpers) {
  bool has_written = false;
  for (const ir::Op& op : block.ops) {
    const ir::OpcodeInfo& row = ir::info(op.opcode);
    if (op.opcode == ir::Opcode::InsnStart) has_written = false;
    const bool is_faulting_call =
        op.opcode == ir::Opcode::Call && (helpers.helpers[op.c.bits()].effects & ir::kHelperMayFault);
    if (has_written && ((row.effects & ir::kMayFault) || is_faulting_call)) return row.name;
    if (op.opcode == ir::Opcode::SetFlags) has_written = true;
    if (op.opcode == ir::Opcode::Set && op.c.bits() != F_INHIBIT) has_written = true;
  }
  return nullptr;
}

TEST(TranslateBlock, EveryRowGivesValidIrWithFaultsBeforeWrites) {
  Bench b;
  std::mt19937_64 random(8);
  const u32 modes[] = {kLong, kFlat32, kReal, kProtected16};
  for (const Row& row : all_rows()) {
    if (row.is_vex) continue;
    for (int round = 0; round < 40; ++round) {
      std::vector<u8> code;
      if (row.prefix == Prefix::P66 || (row.prefix == Prefix::Any && round % 4 == 1)) code.push_back(0x66);
      if (row.prefix == Prefix::PF3) code.push_back(0xf3);
      if (row.prefix == Prefix::PF2) code.push_back(0xf2);
      if (row.map != kMapOne) code.push_back(0x0f);
      if (row.map == kMap38) code.push_back(0x38);
      if (row.map == kMap3A) code.push_back(0x3a);
      code.push_back(u8(row.opcode + random() % row.count));
      u8 modrm = u8(random());
      if (row.reg_field != kAnyField) modrm = u8((modrm & 0xc7) | row.reg_field << 3);
      if (row.mod == Mod::Register) modrm |= 0xc0;
      if (row.mod == Mod::Memory && modrm >= 0xc0) modrm &= 0x3f;
      if (row.rm_field != kAnyField) modrm = u8((modrm & 0xf8) | row.rm_field);
      code.push_back(modrm);
      for (int i = 0; i < 12; ++i) code.push_back(u8(random()));
      b.translate(code, 0x1800, modes[size_t(round) % std::size(modes)]);
      ASSERT_FALSE(HasFailure()) << row.name;
      ASSERT_EQ(fault_behind_write(b.block(), b.helpers()), nullptr) << row.name;
    }
  }
}

TEST(TranslateBlock, DisassemblesByRowLength) {
  X86Translator translator(recording_helpers());
  const u8 code[] = {0x48, 0x89, 0xd8, 0xc3};
  const std::string text = translator.disassemble(code, 0x1000, kLong);
  EXPECT_NE(text.find("mov rax, rbx"), std::string::npos) << text;
  EXPECT_NE(text.find("ret"), std::string::npos) << text;
}

}  // namespace
}  // namespace emu::x86::test
