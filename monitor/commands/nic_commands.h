// SPDX-License-Identifier: Apache-2.0
// Commands about network cards: query-rx-filter, announce-self.
#pragma once

#include "hw/net/nic_port.h"
#include "monitor/command.h"

namespace emu::monitor {

void register_nic_commands(CommandRegistry& registry);
/// The back end or card of that name; null when there is none.
net::NetClient* find_net_client(qom::ObjectTree& tree, std::string_view name);

}  // namespace emu::monitor
