// SPDX-License-Identifier: Apache-2.0
// Integer operations of the interpreter against plain C++ on native types.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>

#include "tcg/interp/interpreter.h"
#include "tcg/ir/op.h"
#include "unit/tcg/random_block.h"

namespace emu::test {
namespace {

using ir::Op;
using ir::Opcode;
using ir::Ref;
using ir::Type;

/// Runs one op on operands that come from registers, and gives its zero-extended result.
class OneOp {
 public:
  u64 operator()(Op op, u64 a, u64 b = 0, u64 c = 0, bool b_is_count = false) {
    block_.clear();
    block_.ops.push_back({Opcode::InsnStart, Type::Void, 0, {}, {}, Ref::raw(0)});
    const ir::Kind kind_a = info(op.opcode).a;
    op.a = operand(kR0, kind_a == ir::Kind::Int ? from_ : op.type);
    if (info(op.opcode).b != ir::Kind::None)
      op.b = operand(kR0 + 1, b_is_count ? Type::I8 : part_ != Type::Void ? part_ : op.type);
    if (info(op.opcode).c == ir::Kind::Any) op.c = operand(kR0 + 2, Type::I8);
    const Type result = result_type(op);
    Ref made = push(op);
    if (result != Type::I64) made = push({Opcode::Zext, Type::I64, 0, made});
    push({Opcode::Set, Type::I64, 0, made, {}, Ref::raw(kR0 + 3)});
    push({Opcode::Trap, Type::Void});
    state_.regs[0] = a, state_.regs[1] = b, state_.regs[2] = c;
    interpret(block_, layout_, helpers_, state_.hdr, memory_);
    return state_.regs[3];
  }
  u64 resize(Op op, Type from, u64 a, Type part = Type::Void, u64 b = 0) {
    from_ = from, part_ = part;
    const u64 r = (*this)(op, a, b);
    from_ = Type::I64, part_ = Type::Void;
    return r;
  }

 private:
  Ref push(const Op& op) {
    block_.ops.push_back(op);
    return Ref::value(u32(block_.ops.size() - 1));
  }
  Ref operand(u32 field, Type type) {
    const Ref r = push({Opcode::Get, Type::I64, 0, {}, {}, Ref::raw(field)});
    return type == Type::I64 ? r : push({Opcode::Trunc, type, 0, r});
  }
  ir::Block block_;
  ir::StateLayout layout_ = guest_layout();
  ir::HelperTable helpers_ = guest_helpers();
  GuestState state_;
  GuestMemory memory_;
  Type from_ = Type::I64, part_ = Type::Void;
};

template <typename T>
constexpr Type kTypeOf = sizeof(T) == 1   ? Type::I8
                         : sizeof(T) == 2 ? Type::I16
                         : sizeof(T) == 4 ? Type::I32
                                          : Type::I64;

/// Shifts one place at a time.
template <typename T>
T shift_slowly(Opcode op, T a, unsigned count) {
  using S = std::make_signed_t<T>;
  constexpr unsigned w = 8 * sizeof(T);
  count = op == Opcode::Rotl || op == Opcode::Rotr ? count % w : count & (w == 64 ? 63 : 31);
  for (; count > 0; --count) {
    switch (op) {
      case Opcode::Shl:
        a = T(a * 2);
        break;
      case Opcode::Shr:
        a = T(a / 2);
        break;
      case Opcode::Sar:
        a = T((a / 2) | (S(a) < 0 ? T(1) << (w - 1) : 0));
        break;
      case Opcode::Rotl:
        a = T(a * 2 + (a >> (w - 1)));
        break;
      default:
        a = T((a / 2) | (T(a & 1) << (w - 1)));
        break;
    }
  }
  return a;
}

template <typename T>
u64 count_bits(Opcode op, T a) {
  constexpr unsigned w = 8 * sizeof(T);
  unsigned n = 0;
  if (op == Opcode::Popcnt) {
    for (unsigned i = 0; i < w; ++i) n += a >> i & 1;
  } else if (op == Opcode::Clz) {
    while (n < w && !(a >> (w - 1 - n) & 1)) ++n;
  } else {
    while (n < w && !(a >> n & 1)) ++n;
  }
  return n;
}

template <typename T>
void test_arithmetic() {
  using S = std::make_signed_t<T>;
  constexpr Type t = kTypeOf<T>;
  constexpr unsigned w = 8 * sizeof(T);
  OneOp run;
  RandomBlock random(w);
  for (int i = 0; i < 400; ++i) {
    const T a = T(random.awkward()), b = T(random.awkward());
    const auto both = [&](Opcode op) { return run({op, t}, a, b); };
    ASSERT_EQ(both(Opcode::Add), T(a + b));
    ASSERT_EQ(both(Opcode::Sub), T(a - b));
    ASSERT_EQ(both(Opcode::Mul), T(u64(a) * b));
    ASSERT_EQ(both(Opcode::MulHiU), T((u128(a) * b) >> w));
    ASSERT_EQ(both(Opcode::MulHiS), T((i128(S(a)) * S(b)) >> w));
    ASSERT_EQ(both(Opcode::And), T(a & b));
    ASSERT_EQ(both(Opcode::Or), T(a | b));
    ASSERT_EQ(both(Opcode::Xor), T(a ^ b));
    ASSERT_EQ(both(Opcode::AndNot), T(~a & b));
    ASSERT_EQ(run({Opcode::Not, t}, a), T(~a));
    ASSERT_EQ(run({Opcode::Neg, t}, a), T(-a));
    for (const Opcode op : {Opcode::Clz, Opcode::Ctz, Opcode::Popcnt}) ASSERT_EQ(run({op, t}, a), count_bits(op, a));
    for (const Opcode op : {Opcode::Shl, Opcode::Shr, Opcode::Sar, Opcode::Rotl, Opcode::Rotr}) {
      ASSERT_EQ(run({op, t}, a, b & 0xff, 0, true), shift_slowly<T>(op, a, b & 0xff))
          << info(op).text << " " << (b & 0xff);
    }
    for (u32 n = 0; n < 4; ++n) {
      ASSERT_EQ(run({Opcode::AddShl, t, 0, {}, {}, Ref::raw(n)}, a, b), T(a + T(b << n)));
    }
    ASSERT_EQ(run({Opcode::BitTest, t}, a, b), u64(a >> (b % w) & 1));
    const std::map<ir::Cond, bool> conditions = {
        {ir::Cond::Below, a < b},        {ir::Cond::NotBelow, a >= b},           {ir::Cond::Equal, a == b},
        {ir::Cond::NotEqual, a != b},    {ir::Cond::BelowEqual, a <= b},         {ir::Cond::Above, a > b},
        {ir::Cond::Less, S(a) < S(b)},   {ir::Cond::GreaterEqual, S(a) >= S(b)}, {ir::Cond::LessEqual, S(a) <= S(b)},
        {ir::Cond::Greater, S(a) > S(b)}};
    for (const auto& [condition, holds] : conditions) {
      ASSERT_EQ(run({Opcode::CmpSet, t, 0, {}, {}, Ref::raw(u32(condition))}, a, b), u64(holds));
    }
  }
}
TEST(IntegerOps, arithmetic_of_8_bits) { test_arithmetic<u8>(); }
TEST(IntegerOps, arithmetic_of_16_bits) { test_arithmetic<u16>(); }
TEST(IntegerOps, arithmetic_of_32_bits) { test_arithmetic<u32>(); }
TEST(IntegerOps, arithmetic_of_64_bits) { test_arithmetic<u64>(); }

template <typename T>
void test_wide_only() {
  using S = std::make_signed_t<T>;
  constexpr Type t = kTypeOf<T>;
  constexpr unsigned w = 8 * sizeof(T);
  OneOp run;
  RandomBlock random(w);
  for (int i = 0; i < 400; ++i) {
    const T a = T(random.awkward()), b = T(random.awkward()), n = T(random.awkward());
    if (b != 0) {
      ASSERT_EQ(run({Opcode::UDiv, t}, a, b), T(a / b));
      ASSERT_EQ(run({Opcode::URem, t}, a, b), T(a % b));
      if (S(b) != -1) {
        ASSERT_EQ(run({Opcode::SDiv, t}, a, b), T(S(a) / S(b)));
        ASSERT_EQ(run({Opcode::SRem, t}, a, b), T(S(a) % S(b)));
      }
    }
    const unsigned count = unsigned(n & 0xff) % w;
    const u128 left = u128(a) << w | b, right = u128(b) << w | a;
    ASSERT_EQ(run({Opcode::Shld, t}, a, b, n), T((left << count) >> w));
    ASSERT_EQ(run({Opcode::Shrd, t}, a, b, n), T(right >> count));
  }
  ASSERT_EQ(run({Opcode::SDiv, t}, T(-7), T(-1)), T(7));
  ASSERT_EQ(run({Opcode::UDiv, t}, 7, 0), 0u) << "a division that the front end let through must not stop the host";
}
TEST(IntegerOps, division_and_double_shifts_of_32_bits) { test_wide_only<u32>(); }
TEST(IntegerOps, division_and_double_shifts_of_64_bits) { test_wide_only<u64>(); }

TEST(IntegerOps, byte_swaps) {
  OneOp run;
  EXPECT_EQ(run({Opcode::Bswap, Type::I16}, 0x1234), 0x3412u);
  EXPECT_EQ(run({Opcode::Bswap, Type::I32}, 0x12345678), 0x78563412u);
  EXPECT_EQ(run({Opcode::Bswap, Type::I64}, 0x123456789abcdef0), 0xf0debc9a78563412u);
}

TEST(IntegerOps, width_changes) {
  OneOp run;
  EXPECT_EQ(run.resize({Opcode::Trunc, Type::I8}, Type::I64, 0x1234), 0x34u);
  EXPECT_EQ(run.resize({Opcode::Trunc, Type::I1}, Type::I32, 0x3), 1u);
  EXPECT_EQ(run.resize({Opcode::Zext, Type::I64}, Type::I8, 0xfff0), 0xf0u);
  EXPECT_EQ(run.resize({Opcode::Sext, Type::I32}, Type::I8, 0x80), 0xffffff80u);
  EXPECT_EQ(run.resize({Opcode::Sext, Type::I64}, Type::I1, 1), ~u64(0));
  EXPECT_EQ(run.resize({Opcode::Ext, Type::I8, 0, {}, {}, Ref::raw(8)}, Type::I32, 0x123456), 0x34u);
  EXPECT_EQ(run.resize({Opcode::Ins, Type::I64, 0, {}, {}, Ref::raw(8)}, Type::I64, 0x1111111111111111, Type::I8, 0xab),
            0x111111111111ab11u);
  EXPECT_EQ(run.resize({Opcode::Ins, Type::I64, 0, {}, {}, Ref::raw(0)}, Type::I64, ~u64(0), Type::I32, 5),
            0xffffffff00000005u);
}

}  // namespace
}  // namespace emu::test
