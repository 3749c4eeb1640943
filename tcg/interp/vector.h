// SPDX-License-Identifier: Apache-2.0
// Evaluation of vector operations, for the interpreter. Integer lanes are plain C++; floating point runs on the host
// under the guest's control word, since that is what the operations are defined by.
#pragma once

#include <array>
#include <cstring>

#include "tcg/ir/types.h"
#include "tcg/ir/vec_ops.h"

namespace emu::ir {

struct Vector128 {
  alignas(16) std::array<u8, 16> bytes{};

  template <typename T>
  T lane(unsigned i) const {
    T v;
    std::memcpy(&v, bytes.data() + i * sizeof(T), sizeof(T));
    return v;
  }
  template <typename T>
  void set_lane(unsigned i, T v) {
    std::memcpy(bytes.data() + i * sizeof(T), &v, sizeof(T));
  }
  template <typename T>
  static constexpr unsigned count() {
    return 16 / sizeof(T);
  }
};

struct Vector256 {
  std::array<Vector128, 2> half;

  template <typename T>
  T lane(unsigned i) const {
    return half[i / Vector128::count<T>()].template lane<T>(i % Vector128::count<T>());
  }
  template <typename T>
  void set_lane(unsigned i, T v) {
    half[i / Vector128::count<T>()].set_lane(i % Vector128::count<T>(), v);
  }
};

/// Any operation on 256 bits, or on the low half of its operands with zeros above. Operands beyond the arity are
/// ignored; `control` as for evaluate_vector_float().
Vector256 evaluate_vector_wide(VecOp op, bool low_half, const Vector256& a, const Vector256& b, const Vector256& c,
                               u8 imm, u32& control);

/// Moves, shuffles and integer operations. Arity 1: b is ignored.
Vector128 evaluate_vector(VecOp op, const Vector128& a, const Vector128& b, u8 imm);

/// Those from VShuffle8 on; called by the above.
Vector128 evaluate_vector_sse4(VecOp op, const Vector128& a, const Vector128& b, u8 imm);
/// Those from VPermilV32 to VBlend32; from VAesEnc on. Called by the above, too.
Vector128 evaluate_vector_avx(VecOp op, const Vector128& a, const Vector128& b, u8 imm);
Vector128 evaluate_vector_crypto(VecOp op, const Vector128& a, const Vector128& b, u8 imm);
/// The operations on three operands that are not floating point.
Vector128 evaluate_vector3(VecOp op, const Vector128& a, const Vector128& b, const Vector128& c);

/// Whether this host can run the operations below; if not, calling them is a broken invariant.
bool host_has_vector_float();
/// Arithmetic, comparisons, estimates and conversions. `control` is the guest's control word: rounding and flushing are
/// taken from it, sticky flags are added to it; exceptions are masked whatever it says.
Vector128 evaluate_vector_float(VecOp op, const Vector128& a, const Vector128& b, u8 imm, u32& control);
/// VFmadd... to VFmsubadd...
Vector128 evaluate_vector_fused(VecOp op, const Vector128& a, const Vector128& b, const Vector128& c, u8 imm,
                                u32& control);
Vector128 convert_from_int(const Vector128& into, Type from, u64 value, bool to_f64, u32& control);
u64 convert_to_int(Type to, const Vector128& v, bool from_f64, Round round, u32& control);
/// Packed flags, as fl.fcmp says.
u64 compare_float(const Vector128& a, const Vector128& b, bool is_f64, bool signal_quiet, u32& control);

}  // namespace emu::ir
