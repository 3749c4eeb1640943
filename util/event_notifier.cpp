// SPDX-License-Identifier: Apache-2.0
#include "util/event_notifier.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <cstring>

namespace emu {

Result<EventNotifier> EventNotifier::create() {
  Fd fd(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd) return error("cannot create an eventfd: {}", std::strerror(errno));
  return EventNotifier(std::move(fd));
}

void EventNotifier::notify() const {
  const int saved = errno;
  const u64 one = 1;
  // EAGAIN means that the counter is full, and so set.
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
  errno = saved;
}

bool EventNotifier::test_and_clear() const {
  u64 count = 0;
  ssize_t n = 0;
  do {
    n = ::read(fd_.get(), &count, sizeof count);
  } while (n < 0 && errno == EINTR);
  return n == ssize_t(sizeof count) && count != 0;
}

}  // namespace emu
