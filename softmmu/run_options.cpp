// SPDX-License-Identifier: Apache-2.0
#include "softmmu/run_options.h"

namespace emu::softmmu {

Result<void> apply_actions(Options& options, RunActions& actions) {
  if (const auto at = EMU_TRY(options.take_enum("reboot", {"reset", "shutdown"}))) actions.reboot = RebootAction(*at);
  if (const auto at = EMU_TRY(options.take_enum("shutdown", {"poweroff", "pause"})))
    actions.shutdown = ShutdownAction(*at);
  if (const auto at = EMU_TRY(options.take_enum("panic", {"pause", "shutdown", "exit-failure", "none"}))) {
    actions.panic = PanicAction(*at);
  }
  if (const auto at = EMU_TRY(
          options.take_enum("watchdog", {"reset", "shutdown", "poweroff", "inject-nmi", "pause", "debug", "none"}))) {
    actions.watchdog = WatchdogAction(*at);
  }
  return options.finish();
}

}  // namespace emu::softmmu
