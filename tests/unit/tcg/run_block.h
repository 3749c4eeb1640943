// SPDX-License-Identifier: Apache-2.0
// Runs single operations through Builder-free blocks and the interpreter.
#pragma once

#include <gtest/gtest.h>

#include "tcg/ir/verify.h"
#include "unit/tcg/test_guest.h"

namespace emu::test {

/// A block of text run once on a guest of its own.
struct TextRun {
  ir::StateLayout layout = guest_layout();
  ir::HelperTable helpers = guest_helpers();
  GuestState state;
  GuestMemory memory;
  ir::InterpretResult result;

  TextRun() { state.hdr.fp_control = 0x1f80; }
  void run(const std::string& body) {
    ir::Block block;
    const auto parsed = ir::parse("block 0x1000 bytes=8 fpu\n insn #0x0\n" + body, layout, helpers, block);
    ASSERT_TRUE(parsed) << parsed.error().message();
    const auto valid = ir::verify(block, layout, helpers);
    ASSERT_TRUE(valid) << valid.error().message() << "\n" << body;
    result = ir::interpret(block, layout, helpers, state.hdr, memory);
  }
};

}  // namespace emu::test
