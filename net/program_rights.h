// SPDX-License-Identifier: Apache-2.0
// What the programs that back ends start may do.
#pragma once

namespace emu::net {

/// What -sandbox leaves them: what it does not ends them.
struct ProgramRights {
  bool start = true;
  bool change_user = true;  ///< setuid and its like
};

}  // namespace emu::net
