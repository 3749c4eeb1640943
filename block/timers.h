// SPDX-License-Identifier: Apache-2.0
// Waiting in host time on a loop.
#pragma once

#include "util/task.h"
#include "util/types.h"

namespace emu::block {

/// Goes on after so many nanoseconds of host time, on `loop`'s thread, which calls it.
Task<void> delay(EventLoop& loop, u64 delay_ns);

}  // namespace emu::block
