// SPDX-License-Identifier: Apache-2.0
// What has to change in a block's code when it is copied to another place, for a guest block at another pc.
#pragma once

#include <span>
#include <vector>

#include "util/types.h"

namespace emu::ir {

/// A word in a block's code.
struct Relocation {
  enum class Form : u8 {
    Outside,    ///< 32 bits, the distance to what does not move: thunks
    OtherPart,  ///< 32 bits, the distance to the block's other part
    Pc64,       ///< a pc of the guest
    Pc32,       ///< the same, sign-extended
  };
  u32 offset = 0;  ///< as CodeParts counts
  Form form = Form::Outside;
  u32 end() const { return offset + (form == Form::Pc64 ? 8 : 4); }
};

/// Appends `relocations`, which are in order and do not overlap, to `out`: mostly a byte each.
void pack_relocations(std::span<const Relocation> relocations, std::vector<u8>& out);

/// Calls visit(Relocation) for each that pack_relocations() was given. A number each, LEB128: the form in two bits,
/// and how far behind the end of the one before it begins.
template <typename Visit>
void for_each_relocation(std::span<const u8> packed, Visit&& visit) {
  u32 end = 0;
  for (size_t i = 0; i < packed.size();) {
    u32 number = 0;
    bool more = true;
    for (unsigned shift = 0; more && i < packed.size(); shift += 7) {
      number |= u32(packed[i] & 0x7f) << shift;
      more = packed[i++] & 0x80;
    }
    const Relocation r{end + (number >> 2), Relocation::Form(number & 3)};
    visit(r);
    end = r.end();
  }
}

}  // namespace emu::ir
