// SPDX-License-Identifier: Apache-2.0
// The second fold: a block is built again through Builder.
#pragma once

#include "tcg/ir/op.h"

namespace emu::ir {

/// Rebuilds `block`, so that everything Builder folds, forwards and shares is; ends it at an exit that is always taken.
void refold(Block& block, const StateLayout& layout, const HelperTable& helpers);

}  // namespace emu::ir
