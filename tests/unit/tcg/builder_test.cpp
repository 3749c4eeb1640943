// SPDX-License-Identifier: Apache-2.0
// What Builder folds, forwards and leaves alone. (That folding keeps the meaning is passes_test's business.)
#include "tcg/ir/builder.h"

#include <gtest/gtest.h>

#include "tcg/ir/verify.h"
#include "unit/tcg/test_guest.h"

namespace emu::test {
namespace {

using ir::Cond;
using ir::Opcode;
using ir::Type;
using ir::Value;

class BuilderTest : public testing::Test {
 protected:
  BuilderTest() {
    b_.begin(0x1000);
    b_.insn_start(0);
  }
  size_t count(Opcode opcode) const {
    size_t n = 0;
    for (const ir::Op& op : block_.ops) n += op.opcode == opcode;
    return n;
  }
  ir::MemInfo bytes(unsigned log2) {
    ir::MemInfo mem;
    mem.log2_bytes = u8(log2);
    return mem;
  }
  void TearDown() override {
    if (!b_.is_ended()) b_.exit_direct(0x1004);
    const auto r = ir::verify(block_, layout_, helpers_);
    EXPECT_TRUE(r) << r.error().message() << ir::print(block_, layout_, helpers_);
  }

  static ir::StateLayout layout_with_pc() {
    ir::StateLayout layout = guest_layout();
    layout.fields.push_back({"pc", offsetof(tcg::EnvHeader, pc), Type::I64, ir::Pin::None});
    return layout;
  }
  ir::StateLayout layout_ = layout_with_pc();
  ir::HelperTable helpers_ = guest_helpers();
  ir::Block block_;
  ir::Builder b_{block_, layout_, helpers_};
};

TEST_F(BuilderTest, constants_fold_in_their_width) {
  EXPECT_EQ(b_.constant_of(b_.add(b_.i8(0xff), b_.i8(2))), 1u);
  EXPECT_EQ(b_.constant_of(b_.sext(Type::I64, b_.i8(0x80))), 0xffffffffffffff80u);
  EXPECT_EQ(b_.constant_of(b_.i32(~u64(0))), 0xffffffffu);
  EXPECT_EQ(b_.constant_of(b_.sar(b_.constant(Type::I16, 0x8000), b_.i8(20))), 0xffffu);
  EXPECT_EQ(b_.constant_of(b_.i64(0x123456789abcdef0)), 0x123456789abcdef0u);
  EXPECT_EQ(block_.pool.size(), 1u);
  EXPECT_EQ(block_.ops.size(), 2u);
}

TEST_F(BuilderTest, identities_make_no_op) {
  const Value x = b_.get(kR0);
  const size_t before = block_.ops.size();
  EXPECT_EQ(b_.add(x, b_.i64(0)).ref, x.ref);
  EXPECT_EQ(b_.and_(b_.i64(~u64(0)), x).ref, x.ref);
  EXPECT_EQ(b_.or_(x, x).ref, x.ref);
  EXPECT_EQ(b_.constant_of(b_.xor_(x, x)), 0u);
  EXPECT_EQ(b_.constant_of(b_.sub(x, x)), 0u);
  EXPECT_EQ(b_.constant_of(b_.mul(x, b_.i64(0))), 0u);
  EXPECT_EQ(b_.shl(x, b_.i8(64)).ref, x.ref) << "counts are modulo 64";
  EXPECT_EQ(b_.select(b_.constant(Type::I1, 1), x, b_.i64(0)).ref, x.ref);
  EXPECT_EQ(block_.ops.size(), before);
}

TEST_F(BuilderTest, width_changes_cancel) {
  const Value x = b_.get(kR0), low = b_.trunc(Type::I32, x), byte = b_.get(kB0);
  EXPECT_EQ(b_.trunc(Type::I32, b_.zext(Type::I64, low)).ref, low.ref);
  EXPECT_EQ(b_.trunc(Type::I8, b_.insert(x, byte, 0)).ref, byte.ref);
  EXPECT_EQ(b_.extract(Type::I8, b_.insert(x, byte, 8), 8).ref, byte.ref);
  EXPECT_EQ(b_.insert(x, b_.trunc(Type::I16, x), 0).ref, x.ref);
  EXPECT_EQ(b_.trunc(Type::I8, b_.insert(x, byte, 8)).ref, b_.trunc(Type::I8, x).ref);
  EXPECT_EQ(b_.constant_of(b_.extract(Type::I8, b_.zext(Type::I32, byte), 8)), 0u);
  EXPECT_EQ(count(Opcode::Ext), 0u);
}

TEST_F(BuilderTest, inserting_a_constant_needs_no_insert) {
  b_.set(kR0, b_.insert(b_.get(kR0), b_.i8(5), 8));
  EXPECT_EQ(count(Opcode::Ins), 0u);
  EXPECT_EQ(count(Opcode::And), 1u);
  EXPECT_EQ(count(Opcode::Or), 1u);
}

TEST_F(BuilderTest, get_after_set_is_the_value) {
  const Value v = b_.add(b_.get(kR0), b_.i64(3));
  b_.set(kR0 + 1, v);
  EXPECT_EQ(b_.get(kR0 + 1).ref, v.ref);
  b_.set(kR0 + 1, v);
  EXPECT_EQ(count(Opcode::Set), 1u);
  EXPECT_EQ(count(Opcode::Get), 1u);
}

TEST_F(BuilderTest, helper_that_writes_state_ends_what_is_known) {
  const Value x = b_.get(kR0), flags = b_.get_flags();
  b_.call(kReadHelper, {x});
  EXPECT_EQ(b_.get(kR0).ref, x.ref);
  b_.call(kWriteHelper, {x, x});
  EXPECT_NE(b_.get(kR0).ref, x.ref);
  EXPECT_NE(b_.get_flags().ref, flags.ref);
}

TEST_F(BuilderTest, leaf_helper_that_writes_state_leaves_pinned_fields) {
  helpers_.add({"leaf_write", nullptr, ir::kHelperLeaf | ir::kHelperWritesState, 0});
  const Value pinned = b_.get(kR0), other = b_.get(kR0 + 8);
  b_.call(u32(helpers_.helpers.size() - 1), {});
  EXPECT_EQ(b_.get(kR0).ref, pinned.ref);
  EXPECT_NE(b_.get(kR0 + 8).ref, other.ref);
}

TEST_F(BuilderTest, volatile_field_is_read_each_time) {
  const auto field = ir::FieldId(layout_.fields.size() - 1);
  const Value x = b_.get(field);
  EXPECT_NE(b_.get(field).ref, x.ref);
}

TEST_F(BuilderTest, address_constants_go_to_the_displacement) {
  const Value base = b_.get(kR0);
  b_.store(b_.add(base, b_.i64(0x20)), b_.i64(1), bytes(3));
  EXPECT_EQ(block_.ops.back().a, base.ref);
  EXPECT_EQ(block_.mems.back().disp, 0x20);
  b_.store(b_.sub(base, b_.i64(8)), b_.i64(1), bytes(3));
  EXPECT_EQ(block_.mems.back().disp, -8);
  b_.load(Type::I64, b_.i64(0x1000), bytes(3));
  EXPECT_TRUE(block_.ops.back().a.is_none());
  b_.load(Type::I64, b_.i64(u64(1) << 40), bytes(3));
  EXPECT_TRUE(block_.ops.back().a.is_constant());
}

TEST_F(BuilderTest, address_from_an_old_register_value_keeps_its_sum) {
  const Value base = b_.get(kR0), sum = b_.add(base, b_.i64(8));
  b_.set(kR0, sum);
  b_.load(Type::I64, sum, bytes(3));
  EXPECT_EQ(block_.ops.back().a, sum.ref) << "the sum is in the register now, the old value would need another";
}

TEST_F(BuilderTest, pc_constants_stay_relative) {
  const Value pc = b_.pc_constant(0x1010);
  EXPECT_FALSE(b_.constant_of(pc)) << "no front end may decide by a pc that will move";
  const Value next = b_.add(pc, b_.i64(4));
  ASSERT_TRUE(next.ref.is_pool());
  EXPECT_TRUE(block_.pool[next.ref.pool_index()].pc_relative);
  EXPECT_EQ(block_.constant_value(next.ref), 0x1014u);
  EXPECT_TRUE(b_.and_(pc, b_.i64(0xfff)).ref.is_value());
  EXPECT_TRUE(b_.trunc(Type::I32, pc).ref.is_value());
  EXPECT_EQ(b_.constant_of(b_.sub(next, pc)), 4u);
}

TEST_F(BuilderTest, carries_are_taken_where_they_were_made) {
  const Value x = b_.trunc(Type::I32, b_.get(kR0)), y = b_.trunc(Type::I32, b_.get(kR0 + 1));
  const Value carry = b_.compare(Cond::Equal, x, y);
  EXPECT_EQ(b_.with_carry(Opcode::AddCarry, x, y, b_.constant(Type::I1, 0)).ref, b_.add(x, y).ref);
  const Value spread = b_.with_carry(Opcode::SubBorrow, x, x, carry);
  EXPECT_EQ(block_.ops[spread.ref.id()].opcode, Opcode::Neg);
  const Value sum = b_.with_carry(Opcode::AddCarry, x, y, carry);
  const Value out = b_.carry_out(Opcode::CarryOut, x, y, sum);
  EXPECT_EQ(b_.fl_is(Cond::Below, b_.flags3(Opcode::FlAdc, x, y, sum)).ref, out.ref);
  EXPECT_NE(b_.fl_is(Cond::Below, b_.flags3(Opcode::FlSbb, x, y, sum)).ref, out.ref);
  const auto number = [&](u64 v) { return b_.constant(Type::I8, v); };
  EXPECT_EQ(b_.constant_of(b_.carry_out(Opcode::CarryOut, number(0xff), number(0), number(0))), 1u);
  EXPECT_EQ(b_.constant_of(b_.carry_out(Opcode::BorrowOut, number(3), number(3), number(0xff))), 1u);
}

TEST_F(BuilderTest, conditions_of_known_producers) {
  const Value x = b_.trunc(Type::I32, b_.get(kR0)), y = b_.trunc(Type::I32, b_.get(kR0 + 1));
  const Value less = b_.fl_is(Cond::Less, b_.flags2(Opcode::FlCmp, x, y));
  EXPECT_EQ(block_.ops[less.ref.id()].opcode, Opcode::CmpSet);
  EXPECT_EQ(b_.constant_of(b_.fl_is(Cond::Below, b_.fl_logic(x))), 0u);
  EXPECT_EQ(b_.constant_of(b_.fl_is(Cond::NotOverflow, b_.flags2(Opcode::FlTest, x, y))), 1u);
  const Value carry = b_.compare(Cond::Equal, x, y), before = b_.get_flags();
  EXPECT_EQ(b_.fl_is(Cond::Below, b_.flags2(Opcode::FlSetCarry, carry, before)).ref, carry.ref);
  const Value inc = b_.flags2(Opcode::FlInc, x, b_.flags2(Opcode::FlSetCarry, carry, before));
  EXPECT_EQ(b_.fl_is(Cond::Below, inc).ref, carry.ref);
  const Value joined = b_.flags2(Opcode::FlJoin, b_.or_(b_.i64(tcg::kFlagZero), b_.zext(Type::I64, carry)), b_.i64(1));
  EXPECT_EQ(b_.constant_of(b_.fl_is(Cond::Overflow, joined)), 1u);
  EXPECT_NE(block_.ops[b_.fl_is(Cond::Below, joined).ref.id()].opcode, Opcode::FlIs);
  EXPECT_NE(block_.ops[b_.fl_pack(joined).ref.id()].opcode, Opcode::FlPack);
  const Value constant = b_.flags2(Opcode::FlCmp, b_.i32(3), b_.i32(5));
  EXPECT_EQ(b_.constant_of(b_.fl_is(Cond::Sign, constant)), 1u);
  EXPECT_EQ(b_.constant_of(b_.fl_pack(constant)), u64(tcg::kFlagCarry | tcg::kFlagSign | tcg::kFlagAdjust));
  EXPECT_EQ(b_.fl_unpack(b_.fl_pack(before)).ref, before.ref);
}

TEST_F(BuilderTest, flags_forward_like_fields) {
  const Value flags = b_.fl_logic(b_.get(kR0));
  b_.set_flags(flags);
  EXPECT_EQ(b_.get_flags().ref, flags.ref);
  b_.set_flags(flags);
  EXPECT_EQ(count(Opcode::SetFlags), 1u);
  EXPECT_EQ(count(Opcode::GetFlags), 0u);
}

TEST_F(BuilderTest, same_pure_op_nearby_is_shared_but_no_float_op) {
  const Value x = b_.get(kR0), v = b_.get(kX0);
  EXPECT_EQ(b_.trunc(Type::I32, x).ref, b_.trunc(Type::I32, x).ref);
  EXPECT_NE(b_.vec(ir::VecOp::VAddF32, v, v).ref, b_.vec(ir::VecOp::VAddF32, v, v).ref);
}

TEST_F(BuilderTest, exits_that_are_never_taken_vanish) {
  b_.side_exit(b_.constant(Type::I1, 0), 0x2000);
  b_.trap_if(b_.constant(Type::I1, 0), 1);
  EXPECT_EQ(block_.ops.size(), 2u);
  EXPECT_TRUE(block_.folded);
  b_.trap_if(b_.constant(Type::I1, 1), 1);
  EXPECT_FALSE(b_.is_ended()) << "the front end may go on";
  EXPECT_FALSE(block_.folded);
}

TEST_F(BuilderTest, what_follows_the_end_is_dropped) {
  b_.trap(6);
  EXPECT_TRUE(b_.is_ended());
  const size_t size = block_.ops.size();
  b_.set(kR0, b_.add(b_.get(kR0 + 1), b_.i64(1)));
  b_.set(kX0, b_.vec(ir::VecOp::VAddI8, b_.get(kX0 + 1), b_.get(kX0 + 2)));
  b_.set_flags(b_.fl_logic(b_.get(kR0)));
  b_.exit_direct(0x1234);
  EXPECT_EQ(block_.ops.size(), size);
}

}  // namespace
}  // namespace emu::test
