// SPDX-License-Identifier: Apache-2.0
// The registers of a string instruction, as its address size and direction see them.
#pragma once

#include "target/x86/cpu.h"

namespace emu::x86 {

class StringOp {
 public:
  /// `mode` as helpers.inc has it: bytes | address bytes << 8 | Seg << 16.
  StringOp(X86Cpu& cpu, u64 mode);
  StringOp(X86Cpu& cpu, unsigned element_bytes, unsigned address_bytes, Seg source_segment);

  u64 count() const;
  void advance(u64 elements, bool source, bool destination, bool counts);
  /// Linear address of the next element, `size` bytes of which the segment must admit; else the fault is pending.
  bool source(u64 size, u64& linear);
  bool destination(u64 size, bool is_write, u64& linear);
  u64 run_limit(Gpr reg, u64 wanted, bool is_write) const;

 private:
  void set(Gpr reg, u64 value);
  X86Cpu& cpu_;
  X86State& state_;

 public:
  const unsigned bytes;
  const i64 step;  ///< in bytes, negative when DF is set

 private:
  const u64 mask_;
  const Seg source_;
};

}  // namespace emu::x86
