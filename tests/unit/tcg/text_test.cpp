// SPDX-License-Identifier: Apache-2.0
// Printer, parser and verifier.
#include <gtest/gtest.h>

#include <set>

#include "tcg/ir/verify.h"
#include "unit/tcg/random_block.h"

namespace emu::test {
namespace {

class TextTest : public testing::Test {
 protected:
  std::string parse_error(std::string_view text) {
    ir::Block block;
    const auto r = ir::parse(text, layout_, helpers_, block);
    return r ? "" : r.error().message();
  }
  std::string verify_error(std::string_view body) {
    ir::Block block;
    const auto parsed = ir::parse("block 0x1000\n insn #0x0\n" + std::string(body), layout_, helpers_, block);
    if (!parsed) return "parse: " + parsed.error().message();
    const auto r = ir::verify(block, layout_, helpers_);
    return r ? "" : r.error().message();
  }
  ir::StateLayout layout_ = guest_layout();
  ir::HelperTable helpers_ = guest_helpers();
};

TEST_F(TextTest, every_opcode_survives_print_and_parse) {
  std::set<ir::Opcode> seen;
  std::set<u32> vec_ops, x87_ops;
  for (u64 seed = 0; seed < 1500; ++seed) {
    RandomBlock random(seed);
    ir::Block block;
    random.generate(block, {.insns = 12, .x87 = true, .wide = true, .runs_on_host = false});
    for (const ir::Op& op : block.ops) {
      seen.insert(op.opcode);
      if (op.opcode == ir::Opcode::Vec || op.opcode == ir::Opcode::Vec3) vec_ops.insert(op.c.bits() & 0xffff);
      if (op.opcode == ir::Opcode::X87) x87_ops.insert(op.c.bits() & 0xffff);
    }
    const std::string text = ir::print(block, layout_, helpers_);
    ir::Block again;
    const auto parsed = ir::parse(text, layout_, helpers_, again);
    ASSERT_TRUE(parsed) << parsed.error().message() << "\n" << text;
    ASSERT_EQ(ir::print(again, layout_, helpers_), text);
    ASSERT_EQ(again.ops.size(), block.ops.size());
    for (size_t i = 0; i < block.ops.size(); ++i) {
      ASSERT_EQ(again.ops[i].opcode, block.ops[i].opcode);
      ASSERT_EQ(again.ops[i].type, block.ops[i].type) << ir::info(block.ops[i].opcode).text;
      ASSERT_EQ(again.ops[i].flags, block.ops[i].flags);
    }
  }
  seen.insert(ir::Opcode::ExitMode);  // needs a guest with modes
  EXPECT_EQ(seen.size(), size_t(ir::Opcode::kCount)) << "an opcode is never drawn";
  EXPECT_EQ(vec_ops.size(), size_t(ir::VecOp::kCount));
  EXPECT_EQ(x87_ops.size(), size_t(ir::X87Op::kCount));
}

TEST_F(TextTest, memory_attributes_survive) {
  const std::string text = R"(block 0x1000 bytes=4 insns=1 fpu
 insn #0x0
   v2 = get.i64 r0
   v3 = ld.i64 [v2 - 0x8] 4 sext view=1 align=4 align_fault atomic big_endian stack write_intent order=acquire
   v4 = ld.v128 [0x100] 16
   st.i64 [v2 + 0x7fffffff] 8, 0x123456789abcdef
   st.i8 [-0x1] 1, -0x80
   exit_system pc(0xfffffffffffff000), #0x3
)";
  ir::Block block;
  const auto parsed = ir::parse(text, layout_, helpers_, block);
  ASSERT_TRUE(parsed) << parsed.error().message();
  EXPECT_EQ(ir::print(block, layout_, helpers_), text);
  EXPECT_EQ(block.mems[0].disp, -8);
  EXPECT_TRUE(block.uses_fpu);
}

TEST_F(TextTest, parser_names_what_it_does_not_know) {
  EXPECT_EQ(parse_error("   v1 = frob.i32 0x1"), "line 1: no such operation 'frob'");
  EXPECT_EQ(parse_error("\n   set r99, 0x1"), "line 2: no such field 'r99'");
  EXPECT_EQ(parse_error("   v1 = add.i32 v9, 0x1"), "line 1: v9 is not made yet");
  EXPECT_EQ(parse_error("   v1 = call.i64 nobody"), "line 1: no such helper 'nobody'");
  EXPECT_EQ(parse_error("   v1 = add.i32 0x1"), "line 1: ',' expected");
  EXPECT_EQ(parse_error("   v1 = add.i32 0x1, 0x2, 0x3"), "line 1: something follows the operands of add");
  EXPECT_EQ(parse_error("   add.i32 0x1, 0x2"), "line 1: add makes a value");
  EXPECT_EQ(parse_error("   v1 = ld.i32 [0x0] 3"), "line 1: 3 is not a power of two up to 128");
}

TEST_F(TextTest, verifier_refuses_what_has_no_meaning) {
  EXPECT_EQ(verify_error(" exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = get.i64 r0\n v3 = add.i32 v2, 0x1\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = zext.i64 0x1\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = get.i64 r0\n v3 = ins.i64 v2, 0x5, #0x0\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = udiv.i8 0x1, 0x1\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = cmp.i64 overflow, 0x1, 0x1\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = ld.i32 [0x0] 8\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = get.v128 x0\n v3 = vtoint.i32 v2, #0x4\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(" v2 = get.i64 r0\n exit_indirect v2, #0x0\n set r0, 0x1"), "");
  EXPECT_NE(verify_error(" v2 = x87.i16 StatusWord, #0x0\n exit_direct pc(0x1)"), "") << "the block does not say fpu";
  EXPECT_NE(verify_error(" v2 = call.i64 mix, 0x1\n exit_direct pc(0x1)"), "");
  EXPECT_NE(verify_error(""), "");
}

}  // namespace
}  // namespace emu::test
