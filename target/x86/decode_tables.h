// SPDX-License-Identifier: Apache-2.0
// How the decoder reaches the rows of an opcode.
#pragma once

#include <span>

#include "target/x86/decode.h"

namespace emu::x86 {

/// What a row's operands come to.
enum RowTrait : u8 {
  kHasImmediate = 1 << 0,  ///< or a displacement or an offset behind ModRM
  kNamesVvvv = 1 << 1,
  kByteSized = 1 << 2,     ///< the first operand is a byte
};

/// What of an encoding a row asks for, as sets: it matches where each set has the encoding's bit.
struct RowKey {
  enum Form : u8 { kLegacy, kVex, kEvex, kMemory, kRegister, kCode64, kOther };
  static constexpr unsigned prefix_bit(u8 rep, bool has66) {
    return (rep == 0 ? 0u : rep == 0xf3 ? 1u : 2u) << 1 | unsigned(has66);
  }
  u16 row = 0;        ///< index into all_rows()
  u8 forms = 0;       ///< by Form: one of the first three, of the second two and of the last two
  u8 prefixes = 0;    ///< by prefix_bit()
  u8 regs = 0xff, rms = 0xff;  ///< ModRM.reg and ModRM.rm
  u8 traits = 0;      ///< RowTrait bits
};
/// In the tables' order: the first match wins.
std::span<const RowKey> row_keys(Map map, u8 opcode);
bool opcode_has_modrm(Map map, u8 opcode);

}  // namespace emu::x86
