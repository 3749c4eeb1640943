// SPDX-License-Identifier: Apache-2.0
#include "tcg/ir/relocation.h"

#include "util/check.h"

namespace emu::ir {

void pack_relocations(std::span<const Relocation> relocations, std::vector<u8>& out) {
  u32 end = 0;
  for (const Relocation& r : relocations) {
    EMU_CHECK(r.offset >= end);
    u32 number = (r.offset - end) << 2 | u32(r.form);
    for (; number >= 0x80; number >>= 7) out.push_back(u8(number | 0x80));
    out.push_back(u8(number));
    end = r.end();
  }
}

}  // namespace emu::ir
