// SPDX-License-Identifier: Apache-2.0
// Random encodings of SIMD and x87 rows, with awkward register contents and operands that lie in the harness' buffer.
#pragma once

#include <random>
#include <vector>

#include "unit/target/x86/native_harness.h"

namespace emu::x86::test {

struct SimdCase {
  std::vector<u8> code;
  Insn insn;
  Registers registers;
  u64 address = 0;  ///< of the memory operand, if there is one
  bool is_usable = false;
};

class SimdCaseMaker {
 public:
  SimdCaseMaker(std::mt19937_64& random, NativeHarness& native) : random_(random), native_(native) {}

  u32 mode() const { return native_.is_64() ? TranslatedRun::kUserMode64 : TranslatedRun::kUserMode32; }
  SimdCase make(const Row& row);
  /// Contents of the buffer: floating-point numbers of the widths that `row` may read.
  void fill_memory(const SimdCase& c, std::vector<u8>& memory);

 private:
  u64 awkward_integer();
  u32 awkward_f32();
  u64 awkward_f64();
  void awkward_f80(u8* ten_bytes);
  void awkward_vector(u8* sixteen_bytes);
  void awkward_fpu(FpuState& fpu);
  std::vector<u8> encode(const Row& row);
  void encode_vex(const Row& row, std::vector<u8>& code);
  void spread_indexes(SimdCase& c);
  bool aim(SimdCase& c);

  std::mt19937_64& random_;
  NativeHarness& native_;
};

}  // namespace emu::x86::test
