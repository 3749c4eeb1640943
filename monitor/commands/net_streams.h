// SPDX-License-Identifier: Apache-2.0
// What network back ends need of rooms that they do not know: byte streams for guestfwd=...-STREAM, and events.
#pragma once

#include "hw/machine/machine.h"
#include "monitor/monitors.h"
#include "net/netdev.h"
#include "net/user_net.h"

namespace emu::monitor {

/// Opens what may stand after -serial; chardev:ID lends one that is there.
net::StreamOpener stream_opener(hw::Machine& machine);

/// NETDEV_STREAM_CONNECTED and NETDEV_STREAM_DISCONNECTED, as long as there are monitors.
net::StreamListener stream_events(Monitors& monitors);

}  // namespace emu::monitor
