// SPDX-License-Identifier: Apache-2.0
// x87 operations for the interpreter, on the image in EnvHeader::fpu_image.
#pragma once

#include "tcg/abi/env.h"
#include "tcg/ir/vec_ops.h"

namespace emu::ir {

bool host_has_x87();
/// Performs `op` on env.fpu_image (env.fpu_live is 0) under env.fpu_control, all exceptions masked; returns the result,
/// zero-extended, or 0. Calling it where host_has_x87() is false is a broken invariant.
u64 run_x87(X87Op op, unsigned reg, u64 a, u64 b, tcg::EnvHeader& env);
/// The same with the exceptions that env.fpu_control unmasks unmasked. The unit raises them at its next waiting
/// instruction only, so that this one has its unmasked response: what was there stays, with the flags set. None may be
/// pending, but for Init and ClearExceptions.
u64 run_x87_unmasked(X87Op op, unsigned reg, u64 a, u64 b, tcg::EnvHeader& env);

}  // namespace emu::ir
