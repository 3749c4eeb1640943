// SPDX-License-Identifier: Apache-2.0
// MMX and SSE rows. None is translated yet: all rows say so and raise #UD.
#include "target/x86/translate_emitter.h"

namespace emu::x86 {

void Emitter::sse(const Insn& insn) {
  if (!translate_sse(insn)) not_translated(insn);
}

bool Emitter::translate_sse(const Insn&) { return false; }

}  // namespace emu::x86
