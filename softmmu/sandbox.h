// SPDX-License-Identifier: Apache-2.0
// -sandbox: which system calls this process gives up for good, by a seccomp filter.
#pragma once

#include "util/options.h"
#include "util/result.h"

namespace emu::softmmu {

struct SandboxOptions {
  enum class Privileges : u8 { Allow, Deny, Children };
  bool on = false;
  bool obsolete = false;       ///< allowed: calls that no program has needed for decades
  Privileges privileges = Privileges::Allow;  ///< setuid and its like; Children: exec does not raise them
  bool spawn = true;           ///< allowed: fork and exec
  bool resource_control = true;  ///< allowed: priorities, affinities
};

/// -sandbox on[,obsolete=allow|deny][,elevateprivileges=allow|deny|children][,spawn=...][,resourcecontrol=...].
Result<SandboxOptions> parse_sandbox(Options& options);

/// Puts the filter over all threads there are and will be. A call that is denied ends the process with SIGSYS; those of
/// resource control fail with EPERM. Errors: the kernel has no filters.
Result<void> enter_sandbox(const SandboxOptions& options);

}  // namespace emu::softmmu
