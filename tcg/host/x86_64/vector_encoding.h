// SPDX-License-Identifier: Apache-2.0
// The table of vector_rows.inc.
#pragma once

#include "tcg/host/x86_64/assembler.h"
#include "tcg/ir/vec_ops.h"

namespace emu::tcg::x86_64 {

/// How the operands are given where it is not destination, second source.
enum class Form : u8 {
  Any,       ///< register or memory
  GroupImm,  ///< shift of the destination by an immediate; `digit`
  Low32,     ///< MOVSS: from memory it would zero the rest, INSERTPS does not
  Low64,     ///< MOVSD, likewise; MOVLPS
  High64,    ///< MOVHLPS: MOVLPS of the high half in memory
  Lane32,    ///< INSERTPS: from memory the lane is chosen by address
};

struct Encoding {
  u8 prefix = 0;
  u32 opcode = 0;
  Form form = Form::Any;
  u8 digit = 0;
  u8 vex_w = 0;
  i8 evex_w = -1;

  Assembler::VectorForm vector_form(bool is_256) const;
};

const Encoding& encoding(ir::VecOp op);

}  // namespace emu::tcg::x86_64
