// SPDX-License-Identifier: Apache-2.0
// What SimdExceptions is for single and double precision: which exceptions an AVX512-FP16 instruction has where
// overflow or underflow is unmasked. Here the exact result fits an integer, so nothing is run.
#pragma once

#include "tcg/abi/host_vector.h"
#include "util/types.h"

namespace emu::x86 {

class HalfExceptions {
 public:
  static constexpr u32 kRangeFlags = 0x38;  ///< overflow, underflow, precision

  /// Operands are in `slots` and `masks` as for tcg::run_host_vector().
  HalfExceptions(const tcg::HostVector& v, const u8* slots, const u64* masks);

  /// False: the flags are those of the masked response, since `mxcsr` masks overflow and underflow, or the instruction
  /// has neither.
  bool decide(u32 mxcsr) const;
  /// Of the flags that the instruction sets under `mxcsr`, those in kRangeFlags. The others are the masked response's.
  u32 flags(u32 mxcsr) const;

 private:
  enum class Kind : u8 { None, Sum, Difference, Product, Quotient, Fused, Scale, Single, Double, Signed, Unsigned };
  /// A finite number: significand * 2^exponent.
  struct Number {
    bool is_finite = true, negative = false;
    u64 significand = 0;
    int exponent = 0;
  };
  /// A result before it is rounded; `sticky`: something non-zero lies below.
  struct Exact {
    bool is_number = true, negative = false, sticky = false;
    u128 magnitude = 0;
    int exponent = 0;
  };
  void set_map5(const tcg::HostVector& v);
  void set_map6(const tcg::HostVector& v, const u8* slots);
  static Number half(const u8* at);
  static u32 round(const Exact& e, u32 mxcsr);
  static Exact add(const Exact& a, const Exact& b);
  static Exact multiply(const Number& a, const Number& b);
  Number source(unsigned lane, u32 mxcsr) const;
  Exact result(unsigned lane, u32 mxcsr) const;

  Kind kind_ = Kind::None;
  bool negates_product_ = false;
  u8 negates_c_ = 0;  ///< bit 0: in even lanes, 1: in odd ones
  bool is_scalar_ = false, repeats_b_ = false, repeats_c_ = false;
  u8 log2_ = 1;  ///< of the bytes of a source's element
  unsigned lanes_ = 0;
  u64 mask_ = ~u64(0);
  const u8 *a_ = nullptr, *b_ = nullptr, *c_ = nullptr;
};

}  // namespace emu::x86
