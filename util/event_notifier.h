// SPDX-License-Identifier: Apache-2.0
// An eventfd: wakes whoever polls it, across threads and into the kernel (ioeventfd, irqfd).
#pragma once

#include "util/fd.h"
#include "util/result.h"
#include "util/types.h"

namespace emu {

class EventNotifier {
 public:
  static Result<EventNotifier> create();

  /// Makes fd() readable. Any thread; safe in a signal handler.
  void notify() const;
  /// Clears it; true if it was set since the last time.
  bool test_and_clear() const;
  /// For polling (readable when set) and for handing to the kernel; stays ours.
  int fd() const { return fd_.get(); }

 private:
  explicit EventNotifier(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

}  // namespace emu
