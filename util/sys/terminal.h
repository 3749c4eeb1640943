// SPDX-License-Identifier: Apache-2.0
// The terminal we were started on: raw while a guest or monitor reads it, and always given back as it was found.
#pragma once

#include <optional>

#include "util/result.h"

namespace emu::sys {

enum class SignalKeys {
  ToGuest,  ///< Ctrl-C and friends are bytes like others
  ToUs,     ///< they still raise SIGINT, SIGQUIT, SIGTSTP
};

/// Puts the terminal behind `fd` into raw mode (output processing stays, so that "\n" ends lines of ours) and arranges
/// for restore_terminal() at exit. Does nothing, successfully, when fd is not a terminal. Main thread. Calling it
/// again changes the mode and keeps the settings first found.
Result<void> set_terminal_raw(int fd, SignalKeys keys);

/// Sets it back. Idempotent and safe in a signal handler; called by exit, check_failed and the handlers of
/// fatal_signals.h.
void restore_terminal();
/// Raw again after restore_terminal() (after SIGCONT). Safe in a signal handler.
void resume_terminal();

struct TerminalSize {
  unsigned columns;
  unsigned rows;
};
std::optional<TerminalSize> terminal_size(int fd);

}  // namespace emu::sys
