// SPDX-License-Identifier: Apache-2.0
#include "util/sys/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace emu::sys {

static_assert(sizeof(std::atomic<u32>) == sizeof(u32) && std::atomic<u32>::is_always_lock_free);

FutexWait futex_wait(const std::atomic<u32>& word, u32 expected, std::optional<ClockNs> deadline) {
  timespec until{};
  if (deadline) {
    const i64 ns = std::max<i64>(deadline->count(), 0);
    until = {.tv_sec = time_t(ns / 1'000'000'000), .tv_nsec = long(ns % 1'000'000'000)};
  }
  // The BITSET form is the one that takes an absolute time.
  const long result = ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                                deadline ? &until : nullptr, nullptr, FUTEX_BITSET_MATCH_ANY);
  if (result == 0 || errno == EINTR) return FutexWait::Woken;
  return errno == ETIMEDOUT ? FutexWait::TimedOut : FutexWait::Changed;
}

void futex_wake(const std::atomic<u32>& word, int count) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, nullptr, nullptr, 0);
}

void futex_wake_all(const std::atomic<u32>& word) { futex_wake(word, INT_MAX); }

}  // namespace emu::sys
