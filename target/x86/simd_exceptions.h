// SPDX-License-Identifier: Apache-2.0
// Which exceptions a SIMD instruction has where overflow or underflow is unmasked. SDM vol. 1, 4.9.1.4 to 4.9.1.6 and
// 11.5.2.
#pragma once

#include <vector>

#include "tcg/abi/host_vector.h"
#include "tcg/ir/vec_ops.h"
#include "util/types.h"

namespace emu::x86 {

struct SimdOperands {
  const u8* a = nullptr;  ///< of an operation with one operand that one
  const u8* b = nullptr;
  const u8* c = nullptr;
};

/// The host computes the masked response, whose flags are not those of an unmasked overflow or underflow: that one is
/// told of each tiny result, also an exact one, and both tell of the precision of a result whose exponent has no
/// bounds.
class SimdExceptions {
 public:
  /// By the IR's operation on `bytes` bytes.
  SimdExceptions(ir::VecOp op, unsigned bytes, u8 immediate, const SimdOperands& operands);
  /// By the AVX-512 instruction, whose operands are in `slots` and `masks` as for tcg::run_host_vector().
  SimdExceptions(const tcg::HostVector& v, const u8* slots, const u64* masks);

  /// False: the flags are those of the masked response, since `mxcsr` masks overflow and underflow, or the operation
  /// has neither.
  bool decide(u32 mxcsr) const;
  /// Whether it is done in steps, of which the first with an unmasked exception is the last: DPPS, DPPD.
  bool has_steps() const { return kind_ == Kind::Dot; }
  /// Sticky flags that the instruction sets under `mxcsr`, masks and all. Of one with steps also what remains of them
  /// where an exception is unmasked.
  u32 flags(u32 mxcsr) const;

 private:
  enum class Kind : u8 { None, Fused, Divide, Narrow, Half, Scale, Dot };
  enum class Form : u8 { Fused, Sum, HorizontalSum, Product, Other };
  struct Element {
    u64 x = 0, y = 0, z = 0;  ///< Fused: x * y + z
  };
  void set_fused(unsigned family);
  void set_size(bool is_f64, bool is_scalar, unsigned bytes);
  Element element(unsigned lane) const;
  u64 operand(const u8* from, unsigned lane) const;
  double value(u64 raw) const;
  u64 raw(double value) const;
  u64 one() const { return log2_ == 3 ? 0x3ff0'0000'0000'0000 : 0x3f80'0000; }
  u64 sign() const { return log2_ == 3 ? u64(1) << 63 : u64(1) << 31; }
  u32 run(const Element& e, u32 control, double& result) const;
  u32 element_flags(const Element& e, u32 mxcsr) const;
  u32 dot_flags(u32 mxcsr) const;
  bool add_step(std::vector<Element>& step, u32 mxcsr, u32& flags) const;

  Kind kind_ = Kind::None;
  Form form_ = Form::Other;
  bool negates_product_ = false;
  u8 negates_c_ = 0;  ///< bit 0: in even lanes, 1: in odd ones
  u8 log2_ = 3, immediate_ = 0;
  bool repeats_b_ = false, repeats_c_ = false;  ///< the first element serves all
  unsigned lanes_ = 0;
  u64 mask_ = ~u64(0);
  SimdOperands operands_;
};

}  // namespace emu::x86
