// SPDX-License-Identifier: Apache-2.0
#include "block/timers.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include "util/fd.h"

namespace emu::block {

Task<void> delay(EventLoop& loop, u64 delay_ns) {
  const Fd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer || delay_ns == 0) co_return;  // no descriptor left: late is the lesser evil than never
  itimerspec spec{};
  spec.it_value = {.tv_sec = time_t(delay_ns / 1'000'000'000), .tv_nsec = long(delay_ns % 1'000'000'000)};
  ::timerfd_settime(timer.get(), 0, &spec, nullptr);
  const Completion<bool> due(loop);
  const FdWatch watch = loop.watch_fd(timer.get(), FdEvents::Read, [due](FdEvents) { due.complete(true); });
  co_await due;
}

}  // namespace emu::block
