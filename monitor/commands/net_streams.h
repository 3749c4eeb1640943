// SPDX-License-Identifier: Apache-2.0
// Byte streams for guestfwd=...-STREAM of user networks, which know no chardevs themselves.
#pragma once

#include "hw/machine/machine.h"
#include "net/user_net.h"

namespace emu::monitor {

/// Opens what may stand after -serial; chardev:ID lends one that is there.
net::StreamOpener stream_opener(hw::Machine& machine);

}  // namespace emu::monitor
