// SPDX-License-Identifier: Apache-2.0
// Sleeping on a 32-bit word, for threads that must not pay for a condition variable.
#pragma once

#include <atomic>
#include <optional>

#include "util/clock.h"
#include "util/types.h"

namespace emu::sys {

enum class FutexWait { Woken, Changed, TimedOut };

/// Sleeps while `word` is `expected`, until woken or CLOCK_MONOTONIC reaches `deadline`. Woken may be spurious (a
/// signal, say): the caller looks at its condition again. Changed: the word differed already.
FutexWait futex_wait(const std::atomic<u32>& word, u32 expected, std::optional<ClockNs> deadline = std::nullopt);

/// Wakes up to `count` sleepers of this process.
void futex_wake(const std::atomic<u32>& word, int count = 1);
void futex_wake_all(const std::atomic<u32>& word);

}  // namespace emu::sys
