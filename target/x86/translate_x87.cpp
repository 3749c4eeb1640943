// SPDX-License-Identifier: Apache-2.0
// x87 rows. None is translated yet: all rows say so and raise #UD.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

void Emitter::x87(const Insn& insn) {
  if (!translate_x87(insn)) not_translated(insn);
}

bool Emitter::translate_x87(const Insn&) { return false; }

}  // namespace emu::x86
