// SPDX-License-Identifier: Apache-2.0
// --explain: what a command line comes to, in full and in one form.
#pragma once

#include <string>

#include "softmmu/parts.h"
#include "softmmu/start_options.h"

namespace emu::softmmu {

/// One option a line, defaults that were chosen included; the lines together start the same machine. Errors: a machine
/// that does not exist, streams that do not fit.
Result<std::string> explain(const StartOptions& options, const Parts& parts);

}  // namespace emu::softmmu
