// SPDX-License-Identifier: Apache-2.0
// The interpreter: state, memory, vectors, x87, helpers and ways out.
#include "tcg/interp/interpreter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tcg/interp/x87.h"
#include "unit/tcg/run_block.h"

namespace emu::test {
namespace {

using tcg::ExitReason;

TEST(Interpreter, direct_exit_says_where_to_go_on) {
  TextRun t;
  t.run(" set r0, 0x5\n insn #0x4\n set b0, -0x1\n set d0, 0x80000000\n exit_direct pc(0x2000)\n");
  EXPECT_EQ(t.result.reason, ExitReason::Lookup);
  EXPECT_EQ(t.result.pc, 0x2000u);
  EXPECT_EQ(t.result.insns_done, 2u);
  EXPECT_EQ(t.state.hdr.pc, 0x2000u);
  EXPECT_EQ(t.state.regs[0], 5u);
  EXPECT_EQ(t.state.b0, 0xffu) << "a set writes its field's width and no more";
  EXPECT_EQ(t.state.d0, 0x80000000u);
}

TEST(Interpreter, indirect_and_system_exits) {
  TextRun t;
  t.state.regs[1] = 0xffffffff81000000;
  t.run(" v2 = get.i64 r1\n exit_indirect v2, #0x1\n");
  EXPECT_EQ(t.result.pc, 0xffffffff81000000u);
  EXPECT_EQ(t.result.reason, ExitReason::Lookup);
  TextRun s;
  s.run(" exit_system pc(0x1002), #0x7\n");
  EXPECT_EQ(s.result.reason, ExitReason::System);
  EXPECT_EQ(s.result.arg, 7u);
  EXPECT_EQ(s.result.insns_done, 1u);
}

TEST(Interpreter, trap_is_at_its_instruction_with_the_sets_before_it) {
  TextRun t;
  t.run(
      " set r0, 0x5\n insn #0x4\n set r0, 0x6\n v5 = get.i64 r0\n v6 = cmp.i64 equal, v5, 0x6\n"
      " trap_if v6, #0x42\n set r0, 0x7\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.result.reason, ExitReason::Trap);
  EXPECT_EQ(t.result.pc, 0x1004u);
  EXPECT_EQ(t.result.arg, 0x42u);
  EXPECT_EQ(t.result.insns_done, 1u);
  EXPECT_EQ(t.state.regs[0], 6u);
}

TEST(Interpreter, side_exit_completes_its_instruction) {
  TextRun t;
  t.run(" side_exit 0x0, pc(0x9)\n insn #0x4\n side_exit 0x1, pc(0x3000)\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.result.pc, 0x3000u);
  EXPECT_EQ(t.result.insns_done, 2u);
}

TEST(Interpreter, fault_leaves_the_state_before_the_access) {
  TextRun t;
  t.state.regs[1] = kGuestPage + 0xffd;
  t.run(
      " set r0, 0x1\n insn #0x4\n v4 = get.i64 r1\n v5 = ld.i32 [v4] 4\n set d0, v5\n set r0, 0x2\n"
      " exit_direct pc(0x1)\n");
  EXPECT_EQ(t.result.reason, ExitReason::Fault);
  EXPECT_EQ(t.result.pc, 0x1004u);
  EXPECT_EQ(t.result.insns_done, 1u);
  EXPECT_EQ(t.state.regs[0], 1u);
  EXPECT_EQ(t.memory.fault_address, kGuestPage + 0xffd);
}

TEST(Interpreter, loads_extend_and_stores_narrow) {
  TextRun t;
  t.memory.page[4] = 0x80, t.memory.page[5] = 0xff;
  t.state.regs[1] = kGuestPage;
  t.run(
      " v2 = get.i64 r1\n v3 = ld.i64 [v2 + 0x4] 1\n set r2, v3\n v5 = ld.i64 [v2 + 0x4] 2 sext\n set r3, v5\n"
      " v7 = ld.i32 [v2 + 0x4] 2 big_endian\n set d0, v7\n st.i64 [v2 + 0x10] 2, 0x123456\n"
      " st.i32 [v2 + 0x20] 4 big_endian, 0x11223344\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.state.regs[2], 0x80u);
  EXPECT_EQ(t.state.regs[3], 0xffffffffffffff80u);
  EXPECT_EQ(t.state.d0, 0x80ffu);
  EXPECT_EQ(t.memory.page[0x10] | t.memory.page[0x11] << 8 | t.memory.page[0x12] << 16, 0x3456);
  EXPECT_EQ(t.memory.page[0x20], 0x11);
  EXPECT_EQ(t.memory.page[0x23], 0x44);
}

TEST(Interpreter, vector_load_fills_with_zeros_and_store_writes_its_size) {
  TextRun t;
  for (unsigned i = 0; i < 32; ++i) t.memory.page[i] = u8(i + 1);
  std::memset(t.state.vec[0].bytes, 0xee, 16);
  t.state.regs[1] = kGuestPage;
  t.run(" v2 = get.i64 r1\n v3 = ld.v128 [v2] 8\n set.v128 x0, v3\n st.v128 [v2 + 0x40] 4, v3\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.state.vec[0].bytes[7], 8);
  EXPECT_EQ(t.state.vec[0].bytes[8], 0);
  EXPECT_EQ(t.memory.page[0x43], 4);
  EXPECT_EQ(t.memory.page[0x44], 0);
}

TEST(Interpreter, atomic_operations_give_the_old_value) {
  TextRun t;
  t.memory.page[0] = 5, t.memory.page[8] = 7;
  t.state.regs[1] = kGuestPage;
  t.run(
      " v2 = get.i64 r1\n v3 = rmw.i32 add, [v2] 4, 0x3\n set d0, v3\n v5 = cas.i64 [v2 + 0x8] 8, 0x7, 0x9\n set r2, "
      "v5\n"
      " v7 = cas.i64 [v2 + 0x8] 8, 0x7, 0x1\n set r3, v7\n fence\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.state.d0, 5u);
  EXPECT_EQ(t.memory.page[0], 8);
  EXPECT_EQ(t.state.regs[2], 7u);
  EXPECT_EQ(t.state.regs[3], 9u);
  EXPECT_EQ(t.memory.page[8], 9);
}

TEST(Interpreter, probe_faults_as_a_store_would) {
  TextRun t;
  t.state.regs[1] = kReadOnlyPage;
  t.run(" v2 = get.i64 r1\n v3 = ld.i64 [v2] 8\n probe [v2] 4\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.result.reason, ExitReason::Fault);
}

TEST(Interpreter, vector_moves_between_registers) {
  TextRun t;
  t.run(
      " v2 = vfromint.i64 0x1122334455667788\n v3 = vinsert.i16 v2, 0xabcd, #0x7\n set.v128 x0, v3\n"
      " v5 = vtoint.i8 v3, #0x1\n set b0, v5\n v7 = vtoint.i64 v3, #0x1\n set r0, v7\n v9 = vmask.i32 v3, #0x0\n set "
      "d0, v9\n"
      " v11 = vfromint.i32 -0x1\n set.v128 x1, v11\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.state.b0, 0x77u);
  EXPECT_EQ(t.state.regs[0], 0xabcd000000000000u);
  EXPECT_EQ(t.state.d0, 0xc001u) << "bit 15: 0xab, bit 14: 0xcd, bit 0: 0x88";
  EXPECT_EQ(t.state.vec[1].bytes[3], 0xff);
  EXPECT_EQ(t.state.vec[1].bytes[4], 0);
}

TEST(Interpreter, helper_faults_leaves_and_transfers) {
  TextRun fault;
  fault.run(" set r0, 0x1\n v3 = call.i64 may_fault, 0x3\n set r0, 0x2\n exit_direct pc(0x1)\n");
  EXPECT_EQ(fault.result.reason, ExitReason::Fault);
  EXPECT_EQ(fault.result.pc, 0x1000u);
  EXPECT_EQ(fault.state.regs[0], 1u);
  EXPECT_EQ(fault.state.hdr.leave, u32(tcg::kLeaveNot));
  TextRun transfer;
  transfer.run(" v2 = call.i64 may_leave, 0x5001\n set r0, v2\n exit_direct pc(0x1)\n");
  EXPECT_EQ(transfer.result.reason, ExitReason::Leave);
  EXPECT_EQ(transfer.result.pc, 0x5001u);
  EXPECT_EQ(transfer.state.regs[0], 0u);
}

TEST(Interpreter, helper_that_leaves_after_the_instruction_lets_it_finish) {
  TextRun t;
  t.helpers.add({"flush",
                 [](tcg::EnvHeader& env, const u64*) -> u64 {
                   env.leave = tcg::kLeaveAfterInsn;
                   return 9;
                 },
                 ir::kHelperMayFault, 0});
  t.run(" v2 = call.i64 flush\n set r0, v2\n insn #0x4\n set r0, 0x1\n exit_direct pc(0x1)\n");
  EXPECT_EQ(t.result.reason, ExitReason::Leave);
  EXPECT_EQ(t.result.pc, 0x1004u);
  EXPECT_EQ(t.result.insns_done, 1u);
  EXPECT_EQ(t.state.regs[0], 9u);
}

TEST(Interpreter, volatile_header_fields_are_read_where_the_get_stands) {
  TextRun t;
  t.layout.fields.push_back({"fpc", offsetof(tcg::EnvHeader, fp_control), ir::Type::I32, ir::Pin::None});
  ASSERT_TRUE(ir::is_volatile_field(t.layout.fields.back()));
  ASSERT_FALSE(ir::is_volatile_field(t.layout.fields[kR0 + 8])) << "hot registers are ordinary";
  t.run(
      " v2 = get.v128 x0\n v3 = vcvtfi.i32 v2, 0x1000001, #0x0\n v4 = get.i32 fpc\n set d0, v4\n exit_direct "
      "pc(0x1)\n");
  EXPECT_EQ(t.state.d0, 0x1fa0u) << "inexact";
}

class X87 : public testing::Test {
 protected:
  void SetUp() override {
    if (!ir::host_has_x87()) GTEST_SKIP() << "cannot run here: x87 operations are interpreted on x86 hosts only";
    run(ir::X87Op::Init);
  }
  u64 run(ir::X87Op op, unsigned reg = 0, u64 a = 0, u64 b = 0) { return ir::run_x87(op, reg, a, b, env_); }
  void push(double v) { run(ir::X87Op::PushF64, 0, std::bit_cast<u64>(v)); }
  double top() { return std::bit_cast<double>(run(ir::X87Op::ToF64)); }
  double pop() {
    const double v = top();
    run(ir::X87Op::Pop);
    return v;
  }
  unsigned status() { return unsigned(run(ir::X87Op::StatusWord)); }
  unsigned top_pointer() { return status() >> 11 & 7; }
  tcg::EnvHeader env_;
};
using ir::X87Op;

TEST_F(X87, each_arithmetic_form_has_its_operands_the_right_way_round) {
  struct Row {
    X87Op op;
    double st0, st1;
  };
  const Row kReg[] = {{X87Op::Add, 11, 3},      {X87Op::AddReg, 8, 11}, {X87Op::Sub, 5, 3},
                      {X87Op::SubReg, 8, -5},   {X87Op::SubR, -5, 3},   {X87Op::SubRReg, 8, 5},
                      {X87Op::Mul, 24, 3},      {X87Op::MulReg, 8, 24}, {X87Op::Div, 8 / 3., 3},
                      {X87Op::DivReg, 8, .375}, {X87Op::DivR, .375, 3}, {X87Op::DivRReg, 8, 8 / 3.}};
  for (const Row& row : kReg) {
    run(X87Op::Init);
    push(3), push(8);
    run(row.op, 1);
    EXPECT_EQ(pop(), row.st0) << info(row.op).name;
    EXPECT_EQ(pop(), row.st1) << info(row.op).name;
  }
  const Row kPop[] = {{X87Op::AddRegPop, 11, 0}, {X87Op::SubRegPop, -5, 0},   {X87Op::SubRRegPop, 5, 0},
                      {X87Op::MulRegPop, 24, 0}, {X87Op::DivRegPop, .375, 0}, {X87Op::DivRRegPop, 8 / 3., 0}};
  for (const Row& row : kPop) {
    run(X87Op::Init);
    push(3), push(8);
    run(row.op, 1);
    EXPECT_EQ(top_pointer(), 7u);
    EXPECT_EQ(pop(), row.st0) << info(row.op).name;
  }
  struct Memory {
    X87Op op;
    u64 operand;
    double expected;
  };
  const Memory kMemory[] = {{X87Op::AddF32, std::bit_cast<u32>(3.f), 11},
                            {X87Op::SubF64, std::bit_cast<u64>(3.), 5},
                            {X87Op::SubRI16, 3, -5},
                            {X87Op::MulI32, u32(-3), -24},
                            {X87Op::DivI16, 4, 2},
                            {X87Op::DivRF32, std::bit_cast<u32>(4.f), .5}};
  for (const Memory& row : kMemory) {
    run(X87Op::Init);
    push(8);
    run(row.op, 0, row.operand);
    EXPECT_EQ(pop(), row.expected) << info(row.op).name;
  }
}

TEST_F(X87, pushes_and_stores_convert) {
  run(X87Op::PushI16, 0, u16(-7));
  EXPECT_EQ(top(), -7);
  run(X87Op::PushI64, 0, u64(1) << 60);
  EXPECT_EQ(run(X87Op::ToI64), u64(1) << 60);
  EXPECT_EQ(run(X87Op::ToI32), 0x80000000u) << "out of range";
  EXPECT_EQ(top_pointer(), 6u) << "stores do not pop";
  run(X87Op::PushF80, 0, 0xc000000000000000, 0x4000);
  EXPECT_EQ(top(), 3.0);
  EXPECT_EQ(run(X87Op::ToF80Low), 0xc000000000000000u);
  EXPECT_EQ(run(X87Op::ToF80High), 0x4000u);
  run(X87Op::PushF32, 0, std::bit_cast<u32>(-2.75f));
  EXPECT_EQ(run(X87Op::ToI32), u32(-3));
  EXPECT_EQ(run(X87Op::ToI32Trunc), u32(-2));
  EXPECT_EQ(run(X87Op::ToI16Trunc), u16(-2));
  EXPECT_EQ(run(X87Op::ToI64Trunc), u64(-2));
  EXPECT_EQ(run(X87Op::ToF32), std::bit_cast<u32>(-2.75f));
  EXPECT_EQ(pop(), -2.75);
  EXPECT_EQ(pop(), 3.0);
}

TEST_F(X87, functions) {
  push(-2);
  run(X87Op::Abs);
  run(X87Op::Sqrt);
  EXPECT_EQ(top(), std::sqrt(2.0));
  run(X87Op::Chs);
  EXPECT_EQ(pop(), -std::sqrt(2.0));
  run(X87Op::PushPi);
  EXPECT_EQ(pop(), M_PI);
  push(3), push(1);
  run(X87Op::Scale);
  EXPECT_EQ(pop(), 8.0);
  run(X87Op::Exchange, 0);
  EXPECT_EQ(pop(), 3.0);
  push(8), push(5);
  run(X87Op::Exchange, 1);
  EXPECT_EQ(pop(), 8.0);
}

TEST_F(X87, comparisons_set_condition_codes_or_flags) {
  push(1), push(2);
  run(X87Op::Com, 1);
  EXPECT_EQ(status() & 0x4500, 0u);
  run(X87Op::Exchange, 1);
  run(X87Op::Com, 1);
  EXPECT_EQ(status() & 0x4500, 0x100u);
  EXPECT_EQ(run(X87Op::ComToFlags, 1), u64(tcg::kFlagCarry));
  EXPECT_EQ(run(X87Op::ComToFlags, 0), u64(tcg::kFlagZero));
  push(NAN);
  EXPECT_EQ(run(X87Op::UcomToFlags, 1), u64(tcg::kFlagZero | tcg::kFlagParity | tcg::kFlagCarry));
  run(X87Op::UcomPopPop);
  EXPECT_EQ(status() & 0x4500, 0x4500u);
  EXPECT_EQ(top_pointer(), 7u);
}

TEST_F(X87, exceptions_are_masked_in_the_host_and_stick) {
  run(X87Op::LoadControl, 0, 0x300);  // all unmasked by the guest
  EXPECT_EQ(run(X87Op::ControlWord), 0x340u);
  push(1);
  run(X87Op::Push0);
  run(X87Op::DivRegPop, 1);
  EXPECT_TRUE(std::isinf(top()));
  EXPECT_EQ(status() & 0x3f, 4u);
  run(X87Op::ClearExceptions);
  EXPECT_EQ(status() & 0x3f, 0u);
  EXPECT_EQ(run(X87Op::ControlWord), 0x340u);
}

TEST_F(X87, rounding_and_precision_follow_the_control_word) {
  run(X87Op::LoadControl, 0, 0x7f);  // single precision
  push(1), push(3);
  run(X87Op::DivRegPop, 1);
  EXPECT_EQ(pop(), double(1.0f / 3.0f));
  run(X87Op::LoadControl, 0, 0xb7f);  // up
  push(1.25);
  EXPECT_EQ(run(X87Op::ToI16), 2u);
}

TEST_F(X87, stack_faults_and_conditional_move) {
  run(X87Op::ToI64);
  EXPECT_EQ(status() & 0x41, 0x41u) << "reading an empty register";
  EXPECT_EQ(top_pointer(), 0u);
  run(X87Op::Init);
  push(1), push(2);
  run(X87Op::CmovIf, 1, 0);
  EXPECT_EQ(top(), 2);
  run(X87Op::CmovIf, 1, 1);
  EXPECT_EQ(top(), 1);
  run(X87Op::Free, 0);
  run(X87Op::IncTop);
  EXPECT_EQ(pop(), 1);
  EXPECT_EQ(top_pointer(), 0u);
}

}  // namespace
}  // namespace emu::test
