// SPDX-License-Identifier: Apache-2.0
// Lazy flags against those of the host's processor, where that is an x86; conditions against their definition.
#include "tcg/abi/flags.h"

#include <gtest/gtest.h>

#include "tcg/ir/evaluate.h"
#include "unit/tcg/random_block.h"

namespace emu::test {
namespace {

using ir::Opcode;
using ir::Type;
using namespace tcg;

#if defined(__x86_64__)

constexpr u64 kNoAdjust = kFlagsAll & ~u64(kFlagAdjust);
constexpr u64 kMulFlags = kFlagCarry | kFlagOverflow;  // the others are undefined

template <typename T>
constexpr Type kTypeOf = sizeof(T) == 1   ? Type::I8
                         : sizeof(T) == 2 ? Type::I16
                         : sizeof(T) == 4 ? Type::I32
                                          : Type::I64;

/// ah after lahf and al after seto, as packed flags.
u64 from_host(u64 ax) { return ((ax >> 8) & 0xd5) | (ax & 1 ? u64(kFlagOverflow) : 0); }

/// One instruction with two operands and the carry given; `a` receives the result.
#define EMU_HOST_BINARY(name, text)                                   \
  template <typename T>                                               \
  u64 name(T& a, T b, u64 carry) {                                    \
    u64 ax = 0;                                                       \
    asm("bt $0, %[carry]\n\t" text " %[b], %[a]\n\tlahf\n\tseto %%al" \
        : [a] "+r"(a), "=&a"(ax)                                      \
        : [b] "r"(b), [carry] "r"(carry)                              \
        : "cc");                                                      \
    return from_host(ax);                                             \
  }
EMU_HOST_BINARY(host_add, "add")
EMU_HOST_BINARY(host_adc, "adc")
EMU_HOST_BINARY(host_sub, "sub")
EMU_HOST_BINARY(host_sbb, "sbb")
EMU_HOST_BINARY(host_and, "and")
EMU_HOST_BINARY(host_cmp, "cmp")
EMU_HOST_BINARY(host_test, "test")

#define EMU_HOST_UNARY(name, text)                                                                                     \
  template <typename T>                                                                                                \
  u64 name(T& a, u64 carry) {                                                                                          \
    u64 ax = 0;                                                                                                        \
    asm("bt $0, %[carry]\n\t" text " %[a]\n\tlahf\n\tseto %%al" : [a] "+r"(a), "=&a"(ax) : [carry] "r"(carry) : "cc"); \
    return from_host(ax);                                                                                              \
  }
EMU_HOST_UNARY(host_inc, "inc")
EMU_HOST_UNARY(host_dec, "dec")

#define EMU_HOST_SHIFT(name, text)                                                             \
  template <typename T>                                                                        \
  u64 name(T& a, unsigned count) {                                                             \
    u64 ax = 0;                                                                                \
    asm(text " %%cl, %[a]\n\tlahf\n\tseto %%al" : [a] "+r"(a), "=&a"(ax) : "c"(count) : "cc"); \
    return from_host(ax);                                                                      \
  }
EMU_HOST_SHIFT(host_shl, "shl")
EMU_HOST_SHIFT(host_shr, "shr")
EMU_HOST_SHIFT(host_sar, "sar")

/// mul and imul with the accumulator; the 8-bit forms leave the high half in ah.
#define EMU_HOST_MULTIPLY(name, text)                                                                    \
  template <typename T>                                                                                  \
  u64 name(T a, T b, T& low, T& high) {                                                                  \
    u64 rax = a, rdx = 0, carry = 0;                                                                     \
    asm(text " %[b]\n\tsetc %b[carry]" : "+a"(rax), "+d"(rdx), [carry] "+r"(carry) : [b] "r"(b) : "cc"); \
    low = T(rax);                                                                                        \
    high = sizeof(T) == 1 ? T(rax >> 8) : T(rdx);                                                        \
    return carry ? kMulFlags : 0;                                                                        \
  }
EMU_HOST_MULTIPLY(host_mul, "mul")
EMU_HOST_MULTIPLY(host_imul, "imul")

template <typename T>
u64 ours(Opcode op, u64 a, u64 b = 0, u64 c = 0) {
  return ir::evaluate_flags(op, kTypeOf<T>, a, b, c).packed();
}

template <typename T>
void compare_with_host() {
  constexpr unsigned w = 8 * sizeof(T);
  RandomBlock random(w);
  for (int i = 0; i < 20000; ++i) {
    const T a = T(random.awkward()), b = T(random.awkward());
    const u64 carry = random.below(2);
    T r = a;
    u64 host = host_add(r, b, carry);
    ASSERT_EQ(ours<T>(Opcode::FlAdd, a, b, r), host) << +a << " + " << +b;
    host = host_adc(r = a, b, carry);
    ASSERT_EQ(ours<T>(Opcode::FlAdc, a, b, r), host) << +a << " + " << +b << " + " << carry;
    host = host_sub(r = a, b, carry);
    ASSERT_EQ(ours<T>(Opcode::FlSub, a, b, r), host) << +a << " - " << +b;
    host = host_sbb(r = a, b, carry);
    ASSERT_EQ(ours<T>(Opcode::FlSbb, a, b, r), host) << +a << " - " << +b << " - " << carry;
    host = host_cmp(r = a, b, carry);
    ASSERT_EQ(ours<T>(Opcode::FlCmp, a, b), host);
    host = host_and(r = a, b, carry) & kNoAdjust;
    ASSERT_EQ(ours<T>(Opcode::FlLogic, r), host);
    host = host_test(r = a, b, carry) & kNoAdjust;
    ASSERT_EQ(ours<T>(Opcode::FlTest, a, b), host);
    host = host_inc(r = a, carry);
    ASSERT_EQ(ours<T>(Opcode::FlInc, r, carry), host) << +a;
    host = host_dec(r = a, carry);
    ASSERT_EQ(ours<T>(Opcode::FlDec, r, carry), host) << +a;

    const unsigned count = 1 + random.below(w - 1);
    const u64 defined = count == 1 ? kNoAdjust : kNoAdjust & ~u64(kFlagOverflow);
    host = host_shl(r = a, count);
    ASSERT_EQ(ours<T>(Opcode::FlShl, r, T(a << (count - 1))) & defined, host & defined) << +a << " << " << count;
    host = host_shr(r = a, count);
    ASSERT_EQ(ours<T>(Opcode::FlShr, r, T(a >> (count - 1))) & defined, host & defined) << +a << " >> " << count;
    host = host_sar(r = a, count);
    const T before = T(std::make_signed_t<T>(a) >> (count - 1));
    ASSERT_EQ(ours<T>(Opcode::FlShr, r, before) & defined, host & defined) << +a << " >> " << count;

    T low, high;
    host = host_mul(a, b, low, high);
    ASSERT_EQ(ours<T>(Opcode::FlMulU, low, high) & kMulFlags, host) << +a << " * " << +b;
    host = host_imul(a, b, low, high);
    ASSERT_EQ(ours<T>(Opcode::FlMulS, low, high) & kMulFlags, host) << +a << " * " << +b;
  }
}
TEST(FlagsOfTheHost, are_ours_for_8_bits) { compare_with_host<u8>(); }
TEST(FlagsOfTheHost, are_ours_for_16_bits) { compare_with_host<u16>(); }
TEST(FlagsOfTheHost, are_ours_for_32_bits) { compare_with_host<u32>(); }
TEST(FlagsOfTheHost, are_ours_for_64_bits) { compare_with_host<u64>(); }

#endif

TEST(Flags, joined_flags_have_their_overflow_apart) {
  const auto joined = [](u64 others, u64 overflow) {
    return ir::evaluate_flags(Opcode::FlJoin, Type::I64, others, overflow, 0).packed();
  };
  EXPECT_EQ(joined(kFlagZero | kFlagCarry, 0), u64(kFlagZero | kFlagCarry));
  EXPECT_EQ(joined(kFlagsAll, 0), u64(kFlagsAll & ~kFlagOverflow));
  EXPECT_EQ(joined(kFlagParity, 3), u64(kFlagParity | kFlagOverflow));
  EXPECT_EQ(joined(~u64(0), 2), u64(kFlagsAll & ~kFlagOverflow));
}

TEST(Flags, values_above_the_width_do_not_matter) {
  RandomBlock random(5);
  for (int i = 0; i < 20000; ++i) {
    const u32 kind = random.below(12), log2 = random.below(3);
    const u64 a = random.awkward(), b = random.awkward(), noise = ~low_mask(8u << log2);
    const auto op = tcg::cc_op(CcKind(kind), log2);
    const bool b_is_carry = CcKind(kind) == CcKind::Inc || CcKind(kind) == CcKind::Dec;
    if (CcKind(kind) == CcKind::Packed) continue;
    ASSERT_EQ(pack_flags(op, a, b_is_carry ? b & 1 : b),
              pack_flags(op, a ^ (random.draw() & noise), b_is_carry ? b & 1 : b ^ (random.draw() & noise)))
        << "kind " << kind;
  }
}

TEST(Flags, condition_of_a_comparison_is_that_of_its_operands) {
  RandomBlock random(6);
  for (int i = 0; i < 20000; ++i) {
    const auto type = Type(unsigned(Type::I8) + random.below(4));
    const u64 a = random.awkward() & low_mask(ir::width(type)), b = random.awkward() & low_mask(ir::width(type));
    const u64 packed = ir::evaluate_flags(Opcode::FlCmp, type, a, b, 0).packed();
    for (unsigned c = 0; c < 16; ++c) {
      ASSERT_NE(test_packed(Cond(c), packed), test_packed(invert(Cond(c)), packed));
      if (!ir::is_compare(Cond(c))) continue;
      ASSERT_EQ(test_packed(Cond(c), packed), ir::evaluate_compare(Cond(c), type, a, b)) << c;
      ASSERT_EQ(ir::evaluate_compare(Cond(c), type, a, b), ir::evaluate_compare(ir::mirror(Cond(c)), type, b, a)) << c;
    }
  }
}

}  // namespace
}  // namespace emu::test
