// SPDX-License-Identifier: Apache-2.0
// What -d and -trace say.
#pragma once

#include <string_view>

#include "softmmu/start_options.h"

namespace emu::softmmu {

enum class Asked : u8 { Nothing, LogHelp, TraceHelp };

/// -d ITEM,...: "trace:PATTERN" among the items switches trace events on.
Result<Asked> read_log_items(std::string_view text, StartOptions& options);
/// -trace [enable=]PATTERN,events=FILE,file=FILE,to=SINK.
Result<Asked> read_trace(std::string_view text, StartOptions& options);

}  // namespace emu::softmmu
