// SPDX-License-Identifier: Apache-2.0
// What shall happen when the guest resets, powers off or panics: -action and its short forms.
#pragma once

#include <optional>

#include "util/options.h"
#include "util/types.h"

namespace emu::softmmu {

enum class RebootAction : u8 { Reset, Shutdown };
enum class ShutdownAction : u8 { Poweroff, Pause };
enum class PanicAction : u8 { Pause, Shutdown, ExitFailure, None };
enum class WatchdogAction : u8 { Reset, Shutdown, Poweroff, InjectNmi, Pause, Debug, None };

struct RunActions {
  RebootAction reboot = RebootAction::Reset;
  ShutdownAction shutdown = ShutdownAction::Poweroff;
  PanicAction panic = PanicAction::Shutdown;
  WatchdogAction watchdog = WatchdogAction::Reset;
};

/// Takes reboot=, shutdown=, panic= and watchdog= of one -action (or QMP's set-action) and changes `actions`.
Result<void> apply_actions(Options& options, RunActions& actions);

}  // namespace emu::softmmu
