// SPDX-License-Identifier: Apache-2.0
// What happens on the way out through a signal: the terminal is restored, and the default action follows.
#pragma once

#include <memory>

#include "util/types.h"

namespace emu::sys {

/// Handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT (a line on standard error, hooks, terminal, then what was
/// installed before us: a sanitizer's report or the core dump), for SIGTERM, SIGINT, SIGHUP, SIGQUIT (hooks, terminal,
/// default action; left alone when ignored, as under nohup), SIGTSTP/SIGCONT (terminal lent back in between); SIGPIPE
/// is ignored. Call once from main, before threads start. The translator's own fault handling may be installed over
/// SIGSEGV and SIGBUS later: it passes on what is not its own.
void install_fatal_signals();

/// Runs `hook` on every fatal signal, before the terminal is restored. It must be async-signal-safe. Up to 8.
/// False if there is no room.
bool add_fatal_hook(void (*hook)());

/// From now on the first SIGTERM, SIGINT or SIGHUP makes `notify_fd` (an eventfd) readable instead of ending us; the
/// second ends us as above. -1 switches back.
void divert_termination(int notify_fd);
/// The signal that was diverted last, or 0; and the process that sent it.
int diverted_signal();
int diverted_sender();

/// A stack for signal handlers of the calling thread, so that a stack overflow can still be reported.
class AlternateStack {
 public:
  AlternateStack();
  ~AlternateStack();
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;

 private:
  std::unique_ptr<u8[]> memory_;
};

}  // namespace emu::sys
