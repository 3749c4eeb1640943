// SPDX-License-Identifier: Apache-2.0
// What IR and back ends know of a guest's registers: name, place in the state, type, and whether to pin.
#pragma once

#include <string>
#include <vector>

#include "tcg/ir/types.h"

namespace emu::ir {

/// Pinned fields live in host registers across blocks. Roles let a host put a field where its own instructions want
/// an operand; they say nothing about which host register that is.
enum class Pin : u8 {
  None,        ///< lives in the state; cached within a block
  General,     ///< one of the pinned integer registers, in order of preference (at most 11 are)
  MulLow,      ///< General, and the low product / quotient by convention
  MulHigh,     ///< General, and the high product / remainder
  ShiftCount,  ///< General, and the variable shift count
  Vector,      ///< one of the vector registers (at most 16)
};

struct StateField {
  std::string name;
  u32 offset = 0;  ///< bytes from the EnvHeader: the field's home
  Type type = Type::I64;
  Pin pin = Pin::None;
  /// Sets of constants may wait until somebody looks: recovery points say what the field holds, exits and calls store
  /// it. Not for pinned fields.
  bool deferred = false;
};

struct StateLayout {
  std::vector<StateField> fields;  ///< FieldId indexes it
  u32 size = 0;                    ///< of the whole state, bytes
  unsigned address_bits = 64;      ///< guest linear address width for wrapping checks in debug builds
  const StateField& field(FieldId id) const { return fields[id]; }
};

/// Fields in the EnvHeader outside `hot` and `hot_aux` (pc, control words...) change without a Set: ops and calls
/// write them. Every Get and Set of such a field stays where it is.
bool is_volatile_field(const StateField& field);

}  // namespace emu::ir
