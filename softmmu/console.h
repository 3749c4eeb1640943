// SPDX-License-Identifier: Apache-2.0
// Which byte streams there are and who uses them: serial ports, monitors, debug console, with QEMU's defaults.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "softmmu/start_options.h"

namespace emu::softmmu {

struct ConsolePlan {
  struct Serial {
    bool present = false;
    std::string chardev;  ///< id; empty: the port has no back end
  };
  std::vector<chardev::ChardevOptions> chardevs;  ///< to make, in this order
  std::array<Serial, 4> serials;
  struct Monitor {
    std::string chardev;  ///< id
    bool for_programs = false, pretty = false;
  };
  std::vector<Monitor> monitors;
  std::map<std::string, std::string> made_by;  ///< id of a stream: the option that it stands behind, if not -chardev
  std::string debugcon;               ///< id, or empty
  std::string debugger;               ///< id, or empty
  bool made_for_debugger = false;     ///< that stream is nobody else's
  std::string qtest;                  ///< id, or empty
  bool uses_terminal = false;         ///< some stream is our standard input and output
  bool shares_terminal = false;       ///< it is a mux: Ctrl-A works
  bool chose_terminal = false;        ///< nobody asked for it: there is no display
};

/// Whether a stream serves a monitor for programs and nobody else.
bool is_for_programs_alone(const ConsolePlan& plan, const chardev::ChardevOptions& stream);

/// What -gdb names. A socket of its own waits for debuggers, and the machine does not wait for them.
Result<chardev::SerialSpec> parse_debugger_stream(const std::string& text);

/// Errors: a stream that is not there, or an id used twice.
Result<ConsolePlan> plan_consoles(const StartOptions& options);

}  // namespace emu::softmmu
