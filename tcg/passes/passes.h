// SPDX-License-Identifier: Apache-2.0
// Tier-0 passes over one block. Folding and state forwarding happen in Builder; these walk the finished block.
#pragma once

#include <string>
#include <string_view>

#include "tcg/ir/op.h"

namespace emu::ir {

/// Each can be switched off for bisecting and ablation.
struct PassOptions {
  bool dead_code = true;       ///< unused pure ops, sets overwritten before anything can see them
  bool fold = true;            ///< second round of constant and copy folding, for blocks that Builder did not fold
  bool verify = false;         ///< check the block after each pass; for tests and debug builds
};

/// Runs the enabled passes in order; the block stays valid for verify(). Gives the number of ops that were dropped.
u32 optimize(Block& block, const StateLayout& layout, const HelperTable& helpers, const PassOptions& options);

}  // namespace emu::ir
